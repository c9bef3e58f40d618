"""What only stands in for a method reaches no table of any kind, no baseline, and no common set."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from avatarbench.cli import app
from avatarbench.errors import UsageError
from avatarbench.gate.make import of_folder
from avatarbench.run.folders import refuse_stand_in
from avatarbench.run.record import RunRecord
from avatarbench.statistics import summarise, values_of
from avatarbench.tables import html, latex, markdown, terminal, tidy
from avatarbench.tables.build import build, configuration, load_run
from avatarbench.tables.grid import lay_out, turned
from avatarbench.tables.speed import speed_csv, speed_table
from tests.units.runs_fixture import method, metric, write_run

PSNR = metric("psnr", name="PSNR", better="higher")
FID = metric("fid", name="FID", kind="set")
REAL = method("real", name="Real")
STAND_IN = method("lam", name="LAM (stand-in)", stand_in=True)
VALUES: dict[Any, Any] = {("real", "psnr"): [20.0, 21.0, 22.0], ("lam", "psnr"): [99.0, 98.0, "gave up"]}
SETS = {("real", "fid"): (30.0, 3), ("lam", "fid"): (1.0, 2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "mixed", [REAL, STAND_IN], [PSNR, FID], VALUES, pairs=3, sets=SETS)


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    values = {("lam", "psnr"): VALUES["lam", "psnr"]}
    return write_run(tmp_path / "alone", [STAND_IN], [PSNR], values, pairs=3)


def rendered(folder: Path) -> dict[str, str]:
    """Every kind of table of a run."""
    run = load_run(folder)
    found = {"csv": tidy.render(build([run])), "speed csv": speed_csv([run])}
    for name, grid in (("scores", lay_out(build([run]))), ("speed", speed_table([run]))):
        for turn in (False, True):
            shown = turned(grid) if turn else grid
            console = Console(file=io.StringIO(), width=400)
            console.print(terminal.with_notes(shown, console))
            found[f"{name} terminal {turn}"] = console.file.getvalue()  # type: ignore[attr-defined]
            found[f"{name} markdown {turn}"] = markdown.render(shown)
            found[f"{name} latex {turn}"] = latex.render(shown)
            found[f"{name} html {turn}"] = html.render(shown)
    return found


def test_no_kind_of_table_has_its_row_and_every_one_with_notes_says_so(folder: Path) -> None:
    for kind, text in rendered(folder).items():
        assert "99.0" not in text, kind
        assert "98.5" not in text, kind
        if "csv" in kind:
            assert {row["method"] for row in csv.DictReader(io.StringIO(text))} == {"real"}, kind
        else:
            assert text.count("LAM (stand-in)") == 1, kind  # in the note
            assert "only stands in for a method: LAM (stand-in)" in text, kind


def test_a_run_of_nothing_else_prints_a_table_without_rows(alone: Path) -> None:
    for kind, text in rendered(alone).items():
        assert "98.5" not in text, kind
        assert "csv" in kind or "left out" in text, kind


def test_the_frames_that_others_are_compared_on_know_nothing_of_it(folder: Path) -> None:
    """It lacks a frame; without the mark, the real method's headline would be over two."""
    results = {(r.method, r.metric): r for r in RunRecord.load(folder).results}
    assert results["real", "psnr"].n_common == 3
    assert results["lam", "psnr"].value == 98.5  # below the coverage that a comparison asks for: its own frames
    rows = [
        {"method": m, "metric": k, "sample": str(i), "value": v, "reason": None}
        for (m, k), column in {("real", "psnr"): [1.0] * 40, ("lam", "psnr"): [2.0] * 39}.items()
        for i, v in enumerate(column)
    ]
    by_method = {r.method: r for r in summarise(values_of(rows), [REAL, STAND_IN], [PSNR], 40)}
    assert by_method["real"].n_common == 40
    assert by_method["lam"].n_common == 39


def test_baselines_are_neither_made_of_it_nor_held_against_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"only stands in for a method \(LAM \(stand-in\)\)"):
        of_folder(folder)
    done = CliRunner().invoke(app, ["baseline", "save", str(folder), "-o", str(tmp_path / "b.json")])
    assert isinstance(done.exception, UsageError)
    assert not (tmp_path / "b.json").exists()


def test_csv_on_the_command_line_says_it_beside_the_rows(folder: Path) -> None:
    done = CliRunner().invoke(app, ["table", str(folder), "--format", "csv"])
    assert done.exit_code == 0, done.output
    assert "run mixed: left out, since what ran only stands in for a method: LAM (stand-in)" in done.stderr
    assert "lam" not in done.stdout


def test_a_papers_table_refuses_to_be_filled_with_it(alone: Path, folder: Path) -> None:
    asked = ["table", "--paper", "splitavatar", "--table", "1"]
    done = CliRunner().invoke(app, [*asked, str(alone)])
    assert isinstance(done.exception, UsageError)
    assert "only stands in for a method: LAM (stand-in)" in str(done.exception)
    done = CliRunner().invoke(app, [*asked, "--also", "lam,real", str(folder)])
    assert done.exit_code == 0, done.output
    assert "99.0" not in done.stdout
    assert "98.5" not in done.stdout


def test_its_kept_frames_are_not_scored_under_another_name(folder: Path) -> None:
    for name in ("lam", "real"):
        (folder / "predictions" / name / "face" / "clip").mkdir(parents=True)
    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    kept = {name: folder / "predictions" / name / "face" / "clip" / "000000.png" for name in ("lam", "real")}
    for path in kept.values():
        picture.save(path)
    asked = ["score", str(kept["lam"].parent), str(kept["real"].parent), "--metric", "psnr", "--out", str(folder / "r")]
    done = CliRunner().invoke(app, asked)
    assert isinstance(done.exception, UsageError)
    assert f"holds frames of LAM (stand-in) in the run {folder}" in str(done.exception)
    assert not (folder / "r").exists()
    refuse_stand_in(kept["real"].parent)


def test_where_official_code_lies_makes_no_other_method_and_its_commit_does() -> None:
    def ran(path: str, commit: str, sha256: str) -> dict[str, Any]:
        origin = {"commit": commit, "weights": {"w": {"path": path, "sha256": sha256}}}
        return configuration(method("lam", options={"repo": path, "minutes": 5}, origin=origin))

    assert ran("/a", "c1", "h") == ran("/b", "c1", "h")
    assert ran("/a", "c1", "h") != ran("/a", "c2", "h")
    assert ran("/a", "c1", "h") != ran("/a", "c1", "i")
    assert ran("/a", "c1", "h")["options"] == {"minutes": 5}
