"""Portraits and motions for a check, from the data that ships: OpenHeads' test split, the real portrait and clip."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from avatarbench import assets, registry
from avatarbench.dataset import Dataset
from avatarbench.errors import Unscorable
from avatarbench.method import FaceTrack, FlameParameters, MethodSpec, Motion, Portrait
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.protocol import FrameRef, ImageContract
from avatarbench.run.draws import rank
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal

SOURCE, OTHER, DRIVER = "501_PORTRAIT_222200037", "503_PORTRAIT_222200037", "509_FREE_222200037"
DRIVERS = (0, 3, 5, 7)
"""Frames of the driver's 8: turned, speaking and looking elsewhere."""
CLIP_FRAMES = (0, 96)
ONLY_OPENHEADS = {"camera", "target", "views"}
"""Needs that no real portrait here provides."""


@dataclass(frozen=True)
class Scene:
    """What a run would hand over. ``own``: the source's own frame as a driver; ``other``: another person's portrait;
    ``what``: the data in words."""

    source: Portrait
    own: Motion
    drivers: tuple[Motion, ...]
    other: Portrait
    what: str


class Material:
    """Opens the data; to be used as a context manager. ``spec``: whose needs and wants are filled in."""

    def __init__(self, spec: MethodSpec) -> None:
        self._spec = spec
        self._reads = {*spec.needs, *spec.wants}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._journal = self._stack.enter_context(Journal(folder / "journal.jsonl"))
        self._engine = FeatureEngine(["face"], FeatureCache.default())
        self._stack.callback(self._engine.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def heads(self, size: int) -> Scene:
        """OpenHeads: a rendered person on white with a mask, driven by another. Raises DataError, AssetError."""
        data = {"openheads": _open("openheads")}
        inputs = self._inputs(data, ImageContract(size=size, crop="none"))
        source, other = _frame(data, "openheads", SOURCE, 0), _frame(data, "openheads", OTHER, 0)
        drivers = [_frame(data, "openheads", DRIVER, index) for index in DRIVERS]
        return _scene(inputs, self._reads, source, drivers, other, f"OpenHeads, {size} px")

    def real(self, size: int) -> Scene:
        """A photograph without a mask or a camera, driven by a real clip; by OpenHeads where the clip cannot be had.

        Raises DataError, AssetError.
        """
        clip_there = not assets.ensure(registry.dataset("clip").assets, None)
        driving = "clip" if clip_there else "openheads"
        data = {name: _open(name) for name in ("portraits", "openheads", driving)}
        inputs = self._inputs(data, ImageContract(size=size))
        (portrait,) = data["portraits"].sequences()
        source, other = _frame(data, "portraits", portrait, 0), _frame(data, "openheads", OTHER, 0)
        indices = CLIP_FRAMES if clip_there else DRIVERS[:2]
        name = data["clip"].sequences()[0] if clip_there else DRIVER
        drivers = [_frame(data, driving, name, index) for index in indices]
        what = f"a photograph driven by {'a real clip' if clip_there else 'OpenHeads'}, {size} px"
        return _scene(inputs, self._reads - ONLY_OPENHEADS, source, drivers, other, what)

    def has_real(self) -> bool:
        """Whether a photograph and a clip are enough for the method."""
        return not ONLY_OPENHEADS & set(self._spec.needs)

    def _inputs(self, data: dict[str, Dataset], contract: ImageContract) -> Inputs:
        inputs = Inputs(data, contract, self._engine, self._journal, [DRIVER], f"{contract.crop} {contract.size}")
        return inputs if self._spec.framing is None else inputs.framed(self._spec.framing)


def _scene(
    inputs: Inputs, reads: Collection[str], source: FrameRef, drivers: Sequence[FrameRef], other: FrameRef, what: str
) -> Scene:
    return Scene(
        _portrait(inputs, source, reads),
        _motion(inputs, source, reads),
        tuple(_motion(inputs, ref, reads) for ref in drivers),
        _portrait(inputs, other, reads),
        what,
    )


def _portrait(inputs: Inputs, ref: FrameRef, reads: Collection[str]) -> Portrait:
    return Portrait(
        id=f"{ref.sequence}/{ref.index:06d}",
        image=inputs.image(ref).copy(),
        mask=inputs.mask(ref),
        face=_face(inputs, ref, reads),
        flame=made_up_flame(ref) if "flame" in reads else None,
        camera=inputs.camera(ref) if "camera" in reads else None,
        views=inputs.views(ref) if "views" in reads else None,
    )


def _motion(inputs: Inputs, ref: FrameRef, reads: Collection[str]) -> Motion:
    return Motion(
        id=f"{ref.sequence}/{ref.index:06d}",
        index=ref.index,
        image=inputs.image(ref).copy(),
        face=_face(inputs, ref, reads),
        flame=made_up_flame(ref) if "flame" in reads else None,
        camera=inputs.camera(ref) if "camera" in reads else None,
        target=inputs.image(ref).copy() if "target" in reads else None,
    )


def _face(inputs: Inputs, ref: FrameRef, reads: Collection[str]) -> FaceTrack | None:
    if "mediapipe" not in reads:
        return None
    try:
        return inputs.track(ref)
    except Unscorable:  # at a size at which the tracker sees nobody, a run hands over none either
        return None


def made_up_flame(ref: FrameRef) -> FlameParameters:
    """FLAME parameters of a frame that nobody tracked: neutral for a portrait, else small and drawn from its name.

    They show that a method reads them, not that it looks like anyone.
    """
    draw = np.random.default_rng(int.from_bytes(rank(0, ref.sequence, str(ref.index))[:8], "little"))
    moves = 0.0 if "PORTRAIT" in ref.sequence or ref.dataset == "portraits" else 1.0

    def normal(count: int, spread: float) -> np.ndarray:
        return (draw.normal(0, spread, count) * moves).astype(np.float32)

    expr = np.zeros(100, np.float32)
    expr[:20] = normal(20, 0.5)
    jaw = np.array([0.15 * moves, 0, 0], np.float32)
    return FlameParameters(
        shape=np.zeros(300, np.float32),
        expr=expr,
        rotation=normal(3, 0.1),
        neck_pose=normal(3, 0.03),
        jaw_pose=jaw,
        eyes_pose=normal(6, 0.05),
        translation=np.zeros(3, np.float32),
    )


def without_face(motion: Motion) -> Motion:
    """The same moment as a picture of nothing, in which a tracker finds no face."""
    noise = np.random.default_rng(0).integers(0, 256, motion.image.shape, dtype=np.uint8)
    target = None if motion.target is None else noise.copy()
    return replace(motion, id=f"{motion.id}-noise", image=noise, face=None, target=target)


def black_portrait(portrait: Portrait) -> Portrait:
    """A black picture without a face, fully background by its mask where there is one."""
    mask = None if portrait.mask is None else np.zeros_like(portrait.mask)
    return replace(portrait, id="black/000000", image=np.zeros_like(portrait.image), mask=mask, face=None)


def _open(name: str) -> Dataset:
    dataset: Dataset = registry.load(registry.dataset(name).factory)(None)
    return dataset


def _frame(data: dict[str, Dataset], dataset: str, sequence: str, index: int) -> FrameRef:
    return FrameRef(dataset, sequence, index, data[dataset].digest(sequence))
