"""``avatarbench build``, in this process, with untrained weights, and what animate then makes of the avatar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from avatarbench.animation import building
from avatarbench.cli import app
from avatarbench.errors import AvatarbenchError, DataError
from avatarbench.gaussians.head import load_head
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Features, Frame, Missing
from tests.e2e.media import FACE, NO_FACE, write_image
from tests.pointillist_weights import BOUND, write_decoder, write_stage_one


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("weights")
    decoder = write_decoder(folder / "d.safetensors", write_stage_one(folder / "ar.safetensors"))
    return ("--set", f"checkpoint={folder / 'ar.safetensors'}", "--set", f"decoder={decoder}")


def _run(*arguments: object) -> tuple[int, str]:
    """Exit code, and all that was said."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(done.exception, AvatarbenchError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_portrait_becomes_a_file_that_animate_drives(
    tmp_path: Path, weights: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "people" / "me.png", FACE)
    write_image(tmp_path / "people" / "wall.jpg", NO_FACE)
    code, said = _run("build", "people", "--out", "avatars", *weights, "--set", "device=cpu")
    assert code == 3, said
    assert "avatars/me.avatar: " in said
    assert all(f", {stage} " in said for stage in ("tracking", "generation", "decoding"))
    assert "people/wall.jpg: no face found in the portrait (200 x 200 pixels)" in said
    head = load_head(tmp_path / "avatars" / "me.avatar")
    assert (head.form, 0 < len(head.cloud) <= BOUND) == ("barycentric", True)
    np.savez(tmp_path / "pose.npz", arkit=np.zeros((1, 52)), rotation=np.zeros((1, 3)))
    code, said = _run("animate", "avatars/me.avatar", "--driver", "pose.npz", "--out", "a.png", "--size", 32)
    assert code == 0, said
    assert (tmp_path / "a.png").is_file()


def test_what_cannot_be_built_is_refused_with_its_reason(
    tmp_path: Path, weights: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    me = write_image(tmp_path / "me.png", FACE)
    for arguments, message, code in (
        ((me, "-m", "gaussian-fit"), "needs camera, views, which a portrait alone does not have", 2),
        ((me, "-m", "source-copy"), "avatars of this method cannot be saved", 2),
        ((me, "-m", "pointilist"), "did you mean 'pointillist'", 2),
        ((me, *weights, "--set", "sed=1"), "unexpected keyword argument 'sed'", 2),
        ((me, *weights, "--set", "seed"), "--set seed: give an option of the method as KEY=VALUE", 2),
        ((me, *weights, "--set", "temperature=-1"), "sampling cannot be so: temperature", 2),
        ((me, me, "--out", "one.avatar"), "is one file, and there are 2 portraits", 2),
    ):
        found, said = _run("build", *arguments)
        assert found == code, said
        assert message in " ".join(said.split())
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


class _Turned(FaceLandmarker):
    """Reads every head as turned by 60 degrees more."""

    def extract(self, frames: Sequence[Frame], activations: bool = False) -> list[Features | Missing]:
        found = super().extract(frames, activations)
        for one in found:
            if not isinstance(one, Missing):
                one["head"][:3, :3] = Rotation.from_euler("y", 60, degrees=True).as_matrix() @ one["head"][:3, :3]
        return found


def test_a_profile_is_built_and_said_to_hide_a_side(tmp_path: Path) -> None:
    me, landmarker = write_image(tmp_path / "me.png", FACE), _Turned()
    try:
        _, notes = building.portrait_of(me, 256, None, landmarker)
    finally:
        landmarker.close()
    (note,) = notes
    assert "degrees: what the portrait hides of it is a guess" in note
