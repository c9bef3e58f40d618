"""``ssim``: structural similarity, Gaussian window, over the RGB channels."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from avatarbench.errors import Unscorable
from avatarbench.metric import MetricSpec
from avatarbench.metrics.features import Frame
from avatarbench.metrics.pixels import require_same_size

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 11
SIGMA = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2

SPEC = MetricSpec(
    id="ssim",
    name="SSIM",
    version=1,
    kind="pair",
    better="higher",
    unit="",
    range=(-1.0, 1.0),
    against="target",
    definition=(
        "Mean SSIM index of the full 8-bit sRGB frame against the target: Gaussian window of 11 x 11 pixels, sigma "
        "1.5, weights summing to 1; weighted population variances and covariance (no N / (N - 1)); K1 0.01, K2 0.03, "
        "data range 255; averaged over the positions where the window lies inside the frame (no padding), then over "
        "R, G and B. skimage(gaussian_weights=True, sigma=1.5, use_sample_covariance=False) leaves out the same "
        "border; torchmetrics counts it too, on mirrored pixels."
    ),
    citation=(
        "Wang, Bovik, Sheikh and Simoncelli, Image quality assessment: from error visibility to structural "
        "similarity, IEEE TIP 2004"
    ),
    factory="avatarbench.metrics.ssim:Ssim",
)


@cache
def _window() -> Tensor:
    """(11,) float32 Gaussian weights that sum to 1."""
    import torch

    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-(offset**2) / (2 * SIGMA**2))
    return (weights / weights.sum()).float()


class Ssim:
    """SSIM of a pair of equal size of at least 11 x 11 pixels. Raises Unscorable otherwise."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        import torch

        require_same_size(prediction, reference)
        height, width = prediction.image.shape[:2]
        if min(height, width) < WINDOW:
            raise Unscorable(f"image is {width}x{height}, SSIM's window needs {WINDOW} pixels a side")
        with torch.inference_mode():
            # Variances do not see a shift; centring the grey levels keeps float32 squares small before they cancel.
            shift = round(float((prediction.image.mean() + reference.image.mean()) / 2))
            x, y = (torch.tensor(f.image).permute(2, 0, 1).float() - shift for f in (prediction, reference))
            mean = _filter(torch.stack((x, y, x * x + y * y, x * y)))
            mx, my = mean[0], mean[1]
            variances = mean[2] - mx * mx - my * my
            covariance = mean[3] - mx * my
            mx, my = mx + shift, my + shift
            index = (2 * mx * my + C1) * (2 * covariance + C2) / ((mx * mx + my * my + C1) * (variances + C2))
            return index.mean(dtype=torch.float64).item()


def _filter(maps: Tensor) -> Tensor:
    """(M, C, H, W) -> (M, C, H - 10, W - 10): the Gaussian window as two passes, inside the frame only."""
    from torch.nn.functional import conv2d

    shape = maps.shape
    flat = maps.reshape(1, -1, *shape[2:])
    weights = _window().expand(flat.shape[1], 1, WINDOW)
    flat = conv2d(flat, weights.unsqueeze(2), groups=flat.shape[1])
    flat = conv2d(flat, weights.unsqueeze(3), groups=flat.shape[1])
    return flat.reshape(*shape[:2], *flat.shape[2:])
