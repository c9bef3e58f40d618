"""``lpips-alex`` and ``lpips-vgg``: learned perceptual distance, heads v0.1 of the ``lpips`` package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from avatarbench.errors import AssetError
from avatarbench.metric import MetricSpec
from avatarbench.metrics.features import Frame
from avatarbench.metrics.networks import float32_inference, read_state_dict, row_slices
from avatarbench.metrics.pixels import require_same_size

if TYPE_CHECKING:
    from torch import Tensor


def _spec(short: str, name: str, trunk: str, extractor: str, asset: str, factory: str) -> MetricSpec:
    return MetricSpec(
        id=f"lpips-{short}",
        name=name,
        version=1,
        kind="pair",
        better="lower",
        unit="",
        range=(0.0, float("inf")),
        against="target",
        definition=(
            f"LPIPS v0.1 with the {trunk} trunk, as lpips 0.1.4 computes it: RGB in [-1, 1], the full frame at the "
            "protocol's resolution without resizing; activations of five ReLU layers, unit length over the channels, "
            "squared difference weighted by the learned heads, mean over positions, sum over layers. Against the "
            "target."
        ),
        citation=(
            "Zhang, Isola, Efros, Shechtman and Wang, The unreasonable effectiveness of deep features as a perceptual "
            "metric, CVPR 2018; heads: package lpips 0.1.4, weights/v0.1"
        ),
        factory=f"avatarbench.metrics.lpips:{factory}",
        extractors=(extractor,),
        activations=True,
        assets=(asset,),
    )


ALEX = _spec("alex", "LPIPS-A", "AlexNet", "alexnet", "lpips-alexnet", "LpipsAlex")
VGG = _spec("vgg", "LPIPS-V", "VGG16", "vgg16", "lpips-vgg16", "LpipsVgg")


def heads_file(name: str) -> Path:
    """``weights/v0.1/<name>.pth`` of the installed lpips package. Raises AssetError where it is not there."""
    found = find_spec("lpips")
    if found is None or not found.submodule_search_locations:
        raise AssetError("the package lpips is not installed: it holds the heads of LPIPS. Install lpips>=0.1.4.")
    path = Path(found.submodule_search_locations[0]) / "weights" / "v0.1" / f"{name}.pth"
    if not path.is_file():
        raise AssetError(f"the lpips package lacks {path}: reinstall lpips>=0.1.4.")
    return path


class Lpips:
    """The distance of a pair of equal size, from the unit activations of its trunk. Raises Unscorable otherwise."""

    trunk: ClassVar[str]
    heads: ClassVar[str]

    def __init__(self) -> None:
        state = read_state_dict(heads_file(self.heads))
        self._heads = [state[f"lin{layer}.model.1.weight"].flatten() for layer in range(5)]

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        require_same_size(prediction, reference)
        ours, theirs = prediction[self.trunk]["units"], reference[self.trunk]["units"]
        with float32_inference():
            return sum(
                weighted_distance(a, b, head.to(a.device)) for a, b, head in zip(ours, theirs, self._heads, strict=True)
            )


class LpipsAlex(Lpips):
    trunk = "alexnet"
    heads = "alex"


class LpipsVgg(Lpips):
    trunk = "vgg16"
    heads = "vgg"


def weighted_distance(a: Tensor, b: Tensor, weights: Tensor) -> float:
    """Mean over rows of sum_c w_c (a_c - b_c)^2, for (P, C) unit vectors and (C,) weights."""
    import torch

    total = a.new_zeros((), dtype=torch.float64)
    buffer = torch.empty_like(a[next(row_slices(a))])
    for part in row_slices(a):
        rows = a[part]
        difference = torch.sub(rows, b[part], out=buffer[: len(rows)])
        total += (difference.square_() @ weights).sum(dtype=torch.float64)
    return total.item() / a.shape[0]
