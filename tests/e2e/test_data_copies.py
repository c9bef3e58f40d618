"""From generated data in a licensed set's layout to a run on what was prepared of it, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

from avatarbench.datasets.images import read_image
from avatarbench.datasets.ledger import NAME
from tests.conftest import Cli


def test_a_copy_is_checked_prepared_and_run_on(cli: Cli, tmp_path: Path) -> None:
    root, cache = tmp_path / "Köpfe" / "hdtf", tmp_path / "cache"
    made = cli("data", "stand-in", "hdtf", "--out", root, "--people", "2", "--frames", "3")
    assert "2 of OpenHeads' people in hdtf's layout" in made.stdout

    well = cli("data", "check", "hdtf", "--root", root)
    assert well.returncode == 0, well.stderr
    assert "RD_OpenHeads502_000.mp4   3 frames" in well.stdout
    assert "2 of 2 are well; 2 files hashed" in well.stdout
    assert "data: openheads" in well.stdout

    prepared = cli("data", "prepare", "hdtf", "--root", root, "--out", cache, "--workers", "1")
    assert prepared.returncode == 0, prepared.stderr
    assert "2 sequences, 6 frames; 2 sequences prepared now." in prepared.stdout
    assert read_image(cache / "sequences" / "RD_OpenHeads501_000" / "frames" / "000000.png")[0].shape == (512, 512, 3)

    run = cli("run", "-m", "source-copy", "-p", "hdtf-self", "--metric", "psnr", "--data-root", cache)
    assert run.returncode == 0, run.stderr
    (record,) = (tmp_path / "runs").glob("*/run.json")
    protocol = json.loads(record.read_text())["protocol"]
    assert (protocol["data"], protocol["manifest_from"], protocol["pairs"]) == ("openheads", "local", 4)

    (root / "RD_OpenHeads502_000.mp4").write_bytes(b"")
    broken = cli("data", "check", "hdtf", "--root", root)
    assert broken.returncode == 1
    assert "empty: 0 bytes" in broken.stdout
    (root / NAME).write_text((root / NAME).read_text().replace("true", "false", 1))
    edited = cli("data", "check", "hdtf", "--root", root)
    assert edited.returncode == 1
    assert "was changed after it was written" in edited.stderr


def test_what_is_asked_for_wrongly_is_told_before_any_work(cli: Cli, tmp_path: Path) -> None:
    unknown = cli("data", "check", "hdft", "--root", tmp_path)
    assert (unknown.returncode, "did you mean 'hdtf'" in unknown.stderr) == (2, True)
    alone = cli("data", "prepare", "vfhq", "--root", tmp_path, "--out", tmp_path / "x", "--tracker", "vhap")
    assert (alone.returncode, "take a folder with --tracking" in alone.stderr) == (2, True)
