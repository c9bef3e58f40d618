"""Stand-in for tests, not PyTorch: what the shims and the stand-ins of GAGAvatar and GPAvatar use of it, on numpy."""

import contextlib
import json

import numpy as np


class Tensor:
    def __init__(self, array):
        self.array = np.asarray(array)

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)

    def __getitem__(self, place):
        return Tensor(self.array[place])

    def __mul__(self, other):
        return Tensor(self.array * getattr(other, "array", other))

    def __truediv__(self, other):
        return Tensor(self.array / getattr(other, "array", other))

    def dim(self):
        return self.array.ndim

    def float(self):
        return Tensor(self.array.astype(np.float32))

    def clamp(self, low, high):
        return Tensor(self.array.clip(low, high))

    def clone(self):
        return Tensor(self.array.copy())

    def to(self, device):
        return self

    def cpu(self):
        return self

    def detach(self):
        return self

    def numpy(self):
        return self.array


def from_numpy(array):
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    if any(stride < 0 for stride in array.strides):
        raise ValueError("At least one stride in the given numpy array is negative")
    return Tensor(array)


def load(path, map_location=None, weights_only=True):
    with open(path) as file:
        return json.load(file)


def no_grad():
    return contextlib.nullcontext()


def manual_seed(value):
    pass


def set_float32_matmul_precision(value):
    pass


class cuda:
    @staticmethod
    def is_available():
        return False
