"""Which pixels of a portrait are the person, what is behind, and both without the other's colour."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarbench.method import Portrait

from .inpaint import pull_push

Floats = NDArray[np.float32]

WHITE = 0.97
MOST_BORDER = 0.95  # share of the upper border that has to be white
FAINT = 0.02


class Layers(NamedTuple):
    """``person`` (H, W, 3) in [0, 1], free of the background where the share is known; ``share`` (H, W) of the person
    in every pixel, and ``sure`` (H, W), its least value over a pixel and its neighbours, or None where they are not
    known; ``background`` (H, W, 3), filled in behind the person, or behind the head alone."""

    person: Floats
    share: Floats | None
    sure: Floats | None
    background: Floats


def separate(portrait: Portrait, head: Floats) -> Layers:
    """A portrait's layers. ``head`` (H, W): how much of a pixel the fitted head covers, used where the portrait has no
    mask and stands on no white."""
    image = (portrait.image / 255).astype(np.float32)
    share = _share(portrait, image)
    gone = head > FAINT if share is None else share > FAINT
    near = cv2.dilate(gone.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, len(image) // 100))
    background = np.ones_like(image) if near.all() else pull_push(image, (1 - near).astype(np.float32))
    if share is None:
        return Layers(image, None, None, background)
    sure = np.asarray(cv2.erode(share, np.ones((3, 3), np.uint8)), np.float32)
    person = pull_push(image, sure) if (sure > FAINT).any() else image
    return Layers(person.clip(0, 1), share, sure, background)


def _share(portrait: Portrait, image: Floats) -> Floats | None:
    """(H, W): the portrait's mask; without one, where the upper half of the border is white, what no white connects
    with it: a highlight in the face is the person's."""
    if portrait.mask is not None:
        return np.asarray(portrait.mask, np.float32)
    half = len(image) // 2
    border = np.concatenate([image[0], image[:half, 0], image[:half, -1]])
    if (border.min(axis=1) >= WHITE).mean() < MOST_BORDER:
        return None
    share = np.clip((1 - image.min(axis=2)) / (2 * (1 - WHITE)), 0, 1).astype(np.float32)
    _, parts = cv2.connectedComponents((share < 1).astype(np.uint8), connectivity=4)
    outside = np.concatenate([parts[0], parts[:half, 0], parts[:half, -1]])
    share[~np.isin(parts, outside[outside > 0])] = 1
    return share
