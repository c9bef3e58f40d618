"""A method that takes some milliseconds a frame, draws numbers, and has its frames announced."""

import random

import numpy as np


class Shim:
    def __init__(self, options, job):
        self.known = {}

    def build(self, portrait):
        self.image = portrait["image"]
        self.shade = np.random.randint(64)
        return {"shade": self.shade}

    def announce(self, motions):
        self.known = {motion["id"]: number for number, motion in enumerate(motions)}

    def render(self, motion):
        image = self.image // 2 + motion["image"] // 4
        for _ in range(100):
            image = np.sort(image, axis=random.randrange(2))
        image[0, 0] = random.randrange(256), np.random.randint(256), self.shade
        image[0, 1] = self.known[motion["id"]] % 256
        return image
