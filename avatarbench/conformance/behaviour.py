"""What a method's pictures show: the contract's shapes, the same ones every time, its source, and its driver."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarbench.conformance.bench import Take
from avatarbench.conformance.checklist import Row
from avatarbench.conformance.material import Scene
from avatarbench.errors import reason_of
from avatarbench.method import MethodSpec, Portrait

Picture = NDArray[np.uint8]
SMALL = 32
"""Pictures are compared at this side: what a person looks like, not where an edge falls."""
FAITHFUL = 1.0
"""The result may be at most so many times as far from its source as the nearer of a flat picture and another person."""
STILL = 0.5
"""Levels of 255: two drivers whose pictures differ by less on average are hardly followed."""


def frames_row(spec: MethodSpec, taken: Take, what: str, name: str = "frames") -> Row:
    """Every frame came out as the contract says."""
    if taken.error is not None:
        return Row("contract", name, "fail", f"{what}: no avatar: {reason_of(taken.error)}", "see the reason")
    for shot in taken.shots:
        if shot.error is not None:
            return Row("contract", name, "fail", f"{what}: {shot.motion}: {reason_of(shot.error)}", "see the reason")
        if shot.wrong:
            todo = "return (H, W, 3) in the portrait's size, uint8 or floating point in [0, 1]"
            if spec.framing is not None and spec.framing.alpha:
                todo = "return (H, W, 4) in the portrait's size: the framing has alpha"
            return Row("contract", name, "fail", f"{what}: {shot.motion}: {shot.wrong}", todo)
    first = taken.shots[0]
    found = f"{what}: {len(taken.shots)} of {first.raw.dtype} {first.raw.shape}"
    return Row("contract", name, "pass", found)


def inputs_row(takes: Sequence[Take]) -> Row:
    """What was handed over came back as it was."""
    touched = list(dict.fromkeys(name for one in takes for name in one.touched))
    if touched:
        todo = "copy before writing: the same arrays may be shown to another method"
        return Row("contract", "inputs left alone", "fail", f"written into: {', '.join(touched)}", todo)
    return Row("contract", "inputs left alone", "pass", "portrait and motions are unchanged")


def arrays_row(takes: Sequence[Take]) -> Row:
    """A picture that was returned stays as it was when the next is rendered."""
    if any(shot.overwritten for one in takes for shot in one.shots):
        todo = "return an array of its own for each frame"
        found = "a later frame was written into an earlier one's array"
        return Row("contract", "arrays of its own", "warning", found, todo)
    return Row("contract", "arrays of its own", "pass", "no frame is written over by a later one")


def info_row(avatar: object) -> Row:
    """``info``, where there is one, maps names to finite numbers."""
    name, todo = "info", "make info a mapping of names to numbers"
    info = getattr(avatar, "info", None)
    if info is None:
        return Row("contract", name, "n/a", "the avatar has none")
    if not isinstance(info, Mapping):
        return Row("contract", name, "fail", f"info is a {type(info).__name__}", todo)
    bad = [str(key) for key, value in info.items() if not isinstance(key, str) or not _number(value)]
    if bad:
        return Row("contract", name, "fail", f"no finite numbers: {', '.join(bad)}", todo)
    listed = ", ".join(f"{key} {float(value):g}" for key, value in info.items())
    return Row("contract", name, "pass", listed or "empty")


def _number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def differing(first: Take, second: Take) -> list[str]:
    """The motions that both takes have and that look different in them, and those that only one could render."""
    names = [s.motion for s in second.shots if any(s.motion == f.motion for f in first.shots)]
    return [n for n in dict.fromkeys(names) if not _same(first.image(n), second.image(n))]


def _same(a: Picture | None, b: Picture | None) -> bool:
    return (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))


def largest_difference(first: Take, second: Take, names: Sequence[str]) -> int:
    """In levels of 255, over the named motions; 255 where one has no picture."""
    found = 0
    for name in names:
        a, b = first.image(name), second.image(name)
        if a is None or b is None or a.shape != b.shape:
            return 255
        found = max(found, int(np.abs(a.astype(int) - b).max()))
    return found


def fidelity_row(spec: MethodSpec, scene: Scene, taken: Take) -> Row:
    """Driven by its own source frame, the avatar looks like the source rather than like nothing or somebody else."""
    name = "looks like its source"
    if scene.source.flame is not None:
        return Row("behaviour", name, "n/a", "driven by made-up FLAME parameters, which are nobody's")
    image = taken.image(scene.own.id)
    if image is None:
        return Row("behaviour", name, "n/a", "there is no frame under the source's own motion")
    truth = _face_of(scene.source.image, scene.source)
    flat = np.broadcast_to(truth.mean(axis=(0, 1)), truth.shape)
    result = _distance(_face_of(_opaque(image), scene.source), truth)
    nearest = min(_distance(flat, truth), _distance(_face_of(scene.other.image, scene.source), truth))
    ratio = result / nearest
    found = (
        f"{ratio:.2f} of the distance to the nearer of a flat picture and another person (at most {FAITHFUL:g} passes)"
    )
    if ratio <= FAITHFUL:
        return Row("behaviour", name, "pass", found)
    todo = "look at its picture of the source's own frame: colours, crop, axes; a method not meant to may leave it so"
    return Row("behaviour", name, "warning", found, todo)


def follows_row(spec: MethodSpec, scene: Scene, taken: Take) -> Row:
    """Different drivers give different pictures."""
    name = "follows its driver"
    images = [image for m in scene.drivers if (image := taken.image(m.id)) is not None]
    if len(images) < 2:
        return Row("behaviour", name, "n/a", "there are fewer than two frames to compare")
    apart = [float(np.abs(a.astype(int) - b).mean()) for a, b in combinations(images, 2)]
    least, most = min(apart), max(apart)
    found = f"the two likest of {len(images)} frames differ by {least:.2f} levels of 255 on average"
    if least >= STILL:
        return Row("behaviour", name, "pass", found)
    found += f", the two least like by {most:.2f}"
    if spec.role == "bound":
        return Row("behaviour", name, "n/a", f"a bound, which need not follow: {found}")
    todo = "read the motion in render(): landmarks, FLAME, or the driver's picture"
    return Row("behaviour", name, "warning" if most > 0 else "fail", found, todo)


def cost_rows(taken: Take, mib: float, isolated: bool) -> Iterator[Row]:
    """Seconds and memory: never wrong, for a user to know."""
    whose = "of its worker" if isolated else "of this process, avatarbench's own part included"
    first, rest = taken.shots[0].seconds, [s.seconds for s in taken.shots[1:]]
    fps = len(rest) / max(sum(rest), 1e-9)
    found = f"build {taken.seconds:.2f} s, first frame {first:.3f} s, then {fps:.1f} frames/s"
    yield Row("cost", "time", "pass", found)
    yield Row("cost", "peak memory", "pass", f"{mib:.0f} MiB {whose}")


def cost_figures(taken: Take, mib: float) -> dict[str, float]:
    rest = [s.seconds for s in taken.shots[1:]]
    return {
        "build_seconds": taken.seconds,
        "first_frame_seconds": taken.shots[0].seconds,
        "fps": len(rest) / max(sum(rest), 1e-9),
        "peak_memory_mib": mib,
    }


def _face_of(image: NDArray[Any], portrait: Portrait) -> NDArray[np.float64]:
    """(32, 32, 3): the square about the portrait's face, or the middle half where there is no face."""
    height, width = image.shape[:2]
    box = (width / 4, height / 4, width * 3 / 4, height * 3 / 4)
    if portrait.face is not None:
        points = portrait.face.landmarks[:, :2]
        (left, top), (right, bottom) = np.clip(points.min(0), 0, None), points.max(0)
        box = (float(left), float(top), min(float(right), width), min(float(bottom), height))
    small = Image.fromarray(np.ascontiguousarray(image[..., :3])).resize((SMALL, SMALL), Image.Resampling.BOX, box=box)
    return np.asarray(small, np.float64)


def _opaque(image: Picture) -> Picture:
    """A picture with alpha on white, as most sources here stand."""
    if image.shape[2] == 3:
        return image
    cover = image[..., 3:] / 255
    return np.rint(image[..., :3] * cover + 255 * (1 - cover)).astype(np.uint8)


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.abs(a - b).mean()) + 1e-9
