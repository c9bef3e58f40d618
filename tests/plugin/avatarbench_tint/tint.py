"""The plugin's method and metric. ``fault`` makes one frame go wrong in a chosen way, to test what the harness does."""

import numpy as np

from avatarbench.method import Motion, Portrait
from avatarbench.metrics.features import Frame


class TintAvatar:
    def __init__(self, image: np.ndarray, fault: str, at: int) -> None:
        self.image, self.fault, self.at = image, fault, at

    def render(self, motion: Motion) -> object:
        image = np.clip(self.image.astype(int) - 10, 0, 255).astype(np.uint8)
        if motion.index != self.at:
            return image
        match self.fault:
            case "raise":
                raise ZeroDivisionError("the plugin divided by zero")
            case "nan":
                return np.full(image.shape, np.nan, np.float32)
            case "size":
                return image[:-1]
            case "dtype":
                return image.astype(np.int64)
            case "range":
                return image.astype(np.float32)
            case "list":
                return image.tolist()
            case _:
                return image


class Tint:
    def __init__(self, fault: str = "none", at: int = 0) -> None:
        self.fault, self.at = fault, at

    def build(self, portrait: Portrait) -> TintAvatar:
        if self.fault == "build":
            raise RuntimeError("the plugin builds nothing")
        return TintAvatar(portrait.image, self.fault, self.at)


class MeanShift:
    def __call__(self, prediction: Frame, reference: Frame) -> float:
        return abs(float(prediction.image.mean()) - float(reference.image.mean()))
