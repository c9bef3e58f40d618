"""Gaussians as Mitsuba's ellipsoid volume primitives, rendered by its integrator ``volprim_rf_basic``.

    python -m benchmarks.mitsuba_splats CLOUD.npz PICTURES.npz --samples 1 4 16

An independent picture of a cloud, and the route to one that a user without a GPU has today. Rays meet true ellipsoids
here: no affine projection, no dilation, the order that of entering ellipsoids instead of that of centres. The
integrator exists for Mitsuba's compiled variants only; on processors that is ``llvm_ad_rgb``, whose just-in-time
compiler needs a libLLVM of version 17 or newer (an older one ends the process at the first minimum of two numbers). It
therefore works in a process of its own, whose peak memory is also its alone.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.errors import UsageError  # noqa: E402
from avatarbench.gaussians.cloud import Cloud  # noqa: E402
from avatarbench.gaussians.harmonics import CONSTANT  # noqa: E402
from avatarbench.method import Camera  # noqa: E402

EXTENT = 3.33
"""Standard deviations at which an ellipsoid ends: those after which a Gaussian of any opacity is under 1/255."""
SIGMA = 0.5
"""Metres that a Gaussian's median scale is magnified to, with all there is: Mitsuba enters ellipsoids of millimetres
twice or not at all."""
LLVM = 17
VARIABLE = "DRJIT_LIBLLVM_PATH"
ADVICE = f"install libllvm19 (Debian) or newer, or set {VARIABLE} to a libLLVM of version {LLVM} or newer"
_LIBRARIES = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib/llvm-*/lib", "/usr/local/lib")


class Pictures(NamedTuple):
    """``images`` (S, H, W, 3), one a sample count; ``seconds`` (S,), compilation not counted; ``mebibytes``: the
    process's peak beyond what it held before Mitsuba was imported."""

    images: NDArray[np.float32]
    seconds: NDArray[np.float64]
    mebibytes: float


def apart(size: int = 64, side: int = 4) -> tuple[Cloud, Camera]:
    """Gaussians of any turn and shape with harmonics of degree 3, none before another: what projection alone does."""
    draw = torch.Generator().manual_seed(0)
    camera = _camera(size, size - 6, 1.5 * size)
    cells = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    pixels = (cells + 0.5) * torch.tensor([camera.width, camera.height]) / side
    return _cloud(pixels, camera, (0.015 * size, 0.035 * size), draw), camera


def crowd(count: int = 300, size: int = 40) -> tuple[Cloud, Camera]:
    """Gaussians of mixed sizes, turns and opacities that reach into each other, with harmonics of degree 3."""
    draw = torch.Generator().manual_seed(1)
    camera = _camera(size, size - 6, 1.5 * size)
    pixels = (torch.rand(count, 2, generator=draw) * 1.2 - 0.1) * torch.tensor([camera.width, camera.height])
    return _cloud(pixels, camera, (0.01 * size, 0.06 * size), draw), camera


def _camera(width: int, height: int, focal: float) -> Camera:
    """Turned about all axes and off its centre, so that no mistake of an axis goes unseen."""
    k = np.array([[focal, 0, 0.55 * width], [0, focal, 0.44 * height], [0, 0, 1]])
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -0.7, 0.2], dtype=torch.float64)).numpy()
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = turn, (0.1, -0.2, 0.4)
    return Camera(k, view, width, height)


def _cloud(pixels: Tensor, camera: Camera, sigma: tuple[float, float], draw: torch.Generator) -> Cloud:
    """A Gaussian at each of ``pixels`` (N, 2), 2 to 4 metres away, ``sigma`` pixels wide from .. to along each axis."""
    count = len(pixels)
    depth = 2 + 2 * torch.rand(count, 1, generator=draw)
    k, view = torch.from_numpy(camera.K).float(), torch.from_numpy(camera.world_to_camera).float()
    rays = torch.cat([pixels, torch.ones(count, 1)], 1) @ torch.linalg.inv(k).T
    scales = sigma[0] + (sigma[1] - sigma[0]) * torch.rand(count, 3, generator=draw)
    return Cloud(
        (rays * depth - view[:3, 3]) @ view[:3, :3],
        torch.nn.functional.normalize(torch.randn(count, 4, generator=draw), dim=1),
        scales * depth / k[0, 0],
        0.05 + 0.9 * torch.rand(count, generator=draw),
        0.25 * torch.randn(count, 16, 3, generator=draw),
    )


def newest_llvm() -> str | None:
    """The libLLVM to use: the user's, or the newest where the system keeps libraries; None for none that is new
    enough."""
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE]
    found = []
    for folder in _LIBRARIES:
        for path in Path("/").glob(f"{folder.lstrip('/')}/libLLVM*.so*"):
            version = re.search(r"libLLVM(?:-|\.so\.)(\d+)", path.name)
            if version and int(version[1]) >= LLVM:
                found.append((int(version[1]), str(path)))
    return max(found)[1] if found else None


def pictures(cloud: Cloud, camera: Camera, samples: Sequence[int], threads: int = 1, centred: bool = False) -> Pictures:
    """A cloud over black by Mitsuba, in a child process; ``centred``: one ray a pixel, through its centre.

    Raises UsageError, with what to install, where Mitsuba's compiled variant does not work.
    """
    library = newest_llvm()
    if library is None:
        raise UsageError(
            f"Mitsuba's ellipsoids are rendered in its variant llvm_ad_rgb, which finds no LLVM: {ADVICE}."
        )
    cloud, camera = magnified(cloud, camera)
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "cloud.npz"), Path(folder, "pictures.npz")
        eye: dict[str, Any] = {"K": camera.K, "view": camera.world_to_camera, "size": [camera.width, camera.height]}
        np.savez(given, **(eye | arrays(cloud)))
        command = [sys.executable, __file__, str(given), str(made), "--threads", str(threads)]
        command += ["--centred"] * centred + ["--samples", *map(str, samples)]
        done = subprocess.run(
            command, env={**os.environ, VARIABLE: library}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            why = next((line for line in done.stderr.splitlines() if "LLVM" in line), done.stderr.strip()[-300:])
            raise UsageError(f"Mitsuba's llvm_ad_rgb does not work here with {library} ({why}): {ADVICE}.")
        with np.load(made) as file:
            return Pictures(file["images"], file["seconds"], float(file["mebibytes"]))


def arrays(cloud: Cloud) -> dict[str, NDArray[np.float32]]:
    """What Mitsuba's ``ellipsoids`` take: quaternions with the real part last, harmonics coefficient by coefficient."""
    cloud = cloud.detach().to("cpu")
    harmonics = ((cloud.colours - 0.5) / CONSTANT)[:, None] if cloud.degree is None else cloud.colours
    quaternions = torch.nn.functional.normalize(cloud.quaternions, dim=1).roll(-1, 1)
    found = {
        "centers": cloud.means,
        "scales": cloud.scales,
        "quaternions": quaternions,
        "opacities": cloud.opacities[:, None],
        "sh_coeffs": harmonics.flatten(1),
    }
    return {name: value.numpy().astype(np.float32) for name, value in found.items()}


def magnified(cloud: Cloud, camera: Camera) -> tuple[Cloud, Camera]:
    """The same picture of a larger world: see :data:`SIGMA`."""
    factor = SIGMA / float(cloud.scales.median())
    view = camera.world_to_camera.copy()
    view[:3, 3] *= factor
    return replace(cloud, means=cloud.means * factor, scales=cloud.scales * factor), replace(
        camera, world_to_camera=view
    )


def shape(mitsuba: Any, given: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    """The scene's shape from :func:`arrays`."""
    names = ("centers", "scales", "quaternions", "opacities", "sh_coeffs")
    return {"type": "ellipsoids", "extent": EXTENT} | {name: mitsuba.TensorXf(given[name]) for name in names}


def sensor(mitsuba: Any, k: NDArray[np.float64], view: NDArray[np.float64], width: int, height: int) -> dict[str, Any]:
    """A pinhole camera with square pixels; Mitsuba's own axes are x left, y up, z forward."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return {
        "type": "perspective",
        "fov": float(np.rad2deg(2 * np.arctan(width / (2 * k[0, 0])))),
        "fov_axis": "x",
        "principal_point_offset_x": float(0.5 - k[0, 2] / width),
        "principal_point_offset_y": float(0.5 - k[1, 2] / height),
        "near_clip": 1e-3,
        "far_clip": 1e5,
        "to_world": mitsuba.ScalarTransform4f(np.linalg.inv(view) @ flip),
        "film": {
            "type": "hdrfilm",
            "width": width,
            "height": height,
            "rfilter": {"type": "box"},
            "pixel_format": "rgb",
            "component_format": "float32",
        },
    }


def _render(given: dict[str, Any], samples: Sequence[int], threads: int, centred: bool) -> Pictures:
    from benchmarks.rig import kibibytes

    before = kibibytes("VmRSS")
    import drjit
    import mitsuba

    mitsuba.set_variant("llvm_ad_rgb")
    drjit.set_thread_count(threads)
    width, height = (int(n) for n in given["size"])
    scene = mitsuba.load_dict(
        {
            "type": "scene",
            # No bound on how many ellipsoids a ray meets; colours stay what they are, sRGB in and out.
            "integrator": {"type": "volprim_rf_basic", "max_depth": -1, "srgb_primitives": False},
            "sensor": sensor(mitsuba, given["K"], given["view"], width, height)
            | {"sampler": {"type": "stratified", "jitter": False} if centred else {"type": "independent"}},
            "shape": shape(mitsuba, given),
        }
    )
    images, seconds = [], []
    for count in (samples[0], *samples):  # the first compiles, and does not count
        start = time.perf_counter()
        images.append(np.array(mitsuba.render(scene, spp=count, seed=mitsuba.UInt32(count))))
        seconds.append(time.perf_counter() - start)
    return Pictures(np.stack(images[1:]), np.array(seconds[1:]), (kibibytes("VmHWM") - before) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cloud", type=Path, help="what pictures() wrote: ellipsoids and a camera")
    parser.add_argument("made", type=Path, help="where the pictures go")
    parser.add_argument("--samples", type=int, nargs="+", required=True, help="rays a pixel")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--centred", action="store_true", help="rays through the pixels' centres; one sample")
    options = parser.parse_args()
    with np.load(options.cloud) as file:
        given = dict(file)
    found = _render(given, options.samples, options.threads, options.centred)
    np.savez(options.made, images=found.images, seconds=found.seconds, mebibytes=found.mebibytes)


if __name__ == "__main__":
    main()
