"""What the network extractors share: weights read safely, frames as tensors, and batching that moves no number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatarbench import assets
from avatarbench.assets.store import file_sha256
from avatarbench.errors import AssetError
from avatarbench.metrics.features import Frame, Missing

if TYPE_CHECKING:
    from torch import Tensor

GPU_BATCH = 8
SLICE = 2**23
"""Numbers that a pass over an activation touches at a time. A slice stays in the last cache between the passes and
bounds the scratch memory; smaller ones lose more than they gain, since every pass wakes and waits for all threads."""


class Weights:
    """A network's weights: the pinned asset, or a file of the caller's own. Opened only when asked for."""

    def __init__(self, asset: str, given: Path | None = None) -> None:
        self.asset = asset
        self.given = given

    @property
    def path(self) -> Path:
        """The verified file. Raises AssetError where the asset is missing or wrong."""
        return self.given or assets.path(self.asset)

    @property
    def sha256(self) -> str:
        """Hash of the bytes: the pinned one of an asset. Raises AssetError where the caller's file cannot be read."""
        return file_sha256(self.given) if self.given else assets.sha256(self.asset)


def fingerprint(extractor: str, version: int, weights: str, preprocessing: Mapping[str, Any]) -> str:
    """The hash that keys cached features: definition version, preprocessing and the sha256 of the weights."""
    parts = {"extractor": extractor, "version": version, "weights": weights, "preprocessing": dict(preprocessing)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def versions(*distributions: str) -> dict[str, str]:
    """The installed version of each, for a fingerprint. ``a|b`` takes the first of several that bring one module.

    Raises AssetError where none is installed.
    """
    return {names: _version(names.split("|")) for names in distributions}


def _version(distributions: Sequence[str]) -> str:
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise AssetError(f"not installed: {' or '.join(distributions)}. Install it with: pip install {distributions[0]}")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file or a plain torch file (``weights_only``). Raises AssetError otherwise."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, ValueError, EOFError) as error:
        raise AssetError(f"cannot read the weights {path}: {error}. Fetch them again.") from error
    except Exception as error:  # pickle.UnpicklingError and whatever a damaged or hostile pickle provokes
        raise AssetError(
            f"refused the weights {path}: not a plain state dict ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise AssetError(f"the weights {path} are not a state dict of tensors.")
    return found


@contextmanager
def float32_inference() -> Iterator[None]:
    """No gradients, and no TF32: a metric is float32 on every device."""
    import torch

    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul


def batches(frames: Sequence[Frame], device: str) -> Iterator[list[int]]:
    """Indices of frames of one size that go through a network together.

    On a CPU a convolution at these sizes is bound by arithmetic, so one image at a time costs nothing and makes the
    value of a frame independent of its neighbours to the last bit. On CUDA up to :data:`GPU_BATCH` go together, and
    the kernels that the library chooses for a batch's size may move the last digits of float32: the independence is
    checked on the CPU only.
    """
    limit = 1 if device.partition(":")[0] == "cpu" else GPU_BATCH
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, frame in enumerate(frames):
        by_size.setdefault(frame.image.shape, []).append(index)
    for indices in by_size.values():
        for start in range(0, len(indices), limit):
            yield indices[start : start + limit]


def row_slices(rows: Tensor) -> Iterator[slice]:
    """Slices of the first axis of a (P, C) tensor that hold about :data:`SLICE` numbers each."""
    step = max(1, SLICE // rows.shape[1])
    for start in range(0, rows.shape[0], step):
        yield slice(start, start + step)


def too_small(frame: Frame, least: int, network: str) -> Missing | None:
    """The reason why a frame cannot go through a network, or None."""
    height, width = frame.image.shape[:2]
    if min(height, width) >= least:
        return None
    return Missing(f"image is {width}x{height}, {network} needs at least {least} pixels a side")


def stack(frames: Sequence[Frame], device: str) -> Tensor:
    """(N, 3, H, W) uint8 on ``device``, a channels-last view of the frames' own memory layout."""
    import torch

    pixels = torch.from_numpy(np.stack([frame.image for frame in frames]))
    return pixels.to(device).permute(0, 3, 1, 2)
