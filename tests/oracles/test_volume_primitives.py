"""Our renderer beside rays through Mitsuba's ellipsoids: another program's geometry, and no projection at all.

Mitsuba says which ellipsoids a pixel's ray enters, in which order; a Gaussian then counts with the peak of its density
along the ray, which is the rule of Mitsuba's ``volprim_rf_basic`` and of ray-traced Gaussians (Moenne-Loccoz et al.
2024). That integrator itself needs a compiler that not every machine has: tests/extra compares with it.

What must differ: we project affinely, which a Gaussian that is wide against its distance shows; we order by centres and
Mitsuba by entries, which Gaussians that reach into each other show; we evaluate harmonics towards a centre, Mitsuba
along the ray. The dilation of 0.3 pixels has no counterpart and is off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.gaussians import harmonics
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.render import camera_tensors, rasterise
from avatarbench.method import Camera
from avatarbench.openheads.scene import mitsuba
from benchmarks.mitsuba_splats import apart, arrays, crowd, magnified, sensor, shape

Picture = NDArray[np.float64]
STEP = 1e-4  # metres from one entry to where the next is looked for


def ours(cloud: Cloud, camera: Camera) -> Picture:
    views, intrinsics, width, height = camera_tensors([camera], cloud.means)
    colours = harmonics.colours(cloud.colours, cloud.means, views)
    gaussians = (cloud.means, cloud.quaternions, cloud.scales, cloud.opacities)
    found = rasterise(*gaussians, colours, views, intrinsics, width, height, eps2d=0)
    return found.image[0].double().numpy()


@dataclass(frozen=True)
class Traced:
    """Which ellipsoids each pixel's ray enters, nearest entry first; ``directions`` (H W, 3) and ``origin`` (3,) of the
    rays; all in the magnified world of ``cloud`` and ``camera``."""

    cloud: Cloud
    camera: Camera
    entered: list[list[int]]
    directions: Tensor
    origin: Tensor

    def picture(self, by_centres: bool = False) -> Picture:
        """(H, W, 3): in the order of entries, or in that of centres, which is a renderer's of splats."""
        cloud, matrix = self.cloud.to(torch.float64), _rotations(self.cloud.quaternions.double())
        basis = harmonics.basis(self.directions, cloud.degree or 0)
        depth = cloud.means @ torch.from_numpy(self.camera.world_to_camera[2, :3])
        image = np.zeros((len(self.directions), 3))
        for pixel, entered in enumerate(self.entered):
            index = torch.tensor(entered, dtype=torch.int64)
            if by_centres:
                index = index[depth[index].argsort()]
            turn = matrix[index].transpose(1, 2)
            o = (turn @ (self.origin - cloud.means[index])[..., None])[..., 0] / cloud.scales[index]
            d = (turn @ self.directions[pixel]) / cloud.scales[index]
            nearest = o - d * (o * d).sum(1, keepdim=True) / d.square().sum(1, keepdim=True)
            alpha = (cloud.opacities[index] * torch.exp(-0.5 * nearest.square().sum(1))).clamp_max(0.9999)
            before = torch.cat([alpha.new_ones(1), torch.cumprod(1 - alpha, 0)])[:-1]
            colours = (torch.einsum("k,nkc->nc", basis[pixel], cloud.colours[index]) + 0.5).clamp_min(0)
            image[pixel] = ((alpha * before)[:, None] * colours).sum(0).numpy()
        return image.reshape(self.camera.height, self.camera.width, 3)


def traced(cloud: Cloud, camera: Camera) -> Traced:
    """By Mitsuba: its camera, through the pixels' centres, and its ellipsoids."""
    cloud, camera = magnified(cloud, camera)
    mi = mitsuba()
    scene = mi.load_dict({"type": "scene", "shape": shape(mi, arrays(cloud))})
    eye = mi.load_dict(sensor(mi, camera.K, camera.world_to_camera, camera.width, camera.height))
    entered: list[list[int]] = []
    directions = []
    for y in range(camera.height):
        for x in range(camera.width):
            ray, _ = eye.sample_ray(0, 0, [(x + 0.5) / camera.width, (y + 0.5) / camera.height], [0.5, 0.5])
            directions.append(list(ray.d))
            origin = list(ray.o)
            entered.append([])
            while (hit := scene.ray_intersect(ray, mi.RayFlags.Minimal, False)).is_valid():
                entered[-1].append(hit.prim_index)
                ray = mi.Ray3f(ray(hit.t + STEP), ray.d)
    return Traced(cloud, camera, entered, torch.tensor(directions).double(), torch.tensor(origin).double())


def _rotations(quaternions: Tensor) -> Tensor:
    """By Rodrigues' formula from axis and angle, so that no code of ours turns its own quaternions here."""
    unit = torch.nn.functional.normalize(quaternions, dim=1)
    sine, cosine = unit[:, 1:].norm(dim=1), unit[:, 0]
    x, y, z = (unit[:, 1:] / sine[:, None]).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).unflatten(1, (3, 3))
    angle = 2 * torch.atan2(sine, cosine)[:, None, None]
    return torch.eye(3).to(unit) + angle.sin() * cross + (1 - angle.cos()) * cross @ cross


def psnr(one: Picture, other: Picture) -> float:
    return -10 * math.log10(float(np.square(one - other).mean()))


@pytest.fixture(scope="module")
def lone() -> tuple[Cloud, Camera, Picture]:
    cloud, camera = apart(48)
    return cloud, camera, traced(cloud, camera).picture()


def test_gaussians_apart_are_the_ellipsoids_that_rays_meet(lone: tuple[Cloud, Camera, Picture]) -> None:
    cloud, camera, picture = lone
    assert picture.max() > 0.5
    assert psnr(ours(cloud, camera), picture) > 54


def _sign(coefficient: int) -> Callable[[Cloud], Cloud]:
    def change(cloud: Cloud) -> Cloud:
        colours = cloud.colours.clone()
        colours[:, coefficient] *= -1
        return replace(cloud, colours=colours)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c: replace(c, quaternions=c.quaternions.roll(1, 1)), id="the real part last"),
        pytest.param(lambda c: replace(c, quaternions=c.quaternions * torch.tensor([-1, 1, 1, 1])), id="inverse turns"),
        pytest.param(lambda c: replace(c, scales=c.scales.roll(1, 1)), id="axes of the scales"),
        pytest.param(lambda c: replace(c, scales=c.scales * 1.1), id="a tenth wider"),
        pytest.param(lambda c: replace(c, opacities=c.opacities * 0.9), id="a tenth clearer"),
        *(pytest.param(lambda c, a=a: replace(c, means=c.means * (1 - 2 * (torch.arange(3) == a))), id=f"axis {a}")
          for a in range(3)),
        *(pytest.param(_sign(coefficient), id=f"sign of harmonic {coefficient}") for coefficient in range(16)),
    ],
)  # fmt: skip
def test_a_mistaken_convention_would_be_seen(
    lone: tuple[Cloud, Camera, Picture], change: Callable[[Cloud], Cloud]
) -> None:
    cloud, camera, picture = lone
    assert psnr(ours(change(cloud), camera), picture) < 47


@pytest.mark.parametrize(("row", "column"), [(0, 2), (1, 2), (0, 0), (1, 1)])
def test_a_camera_that_is_a_little_another_would_be_seen(
    lone: tuple[Cloud, Camera, Picture], row: int, column: int
) -> None:
    cloud, camera, picture = lone
    k = camera.K.copy()
    k[row, column] += 0.5 if column == 2 else 2
    assert psnr(ours(cloud, replace(camera, K=k)), picture) < 47


def test_gaussians_that_reach_into_each_other_differ_by_their_order() -> None:
    cloud, camera = crowd(200, 32)
    rays = traced(cloud, camera)
    found = ours(cloud, camera)
    assert psnr(found, rays.picture()) > 38
    assert psnr(found, rays.picture(by_centres=True)) > 41
