"""``avatarbench score`` for people who only have frames: two folders or two videos, good and bad."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench.run.record import RunRecord, read_samples
from tests.conftest import Cli, Started
from tests.e2e.media import FACE, NO_FACE, moving_face, two_faces, write_image, write_video

PSNR = ("--metric", "psnr")


def brighter(image: np.ndarray, by: int = 10) -> np.ndarray:
    return np.clip(image.astype(int) + by, 0, 255).astype(np.uint8)


def folders(tmp_path: Path, real: dict[str, np.ndarray], predicted: dict[str, np.ndarray]) -> tuple[Path, Path]:
    for folder, images in (("pred", predicted), ("real", real)):
        (tmp_path / folder).mkdir()
        for name, image in images.items():
            write_image(tmp_path / folder / f"{name}.png", image)
    return tmp_path / "pred", tmp_path / "real"


def rows(tmp_path: Path) -> dict[str, dict]:
    (run,) = (p.parent for p in tmp_path.glob("runs/*/run.json"))
    return {r["sample"]: r for r in read_samples(run).to_pylist()}


def test_folders_are_paired_by_name_not_by_position(cli: Cli, tmp_path: Path) -> None:
    grey = {name: np.full((32, 32, 3), level, np.uint8) for name, level in (("a", 50), ("b", 100), ("c", 150))}
    pred, real = folders(tmp_path, grey, {name: brighter(grey[name]) for name in ("c", "b", "a")})
    done = cli("score", pred, real, *PSNR)
    assert done.returncode == 0, done.stderr
    expected = 20 * math.log10(255 / 10)
    assert [r["value"] for r in rows(tmp_path).values()] == pytest.approx([expected] * 3)
    assert f"{expected:.2f}" in done.stdout


def test_videos_are_paired_by_frame_and_take_every_metric_that_can_run(cli: Cli, tmp_path: Path) -> None:
    real = moving_face(4)
    write_video(tmp_path / "real.mp4", real)
    write_video(tmp_path / "pred.mp4", [brighter(f) for f in real])
    write_image(tmp_path / "source.png", FACE)
    offline = {"AVATARBENCH_OFFLINE": "1"}
    assert "one portrait" in cli("score", "pred.mp4", "real.mp4", "--source", "real.mp4").stderr
    done = cli("score", "pred.mp4", "real.mp4", "--source", "source.png", "--name", "mine", env=offline)
    assert done.returncode == 0, done.stderr
    (run,) = (p.parent for p in tmp_path.glob("runs/*/run.json"))
    record = RunRecord.load(run)
    value = {r.metric: r.value for r in record.results}
    assert record.methods[0].id == "mine"
    assert value["akd-mediapipe"] < 3
    assert 0 < value["lpips-vgg"] < 0.2
    assert value["fd-vgg"] > 0
    assert {m.id for m in record.metrics if m.unavailable} >= {"fid", "clip"} or not math.isnan(value["fid"])


def test_missing_prediction_is_nan_and_an_extra_one_is_refused(cli: Cli, tmp_path: Path) -> None:
    pred, real = folders(tmp_path, {"a": FACE, "b": FACE}, {"a": FACE})
    done = cli("score", pred, real, *PSNR)
    assert done.returncode == 3, done.stderr
    assert rows(tmp_path)["b"]["reason"] == "no prediction of this name"
    write_image(pred / "z.png", FACE)
    done = cli("score", pred, real, *PSNR)
    assert done.returncode == 1
    assert "pred has 2 frames" in done.stderr
    assert "(z)" in done.stderr


def test_other_size_is_nan_with_both_sizes(cli: Cli, tmp_path: Path) -> None:
    small = np.asarray(Image.fromarray(FACE).resize((100, 100)))
    pred, real = folders(tmp_path, {"a": FACE, "b": FACE}, {"a": small, "b": FACE})
    done = cli("score", pred, real, *PSNR)
    assert done.returncode == 3, done.stderr
    assert "100x100" in rows(tmp_path)["a"]["reason"]
    assert "200x200" in rows(tmp_path)["a"]["reason"]


def test_videos_of_different_length(cli: Cli, tmp_path: Path) -> None:
    write_video(tmp_path / "real.mp4", moving_face(4))
    write_video(tmp_path / "pred.mp4", moving_face(4)[:3])
    assert cli("score", "pred.mp4", "real.mp4", *PSNR).returncode == 3
    done = cli("score", "real.mp4", "pred.mp4", *PSNR)
    assert done.returncode == 1
    assert "4 frames" in done.stderr
    assert "3" in done.stderr


def test_truncated_image_costs_its_own_frame(cli: Cli, tmp_path: Path) -> None:
    pred, real = folders(tmp_path, {"a": FACE, "b": FACE}, {"a": FACE, "b": brighter(FACE)})
    whole = (pred / "a.png").read_bytes()
    (pred / "a.png").write_bytes(whole[: len(whole) // 2])
    done = cli("score", pred, real, *PSNR)
    assert done.returncode == 3, done.stderr
    found = rows(tmp_path)
    assert "a.png" in found["a"]["reason"]
    assert "truncated" in found["a"]["reason"]
    assert found["b"]["value"] > 20


def test_grey_alpha_and_16_bit_images_are_read_and_said(cli: Cli, tmp_path: Path) -> None:
    level = np.full((96, 96), 100, np.uint8)
    rgb = np.repeat(level[..., None], 3, axis=2)
    pred, real = folders(tmp_path, dict.fromkeys(("grey", "alpha", "deep"), rgb), {})
    Image.fromarray(level).save(pred / "grey.png")
    Image.fromarray(np.dstack([rgb, np.full_like(level, 255)])).save(pred / "alpha.png")
    Image.fromarray(level.astype(np.uint16) * 257).save(pred / "deep.png")
    done = cli("score", pred, real, "--metric", "lpips-alex")
    assert done.returncode == 0, done.stderr
    assert [r["value"] for r in rows(tmp_path).values()] == [0, 0, 0]
    (run,) = (p.parent for p in tmp_path.glob("runs/*/run.json"))
    notes = " ".join(RunRecord.load(run).notes)
    assert "grey-scale" in notes
    assert "16-bit" in notes
    assert "transparency" in notes


def test_no_face_and_two_faces(cli: Cli, tmp_path: Path) -> None:
    pred, real = folders(
        tmp_path, {"a": FACE, "b": two_faces(), "c": FACE}, {"a": NO_FACE, "b": two_faces(), "c": FACE}
    )
    done = cli("score", pred, real, "--metric", "akd-mediapipe")
    assert done.returncode == 3, done.stderr
    found = rows(tmp_path)
    assert "no face found in the prediction" in found["a"]["reason"]
    assert found["b"]["value"] == 0
    assert "2 faces" in found["b"]["note"]
    assert found["c"]["note"] is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nowhere", "real"), "nowhere"),
        (("pred", "empty"), "no images"),
        (("pred", "real", "--task", "sideways"), "sideways"),
        (("pred", "real", "--metric", "psrn"), "did you mean 'psnr'"),
        (("pred", "real", "--metric", "csim-dlib", "--task", "cross"), "--source"),
    ],
)
def test_wrong_use_says_what_is_wrong(arguments: tuple[str, ...], text: str, cli: Cli, tmp_path: Path) -> None:
    folders(tmp_path, {"a": FACE}, {"a": FACE})
    (tmp_path / "empty").mkdir()
    done = cli("score", *arguments)
    assert done.returncode in (1, 2)
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_interrupted_it_says_so_in_the_record_and_how_to_go_on(started: Started, tmp_path: Path) -> None:
    write_video(tmp_path / "real.mp4", moving_face(60))
    process = started("score", "real.mp4", "real.mp4", "--metric", "lpips-vgg")
    until = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/run.json")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130, message
    assert "Run the same command again" in message
    assert "Traceback" not in message
    assert RunRecord.load(next(tmp_path.glob("runs/*"))).status == "interrupted"
