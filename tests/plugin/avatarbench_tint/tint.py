"""The plugin's method and metric. ``faults`` makes frames go wrong in chosen ways, to test what the harness does."""

from collections.abc import Sequence

import numpy as np

from avatarbench.method import Motion, Portrait
from avatarbench.metrics.features import Frame

STRIDE = 8


class TintAvatar:
    def __init__(self, image: np.ndarray, faults: Sequence[str]) -> None:
        self.image, self.faults = image, faults

    def render(self, motion: Motion) -> object:
        image = np.clip(self.image.astype(int) - 10, 0, 255).astype(np.uint8)
        order = motion.index // STRIDE - 1  # the frame's place among every 8th, the source left out
        match self.faults[order] if order < len(self.faults) else "none":
            case "vandal":  # writes into everything that it was handed
                motion.image[:] = 0
                motion.face.landmarks[:] += 40
                motion.face.arkit[:] = 1
                return image
            case "exit":
                raise SystemExit(5)
            case "raise":
                raise RuntimeError("the plugin gave up")
            case "undefined":
                return np.full(image.shape, np.nan, np.float32)
            case "size":
                return image[:-1]
            case "dtype":
                return image.astype(np.int64)
            case "range":
                return image.astype(np.float32)
            case "list":
                return image.tolist()
            case "flat":
                return np.full_like(image, 77)
            case _:
                return image


class Tint:
    def __init__(self, faults: Sequence[str] = ()) -> None:
        self.faults = faults

    def build(self, portrait: Portrait) -> TintAvatar:
        if "build" in self.faults:
            raise RuntimeError("the plugin builds nothing")
        if "vandal" in self.faults:
            portrait.face.landmarks[:] += 40
        return TintAvatar(portrait.image, self.faults)


class MeanShift:
    """Fails, as third parties' code does, on a prediction of one colour."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        if prediction.image.min() == prediction.image.max():
            return 1 / 0
        return abs(float(prediction.image.mean()) - float(reference.image.mean()))
