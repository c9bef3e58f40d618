"""Clouds as pictures: dots coloured by the face they are bound to."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from avatarbench.errors import UsageError
from avatarbench.files import writing
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.render import render
from avatarbench.method import Camera
from avatarbench.methods.pointillist.tokenizer import Points, Up, to_sequence

OPACITY = 0.99
DOT = 0.5
"""A dot's standard deviation over the median distance of neighbouring points."""
SMALLEST, LARGEST = 0.0003, 0.004  # metres
_WAVES = ((0.9, 0.3, 0.4), (-0.4, 1.0, 0.3), (0.3, -0.5, 1.0))  # periods of each colour over the head's longest side
_PHASES = (0.3, 2.2, 4.4)
TILE, GAP, TITLE = 240, 8, 24  # pixels of a picture's side, between two, and of the line above
_LIGHTEST, _DARKEST = 1.0, 0.35


class Row(NamedTuple):
    """A line of the sheet: ``portrait`` (H, W, 3) uint8, the fitted and the generated cloud, and the mesh (V, 3) whose
    faces the bindings name; ``generated`` is None where no valid cloud was drawn."""

    title: str
    portrait: NDArray[np.uint8]
    fitted: Points
    generated: Points | None
    vertices: Tensor


def face_colours(vertices: Tensor, faces: Tensor) -> Tensor:
    """(F, 3) RGB in [0, 1]: waves over the face's place in the head's box (V, 3), so that neighbours are alike and two
    heads have the same colours in the same places."""
    low, high = vertices.amin(0), vertices.amax(0)
    place = (vertices[faces].mean(1) - (low + high) / 2) / (high - low).max()
    waves = place @ torch.tensor(_WAVES).to(place).T * 2 * torch.pi + torch.tensor(_PHASES).to(place)
    return 0.55 + 0.4 * waves.sin()


def dots(points: Points, colours: Tensor) -> Cloud:
    """Small, opaque, round Gaussians, one a point, with its face's colour of ``colours`` (F, 3): a picture of
    the points, and no avatar yet."""
    from scipy.spatial import cKDTree

    places = points.positions.float()
    spacing = 2 * LARGEST
    if len(places) > 1:
        found = cKDTree(places.numpy()).query(places.numpy(), k=2)[0][:, 1]
        spacing = float(np.median(found))
    size = min(max(DOT * spacing, SMALLEST), LARGEST)
    count = len(places)
    return Cloud(
        means=places,
        quaternions=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        scales=torch.full((count, 3), size),
        opacities=torch.full((count,), OPACITY),
        colours=colours[points.bindings].float(),
        bindings=points.bindings.long(),
    )


class Frame(NamedTuple):
    """What a picture of a cloud shows: a square of ``side`` metres about ``middle`` (3,), in the sequence's axes."""

    middle: Tensor
    side: float


def frame_of(clouds: Sequence[Tensor], up: Up) -> Frame:
    """Of all points (N, 3) of ``clouds`` but the outermost, which may be far away, in every direction."""
    edges = [torch.quantile(to_sequence(cloud, up).float(), torch.tensor([0.01, 0.99]), dim=0) for cloud in clouds]
    low, high = torch.stack([e[0] for e in edges]).amin(0), torch.stack([e[1] for e in edges]).amax(0)
    return Frame((low + high) / 2, max(1.2 * float((high - low).max()), SMALLEST))


def views(points: Points, colours: Tensor, frame: Frame, up: Up, size: int) -> list[NDArray[np.uint8]]:
    """The points from the front and from the subject's left, (``size``, ``size``, 3) uint8 on white; what lies farther
    from the camera is darker."""
    cloud = dots(points, colours)
    means = to_sequence(cloud.means, up)
    shown = []
    for right, depth in (((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)), ((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0))):
        away = (means - frame.middle) @ torch.tensor(depth) / frame.side + 0.5
        light = torch.lerp(torch.tensor(_LIGHTEST), torch.tensor(_DARKEST), away.clamp(0, 1))[:, None]
        seen = replace(cloud, means=means, colours=cloud.colours * light)
        picture = render(seen, [_camera(frame, right, depth, size)], background=torch.ones(3)).image[0]
        shown.append((picture.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy())
    return shown


def sheet(rows: Sequence[Row], faces: Tensor, up: Up, path: Path) -> None:
    """Portrait, fitted and generated cloud of each row as one PNG or JPEG; the same rows give the same pixels. Raises
    UsageError for no rows or another ending, and OSError."""
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    if path.suffix.lower() not in formats:
        raise UsageError(f"{path}: a sheet of pictures is written as .png or .jpg.")
    if not rows:
        raise UsageError("a sheet of pictures needs at least one person.")
    frame = frame_of([row.fitted.positions for row in rows], up)  # one for all, so that heads keep their sizes
    drawn = Image.new("RGB", (5 * (TILE + GAP) - GAP, len(rows) * (TILE + TITLE)), "white")
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(14)
    for number, row in enumerate(rows):
        colours = face_colours(row.vertices, faces)
        fitted, generated = views(row.fitted, colours, frame, up, TILE), [np.full((TILE, TILE, 3), 255, np.uint8)] * 2
        words = "no valid cloud"
        if row.generated is not None:
            generated = views(row.generated, colours, frame, up, TILE)
            words = f"generated, {len(row.generated.positions):,} points"
        titles = (
            row.title,
            f"fitted, {len(row.fitted.positions):,} points",
            "from the left",
            words,
            "" if row.generated is None else "from the left",
        )
        for place, (title, image) in enumerate(zip(titles, (row.portrait, *fitted, *generated), strict=True)):
            left, top = place * (TILE + GAP), number * (TILE + TITLE)
            pen.text((left + TILE // 2, top + TITLE // 2), title, fill="black", font=font, anchor="mm")
            tile = ImageOps.pad(Image.fromarray(image), (TILE, TILE), Image.Resampling.LANCZOS, "white")
            drawn.paste(tile, (left, top + TITLE))
    stream = io.BytesIO()
    drawn.save(stream, formats[path.suffix.lower()], quality=90, optimize=True)
    with writing(path) as temporary:
        temporary.write_bytes(stream.getbuffer())


def _camera(frame: Frame, right: tuple[float, float, float], depth: tuple[float, float, float], size: int) -> Camera:
    """Far off, with a long lens: the frame fills the picture nearly without perspective."""
    distance = 20 * frame.side
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, (0.0, -1.0, 0.0), depth])
    pose[:3, 3] = -pose[:3, :3] @ frame.middle.double().numpy() + np.array([0.0, 0.0, distance])
    focal = size * distance / frame.side
    k = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    return Camera(k, pose, size, size)
