"""The papers' eight tables as they are printed: rows, columns, order, digits and marks."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from avatarbench.errors import DataError
from avatarbench.metric import MetricSpec
from avatarbench.registry import metric
from avatarbench.tables import html, latex, markdown, terminal
from avatarbench.tables.comparability import RULES, beside, comparability
from avatarbench.tables.grid import Entry, Grid, Label, Line, turned
from avatarbench.tables.layouts import LAYOUTS, Layout, layout
from avatarbench.tables.published import load
from avatarbench.tables.published_grid import published_csv, published_grid

FOUR = ["LPIPS ↓", "FID ↓", "AKD ↓", "APD ↓"]
EIGHT = [*FOUR, "FID ↓", "CLIP ↑", "AKD ↓", "APD ↓"]
TEN = ["PSNR ↑", "SSIM ↑", "LPIPS ↓", "CSIM ↑", "AED ↓", "APD ↓", "AKD ↓", "CSIM ↑", "AED ↓", "APD ↓"]
OTHERS = ["Portrait4Dv2", "AvatarArtist", "LAM", "GAGAvatar", "Ours (AvatarPointillist)"]
COMPARED = ["CVTHead", "LAM", "GPAvatar", "Portrait4D-v2", "GAGAvatar", "Ours (SplitAvatar)"]
PRINTED = {
    "avatarpointillist:1": (EIGHT, OTHERS, "0.20", "153.13"),
    "avatarpointillist:2": (FOUR, ["Flame Position", "AR Feature", "AR Position", OTHERS[-1]], "0.23", "22.86"),
    "avatarpointillist:S1": (EIGHT, OTHERS, "0.29", "5.26"),
    "splitavatar:1": (TEN, COMPARED, "17.6517", "0.278"),
    "splitavatar:2": (TEN, COMPARED, "19.5501", "0.152"),
    "splitavatar:3": (
        TEN,
        ["Ours (SplitAvatar)", "w/o AR N_GSN", "w/o GNN", "w/o feature embedding", "w/o N_mask"],
        "21.0958",
        "0.325",
    ),
    "splitavatar:4": (TEN, ["1×1", "2×2", "2×3 (Ours)", "3×2", "3×3", "4×2"], "20.8219", "0.271"),
    "splitavatar:5": (TEN, ["Ours (SplitAvatar)", "Baseline 15×"], "21.0958", "0.312"),
}
"""Columns and rows in the papers' order, with the first and the last number."""
EACH = pytest.mark.parametrize("known", LAYOUTS, ids=lambda known: known.reference)


def test_rows_and_columns_stand_in_the_papers_order() -> None:
    grids = {known.reference: published_grid(known, load()) for known in LAYOUTS}
    assert {
        name: (
            [c.text for c in grid.columns],
            [line.label.text for line in grid.lines],
            grid.lines[0].entries[0].text,
            grid.lines[-1].entries[-1].text,
        )
        for name, grid in grids.items()
    } == PRINTED


def cells_of_markdown(grid: Grid) -> list[str]:
    rows = [line for line in markdown.render(grid).splitlines() if line.startswith("|")][2:]
    return [re.sub(r"[*]|</?ins>", "", cell).strip() for row in rows for cell in row.split("|")[2:-1]]


def cells_of_latex(grid: Grid) -> list[str]:
    body = latex.render(grid).split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = [row.removesuffix(r" \\") for row in body.strip().splitlines()]
    return [re.sub(r"\\(?:textbf|underline)\{(.*)\}", r"\1", cell) for row in rows for cell in row.split(" & ")[1:]]


class Cells(HTMLParser):
    """The texts of a page's data cells, and what was opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.found.append(data)


def cells_of_html(grid: Grid) -> list[str]:
    parser = Cells()
    parser.feed(html.render(grid))
    assert not parser.open
    return parser.found


@pytest.mark.parametrize("cells", [cells_of_markdown, cells_of_latex, cells_of_html])
def test_every_number_of_the_file_is_printed_once_to_the_digit(cells: Callable[[Grid], list[str]]) -> None:
    printed = Counter((known.reference, c) for known in LAYOUTS for c in cells(published_grid(known, load())))
    assert printed == Counter((f"{v.paper}:{v.table}", v.text) for v in load())


@pytest.mark.parametrize("turn", [False, True])
@EACH
def test_a_narrow_terminal_shows_every_number_whole(known: Layout, turn: bool) -> None:
    """Rich drops the columns that it has no room for, and cuts figures: columns stand below each other instead."""
    grid = published_grid(known, load())
    console = Console(width=72, file=io.StringIO())
    with console.capture() as capture:
        console.print(terminal.with_notes(turned(grid) if turn else grid, console))
    table = capture.get().split("As printed in the paper")[0]
    assert "…" not in table
    found = Counter(word for word in table.split() if re.fullmatch(r"\d+\.\d+", word))
    assert found == Counter(v.text for v in load() if f"{v.paper}:{v.table}" == known.reference)
    heads = {c.group for c in grid.columns if len({c.group for c in grid.columns}) > 1}
    assert all(group in table for group in heads)


@EACH
def test_turned_it_holds_the_same_numbers(known: Layout) -> None:
    grid = published_grid(known, load())
    across = [cell for cell in cells_of_markdown(turned(grid)) if cell]  # a line heads each group of rows
    assert sorted(across) == sorted(cells_of_markdown(grid))


@EACH
def test_its_csv_is_the_file_with_marks_and_comparability(known: Layout) -> None:
    rows = list(csv.DictReader(io.StringIO(published_csv(known, load()))))
    own = [v for v in load() if f"{v.paper}:{v.table}" == known.reference]
    assert [(r["method"], r["task"], r["metric"], r["value"], r["definition"]) for r in rows] == [
        (v.method, v.task, v.metric, v.text, v.definition) for v in own
    ]
    assert {r["comparability"] for r in rows} <= {"comparable", "definition unknown", "not comparable"}
    best = [r for r in rows if r["mark"] == "best"]
    assert {(r["task"], r["metric"]) for r in best} == {(r["task"], r["metric"]) for r in rows}


def check_latex(text: str) -> list[int]:
    """Balanced environments, braces and dollars, plain ASCII, full rows; the columns of every tabular."""
    opened = re.findall(r"\\(begin|end)\{(\w+\*?)\}", text)
    inside: list[str] = []
    for what, name in opened:
        if what == "begin":
            inside.append(name)
        else:
            assert inside.pop() == name
    assert not inside
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    assert text.isascii()
    widths = []
    for spec, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL):
        for row in (line for line in body.splitlines() if line.endswith(r"\\")):
            spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(n - 1 for n in spans) == len(spec)
        rules = [(int(a), int(b)) for a, b in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", body)]
        assert all(2 <= a <= b <= len(spec) for a, b in rules)
        widths.append(len(spec) - 1)
    return widths


@EACH
def test_its_latex_is_well_formed(known: Layout) -> None:
    grid = published_grid(known, load())
    assert check_latex(latex.render(grid)) == [len(grid.columns)]
    assert check_latex(latex.render(turned(grid), "colour")) == [len(grid.lines)]


def test_latex_stacks_groups_that_are_too_wide_together_and_loses_no_column() -> None:
    entries = tuple(Entry(f"0.{n:03d} [0.100, 0.300]", "best" if n == 4 else None) for n in range(9))
    columns = tuple(Label(f"M{n}", f"group_{n // 3}") for n in range(9))
    grid = Grid(
        "wide & long", "Method", columns, (Line(Label("a_b"), entries), Line(Label("c", "&"), entries)), ("100 %",)
    )
    text = latex.render(grid)
    assert check_latex(text) == [3, 3, 3]
    assert all(text.count(escaped) == 2 for escaped in (f"0.{n:03d} [" for n in range(9)))
    assert text.count(r"a\_b & ") == 3


def test_html_takes_hostile_text_literally() -> None:
    hostile = '<script>alert("&")</script>'
    grid = Grid(
        hostile, hostile, (Label(hostile, hostile),), (Line(Label(hostile, hostile), (Entry(hostile),)),), (hostile,)
    )
    page = html.render(grid)
    assert "<script" not in page
    assert cells_of_html(grid) == [hostile]
    assert page.count("&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt;") == 9


def marked(known: Layout, column: str, task: str) -> dict[str, str]:
    grid = published_grid(known, load())
    at = next(i for i, c in enumerate(grid.columns) if c.text.startswith(column) and c.group.endswith(task))
    return {line.entries[at].text: line.entries[at].mark or "" for line in grid.lines if line.entries[at].mark}


def test_best_and_second_are_those_of_the_values() -> None:
    one, supplement, four = (
        layout("avatarpointillist", "1"),
        layout("avatarpointillist", "S1"),
        layout("splitavatar", "4"),
    )
    assert marked(one, "APD", "cross") == {"142.93": "best", "153.13": "second"}
    assert marked(supplement, "FID", "self") == {"47.93": "best", "50.24": "second"}
    assert marked(supplement, "CLIP", "cross") == {"0.67": "best", "0.57": "second"}
    assert marked(four, "AED", "self") == {"0.1076": "best", "0.1084": "second"}
    grid = published_grid(four, load())
    assert [line.entries[4].mark for line in grid.lines].count("best") == 2


def test_equal_numbers_share_the_mark_in_colour_too() -> None:
    text = latex.render(published_grid(layout("splitavatar", "4"), load()), "colour")
    assert text.count(r"\textcolor{red}{0.1076}") == 2
    assert text.startswith(r"% needs \usepackage{booktabs,graphicx,xcolor}")
    assert r"\textbf" not in text


def test_a_number_without_a_place_is_refused() -> None:
    known, values = layout("avatarpointillist", "2"), load()
    stray = replace(next(v for v in values if (v.paper, v.table) == ("avatarpointillist", "2")), metric="PSNR")
    with pytest.raises(DataError, match="avatarpointillist:2 has no place for PSNR of pointillist/flame-position"):
        published_grid(known, [*values, stray])


def test_a_number_that_is_missing_says_so() -> None:
    values = [v for v in load() if (v.table, v.method, v.metric) != ("2", "pointillist", "FID")]
    grid = published_grid(layout("avatarpointillist", "2"), values)
    assert grid.lines[-1].entries[1].text == "n/a (not printed)"


def test_every_published_metric_is_judged_beside_one_of_ours() -> None:
    for value in load():
        found = beside(value.paper, value.metric, value.task)
        assert found, value
        assert all(isinstance(metric(b.id), MetricSpec) for b in found)
        assert all(metric(b.id).better == value.better for b in found)
    assert {(v.paper, v.metric) for v in load()} == RULES.keys()


def test_what_is_known_not_to_be_comparable_says_why() -> None:
    assert all(b.why for found in RULES.values() for b in found if b.level == "not comparable")
    by_metric = {(v.paper, v.metric, v.task): comparability(v) for v in load()}
    assert by_metric["splitavatar", "PSNR", "self"] == "comparable"
    assert by_metric["avatarpointillist", "APD", "cross"] == "definition unknown"
    assert by_metric["splitavatar", "CSIM", "self"] == "not comparable"
    assert by_metric["splitavatar", "CSIM", "cross"] == "definition unknown"
