"""The LaTeX of a table compiles, with every character that a name or a note may hold, and stays on the page."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avatarbench.tables.grid import Entry, Grid, Label, Line, turned
from avatarbench.tables.latex import SPECIAL, render
from avatarbench.tables.layouts import LAYOUTS, Layout, layout
from avatarbench.tables.marks import Style
from avatarbench.tables.paper import fill
from avatarbench.tables.paper_grid import lay_out
from avatarbench.tables.published import load
from avatarbench.tables.published_grid import published_grid
from tests.units.runs_fixture import method, metric, write_run

DOCUMENT = r"""\documentclass[twocolumn]{article}
\usepackage[T1]{fontenc}
\usepackage{%s}
\begin{document}
%s\end{document}
"""
Compile = Callable[..., str]


@pytest.fixture
def compiled(program: Callable[[str], str], tmp_path: Path) -> Compile:
    """Compiles grids on a page each, with the packages that the table asks for, and returns TeX's log."""

    def compile_(*grids: Grid, style: Style = "bold") -> str:
        texts = [render(grid, style) for grid in grids]
        packages = re.search(r"% needs \\usepackage\{([\w,]+)\}", texts[0])
        assert packages is not None
        (tmp_path / "table.tex").write_text(DOCUMENT % (packages[1], "\\clearpage\n".join(texts)), encoding="utf-8")
        command = [program("pdflatex"), "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-3000:]
        log = (tmp_path / "table.log").read_text(encoding="latin-1")
        assert "Missing character" not in log
        assert (tmp_path / "table.pdf").read_bytes().startswith(b"%PDF")
        return log

    return compile_


@pytest.mark.parametrize("style", ["bold", "colour"])
def test_a_table_with_groups_marks_and_notes_compiles(compiled: Compile, style: Style) -> None:
    every = "".join(SPECIAL)
    grid = Grid(
        title=f"openheads-self {every}",
        corner="method",
        columns=(Label("PSNR ↑", "pixels"), Label("LPIPS ↓", "pixels"), Label("CSIM ↑", "identity")),
        lines=(
            Line(Label("oracle", "bounds", italic=True), (Entry("inf", italic=True),) * 3),
            Line(Label("face_warp †", "methods"), (Entry("21.3", "best"), Entry("0.12", "second"), Entry("n/a (50%)"))),
        ),
        notes=("† driven by the judge's own tracker", every),
    )
    compiled(grid, turned(grid), style=style)


def test_all_published_tables_compile_and_none_is_wider_than_the_page(compiled: Compile) -> None:
    log = compiled(*(published_grid(known, load()) for known in LAYOUTS))
    assert "Overfull \\hbox" not in log
    assert f"({len(LAYOUTS)} pages" in log


def measured(folder: Path, known: Layout) -> Grid:
    """``known`` beside a run that has all of its methods and of our metrics."""
    from avatarbench import registry
    from avatarbench.tables.comparability import beside

    ids = dict.fromkeys(b.id for m in known.columns["self"] for b in beside(known.paper, m, "self"))
    specs = [registry.metric(i) for i in ids]
    metrics = [metric(s.id, name=s.name, better=s.better, unit=s.unit, digits=s.digits) for s in specs]
    values: dict[Any, Any] = {(m, k): [0.1 + n, 0.3 + n] for n, m in enumerate(known.methods) for k in ids}
    protocol = {"id": known.protocols["self"], "size": 512}
    run = write_run(folder, [method(m) for m in known.methods], metrics, values, pairs=2, people=2, protocol=protocol)
    return lay_out(fill(known, load(), [run], folder, intervals=True))


def test_tables_with_measured_figures_and_differences_compile(compiled: Compile, tmp_path: Path) -> None:
    one = measured(tmp_path / "one", layout("avatarpointillist", "1"))
    ten = measured(tmp_path / "ten", layout("splitavatar", "2"))
    assert any(c.text.startswith("Δ") for c in one.columns)
    assert "Overfull \\hbox" not in compiled(one, turned(one), ten, style="colour")


def test_notes_that_are_too_long_for_a_float_follow_it_and_none_is_lost(compiled: Compile) -> None:
    notes = tuple(f"note {number}: {'what is said of a run, and of its data, its manifest and its options ' * 3}"
                  for number in range(60))  # fmt: skip
    grid = Grid("long", "method", (Label("PSNR"),), (Line(Label("ours"), (Entry("1.0"),)),), notes)
    log = compiled(grid)
    assert "Float too large" not in log
    assert int(re.findall(r"\((\d+) pages", log)[-1]) > 1
