"""From a method's own crop and background to the protocol's, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from avatarbench import registry
from avatarbench.datasets.crop import Crop, apply
from avatarbench.datasets.images import read_image
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import DataError
from avatarbench.method import Avatar, Framing, MethodSpec, Motion, Portrait
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.protocol import FrameRef, ImageContract, Manifest, Pair
from avatarbench.run.framing import covered, on_background, to_contract
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.preflight import Preflight, check_frames
from avatarbench.run.render import Rendered, Renderer, prediction_path
from tests.units.nersemble_fixture import FRONTAL, pictures, write_split

PICTURE = astronaut()


def test_a_square_that_is_the_protocols_passes_unchanged() -> None:
    crop = Crop(30, 40, 64)
    own = apply(PICTURE, crop, 64)
    assert np.array_equal(to_contract(own, crop, crop, 64, "white"), own)


@pytest.mark.parametrize("crop", [Crop(100, 60, 200), Crop(80, 40, 256), Crop(123, 87, 131)])
def test_a_wider_frame_gives_the_protocols_picture(crop: Crop) -> None:
    own = Crop(60, 20, 320)
    found = to_contract(apply(PICTURE, own, 640), own, crop, 128, "white")
    assert np.abs(found.astype(int) - apply(PICTURE, crop, 128)).mean() < 1.0


def test_what_a_narrower_frame_lacks_has_the_background() -> None:
    own, crop = Crop(100, 100, 100), Crop(80, 100, 120)
    for behind, level in (("black", 0), ("white", 255), ("kept", 255)):
        found = to_contract(np.full((50, 50, 3), 99, np.uint8), own, crop, 120, behind)  # type: ignore[arg-type]
        assert (found[:, :12] == level).all()
        assert (found[108:] == level).all()
        assert (found[:92, 28:] == 99).all()
    assert covered(own, crop) == pytest.approx(100 * 100 / 120**2)
    assert covered(crop, own) == 1
    assert covered(own, Crop(300, 300, 10)) == 0


def test_alpha_sets_the_person_on_the_protocols_background() -> None:
    rendered = np.zeros((10, 10, 4), np.uint8)
    rendered[..., 0] = 200
    rendered[:, 5:, 3] = 255
    crop = Crop(0, 0, 10)
    found = to_contract(rendered, crop, crop, 10, "black")
    assert (found[:, :5] == 0).all()
    assert (found[:, 5:] == [200, 0, 0]).all()
    half = on_background(np.full((1, 1, 3), 100, np.uint8), np.full((1, 1), 0.5, np.float32), "white")
    assert half.tolist() == [[[178, 178, 178]]]


class Echo:
    """Renders the driver that it was shown, as somebody with alpha would."""

    def build(self, portrait: Portrait) -> Avatar:
        self.shape = portrait.image.shape
        return self

    def render(self, motion: Motion) -> np.ndarray:
        assert motion.image.shape == self.shape
        return np.dstack([motion.image, np.full(motion.image.shape[:2], 255, np.uint8)])


SPEC = MethodSpec(
    id="echo", name="E", summary="", factory="tests.units.test_framing:Echo", status="working", licence_code="MIT",
    framing=Framing(size=96, background="black", alpha=True),
)  # fmt: skip


def test_a_run_hands_a_method_its_own_frame_and_keeps_the_protocols(tmp_path: Path) -> None:
    face = np.asarray(Image.fromarray(pictures(1, size=(64, 64))[0]))
    data = NersembleDataset(write_split(tmp_path / "data", {"501": face, "509": face}))
    name = f"501_FREE_{FRONTAL}"
    source, driver = (FrameRef("openheads", name, i, "") for i in (0, 1))
    pair = Pair("p", source, driver, driver)
    background: dict[str, np.ndarray] = {}
    for behind in ("kept", "white"):
        folder = tmp_path / behind
        folder.mkdir()
        with Journal(folder / "journal.jsonl") as journal:
            contract = ImageContract(size=64, crop="none", background=behind)  # type: ignore[arg-type]
            inputs = Inputs({"openheads": data}, contract, FeatureEngine([], FeatureCache.default()), journal)
            state = Rendered()
            Renderer(SPEC, {}, inputs, state, journal, folder).render([pair], 0, lambda: None)
            assert state.failures == {}
            prediction = read_image(prediction_path(folder, "echo", "p"))[0]
            assert prediction.shape == (64, 64, 3)
            background[behind] = inputs.image(driver)
    mask = data.mask(name, 1)
    assert mask is not None
    assert (background["white"][mask == 0] == 255).all()
    assert np.array_equal(background["white"][mask == 1], background["kept"][mask == 1])
    seen = on_background(background["kept"], mask, "black")
    assert np.abs(prediction.astype(int) - seen)[2:-2, 2:-2].mean() < 12  # 64 to 96 pixels and back


def test_another_background_without_alpha_is_said(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        inputs = Inputs({}, ImageContract(background="white"), FeatureEngine([], FeatureCache.default()), journal)
        for framing in (Framing(size=64, background="white"), Framing(size=64, background="black", alpha=True)):
            Renderer(replace(SPEC, framing=framing), {}, inputs, Rendered(), journal, tmp_path)
        assert inputs.notes() == []
        Renderer(replace(SPEC, framing=Framing(size=64, background="black")), {}, inputs, Rendered(), journal, tmp_path)
        assert inputs.notes() == [
            "echo: renders on black, where the protocol has the background white: the difference counts against it"
        ]


def test_a_resumed_run_finds_each_frames_crop(tmp_path: Path) -> None:
    ref = FrameRef("openheads", "s", 0, "")
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.write("crop", dataset="openheads", sequence="s", crop={"x": 1, "y": 2, "side": 3})
        journal.write("crop", dataset="openheads", sequence="s", crop={"x": 4, "y": 5, "side": 6}, frame="face 2.5")
        inputs = Inputs({}, ImageContract(), FeatureEngine([], FeatureCache.default()), journal)
        assert inputs.crop(ref) == Crop(1, 2, 3)
        assert inputs.framed(Framing(size=64, scale=2.5)).crop(ref) == Crop(4, 5, 6)


class OfOneContract:
    """Data prepared under one contract, with a black ground that nobody may paint again."""

    contract = ImageContract(size=8, background="black")

    def square(self, sequence: str, contract: ImageContract) -> Crop:
        if contract != self.contract:
            raise DataError("prepared with size 8, not another")
        return Crop(0, 0, 8)

    def read(self, sequence: str, index: int) -> np.ndarray:
        return np.full((8, 8, 3), 77, np.uint8)

    def mask(self, sequence: str, index: int) -> np.ndarray:
        return np.zeros((8, 8), np.float32)

    def notes(self, sequence: str) -> list[str]:
        return []


def test_prepared_frames_are_used_as_they_are_and_in_no_other_frame(tmp_path: Path) -> None:
    ref, data = FrameRef("vfhq", "s", 1, ""), OfOneContract()
    manifest = Manifest("vfhq-self", 1, data.contract, (Pair("p", ref, ref, ref),))
    found = Preflight(registry.protocol("vfhq-self"), [SPEC], [], datasets={"vfhq": data})  # type: ignore[dict-item]
    with Journal(tmp_path / "journal.jsonl") as journal:
        inputs = Inputs(found.datasets, data.contract, FeatureEngine([], FeatureCache.default()), journal)
        assert (inputs.image(ref) == 77).all()
    check_frames(found, manifest)
    assert found.without_methods == {"echo": "own frame"}
    assert found.fatal == []
    check_frames(found, replace(manifest, image=replace(data.contract, size=16)))
    assert found.fatal == ["prepared with size 8, not another"]
