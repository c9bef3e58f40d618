"""HTML that stands alone: one page, its style in it, nothing loaded from elsewhere, every text escaped."""

from __future__ import annotations

from html import escape
from itertools import groupby

from avatarbench.tables.grid import Entry, Grid, Label
from avatarbench.tables.marks import Style

STYLE = """body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }
caption { caption-side: top; text-align: left; font-weight: 600; padding-bottom: .5rem; }
th, td { padding: .2rem .6rem; white-space: nowrap; font-weight: 400; }
td { text-align: right; font-variant-numeric: tabular-nums; }
tbody th { text-align: left; }
thead tr:last-child th { border-bottom: 1px solid; text-align: right; }
thead tr:last-child th:first-child { text-align: left; }
th.group { border-bottom: 1px solid #999; text-align: center; }
tbody th.rows { padding-top: .6rem; font-weight: 600; }
.bound { font-style: italic; }
ul { max-width: 70rem; font-size: .85em; padding-left: 1.2rem; }
"""
MARKS = {
    "bold": ".best { font-weight: 700; }\n.second { text-decoration: underline; }\n",
    "colour": ".best { color: #c00000; }\n.second { color: #0040c0; }\n",
}


def render(grid: Grid, style: Style = "bold") -> str:
    """A whole document; headings carry their scope, for readers that speak the table."""
    title = escape(grid.title)
    head = [_row([_heading(grid.corner), *(_heading(c.text, c.italic) for c in grid.columns)])]
    if any(c.group for c in grid.columns):
        head.insert(0, _row(["<td></td>", *_groups(grid.columns)]))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            f'<head>\n<meta charset="utf-8">\n<title>{title}</title>',
            f"<style>\n{STYLE}{MARKS[style]}</style>\n</head>",
            f"<body>\n<table>\n<caption>{title}</caption>",
            "<thead>",
            *head,
            "</thead>\n<tbody>",
            *_body(grid),
            "</tbody>\n</table>",
            *(["<ul>", *(f"<li>{escape(note)}</li>" for note in grid.notes), "</ul>"] if grid.notes else []),
            "</body>\n</html>\n",
        ]
    )


def _groups(columns: tuple[Label, ...]) -> list[str]:
    cells = []
    for group, members in groupby(columns, key=lambda c: c.group):
        width = len(list(members))
        over = ' class="group"' if group else ""
        cells.append(f'<th scope="colgroup" colspan="{width}"{over}>{escape(group)}</th>')
    return cells


def _body(grid: Grid) -> list[str]:
    rows, group = [], ""
    for line in grid.lines:
        if line.label.group != group:
            group = line.label.group
            across = len(grid.columns) + 1
            rows.append(_row([f'<th scope="rowgroup" class="rows" colspan="{across}">{escape(group)}</th>']))
        rows.append(_row([_heading(line.label.text, line.label.italic, "row"), *(_entry(e) for e in line.entries)]))
    return rows


def _row(cells: list[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _heading(text: str, italic: bool = False, scope: str = "col") -> str:
    return f'<th scope="{scope}"{_class("bound" if italic else None)}>{escape(text)}</th>'


def _entry(entry: Entry) -> str:
    return f"<td{_class(entry.mark or ('bound' if entry.italic else None))}>{escape(entry.text)}</td>"


def _class(name: str | None) -> str:
    return f' class="{name}"' if name else ""
