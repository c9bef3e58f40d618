"""A frame and the features read off it: extracted once a frame, shared by the metrics that need them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import Unscorable

Features = Mapping[str, Any]


@dataclass(frozen=True)
class Missing:
    """Features that could not be had, and why. The reason becomes the sample's."""

    reason: str


def image_digest(image: NDArray[np.uint8]) -> str:
    """sha256 over shape and pixels of an (H, W, 3) uint8 image: the key of every cached feature."""
    h = hashlib.sha256(repr((image.shape, image.dtype.str)).encode())
    h.update(np.ascontiguousarray(image).data)
    return h.hexdigest()


class Frame:
    """An (H, W, 3) uint8 sRGB image with the features extracted so far, by extractor id."""

    def __init__(self, image: NDArray[np.uint8], digest: str | None = None) -> None:
        self.image = image
        self.digest = digest or image_digest(image)
        self._features: dict[str, Features | Missing] = {}

    def has(self, extractor: str) -> bool:
        return extractor in self._features

    def put(self, extractor: str, features: Features | Missing) -> None:
        self._features[extractor] = features

    def get(self, extractor: str) -> Features | Missing | None:
        return self._features.get(extractor)

    def __getitem__(self, extractor: str) -> Features:
        """The features of one extractor. Raises Unscorable with the recorded reason where they are missing, or saying
        that nobody asked for them: a metric's spec names its extractors."""
        found = self._features.get(extractor)
        if found is None:
            raise Unscorable(f"the metric did not declare the extractor '{extractor}'")
        if isinstance(found, Missing):
            raise Unscorable(found.reason)
        return found
