"""From generated data in a licensed set's layout to a paper's table of a run on it, as a user types it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avatarbench.cli import app
from avatarbench.datasets.images import read_image
from avatarbench.datasets.ledger import NAME
from avatarbench.errors import UsageError
from tests.conftest import Cli


def test_a_copy_is_checked_prepared_run_on_and_set_beside_a_papers_figures(cli: Cli, tmp_path: Path) -> None:
    root, cache = tmp_path / "Köpfe" / "hdtf", tmp_path / "cache"
    made = cli("data", "stand-in", "hdtf", "--out", root, "--people", "2", "--frames", "2")
    assert "2 of OpenHeads' people in hdtf's layout" in made.stdout

    well = cli("data", "check", "hdtf", "--root", root)
    assert well.returncode == 0, well.stderr
    assert "RD_OpenHeads502_000.mp4   2 frames" in well.stdout
    assert "2 of 2 are well; 2 files hashed" in well.stdout
    assert "data: openheads" in well.stdout

    prepared = cli("data", "prepare", "hdtf", "--root", root, "--out", cache, "--workers", "1")
    assert prepared.returncode == 0, prepared.stderr
    assert "2 sequences, 4 frames; 2 sequences prepared now." in prepared.stdout
    assert read_image(cache / "sequences" / "RD_OpenHeads501_000" / "frames" / "000000.png")[0].shape == (512, 512, 3)

    run = cli("run", "-m", "source-copy", "-p", "hdtf-self", "--metric", "psnr", "--data-root", cache)
    assert run.returncode == 0, run.stderr
    (record,) = (tmp_path / "runs").glob("*/run.json")
    protocol = json.loads(record.read_text())["protocol"]
    assert (protocol["data"], protocol["manifest_from"], protocol["pairs"]) == ("openheads", "local", 2)
    assert protocol["background"] == "kept"  # these videos have no masks; its own, in the spec, is black

    paper = ("table", "last", "--paper", "splitavatar", "--table", "2", "--also", "source-copy", "--format", "latex")
    table = cli(*paper)
    assert table.returncode == 0, table.stderr
    assert r"\toprule" in table.stdout
    assert "hdtf-self on data: openheads" in table.stdout
    assert "hdtf-self ran on data: openheads, the paper's figures are of HDTF" in table.stdout
    (result,) = json.loads(record.read_text())["results"]
    assert rf"\textit{{Source copy}} & \textit{{{result['value']:.2f}}}" in table.stdout

    (root / "RD_OpenHeads502_000.mp4").write_bytes(b"")
    broken = cli("data", "check", "hdtf", "--root", root)
    assert broken.returncode == 1
    assert "empty: 0 bytes" in broken.stdout
    assert json.loads((root / NAME).read_text())["complete"]


def test_what_is_asked_for_wrongly_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # commands set theirs, and this process goes on
    for arguments, text in (
        (("check", "hdft", "--root"), "did you mean 'hdtf'"),
        (("prepare", "vfhq", "--out", str(tmp_path / "x"), "--tracker", "vhap", "--root"), "take a folder with"),
        (("stand-in", "vfhq", "--out"), "is there already and not an empty folder"),
    ):
        (tmp_path / "file").touch()
        found = CliRunner().invoke(app, ["data", *arguments, str(tmp_path)]).exception
        assert isinstance(found, UsageError)
        with pytest.raises(UsageError, match=text):
            raise found
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
