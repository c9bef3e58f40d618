"""Real frames with a face, and deterministic distortions of them that stand for a method's renderings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from avatarbench import assets
from avatarbench.datasets.crop import apply, square_crop
from avatarbench.datasets.video import Video

Picture = NDArray[np.uint8]


class Frames:
    """Targets are the driving clip's frames, every twelfth the astronaut, cropped square and brought to ``size``."""

    def __init__(self, size: int) -> None:
        from skimage.data import astronaut

        self.size = size
        self._clip = Video(assets.pull("driving-clip"))
        self._astronaut: Picture = astronaut()
        self._last: tuple[int, Picture] | None = None

    def target(self, index: int) -> Picture:
        """(size, size, 3) uint8. All differ: a second round through the clip is mirrored or dimmed."""
        if self._last is None or self._last[0] != index:  # reading one frame of a video twice costs a seek
            self._last = index, self._make(index)
        return self._last[1]

    def _make(self, index: int) -> Picture:
        turn, place = divmod(index, len(self._clip))
        picture = self._astronaut if index % 12 == 11 else self._clip.read(place)
        found = apply(picture, square_crop(picture.shape), self.size)
        if index % 12 == 11:
            found = np.roll(found, index % 40, axis=1)
        if turn:
            found = (found[:, :: (-1) ** turn] * (1 - 0.02 * turn)).astype(np.uint8)
        return np.ascontiguousarray(found)

    def prediction(self, index: int, method: int = 0) -> Picture:
        """The target turned, moved, blurred and noisy, by amounts that depend on index and method alone."""
        draw = np.random.default_rng((index, method))
        angle, dx, dy, blur = map(float, draw.uniform((-4, -6, -6, 0.3), (4, 6, 6, 1.5)))
        scale = self.size / 512
        picture = Image.fromarray(self.target(index))
        picture = picture.rotate(angle, Image.Resampling.BICUBIC, translate=(round(dx * scale), round(dy * scale)))
        picture = picture.filter(ImageFilter.GaussianBlur(blur * scale))
        noisy = np.asarray(picture, np.float64) + draw.normal(0, 3, (self.size, self.size, 3))
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
