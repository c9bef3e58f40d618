"""LaTeX with booktabs: best in bold, second underlined, bounds in italics, groups over a cmidrule."""

from __future__ import annotations

from itertools import groupby

from avatarbench.tables.grid import Entry, Grid, Label

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "§": r"$^\S$",
    "°": r"$^\circ$",
    "×": r"$\times$",
    "²": r"$^2$",
    "…": r"\ldots{}",
    "\n": " ",
}


def render(grid: Grid) -> str:
    """A ``table*`` environment that compiles with ``booktabs``; the notes follow the tabular in small print."""
    width = len(grid.columns)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{escape(grid.title)}}}",
        rf"\begin{{tabular}}{{l{'c' * width}}}",
        r"\toprule",
        *_column_groups(grid.columns),
        _row([escape(grid.corner), *(_label(c) for c in grid.columns)]),
        r"\midrule",
    ]
    group = ""
    for number, line in enumerate(grid.lines):
        if line.label.group != group:
            group = line.label.group
            lines += [r"\midrule"] if number else []
            lines.append(rf"\multicolumn{{{width + 1}}}{{l}}{{{escape(group)}}} \\")
        lines.append(_row([_label(line.label), *(_entry(e) for e in line.entries)]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if grid.notes:
        lines += ["", r"\smallskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright"]
        lines += [rf"{escape(note)}\par" for note in grid.notes]
        lines.append(r"\end{minipage}")
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands, arrows and daggers included."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _column_groups(columns: tuple[Label, ...]) -> list[str]:
    cells, rules, at = [""], [], 2
    for group, members in groupby(columns, key=lambda c: c.group):
        n = len(list(members))
        cells.append(rf"\multicolumn{{{n}}}{{c}}{{{escape(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{at}-{at + n - 1}}}")
        at += n
    return [_row(cells), " ".join(rules)] if rules else []


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _label(label: Label) -> str:
    return rf"\textit{{{escape(label.text)}}}" if label.italic else escape(label.text)


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    if entry.mark == "best":
        return rf"\textbf{{{text}}}"
    if entry.mark == "second":
        return rf"\underline{{{text}}}"
    return rf"\textit{{{text}}}" if entry.italic else text
