"""docs/tables.md says what the tables do."""

from __future__ import annotations

from dataclasses import replace

from avatarbench.tables import markdown
from avatarbench.tables.comparability import RULES, TO_SOURCE
from avatarbench.tables.layouts import LAYOUTS, layout
from avatarbench.tables.published import load
from avatarbench.tables.published_grid import published_grid
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")


def test_the_page_shows_a_published_table_as_it_is_printed() -> None:
    grid = replace(published_grid(layout("avatarpointillist", "S1"), load()), notes=())
    assert markdown.render(grid, caption=True).strip() in PAGE


def test_the_page_lists_every_judgement_of_comparability() -> None:
    for (paper, metric), found in RULES.items():
        for b in found:
            assert f"| {paper} | {metric} | `{b.id}` | {b.level}{f': {b.why}' if b.why else ''} |" in PAGE
    assert f"| splitavatar | CSIM, self | `{TO_SOURCE.id}` | {TO_SOURCE.level}: {TO_SOURCE.why} |" in PAGE


def test_the_page_names_the_protocols_of_every_table() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(("| avatarpointillist ", "| splitavatar "))]
    for known in LAYOUTS:
        stated = [row for row in rows if all(f"`{p}`" in row for p in known.protocols.values())]
        assert any(known.table in row.split("|")[1] and known.paper in row.split("|")[1] for row in stated)
