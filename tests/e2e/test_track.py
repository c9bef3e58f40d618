"""``avatarbench track`` as a user runs it: pictures, videos with holes, and what cannot be tracked."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image

from avatarbench.tracking.pipeline import track_media
from avatarbench.tracking.track_file import load_track
from tests.conftest import Cli, Started
from tests.e2e.media import FACE, NO_FACE, moving_face, write_image, write_video


def test_a_portrait_gives_a_track_a_fit_and_an_overlay(cli: Cli, tmp_path: Path) -> None:
    write_image(tmp_path / "face.png", FACE)
    done = cli("track", "face.png", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "face found in 1 of 1 frame" in done.stdout
    assert "head: pitch" in done.stdout
    assert "reprojection error" in done.stdout
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["anny.npz", "overlay.png", "track.npz"]
    with np.load(tmp_path / "out" / "anny.npz", allow_pickle=False) as file:
        assert file["expression"].shape == (1, 52)
        assert file["rms_percent"][0] < 4
        assert file["translation"].tolist() == [[0, 0, 0]]
    overlay = np.asarray(Image.open(tmp_path / "out" / "overlay.png"))
    assert overlay.shape == FACE.shape
    assert (overlay != FACE).any(axis=2).mean() > 0.1


def test_a_video_whose_face_leaves_goes_on_with_nan_rows_and_exits_3(cli: Cli, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", moving_face(8, faceless=(2, 3, 4)))
    done = cli("track", "clip.mp4", "--out", "out")
    assert done.returncode == 3, done.stderr
    assert "face found in 5 of 8 frames" in done.stdout
    track = load_track(tmp_path / "out" / "track.npz")
    assert (len(track), track.fps, track.size) == (8, 25.0, (248, 240))
    assert track.found.tolist() == [True] * 2 + [False] * 3 + [True] * 3
    with np.load(tmp_path / "out" / "anny.npz", allow_pickle=False) as file:
        assert np.isnan(file["rms_pixels"]).tolist() == (~track.found).tolist()
        assert np.isnan(file["joints"][2]).all()
        assert np.isfinite(file["joints"][5]).all()
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as overlay:
        assert sum(1 for _ in overlay.decode(video=0)) == 8


def test_without_fit_and_overlay_only_the_track_is_written(cli: Cli, tmp_path: Path) -> None:
    for number in (10, 9):
        write_image(tmp_path / "frames" / f"f{number}.png", np.roll(FACE, number, axis=1))
    done = cli("track", "frames", "--out", "out", "--no-fit", "--no-overlay")
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["track.npz"]
    x = load_track(tmp_path / "out" / "track.npz").landmarks[:, 1, 0]
    assert x[1] > x[0]  # f9 comes before f10


def test_a_folder_of_an_older_result_keeps_nothing_of_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("anny.npz", "overlay.png", "overlay.mp4", "notes.txt"):
        (out / name).write_text("of another picture")
    write_image(tmp_path / "wall.png", NO_FACE)
    assert not track_media(tmp_path / "wall.png", out, overlay=False).track.found.any()
    assert sorted(p.name for p in out.iterdir()) == ["notes.txt", "track.npz"]


def test_no_face_at_all_is_a_failure_that_keeps_its_reasons(cli: Cli, tmp_path: Path) -> None:
    write_image(tmp_path / "wall.png", NO_FACE)
    done = cli("track", "wall.png", "--out", "out")
    assert done.returncode == 1
    assert "no face was found in wall.png" in done.stderr
    assert "Traceback" not in done.stderr
    assert load_track(tmp_path / "out" / "track.npz").reasons == ("no face found",)
    assert not (tmp_path / "out" / "anny.npz").exists()


def test_inputs_that_cannot_be_tracked_are_named(cli: Cli, tmp_path: Path) -> None:
    write_video(tmp_path / "cut.mp4", moving_face(12))
    whole = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for name in ("a/1.png", "b/1.png"):
        write_image(tmp_path / "two" / name, FACE)
    (tmp_path / "taken").write_text("a file")
    write_image(tmp_path / "face.png", FACE)
    for arguments, code, text in (
        (("nowhere.mp4", "--out", "out"), 1, "nowhere.mp4 does not exist"),
        (("empty", "--out", "out"), 1, "holds no images or videos"),
        (("notes.txt", "--out", "out"), 1, "neither an image nor a video"),
        (("cut.mp4", "--out", "out"), 1, "cut.mp4"),
        (("two", "--out", "out"), 2, "holds 2 sequences (a, b)"),
        (("face.png", "--out", "taken"), 1, "taken"),
    ):
        done = cli("track", *arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert text in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "track.npz").exists()


def test_interrupted_it_exits_130_and_leaves_only_whole_files(started: Started, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", moving_face(400))
    process = started("track", "clip.mp4", "--out", "out", "--no-fit")
    until = time.monotonic() + 60
    while not (tmp_path / "out").is_dir() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130, message
    assert "interrupted" in message
    assert "Traceback" not in message
    assert not [p for p in (tmp_path / "out").iterdir() if p.suffix == ".part"]
