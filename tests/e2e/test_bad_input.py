"""Bad input through the CLI: a clear error with what to do next, the documented exit code, nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from avatarbench.run.record import RunRecord, read_samples
from tests.conftest import Cli, call
from tests.e2e.media import FACE, NO_FACE, moving_face, two_faces, write_image, write_video

RUN = ("run", "-m", "source-copy", "--metric", "akd-mediapipe", "--limit", "2")


def fails(done: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in done.stderr


def test_every_unknown_name_is_reported_at_once_with_near_misses(cli: Cli) -> None:
    done = cli("run", "-m", "face-wrap", "-p", "portrait-corss", "--metric", "lpips-vg")
    fails(done, 2, "did you mean 'face-warp'", "did you mean 'portrait-cross'", "did you mean 'lpips-vgg'")


def test_nothing_chosen_says_what_to_choose(cli: Cli) -> None:
    fails(cli("run"), 2, "protocol")
    fails(cli("run", "-p", "clip-self"), 2, "methods")


def test_folder_without_images(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fails(cli(*RUN, "-p", "portrait-cross", "--portraits", "empty"), 2, "empty", "no images")


def test_missing_path(cli: Cli) -> None:
    fails(cli(*RUN, "-p", "clip-self", "--clip", "nowhere.mp4"), 2, "nowhere.mp4")


@pytest.mark.parametrize("kind", ["zero bytes", "text", "no frames", "cut short"])
def test_corrupt_video(kind: str, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a video " * 100)
    elif kind == "no frames":
        whole = write_video(tmp_path / "one.mp4", moving_face(1)).read_bytes()
        path.write_bytes(whole[:48])
    else:
        whole = write_video(tmp_path / "whole.mkv", moving_face(12)).read_bytes()
        path = tmp_path / "bad.mkv"
        path.write_bytes(whole[: len(whole) // 8])
    done = cli(*RUN, "-p", "clip-self", "--clip", path)
    assert done.returncode in (1, 2)
    assert path.name in done.stderr
    assert "Traceback" not in done.stderr


def test_portrait_without_a_face_is_named_and_the_others_run(cli: Cli, tmp_path: Path) -> None:
    write_image(tmp_path / "portraits" / "blank.png", NO_FACE)
    write_image(tmp_path / "portraits" / "someone.png", FACE)
    done = cli(*RUN, "-p", "portrait-cross", "--portraits", "portraits")
    assert done.returncode == 3, done.stderr
    rows = read_samples(next(tmp_path.glob("runs/*"))).to_pylist()
    assert {r["source"] for r in rows if r["reason"]} == {"blank"}
    assert "no face found in 'blank'" in rows[0]["reason"]
    assert "2/4" in done.stdout


def test_truncated_portrait_is_named(cli: Cli, tmp_path: Path) -> None:
    whole = write_image(tmp_path / "portraits" / "a.png", FACE).read_bytes()
    (tmp_path / "portraits" / "a.png").write_bytes(whole[: len(whole) // 2])
    done = cli(*RUN, "-p", "portrait-cross", "--portraits", "portraits")
    assert done.returncode in (1, 2)
    assert "a.png" in done.stderr + done.stdout
    assert "truncated" in done.stderr + done.stdout


def test_driver_frames_without_a_face_are_counted_out(cli: Cli, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", moving_face(10, faceless=(4, 6)))
    done = cli(
        "run", "-m", "source-copy", "-p", "clip-self", "--clip", clip, "--stride", 2, "--metric", "akd-mediapipe"
    )
    assert done.returncode == 3, done.stderr
    rows = read_samples(next(tmp_path.glob("runs/*"))).to_pylist()
    assert [r["frame"] for r in rows if r["reason"]] == [4, 6]
    assert all("no face found in the driver" in r["reason"] for r in rows if r["reason"])
    assert "2/4" in done.stdout


def test_two_faces_take_the_largest_and_are_counted(cli: Cli, tmp_path: Path) -> None:
    write_image(tmp_path / "pair.png", two_faces())
    done = cli(*RUN, "-p", "portrait-cross", "--portraits", "pair.png")
    assert done.returncode == 0, done.stderr
    record = RunRecord.load(next(tmp_path.glob("runs/*")))
    assert any("2 faces" in note for note in record.notes)


def test_method_that_cannot_run_here_is_refused_before_any_work(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "-m", "oracle", "-m", "source-copy", "-p", "portrait-cross", "--metric", "akd-mediapipe")
    fails(done, 2, "oracle", "needs target", "--skip-missing")
    assert not list(tmp_path.glob("runs/*"))


def test_missing_weights_without_network_are_all_listed_before_any_work(cli: Cli, tmp_path: Path) -> None:
    offline = {"AVATARBENCH_OFFLINE": "1"}
    metrics = ("--metric", "psnr", "--metric", "fid", "--metric", "clip")
    done = cli("run", "-m", "source-copy", "-p", "clip-self", *metrics, env=offline)
    fails(done, 2, "inception-2015", "open-clip", "--skip-missing")
    assert not list(tmp_path.glob("runs/*"))
    nothing = {**offline, "AVATARBENCH_CACHE": str(tmp_path / "cache"), "AVATARBENCH_ASSETS": ""}
    fails(cli(*RUN, "-p", "clip-self", env=nothing), 2, "face-landmarker", "driving-clip")


def test_skip_missing_prints_why_a_column_is_empty(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "run", "-m", "source-copy", "-p", "clip-self", "--limit", 2, "--metric", "psnr", "--metric", "fid",
        "--skip-missing", env={"AVATARBENCH_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "n/a (weights)" in done.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder with two megabytes left, and the prefix of commands that run against it.

    A tmpfs where this user may mount one; elsewhere a limit on file size, which meets the same code with another errno.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    yield folder, [] if mounted else ["prlimit", "--fsize=60000", "--"]
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def test_full_disk_stops_with_a_message_and_the_run_resumes_elsewhere(
    small_disk: tuple[Path, list[str]], cli: Cli, tmp_path: Path
) -> None:
    folder, prefix = small_disk
    clip = write_video(tmp_path / "clip.mp4", moving_face(40))
    done = call(
        [*prefix, sys.executable, "-m", "avatarbench", "run", "-m", "oracle", "-p", "clip-self", "--clip", str(clip),
         "--stride", "1", "--metric", "psnr", "--out", str(folder)], tmp_path,
    )  # fmt: skip
    fails(done, 1, "--resume")
    assert "No space left" in done.stderr or "File too large" in done.stderr
    run = next(folder.glob("*"))
    left = {p.relative_to(run) for p in run.rglob("*") if not p.is_dir()}
    pictures = {p for p in left if p.parts[0] == "predictions" and p.suffix == ".png" and not p.name.startswith(".")}
    assert {str(p) for p in left - pictures} <= {"run.json", "journal.jsonl", ".lock"}
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    kept = len(list(moved.rglob("predictions/**/*.png")))
    assert kept > 0
    done = cli("run", "--resume", moved)
    assert done.returncode == 0, done.stderr
    assert RunRecord.load(moved).methods[0].frames == 39
