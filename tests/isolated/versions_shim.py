"""Paints the versions of its packages into the first pixels of the portrait."""

import ctypes

import numpy as np
import PIL


def pixel(version):
    return [int(part) for part in version.split(".")[:3]]


class Shim:
    def __init__(self, options, job):
        self.faults = options.get("faults", {})

    def build(self, portrait):
        self.image = portrait["image"]

    def render(self, motion):
        fault = self.faults.get(f"f{motion['index']}")
        if fault == "crash":
            ctypes.string_at(0)
        if fault == "raise":
            raise ValueError(f"no luck in frame {motion['index']}")
        image = self.image.copy()
        image[0, 0], image[0, 1] = pixel(np.__version__), pixel(PIL.__version__)
        return image
