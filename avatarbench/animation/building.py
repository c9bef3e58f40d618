"""Avatars from portraits, one file each, with any method whose avatars can be saved."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarbench import assets, registry
from avatarbench.datasets.crop import apply, apply_mask, face_crop
from avatarbench.datasets.images import read_image
from avatarbench.errors import DataError, UsageError, reason_of
from avatarbench.files import writing
from avatarbench.method import Method, MethodSpec, Portrait
from avatarbench.metrics.face import FaceLandmarker, to_track
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.metrics.rotations import euler_degrees, nearest_rotation

TURNED = 40.0
"""Degrees from the front beyond which the portrait hides one side of the face."""
SIZE, SCALE = 512, 2.5
"""Of the square about the face that a method sees: pixels, and its side over the face's. Hair and the beginning of the
shoulders are in it, which a protocol's tighter crop may cut off."""
GIVEN = {"image", "mediapipe"}
"""What a picture alone provides of a method's needs."""


class Built(NamedTuple):
    """What became of one portrait: ``file`` was written, or there is a ``failure``. ``info``: what the method says of
    its avatar; ``seconds`` of building it; ``notes``: what a user should know."""

    portrait: Path
    file: Path | None = None
    info: Mapping[str, float] = {}
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    failure: str | None = None


def set_up(name: str, options: Mapping[str, Any]) -> Method:
    """The method, ready to build. Raises UsageError for a method that a picture is not enough for and for options that
    it does not take, AssetError for what is missing, and what the method raises as it is set up."""
    spec = registry.method(name)
    _check_needs(spec)
    lacking = assets.ensure(dict.fromkeys((*spec.assets, "face-landmarker")), None)
    for error in lacking.values():
        raise error
    factory = registry.load(spec.factory)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise UsageError(f"method '{name}' does not take these options: {error}.") from error
    made: Method = factory(**options)
    return made


def build(
    method: Method,
    portraits: Sequence[Path],
    outs: Sequence[Path],
    size: int = SIZE,
    mask: Path | None = None,
    watch: Callable[[int], None] = lambda done: None,
) -> list[Built]:
    """An avatar for each portrait, cropped around the face and brought to ``size`` pixels. A portrait that cannot be
    used is a failure of its own. ``mask``: of the only portrait, white where the person is. Raises OSError where a file
    cannot be written."""
    landmarker, made = FaceLandmarker(), list[Built]()
    try:
        for number, (path, out) in enumerate(zip(portraits, outs, strict=True)):
            watch(number)
            try:
                portrait, notes = portrait_of(path, size, mask, landmarker)
                made.append(_built(method, portrait, path, out, notes))
            except (OSError, UsageError):  # of no one portrait: a full disk, a method whose avatars cannot be saved
                raise
            except Exception as error:  # a method is anybody's code, and the other portraits go on
                made.append(Built(path, failure=reason_of(error)))
    finally:
        landmarker.close()
    watch(len(portraits))
    return made


def _built(method: Method, portrait: Portrait, path: Path, out: Path, notes: tuple[str, ...]) -> Built:
    begun = time.perf_counter()
    avatar = method.build(portrait)
    seconds = time.perf_counter() - begun
    save = getattr(avatar, "save", None)
    if save is None:
        raise UsageError("avatars of this method cannot be saved: only a run can use them.")
    with writing(out) as temporary:
        save(temporary)
    info = {key: float(value) for key, value in getattr(avatar, "info", {}).items()}
    return Built(path, out, info, seconds, notes)


def portrait_of(
    path: Path, size: int, mask: Path | None, landmarker: FaceLandmarker
) -> tuple[Portrait, tuple[str, ...]]:
    """Raises DataError for a picture that cannot be read or shows no face."""
    image, converted = read_image(path)
    notes = list(converted)
    seen = _face(landmarker, image)
    crop = face_crop(seen["landmarks"], image.shape, SCALE)
    cropped = apply(image, crop, size)
    face = to_track(_face(landmarker, cropped))
    count = int(seen["faces"].item())
    if count > 1:
        notes.append(f"{count} faces in the portrait: the largest is taken")
    yaw = float(euler_degrees(nearest_rotation(face.head[:3, :3]))[1])
    if abs(yaw) > TURNED:
        notes.append(f"the face is turned by {abs(yaw):.0f} degrees: what the portrait hides of it is a guess")
    covered = None if mask is None else apply_mask(_mask(mask, image.shape), crop, size)
    return Portrait(path.stem, cropped, covered, face), tuple(notes)


def _face(landmarker: FaceLandmarker, image: NDArray[np.uint8]) -> Features:
    (seen,) = landmarker.extract([Frame(image)])
    if isinstance(seen, Missing):
        raise DataError(
            f"{seen.reason} in the portrait ({image.shape[1]} x {image.shape[0]} pixels): bring one in which the whole "
            "face is seen, from the front or half from the side, and fills a good part of the picture."
        )
    return seen


def _mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    picture, _ = read_image(path, "black")
    if picture.shape != shape:
        raise DataError(
            f"the mask {path} is {picture.shape[1]} x {picture.shape[0]} pixels, and the portrait {shape[1]} x "
            f"{shape[0]}: they must be of one size."
        )
    return np.asarray(picture.mean(2) / 255, np.float32)


def _check_needs(spec: MethodSpec) -> None:
    if spec.status == "unavailable" or spec.environment != "inprocess":
        raise UsageError(f"method '{spec.id}' cannot be run here: see avatarbench show {spec.id}.")
    if lacks := [need for need in spec.needs if need not in GIVEN]:
        raise UsageError(
            f"method '{spec.id}' needs {', '.join(lacks)}, which a portrait alone does not have: use it in a run."
        )
