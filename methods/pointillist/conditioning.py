"""From one portrait to what stage one is conditioned on: the framed picture, and the tracked, neutralised head."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.datasets.images import read_image
from avatarbench.errors import DataError, UsageError
from avatarbench.fitting.config import load_preset
from avatarbench.heads.decimate import Decimated, decimate
from avatarbench.heads.rig import faces_digest
from avatarbench.method import FaceTrack
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.images import LEAST_SIDE, ImageEncoder
from avatarbench.methods.pointillist.surface import normalised, sample_surface
from avatarbench.methods.pointillist.tokenizer import Tokenizer
from avatarbench.metrics.face import FaceLandmarker, to_track
from avatarbench.metrics.features import Frame, Missing
from avatarbench.tracking.anny_fit import AnnyFit, fit_portrait
from avatarbench.tracking.face_model import face_model

FACE_SHARE = 0.45
"""Of a framed picture's side: the longer side of the box about the 478 landmarks."""
FACE_CENTRE = (0.5, 0.57)
"""Where that box has its middle, of a framed picture's width and height. Both are what OpenHeads' pictures have:
0.447 with a deviation of 0.026, at (0.496, 0.574)."""

Pixels = NDArray[np.uint8]


class Tracked(NamedTuple):
    """``vertices`` (V, 3) float32: the head at rest with the shape that was tracked, metres, the rig's axes; ``image``
    (S, S, 3) uint8: the portrait framed about the face; ``notes``: what a user should know."""

    vertices: Tensor
    image: Pixels
    notes: tuple[str, ...]


class PortraitCondition(NamedTuple):
    """What ``StageOne.condition`` takes of one portrait, without its batch axis: ``image_tokens`` (I, W) and
    ``samples`` (S, 6); and, of :class:`Tracked`, what they were made of."""

    image_tokens: Tensor
    samples: Tensor
    vertices: Tensor
    image: Pixels
    notes: tuple[str, ...]


def tracked_rest(image: Pixels, small: Decimated | None = None, landmarker: FaceLandmarker | None = None) -> Tensor:
    """(V, 3) float32: the vertices of :func:`tracked`."""
    return tracked(image, small, landmarker).vertices


def tracked(image: Pixels, small: Decimated | None = None, landmarker: FaceLandmarker | None = None) -> Tracked:
    """Anny's head under the largest face of ``image`` (H, W, 3) uint8 sRGB, no camera being known, and neutralised: its
    shape alone stays. ``small``: on that rig's vertices; a ``landmarker`` that is handed in stays open.

    Raises DataError for a picture in which no face is found, or too small a one, or one that cannot be fitted.
    """
    return _fitted(image, _face(image, landmarker), small)


def _fitted(image: Pixels, face: FaceTrack, small: Decimated | None) -> Tracked:
    height, width = image.shape[:2]
    fit = fit_portrait(face, (width, height))
    notes = () if face.faces < 2 else (f"{face.faces} faces in the portrait: the largest is taken.",)
    return Tracked(rest_of(fit, small), framed(image, face), notes)


def rest_of(fit: AnnyFit, small: Decimated | None) -> Tensor:
    """(V, 3) float32 metres: the head of a fit at zero pose and expression, on Anny or the decimated rig."""
    rig, shape = face_model().rig, torch.from_numpy(fit.shape)
    with torch.no_grad():
        full = rig.rest(shape[None], shape.new_zeros(1, 0))[0][0]
    return full if small is None else small.vertices(full)


def framed(image: Pixels, face: FaceTrack) -> Pixels:
    """(S, S, 3): the square of ``image`` (H, W, 3) in which the face has :data:`FACE_SHARE` of the side and stands at
    :data:`FACE_CENTRE`, cut at whole pixels and not resampled; white beyond the picture.

    An encoder sees every picture at one size, whatever a photographer left around the head. Raises DataError where
    less than 32 pixels a side are left.
    """
    points = face.landmarks[:, :2].astype(np.float64)
    low, high = points.min(0), points.max(0)
    side = round(float((high - low).max()) / FACE_SHARE)
    if side < LEAST_SIDE:
        raise DataError(
            f"the largest face of the portrait is {round(float((high - low).max()))} pixels high: bring a larger one."
        )
    left, top = (round(float(v)) for v in (low + high) / 2 - np.array(FACE_CENTRE) * side)
    height, width = image.shape[:2]
    found = np.full((side, side, 3), 255, np.uint8)
    rows, columns = slice(max(0, top), min(height, top + side)), slice(max(0, left), min(width, left + side))
    inside = image[rows, columns]
    found[rows.start - top :, columns.start - left :][: inside.shape[0], : inside.shape[1]] = inside
    return found


def read_portrait(portrait: Path | Pixels, mask: NDArray[np.floating] | None = None) -> tuple[Pixels, tuple[str, ...]]:
    """(H, W, 3) uint8 sRGB of a file or an array (H, W), (H, W, 3) or (H, W, 4), with notes of what was converted.

    Transparency, and what is outside of ``mask`` (H, W) in [0, 1], becomes white. Raises DataError for a file that
    cannot be read in full, for another shape or type, and for pictures below 32 pixels a side.
    """
    if isinstance(portrait, (str, Path)):
        image, notes = read_image(portrait)
    else:
        image, notes = _as_rgb(portrait)
    height, width = image.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise DataError(f"the portrait is {width} x {height} pixels: bring one of at least {LEAST_SIDE} a side.")
    if mask is not None:
        if mask.shape != (height, width) or not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1:
            raise DataError(f"the mask is {mask.shape}, and the portrait {height, width}: one value in [0, 1] a pixel.")
        image = _on_white(image, mask)
    return image, notes


def portrait_condition(
    portrait: Path | Pixels,
    config: Config,
    tokenizer: Tokenizer,
    encoder: ImageEncoder,
    mask: NDArray[np.floating] | None = None,
    seed: int = 0,
    rig: str | None = None,
) -> PortraitCondition:
    """What ``model.condition`` takes of a user's portrait, a file or an array; the surface is sampled under ``seed``.
    ``rig``: as :func:`binding_rig`'s.

    Raises DataError for a picture that cannot be read or has no face, UsageError for a model whose rig is not Anny.
    """
    if config.rig != "anny":
        raise UsageError(
            f"this model's rig is '{config.rig}', and portraits are tracked with Anny's head alone: track the portrait "
            "with a tracker of that rig, and hand its rest mesh to mesh_condition."
        )
    image, notes = read_portrait(portrait, mask)
    face = _face(image, None)  # before the rig, which takes seconds
    small = binding_rig(config, rig)
    found = _fitted(image, face, small)
    made = mesh_condition(found.image, found.vertices, small.faces, config, tokenizer, encoder, seed)
    return made._replace(notes=notes + found.notes)


def mesh_condition(
    image: Pixels,
    vertices: Tensor,
    faces: Tensor,
    config: Config,
    tokenizer: Tokenizer,
    encoder: ImageEncoder,
    seed: int = 0,
) -> PortraitCondition:
    """The same of a head that was tracked elsewhere: ``vertices`` (V, 3) at rest and ``faces`` (F, 3) of the rig that
    the bindings name, metres; ``image`` (H, W, 3) uint8, framed as the training set's are. Raises DataError."""
    tokens = encoder.tokens(torch.from_numpy(np.ascontiguousarray(image))[None])[0]
    generator = torch.Generator().manual_seed(seed)
    samples = normalised(sample_surface(vertices, faces, config.points.samples, generator), tokenizer)
    return PortraitCondition(tokens, samples.to(tokens.device), vertices, image, ())


def binding_rig(config: Config, rig: str | None = None) -> Decimated:
    """Anny's faces that the configured bindings name: those that its fit preset decimates the rig to. ``rig``: the
    digest of those that were trained on, where a checkpoint knows it.

    Raises UsageError where the preset leaves another number of faces than the configuration has, or others than were
    trained on: of every portrait, not of one.
    """
    count = load_preset(config.fit).faces
    small = _decimated(count)
    if len(small.faces) != config.faces:
        raise UsageError(
            f"the fit preset '{config.fit}' decimates the rig to {len(small.faces)} faces, and the model binds to "
            f"{config.faces}: give the configuration the preset that its clouds were fitted with."
        )
    if rig is not None and faces_digest(small.faces) != rig:
        raise UsageError(
            f"the fit preset '{config.fit}' decimates the rig to {config.faces} faces that are not those the model was "
            "trained on: was the set made with fit.KEY of its own, or on another machine, or were anny or "
            "fast-simplification updated since? Install what it was trained with, or train anew on a set that is made "
            "here."
        )
    return small


@cache
def _decimated(count: int | None) -> Decimated:
    rig = face_model().rig
    if count is None:
        corners = torch.arange(len(rig.template))[:, None].expand(-1, 3)
        return Decimated(rig.faces, corners, torch.eye(3)[:1].expand(len(rig.template), -1))
    return decimate(rig, count)


def _face(image: Pixels, landmarker: FaceLandmarker | None) -> FaceTrack:
    detector = landmarker or FaceLandmarker()
    try:
        (seen,) = detector.extract([Frame(image)])
    finally:
        if landmarker is None:
            detector.close()
    if isinstance(seen, Missing):
        raise DataError(
            f"{seen.reason} in the portrait ({image.shape[1]} x {image.shape[0]} pixels): bring one in which the whole "
            "face is seen, from the front or half from the side, and fills a good part of the picture."
        )
    return to_track(seen)


def _as_rgb(array: Pixels) -> tuple[Pixels, tuple[str, ...]]:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise DataError(f"a portrait is (H, W, 3) uint8 sRGB, and this is {array.shape} {array.dtype}.")
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2), ("grey-scale to RGB",)
    if array.shape[2] == 4:
        return _on_white(array[..., :3], array[..., 3] / 255), ("transparency composited on white",)
    return array, ()


def _on_white(image: Pixels, share: NDArray[np.floating]) -> Pixels:
    wide = share[..., None].astype(np.float64)
    return np.asarray((image * wide + 255 * (1 - wide)).round(), np.uint8)
