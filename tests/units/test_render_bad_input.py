"""What a renderer meets that is not a picture-book cloud: it renders as the float64 reference does, or says what is
wrong by name and index."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.render import rasterise, render
from avatarbench.gaussians.rigged import face_frames, to_world
from avatarbench.method import Camera
from tests.conftest import ROOT, call
from tests.oracles.splats import reference, scene

WIDTH, HEIGHT = 20, 12
NAMES = ("means", "quaternions", "scales", "opacities", "features", "views", "intrinsics")


def _inputs(count: int = 12, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {name: t.to(dtype) for name, t in zip(NAMES, scene(count, WIDTH, HEIGHT, seed=2), strict=True)}


def _agrees(inputs: dict[str, Tensor], width: int = WIDTH, height: int = HEIGHT) -> Tensor:
    """The picture, which is the reference's and has finite gradients."""
    leaves = {n: t.detach().clone().requires_grad_(n != "intrinsics") for n, t in inputs.items()}
    found = rasterise(*leaves.values(), width, height)
    image, through, depth = reference(*(t.double() for t in inputs.values()), width, height)
    for ours, theirs in ((found.image, image), (1 - found.alpha, through), (found.depth * found.alpha, depth)):
        assert ours.shape == theirs.shape
        assert torch.allclose(ours.double(), theirs, rtol=1e-4, atol=1e-4)
    (found.image.square().sum() + found.alpha.sum() + found.depth.sum()).backward()
    for name, leaf in leaves.items():
        assert leaf.grad is None or torch.isfinite(leaf.grad).all(), name
    return found.image.detach()


def _with(name: str, value: Tensor | float, at: int | None = None) -> Callable[[dict[str, Tensor]], None]:
    def change(inputs: dict[str, Tensor]) -> None:
        inputs[name] = inputs[name].clone()
        inputs[name][slice(None) if at is None else at] = value

    return change


@pytest.mark.parametrize(
    ("count", "change"),
    [
        pytest.param(0, lambda inputs: None, id="no Gaussian"),
        pytest.param(1, lambda inputs: None, id="one Gaussian"),
        pytest.param(12, _with("scales", 0.0), id="scales of zero"),
        pytest.param(12, _with("scales", torch.tensor([0.0, 0.3, 0.3])), id="flat"),
        pytest.param(12, _with("scales", 1e4, 3), id="one that covers the picture"),
        pytest.param(12, _with("opacities", 0.0), id="opacity zero"),
        pytest.param(12, _with("opacities", 1.0), id="opacity one"),
        pytest.param(12, _with("means", torch.tensor([0.0, 0.0, -5.0])), id="behind the cameras"),
        pytest.param(12, _with("means", torch.tensor([0.0, 0.0, -3.0]), 4), id="on a camera"),
        pytest.param(12, _with("means", torch.tensor([0.0, 0.0, -2.98]), 4), id="just before a camera"),
        pytest.param(12, _with("means", 1e6, 4), id="far away"),
        pytest.param(12, _with("means", torch.tensor([0.1, 0.2, 0.3])), id="all in one place"),
        pytest.param(12, _with("quaternions", torch.tensor([1e-4, 0.0, 0.0, 2e-4]), 0), id="a short quaternion"),
        pytest.param(12, _with("views", torch.eye(4)), id="cameras inside"),
        pytest.param(12, lambda inputs: inputs.update(features=torch.rand(12, 1)), id="one channel"),
        pytest.param(12, lambda inputs: inputs.update(features=torch.rand(12, 32)), id="32 channels"),
    ],
)
def test_extremes_render_as_the_reference(count: int, change: Callable[[dict[str, Tensor]], None]) -> None:
    torch.manual_seed(0)
    inputs = _inputs(count)
    change(inputs)
    _agrees(inputs)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 33), (33, 1), (17, 16), (48, 5)])
def test_any_size_of_picture(width: int, height: int) -> None:
    inputs = _inputs()
    inputs["intrinsics"][:] = torch.tensor([[20.0, 0, width / 2], [0, 20, height / 2], [0, 0, 1]])
    _agrees(inputs, width, height)


@pytest.mark.parametrize("size", [1e6, 1e15, 1e25, 1e36])
def test_a_gaussian_wider_than_whole_numbers_reach_covers_the_picture(size: float) -> None:
    inputs = _inputs(1)
    _with("means", 0.0)(inputs)
    _with("scales", size)(inputs)
    _with("opacities", 0.5)(inputs)
    found = rasterise(*inputs.values(), WIDTH, HEIGHT)
    assert torch.allclose(found.alpha, torch.full_like(found.alpha, 0.5))
    assert (found.radii > WIDTH).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_longer_needle_through_the_picture_looks_the_same(dtype: torch.dtype) -> None:
    pictures = []
    for length in (1e3, 1e5, 1e6, 1e8, 1e10):
        inputs = _inputs(1, dtype)
        _with("means", 0.0)(inputs)
        _with("scales", torch.tensor([length, 1e-3, 1e-3], dtype=dtype))(inputs)
        _with("quaternions", torch.tensor([math.cos(math.pi / 8), 0, 0, math.sin(math.pi / 8)], dtype=dtype))(inputs)
        _with("opacities", 0.9)(inputs)
        pictures.append(rasterise(*inputs.values(), WIDTH, HEIGHT).alpha)
    assert pictures[0].amax() > 0.5
    for picture in pictures[1:]:
        assert torch.allclose(picture, pictures[0], atol=1e-3)


def test_rendering_in_a_fork_of_a_process_that_rendered_is_refused() -> None:
    code = """
import os, sys
from tests.oracles.splats import scene
from avatarbench.errors import UsageError
from avatarbench.gaussians.render import rasterise
inputs = scene(5, 16, 16)
rasterise(*inputs, 16, 16)
child = os.fork()
if child == 0:
    try:
        rasterise(*inputs, 16, 16)
    except UsageError as error:
        print(error, flush=True)
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""
    done = call([sys.executable, "-c", code], ROOT)
    assert done.returncode == 0, done.stderr
    assert "use the spawn start method" in done.stdout


def test_a_gaussian_that_shows_in_one_corner_pixel_counts_as_visible() -> None:
    inputs = _inputs(1)
    _with("means", 0.0)(inputs)
    _with("scales", 1e-4)(inputs)
    _with("opacities", 0.9)(inputs)
    inputs["intrinsics"][:, :2, 2] = -1.0
    found = rasterise(*inputs.values(), WIDTH, HEIGHT)
    assert (found.radii[:, 0] > 0).all()


@pytest.mark.parametrize("name", ["means", "quaternions", "scales", "opacities", "features"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_refused_by_name_and_index(name: str, value: float) -> None:
    inputs = _inputs()
    _with(name, value, 5)(inputs)
    with pytest.raises(DataError, match=f"'{name}' are NaN or infinite for 1 Gaussians, the first of them 5"):
        rasterise(*inputs.values(), WIDTH, HEIGHT)


def test_a_zero_quaternion_is_refused_by_index() -> None:
    inputs = _inputs()
    _with("quaternions", 0.0, 7)(inputs)
    with pytest.raises(DataError, match="'quaternions' are zero for 1 Gaussians, the first of them 7"):
        rasterise(*inputs.values(), WIDTH, HEIGHT)


@pytest.mark.parametrize(("name", "value"), [("views", float("nan")), ("intrinsics", float("inf")), ("intrinsics", 0)])
def test_a_camera_that_is_none_is_refused_by_index(name: str, value: float) -> None:
    inputs = _inputs()
    _with(name, value, 1)(inputs)
    with pytest.raises(DataError, match="camera 1 has NaN or infinite numbers, or no focal length"):
        rasterise(*inputs.values(), WIDTH, HEIGHT)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_types_that_the_kernels_do_not_expect_are_refused_by_name(name: str) -> None:
    inputs = _inputs()
    for wrong in (inputs[name][..., :-1] if name != "features" else inputs[name][:-1], inputs[name][None, None]):
        if name == "opacities" and wrong.ndim == 1:
            wrong = inputs[name][:-1]
        with pytest.raises(ValueError, match=r"'\w+' is \(.*\) for \d+ Gaussians"):
            rasterise(*(inputs | {name: wrong}).values(), WIDTH, HEIGHT)
    if name != "means":
        with pytest.raises(ValueError, match=f"'{name}' is torch.float64"):
            rasterise(*(inputs | {name: inputs[name].double()}).values(), WIDTH, HEIGHT)


def test_what_no_backend_renders_is_refused() -> None:
    inputs = _inputs()
    with pytest.raises(ValueError, match="float32 and float64 are rendered"):
        rasterise(*(t.half() for t in inputs.values()), WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="0 x 5 pixels"):
        rasterise(*inputs.values(), 0, 5)
    with pytest.raises(ValueError, match="gsplat renders float32 tensors on CUDA"):
        rasterise(*inputs.values(), WIDTH, HEIGHT, backend="gsplat")
    with pytest.raises(ValueError, match="'background'"):
        rasterise(*inputs.values(), WIDTH, HEIGHT, background=torch.ones(4))


def test_no_camera_gives_no_picture() -> None:
    inputs = _inputs()
    none = {name: inputs[name][:0] for name in ("views", "intrinsics")}
    assert rasterise(*(inputs | none).values(), WIDTH, HEIGHT).image.shape == (0, HEIGHT, WIDTH, 3)


def test_cameras_of_a_call_are_some_and_of_one_size() -> None:
    inputs = _inputs()
    cloud = Cloud(*(inputs[name] for name in NAMES[:5]))
    k, view = (inputs[name][0].double().numpy() for name in ("intrinsics", "views"))
    with pytest.raises(ValueError, match="no camera"):
        render(cloud, [])
    with pytest.raises(ValueError, match="one size"):
        render(cloud, [Camera(k, view, 8, 8), Camera(k, view, 9, 8)])


@pytest.mark.parametrize("where", [0, 15])
def test_harmonics_that_are_none_are_refused(where: int) -> None:
    inputs = _inputs()
    cloud = Cloud(*(inputs[name] for name in NAMES[:4]), torch.zeros(12, 16, 3))
    camera = Camera(np.asarray(inputs["intrinsics"][0], np.float64), np.asarray(inputs["views"][0]), WIDTH, HEIGHT)
    assert torch.isfinite(render(cloud, [camera]).image).all()
    broken = cloud.colours.clone()
    broken[3, where, 1] = float("nan")
    with pytest.raises(DataError, match="'features' are NaN or infinite for 1 Gaussians, the first of them 3"):
        render(replace(cloud, colours=broken), [camera])


def test_harmonics_of_a_gaussian_at_the_cameras_own_place_have_finite_gradients() -> None:
    inputs = _inputs()
    means = inputs["means"].clone()
    means[0] = torch.tensor([0.0, 0.0, -3.0])
    means.requires_grad_()
    cloud = Cloud(means, *(inputs[name] for name in NAMES[1:4]), torch.rand(12, 4, 3))
    camera = Camera(np.asarray(inputs["intrinsics"][0], np.float64), np.asarray(inputs["views"][0]), WIDTH, HEIGHT)
    render(cloud, [camera]).image.sum().backward()
    assert means.grad is not None
    assert torch.isfinite(means.grad).all()


@pytest.mark.parametrize(
    "corners",
    [
        pytest.param([[0.0, 0, 0], [0, 0, 0], [0, 0, 0]], id="a point"),
        pytest.param([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]], id="a line"),
        pytest.param([[0.0, 0, 0], [0, 0, 0], [0, 0.1, 0]], id="no first edge"),
    ],
)
def test_a_gaussian_on_a_triangle_without_area_renders_with_finite_gradients(corners: list[list[float]]) -> None:
    inputs = _inputs(1)
    vertices = torch.tensor(corners, requires_grad=True)
    local = Cloud(*(inputs[name] for name in NAMES[:5]), torch.tensor([0]))
    moved = to_world(local, face_frames(vertices, torch.tensor([[0, 1, 2]])).of(torch.tensor([0])))
    camera = Camera(np.asarray(inputs["intrinsics"][0], np.float64), np.asarray(inputs["views"][0]), WIDTH, HEIGHT)
    image = render(moved, [camera]).image
    image.sum().backward()
    assert vertices.grad is not None
    assert torch.isfinite(image).all()
    assert torch.isfinite(vertices.grad).all()
