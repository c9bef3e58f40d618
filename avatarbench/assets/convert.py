"""LPIPS backbones from pickled arrays to safetensors in torch's layout, without trusting the pickle."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors.numpy import save

from avatarbench.errors import AssetError

# Index of each convolution in torchvision's ``features``, in order.
_LAYERS = {
    "alexnet": ("AlexNet_0", (0, 3, 6, 8, 10)),
    "vgg16": ("VGG16_0", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
}

_reconstruct = np.empty(0).__reduce__()[0]  # numpy's own, wherever this version keeps it
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class ArrayUnpickler(pickle.Unpickler):
    """Reads plain containers of numpy arrays. Any other name in the pickle raises before it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise AssetError(
                f"refused to unpickle {module}.{name}: only numpy arrays in plain containers are read. "
                "Remove the file; it is not the published one."
            ) from None


def load_arrays(stream: BinaryIO) -> Any:
    """The containers and arrays of a pickle. Raises AssetError for anything else, or for a damaged file."""
    try:
        return ArrayUnpickler(stream).load()
    except AssetError:
        raise
    except Exception as error:  # a hostile or damaged pickle may raise anything from the unpickler's own stack
        raise AssetError(f"damaged pickle: {type(error).__name__}: {error}.") from error


def lpips_backbone(path: Path, net: str) -> bytes:
    """A safetensors file of ``features.<i>.weight`` (O, I, H, W) and ``features.<i>.bias`` (O,), float32.

    The names are torchvision's, for ``alexnet()`` and ``vgg16()``; the kernels of the port are (H, W, I, O). The LPIPS
    heads that stand beside them in the file are left: the ``lpips`` package ships its own.
    """
    root, layers = _LAYERS[net]
    with path.open("rb") as stream:
        convolutions = load_arrays(stream)[root]
    tensors: dict[str, np.ndarray] = {}
    for i, layer in enumerate(layers):
        convolution = convolutions[f"Conv_{i}"]
        tensors[f"features.{layer}.weight"] = np.ascontiguousarray(convolution["kernel"].transpose(3, 2, 0, 1))
        tensors[f"features.{layer}.bias"] = np.ascontiguousarray(convolution["bias"])
    return save(tensors)
