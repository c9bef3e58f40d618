"""``avatarbench build`` as a user runs it, with untrained weights, and what animate then makes of the avatar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench.animation import building
from avatarbench.errors import DataError
from avatarbench.gaussians.head import load_head
from avatarbench.metrics.face import FaceLandmarker
from tests.conftest import Cli
from tests.e2e.media import FACE, NO_FACE, write_image
from tests.pointillist_weights import BOUND, write_decoder, write_stage_one


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("weights")
    decoder = write_decoder(folder / "d.safetensors", write_stage_one(folder / "ar.safetensors"))
    return ("--set", f"checkpoint={folder / 'ar.safetensors'}", "--set", f"decoder={decoder}")


def test_a_portrait_becomes_a_file_that_animate_drives(cli: Cli, tmp_path: Path, weights: tuple[str, ...]) -> None:
    write_image(tmp_path / "people" / "me.png", FACE)
    write_image(tmp_path / "people" / "wall.jpg", NO_FACE)
    done = cli("build", "people", "--out", "avatars", *weights, "--set", "device=cpu")
    assert done.returncode == 3, done.stderr
    assert "avatars/me.avatar: " in done.stdout
    assert all(f", {stage} " in done.stdout for stage in ("tracking", "generation", "decoding"))
    assert "people/wall.jpg: no face found in the portrait (200 x 200 pixels)" in done.stderr
    head = load_head(tmp_path / "avatars" / "me.avatar")
    assert (head.form, 0 < len(head.cloud) <= BOUND) == ("barycentric", True)
    np.savez(tmp_path / "pose.npz", arkit=np.zeros((1, 52)), rotation=np.zeros((1, 3)))
    driven = cli("animate", "avatars/me.avatar", "--driver", "pose.npz", "--out", "a.png", "--size", 32)
    assert driven.returncode == 0, driven.stderr


def test_what_cannot_be_built_is_said_before_any_work(cli: Cli, tmp_path: Path, weights: tuple[str, ...]) -> None:
    me = write_image(tmp_path / "me.png", FACE)
    for arguments, message, code in (
        ((me, "-m", "gaussian-fit"), "needs camera, views, which a portrait alone does not have", 2),
        ((me, "-m", "source-copy"), "avatars of this method cannot be saved", 1),
        ((me, "-m", "pointilist"), "did you mean 'pointillist'", 2),
        ((me, *weights, "--set", "sed=1"), "unexpected keyword argument 'sed'", 2),
        ((me, *weights, "--set", "seed"), "--set seed: give an option of the method as KEY=VALUE", 2),
        ((me, *weights, "--set", "temperature=-1"), "sampling cannot be so: temperature", 2),
        ((me, me, "--out", "one.avatar"), "is one file, and there are 2 portraits", 2),
    ):
        done = cli("build", *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert message in " ".join(done.stderr.split())
    assert not list(tmp_path.glob("*.avatar"))


def test_a_huge_portrait_costs_a_method_no_more_pixels_and_a_mask_must_have_its_size(tmp_path: Path) -> None:
    huge = Image.new("RGB", (6000, 4000), (128, 128, 128))
    huge.paste(Image.fromarray(FACE).resize((2400, 2400)), (1800, 800))
    huge.save(tmp_path / "huge.jpg")
    landmarker = FaceLandmarker()
    try:
        portrait, _ = building.portrait_of(tmp_path / "huge.jpg", 256, None, landmarker)
        me, mask = write_image(tmp_path / "me.png", FACE), write_image(tmp_path / "mask.png", NO_FACE[:100])
        with pytest.raises(DataError, match=r"the mask .*mask\.png is 200 x 100 pixels.* must be of one size"):
            building.portrait_of(me, 256, mask, landmarker)
    finally:
        landmarker.close()
    assert portrait.image.shape == (256, 256, 3)
    assert portrait.face is not None
    span = np.ptp(portrait.face.landmarks[:, :2], axis=0).max()
    assert span == pytest.approx(256 / building.SCALE, rel=0.1)
