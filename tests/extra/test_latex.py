"""The LaTeX of a table compiles, with every character that a name or a note may hold."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from avatarbench.tables.grid import Entry, Grid, Label, Line
from avatarbench.tables.latex import SPECIAL, render

DOCUMENT = r"""\documentclass[twocolumn]{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\begin{document}
%s\end{document}
"""


def test_a_table_with_groups_marks_and_notes_compiles(program: Callable[[str], str], tmp_path: Path) -> None:
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
    (tmp_path / "table.tex").write_text(DOCUMENT % render(grid), encoding="utf-8")
    command = [program("pdflatex"), "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Missing character" not in (tmp_path / "table.log").read_text(encoding="latin-1")
    assert (tmp_path / "table.pdf").read_bytes().startswith(b"%PDF")
