"""What the head's mesh does not have: hair, neck, shoulders, and in a photograph without a mask its background."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from avatarbench.method import Camera

from .anatomy import CHIN, COLLAR, smoothstep
from .foreground import Layers
from .inpaint import pull_push
from .projection import lift
from .sheet import Sheet, Surround, joined

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SOLID = 0.5  # alpha of the head above which a pixel is the head's, and share of the person
FAINT = 0.1  # share of the person below which a pixel is nothing but background
BEYOND = 0.25
"""Of the picture's height: how far the sheet goes on beyond the picture."""
SLOPE = 0.5  # of shoulders beyond the picture's sides
HAIR, LAYERS = 0.05, 4
"""Metres that hair is thick, and layers that fill it behind the first."""
FORE = 0.4
"""Share of the thickness that lies before the plane of the head's outline."""
SLIVER = 0.035  # of the picture's height: what is thinner beside the head is no hair
BEHIND = 0.006  # metres that the sheet keeps behind the face
BACKMOST = 0.02  # metres behind the head joint beyond which the head's outline is not followed
SMOOTH = 0.012  # of the picture's height: deviation of the blur of the outline's depth
JAW = -0.02
"""Height over the head joint, metres, under which the sheet goes back from the jaw's outline to the neck."""
TORSO_WIDTH, TORSO_DEPTH, TORSO_BACK = 0.27, 0.09, 0.04
"""Half axes of the cylinder on which shoulders stand, and how far its middle is behind the head joint, metres."""
CLOSE = 0.8  # following above which a pixel of an unmasked surround gets a Gaussian of its own
FREE = 0.35
"""Share of the way to the sheet's border up to which a surround that nobody masked follows the head wholly."""


def build(layers: Layers, alpha: Floats, depth: Floats, joint: Tensor, camera: Camera, step: int) -> Surround:
    """``alpha``, ``depth`` (H, W): the head alone as ``camera`` sees it; ``joint`` (3,): where its joint stands;
    ``step``: pixels between Gaussians.

    The sheet goes on beyond the picture, for cameras and heads that move. Where the person's outline is known, hair is
    inflated; where it is not, the background bends with the head, less and less towards the sheet's border.
    """
    known = layers.share is not None and layers.sure is not None
    beyond = round(BEYOND * len(alpha))
    image, alpha, depth = (_wider(picture, beyond) for picture in (layers.person, alpha, depth))
    height, width = alpha.shape
    share, sure = (np.ones_like(alpha) if v is None else _wider_person(v, beyond) for v in (layers.share, layers.sure))
    head = alpha > SOLID
    seen = ~head & (share > FAINT)
    inside = np.zeros_like(head)
    inside[beyond : height - beyond, beyond : width - beyond] = True

    pixels, fading = _centres(height, width, beyond), _fading(head)
    at, above = _depth(head, depth, pixels, joint, camera)
    # Beneath the head the sheet goes on behind the face, as what is around it does.
    filled = pull_push(np.concatenate([image, at[..., None]], -1), seen.astype(np.float32))
    sheet = Sheet(
        depth=np.where(head, np.maximum(filled[..., 3], depth + BEHIND), at),
        colour=np.where(head[..., None], filled[..., :3], image),
        share=share,
        follow=above if known else above * fading,
        trust=sure * inside * (cv2.dilate(head.astype(np.uint8), _disc(7)) == 0),
        hidden=head,
        pixels=pixels,
        camera=camera,
    )
    if not known:
        close = seen & inside & (fading > CLOSE)
        rest = [sheet.layer(inside & ~close, 2 * step), sheet.layer(~inside, 4 * step)]
        return joined([sheet.layer(close, step), *rest])
    person = share > SOLID
    # Slivers are where the fit and the outline disagree, and not hair.
    hair = cv2.morphologyEx((seen & person).astype(np.uint8), cv2.MORPH_OPEN, _disc(SLIVER * height))
    inflated = _thickness(person, sheet.depth / np.float32(camera.K[0, 0]))
    thick = np.asarray(inflated * above * hair, np.float32)
    fore = np.asarray(-FORE * thick, np.float32)
    first = [sheet.layer(seen & inside, step, fore), sheet.layer(head | (seen & ~inside), 2 * step, fore)]
    apart = np.asarray(thick / LAYERS, np.float32)
    backs = [sheet.layer(thick > 0, 2 * step, fore + np.float32(k) * apart, apart) for k in range(1, LAYERS + 1)]
    return joined(first + backs)


def _depth(head: Mask, depth: Floats, pixels: Tensor, joint: Tensor, camera: Camera) -> tuple[Floats, Floats]:
    """(H, W) metres along the camera's axis, and (H, W) how far a pixel belongs to the head and not to the torso.

    Beside the head the depth of its nearest outline; below the jaw a cylinder's, for neck and shoulders.
    """
    height, width = head.shape
    flat = pixels.reshape(-1, 2)
    pose = torch.as_tensor(camera.world_to_camera, dtype=torch.float32)
    middle = pose[:3, :3] @ joint + pose[:3, 3]
    rows, columns = distance_transform_edt(~_core(head), return_distances=False, return_indices=True)
    outline = np.minimum(depth[rows, columns], np.float32(middle[2] + BACKMOST))
    outline = cv2.GaussianBlur(outline, (0, 0), max(SMOOTH * height, 0.5))
    up = (lift(flat, middle[2].expand(len(flat)), camera)[:, 2] - joint[2]).numpy().reshape(height, width)
    across = (flat[:, 0] - float(camera.K[0, 2])) / float(camera.K[0, 0]) * middle[2] - middle[0]
    bulge = (1 - (across / TORSO_WIDTH).clamp(-1, 1).square()).sqrt()
    torso = (middle[2] + TORSO_BACK - TORSO_DEPTH * bulge).numpy().reshape(height, width)
    jaw = smoothstep((up - CHIN) / (JAW - CHIN))
    found = jaw * outline + (1 - jaw) * np.maximum(torso, outline)
    return np.asarray(found, np.float32), smoothstep((up - COLLAR) / (CHIN - COLLAR))


def _thickness(person: Mask, metres: Floats) -> Floats:
    """(H, W) metres, for pixels ``metres`` (H, W) large: as if the outline were inflated, round at its rim and
    :data:`HAIR` thick from as far inside on."""
    off = np.minimum(distance_transform_edt(person) * metres, HAIR)
    return np.sqrt(off * (2 * HAIR - off)).astype(np.float32)


def _fading(head: Mask) -> Floats:
    """(H, W) from 1 beside the head to 0 at the border."""
    height, width = head.shape
    off = distance_transform_edt(~head)
    y, x = np.mgrid[:height, :width]
    border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    way = off / np.maximum(off + border, 1e-6)
    return 1 - smoothstep((way - FREE) / (1 - FREE))


def _wider(picture: Floats, by: int) -> Floats:
    """With ``by`` more pixels on every side, each the nearest pixel's, but mirrored below."""
    rest = ((0, 0),) * (picture.ndim - 2)
    around = np.pad(picture, ((by, 0), (by, by), *rest), mode="edge")
    return np.pad(around, ((0, by), (0, 0), *rest), mode="symmetric")


def _wider_person(share: Floats, by: int) -> Floats:
    """The same of a person's ``share`` (H, W): what is cut at the bottom goes on, at the sides it slopes down."""
    found = np.pad(share, by, mode="edge")
    for k in range(by):
        lower = round(SLOPE * (k + 1))
        for column, border in ((by - 1 - k, by), (len(found[0]) - by + k, len(found[0]) - by - 1)):
            found[:, column] = 0
            found[lower:, column] = found[: len(found) - lower, border]
    return found


def _centres(height: int, width: int, beyond: int) -> Tensor:
    """(H, W, 2): where the centres of a widened picture's pixels are in the picture."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return torch.from_numpy(np.stack([x - beyond + 0.5, y - beyond + 0.5], -1))


def _core(head: Mask) -> Mask:
    """The head without its outermost pixels, whose depth is mixed with what is behind."""
    inner = cv2.erode(head.astype(np.uint8), _disc(3)) > 0
    return np.asarray(inner) if inner.any() else head


def _disc(diameter: float) -> NDArray[np.uint8]:
    size = 2 * round((diameter - 1) / 2) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
