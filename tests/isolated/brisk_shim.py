"""A method of some milliseconds a frame, and ``pause`` seconds more; it draws numbers and has its frames announced."""

import random
import time

import numpy as np


class Shim:
    def __init__(self, options, job):
        self.pause = options.get("pause", 0.0)
        self.known = {}

    def build(self, portrait):
        self.image = portrait["image"]
        self.shade = np.random.randint(64)
        return {"shade": self.shade}

    def announce(self, motions):
        self.known = {motion["id"]: number for number, motion in enumerate(motions)}

    def render(self, motion):
        image = self.image // 2 + motion["image"] // 4
        time.sleep(self.pause)
        for _ in range(100):
            image = np.sort(image, axis=random.randrange(2))
        image[0, 0] = random.randrange(256), np.random.randint(256), self.shade
        image[0, 1] = self.known[motion["id"]] % 256
        return image
