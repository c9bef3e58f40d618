"""LaTeX with booktabs: best and second marked, bounds in italics, groups over a cmidrule, never wider than the page."""

from __future__ import annotations

from itertools import groupby

from avatarbench.statistics import Mark
from avatarbench.tables.grid import Entry, Grid, Label
from avatarbench.tables.marks import Style

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
    "Δ": r"$\Delta$",
    "−": r"$-$",
    "\n": " ",
}

MARKS: dict[Style, dict[Mark, str]] = {
    "bold": {"best": r"\textbf", "second": r"\underline"},
    "colour": {"best": r"\textcolor{red}", "second": r"\textcolor{blue}"},
}
PACKAGES: dict[Style, tuple[str, ...]] = {
    "bold": ("booktabs", "graphicx"),
    "colour": ("booktabs", "graphicx", "xcolor"),
}
"""What a document must load; graphicx shrinks a table that is wider than the page."""


WIDEST = 130
"""Characters that a tabular may have across before its groups of columns are stacked: print stays legible."""

MOST = 2_500
"""Characters of notes that a float bears below its table: more of them follow it as text, which pages may part."""


def render(grid: Grid, style: Style = "bold") -> str:
    """A ``table*`` environment that compiles with :data:`PACKAGES`; the notes follow the tabular in small print, or,
    where they are too long for a float, the environment.

    Groups of columns that are too wide together stand below each other, the rows repeated. Each tabular is set into a
    box first, and scaled to the page where the box is wider still.
    """
    lines = [
        rf"% needs \usepackage{{{','.join(PACKAGES[style])}}}",
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{escape(grid.title)}}}",
        r"\smallskip",
    ]
    for number, columns in enumerate(_panels(grid)):
        lines += ["", r"\medskip"] if number else []
        lines += _tabular(grid, columns, style)
    notes = [rf"{escape(note)}\par" for note in grid.notes]
    below = sum(map(len, grid.notes)) <= MOST
    if notes and below:
        lines += [
            "",
            r"\smallskip",
            r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
            *notes,
            r"\end{minipage}",
        ]
    lines.append(r"\end{table*}")
    if notes and not below:
        lead = rf"\noindent\textbf{{Notes: {escape(grid.title)}}}\par"
        lines += ["", r"\begingroup\footnotesize\raggedright\setlength{\parindent}{0pt}", lead, *notes, r"\endgroup"]
    return "\n".join(lines) + "\n"


def _panels(grid: Grid) -> list[list[int]]:
    """The columns of each tabular: whole groups, as many as :data:`WIDEST` lets stand side by side."""
    rows = max((len(line.label.text) for line in grid.lines), default=0)
    panels: list[list[int]] = []
    taken = 0
    for _, members in groupby(range(len(grid.columns)), key=lambda i: grid.columns[i].group):
        group = list(members)
        across = sum(2 + max(map(len, (grid.columns[i].text, *(r.entries[i].text for r in grid.lines)))) for i in group)
        if not panels or rows + taken + across > WIDEST:
            panels.append([])
            taken = 0
        panels[-1] += group
        taken += across
    return panels or [[]]


def _tabular(grid: Grid, columns: list[int], style: Style) -> list[str]:
    """One tabular of these columns, in a box that is never wider than the page."""
    width = len(columns)
    labels = tuple(grid.columns[i] for i in columns)
    lines = [
        r"\setbox0=\hbox{%",
        rf"\begin{{tabular}}{{l{'c' * width}}}",
        r"\toprule",
        *_column_groups(labels),
        _row([escape(grid.corner), *(_label(c) for c in labels)]),
        r"\midrule",
    ]
    group = ""
    for number, line in enumerate(grid.lines):
        if line.label.group != group:
            group = line.label.group
            lines += [r"\midrule"] if number else []
            lines.append(rf"\multicolumn{{{width + 1}}}{{l}}{{{escape(group)}}} \\")
        lines.append(_row([_label(line.label), *(_entry(line.entries[i], style) for i in columns)]))
    return [
        *lines,
        r"\bottomrule",
        r"\end{tabular}%",
        "}%",
        r"\leavevmode\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\box0}\else\box0\fi",
    ]


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


def _entry(entry: Entry, style: Style) -> str:
    text = escape(entry.text)
    if entry.mark:
        return rf"{MARKS[style][entry.mark]}{{{text}}}"
    return rf"\textit{{{text}}}" if entry.italic else text
