"""What a fit learns from, whatever data it comes from: one person's pictures, each with its camera and time step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from avatarbench.fitting.fit import Subject
from avatarbench.method import Camera

KEPT_BYTES = 4 << 30
"""Decoded pictures held in memory; further ones are read again when they are asked for."""


@dataclass(frozen=True)
class View:
    """One picture: what ``camera`` saw at time ``step`` of the sequence ``take``. ``held``: the data's own division
    into training and test keeps it from a fit."""

    take: str
    step: int
    camera: str
    held: bool = False

    def __str__(self) -> str:
        return f"{self.take}/{self.step:05d}/{self.camera}"


class Person(Subject, Protocol):
    """A subject whose pictures have names. ``views``: in the subject's order; ``rig``: as avatar files name it."""

    views: list[View]

    @property
    def rig(self) -> str: ...

    def motion(self, view: int) -> tuple[Tensor, Tensor, Tensor]:
        """Expression (E,), joints (J, 3) axis-angle radians and translation (3,) metres of the view's time step, as
        :meth:`avatarbench.gaussians.head.GaussianHead.posed` takes them; detached, on the CPU."""
        ...

    def keep(self, room: int) -> None:
        """Hold at most so many bytes of decoded pictures in memory; before the first is asked for."""
        ...

    def sources(self, views: Sequence[int]) -> Mapping[str, str]:
        """sha256 of what a fit of these views is made of, by what it is: pictures, cameras, tracking. DataError."""
        ...


class Pictures:
    """(H, W, 3) float32 pictures in [0, 1] by view, read when they are asked for, kept as bytes while there is room.

    ``read``: (H, W, 3) uint8; ``size``: of the picture wanted, (width, height) pixels.
    """

    def __init__(self, read: Callable[[int], NDArray[np.uint8]], size: Callable[[int], tuple[int, int]]) -> None:
        self._read, self._size = read, size
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._room = KEPT_BYTES

    def keep(self, room: int) -> None:
        """Hold at most so many bytes, before the first picture is asked for."""
        self._room = room

    def __getitem__(self, view: int) -> Tensor:
        image = self._kept.get(view)
        if image is None:
            image = resized(self._read(view), *self._size(view))
            if image.nbytes <= self._room:
                self._kept[view] = image
                self._room -= image.nbytes
        return torch.from_numpy(image.astype(np.float32) / 255)


def resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3), by Lanczos' filter; the picture itself where it has that size."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def sized(camera: Camera, longest: int | None) -> Camera:
    """The camera for pictures whose longer side has ``longest`` pixels, the shape kept; itself where that is None."""
    if longest is None or longest == max(camera.width, camera.height):
        return camera
    ratio = longest / max(camera.width, camera.height)
    width, height = (max(1, round(side * ratio)) for side in (camera.width, camera.height))
    k = camera.K.copy()
    k[0] *= width / camera.width
    k[1] *= height / camera.height
    return Camera(k, camera.world_to_camera, width, height)
