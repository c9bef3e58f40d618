"""Our two backends on the same clouds, the CPU's and gsplat's: values, gradients, and what our call costs over gsplat.

    python benchmarks/gsplat_agreement.py [--points 400] [--timed 2000 10000 30000] [--size 256] [--turns 50]

Needs CUDA and gsplat (read against 1.5.3); without CUDA, projection and harmonics alone are compared, with gsplat's
reference in PyTorch. Clouds: RGB, harmonics, 32 feature channels, opaque and large (pixels end early), half out of the
picture, scales of zero, one Gaussian, none; three cameras each, over a background; picture, alpha, depth and which
Gaussians are seen, and the gradients of a random sum of the first three for everything that has one, cameras and screen
positions included. Differences are relative to the largest value of
a tensor. A value just under or over a threshold of 1/255 falls either way in single precision: the picture may differ
by that much in a few pixels, so that the mean is bounded too.

Overhead: ``avatarbench.gaussians.render.render`` of a cloud and cameras, as users call it, beside
``gsplat.rasterization`` of tensors that are already there (not packed, picture and expected depth), forward and
backward, in turns. Exits with 1 where a bound is not met.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.gaussians import cpu_project, harmonics  # noqa: E402
from avatarbench.gaussians.cloud import Cloud  # noqa: E402
from avatarbench.gaussians.render import Backend, rasterise, render  # noqa: E402
from avatarbench.method import Camera  # noqa: E402
from tests.oracles.splats import scene  # noqa: E402

NAMES = ("means", "quaternions", "scales", "opacities", "colours", "views", "background")
LEAVES = (*NAMES, "shift")
MOST, MEAN, GRADIENT, SEEN, OVERHEAD = 8e-3, 1e-5, 5e-3, 5e-3, 0.10


class Difference(NamedTuple):
    """Of one tensor, relative to the largest absolute value of the other side: ``most`` and ``mean``."""

    name: str
    most: float
    mean: float

    @property
    def good(self) -> bool:
        """Within the bounds; NaN is not."""
        if self.name.startswith("d "):
            return self.most <= GRADIENT
        if self.name == "seen":  # a few stand on the border of being culled
            return self.mean <= SEEN
        return self.most <= MOST and self.mean <= MEAN


@dataclass(frozen=True)
class Case:
    """``inputs``: by :data:`LEAVES`, and ``intrinsics``; colours of three dimensions are harmonics."""

    name: str
    inputs: dict[str, Tensor]
    width: int
    height: int


def cases(count: int, size: int) -> list[Case]:
    """The clouds, float32 on the CPU, seeded."""
    width, height = size, size - size // 5
    found = []
    counts = {"rgb": count, "harmonics": count, "features": count, "opaque": count, "outside": count}
    for seed, (name, points) in enumerate((counts | {"zero scales": count, "one": 1, "empty": 0}).items()):
        means, quaternions, scales, opacities, colours, views, k = scene(points, width, height, cameras=3, seed=seed)
        draw = torch.Generator().manual_seed(seed)
        if name == "harmonics":
            colours = 0.3 * torch.randn(points, 16, 3, generator=draw)
        if name == "features":
            colours = torch.randn(points, 32, generator=draw)
        if name == "opaque":
            scales, opacities = 3 * scales, 0.9 + 0.1 * opacities
        if name == "outside":
            means = 3 * means
        if name == "zero scales":
            scales = 0 * scales
        background = torch.rand(colours.shape[-1], generator=draw)
        tensors = (means, quaternions, scales, opacities, colours, views, background, torch.zeros(3, points, 2))
        inputs = {n: t.float() for n, t in zip(LEAVES, tensors, strict=True)} | {"intrinsics": k.float()}
        found.append(Case(name, inputs, width, height))
    return found


def evaluate(case: Case, device: str, backend: Backend, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Picture, alpha, depth (times alpha: without the division), ``seen`` (B, N), 1 where a radius is not zero, and
    ``d``'s of each input, on the CPU; zeros where an input has none."""
    leaves = {n: t.clone().to(device, dtype).requires_grad_(n != "intrinsics") for n, t in case.inputs.items()}
    *out, radii = drawn(leaves, case.width, case.height, backend)
    draw = torch.Generator().manual_seed(9)
    weights = [torch.randn(o.shape, generator=draw).to(o) for o in out]
    torch.autograd.backward([(o * w).sum() for o, w in zip(out, weights, strict=True)])
    found = dict(zip(("picture", "alpha", "depth"), out, strict=True))
    found["seen"] = (radii > 0).to(dtype)
    for name in LEAVES:
        gradient = leaves[name].grad
        found[f"d {name}"] = torch.zeros_like(leaves[name]) if gradient is None else gradient
    return {name: value.detach().cpu() for name, value in found.items()}


def drawn(inputs: dict[str, Tensor], width: int, height: int, backend: Backend) -> tuple[Tensor, ...]:
    """Picture, alpha, depth sums and radii as :func:`avatarbench.gaussians.render.render` makes them, but of tensors of
    cameras, which have gradients."""
    means, quaternions, scales, opacities, colours, views, background = (inputs[name] for name in NAMES)
    if colours.ndim == 3 and backend == "gsplat":
        from avatarbench.gaussians.cuda import harmonics_gsplat

        colours = harmonics_gsplat(colours, means, views, harmonics.degree_of(colours.shape[1]))
    elif colours.ndim == 3:
        colours = harmonics.colours(colours, means, views)
    found = rasterise(
        means, quaternions, scales, opacities, colours, views, inputs["intrinsics"], width, height,
        background=background, shift=inputs["shift"], backend=backend,
    )  # fmt: skip
    return found.image, found.alpha, found.depth * found.alpha, found.radii


def compare(found: dict[str, Tensor], expected: dict[str, Tensor]) -> list[Difference]:
    """Tensor by tensor. Raises ValueError for sets of unlike names."""
    if found.keys() != expected.keys():
        raise ValueError(f"one side has {sorted(found)}, the other {sorted(expected)}")
    differences = []
    for name, value in expected.items():
        if not value.numel() and found[name].shape == value.shape:
            differences.append(Difference(name, 0.0, 0.0))
            continue
        apart, largest = (found[name].double() - value.double()).abs(), float(value.abs().max()) or 1.0
        differences.append(Difference(name, float(apart.max()) / largest, float(apart.mean()) / largest))
    return differences


def report(case: Case, differences: list[Difference]) -> bool:
    """Print a line a case; whether all are within their bounds."""
    values = ", ".join(f"{d.name} {d.most:.1e}{'' if d.good else ' (TOO MUCH)'}" for d in differences)
    print(f"{case.name:>11}: {values}", flush=True)
    return all(d.good for d in differences)


def projections_agree() -> bool:
    """Our projection and harmonics beside gsplat's own reference in PyTorch, float64, which needs no GPU; prints, and
    says whether they agree to 1e-12 and see the same Gaussians."""
    from gsplat.cuda import _torch_impl as theirs

    width, height = 44, 38
    means, quaternions, scales, _, _, views, k = scene(300, width, height, cameras=2, seed=3)
    means = 2 * means
    covariances, _ = theirs._quat_scale_to_covar_preci(quaternions, scales, True, False, False)
    radii, *expected, _ = theirs._fully_fused_projection(means, covariances, views, k, width, height)
    worst, unlike = 0.0, 0
    for camera, seen in enumerate((radii > 0).all(-1).numpy()):
        found = cpu_project.empty_projection(len(means), np.dtype(np.float64))
        own = np.zeros(len(means), np.int32)
        gaussians = (means.numpy(), quaternions.numpy(), scales.numpy(), np.ones(len(means)))
        eye = (views[camera].numpy(), k[camera].numpy(), width, height, 0.01, 1e10, 0.3)
        cpu_project.project(*gaussians, *eye, np.zeros((len(means), 2)), *found, own)
        unlike += int((seen != (own > 0)).sum())
        for ours, value in zip(found[:3], (expected[0], expected[2], expected[1]), strict=True):
            worst = max(worst, float(np.abs(ours - value[camera].numpy())[seen].max()))
    centres = -(views[:, :3, :3].transpose(1, 2) @ views[:, :3, 3:])[..., 0]
    for degree in harmonics.DEGREES:
        coefficients = means.new_ones(len(means), harmonics.count_of(degree), 3) * means[:, None]
        each = coefficients.expand(len(views), -1, -1, -1)
        value = (theirs._spherical_harmonics(degree, means - centres[:, None], each) + 0.5).clamp_min(0)
        worst = max(worst, float((value - harmonics.colours(coefficients, means, views)).abs().max()))
    print(f"projection and harmonics: {worst:.1e} from gsplat's reference, {unlike} Gaussians seen by one side alone")
    return worst < 1e-12 and unlike == 0


def bare(gsplat: Any, inputs: dict[str, Tensor], width: int, height: int) -> tuple[Tensor, Tensor]:
    """What our call is measured against."""
    means, quaternions, scales, opacities, colours, views, background = (inputs[name] for name in NAMES)
    degree = harmonics.degree_of(colours.shape[1]) if colours.ndim == 3 else None
    image, alpha, _ = gsplat.rasterization(
        means, quaternions, scales, opacities, colours, views, inputs["intrinsics"], width, height,
        sh_degree=degree, packed=False, render_mode="RGB+ED", backgrounds=background.expand(len(views), -1),
    )  # fmt: skip
    return image, alpha


def called(case: Case, leaves: dict[str, Tensor], backend: Backend) -> Callable[[], tuple[Tensor, Tensor]]:
    """A call of :func:`avatarbench.gaussians.render.render` on the leaves' cloud and the case's cameras."""
    both = zip(case.inputs["intrinsics"].double().numpy(), case.inputs["views"].double().numpy(), strict=True)
    cameras = [Camera(k, view, case.width, case.height) for k, view in both]

    def work() -> tuple[Tensor, Tensor]:
        found = render(Cloud(*(leaves[n] for n in NAMES[:5])), cameras, leaves["background"], backend=backend)
        return found.image, found.alpha

    return work


def overhead(gsplat: Any, case: Case, turns: int) -> float:
    """Our seconds / bare seconds - 1: medians of turns, forward and backward."""
    leaves = {n: t.cuda().requires_grad_(n in NAMES[:5]) for n, t in case.inputs.items()}

    def seconds(work: Callable[[], tuple[Tensor, ...]]) -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        torch.autograd.backward([part.sum() for part in work()])
        torch.cuda.synchronize()
        return time.perf_counter() - start

    works = (
        called(case, leaves, "gsplat"),
        partial(bare, gsplat, leaves, case.width, case.height),
    )
    for work in works * 5:
        seconds(work)
    taken = [[seconds(work) for work in works] for _ in range(turns)]
    mine, theirs = (statistics.median(column) for column in zip(*taken, strict=True))
    points = len(case.inputs["means"])
    over = mine / theirs - 1
    print(f"{points:7,} {case.name}: ours {1e3 * mine:.2f} ms, bare gsplat {1e3 * theirs:.2f} ms, {over:+.1%}")
    return over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=400, help="of the clouds that are compared")
    parser.add_argument("--timed", type=int, nargs="*", default=[2_000, 10_000, 30_000])
    parser.add_argument("--size", type=int, default=256, help="width of the pictures")
    parser.add_argument("--turns", type=int, default=50)
    options = parser.parse_args()
    try:
        import gsplat
    except ImportError as error:
        raise SystemExit(f"gsplat cannot be imported ({error}): pip install gsplat. Nothing was compared.") from error
    print(f"gsplat {gsplat.__version__}, torch {torch.__version__}")
    good = projections_agree()
    if not torch.cuda.is_available():
        raise SystemExit(
            "gsplat renders on CUDA, and this machine has no CUDA device: no picture was compared. Projection and "
            f"harmonics {'agree' if good else 'DIFFER by more than their bounds'}."
        )
    print(torch.cuda.get_device_name())
    for case in cases(options.points, options.size):
        good &= report(case, compare(evaluate(case, "cuda", "gsplat"), evaluate(case, "cpu", "cpu")))
    over = [
        overhead(gsplat, case, options.turns)
        for points in options.timed
        for case in cases(points, options.size)
        if case.name in ("rgb", "harmonics")
    ]
    if not good:
        raise SystemExit("the backends differ by more than their bounds.")
    if over and max(over) > OVERHEAD:
        raise SystemExit(f"our call takes up to {max(over):.0%} longer than bare gsplat, more than {OVERHEAD:.0%}.")


if __name__ == "__main__":
    main()
