"""The CPU renderer beside a float64 reference in plain PyTorch: values and every gradient."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numba
import pytest
import torch
from torch import Tensor

from avatarbench.gaussians.render import rasterise
from tests.conftest import ROOT, call
from tests.oracles.splats import reference, scene

NAMES = ("means", "quaternions", "scales", "opacities", "features", "views")


def _ours(inputs: list[Tensor], width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    found = rasterise(*inputs, width, height)
    return found.image, 1 - found.alpha, found.depth * found.alpha


def _gradients(outputs: tuple[Tensor, ...], inputs: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    loss = sum((o * w.to(o)).sum() for o, w in zip(outputs, weights, strict=True))
    return list(torch.autograd.grad(loss, inputs[:6]))


def _leaves(inputs: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [t.detach().to(dtype).requires_grad_(i < 6) for i, t in enumerate(inputs)]


@pytest.mark.parametrize("case", ["in view", "dense", "partly outside", "anisotropic", "one channel"])
def test_values_and_gradients_are_the_references(case: str) -> None:
    width, height = 44, 38
    inputs = scene(60, width, height, seed=len(case))
    if case == "dense":  # pixels end early
        inputs[2], inputs[3] = 4 * inputs[2], 0.9 + 0.1 * inputs[3]
    if case == "partly outside":
        inputs[0] = 3 * inputs[0]
    if case == "anisotropic":
        inputs[2] = inputs[2] * torch.tensor([3.0, 0.2, 1.0])
    if case == "one channel":
        inputs[4] = inputs[4][:, :1]
    expected_inputs = _leaves(inputs, torch.float64)
    expected = reference(*expected_inputs, width, height)
    draw = torch.Generator().manual_seed(1)
    weights = [torch.randn(o.shape, generator=draw, dtype=torch.float64) for o in expected]
    wanted = _gradients(expected, expected_inputs, weights)

    found_inputs = _leaves(inputs, torch.float32)
    found = _ours(found_inputs, width, height)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4
    for name, ours, theirs in zip(NAMES, _gradients(found, found_inputs, weights), wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max(), name


def test_float64_agrees_to_rounding() -> None:
    inputs = _leaves(scene(40, 30, 30), torch.float64)
    for ours, theirs in zip(_ours(inputs, 30, 30), reference(*inputs, 30, 30), strict=True):
        assert (ours - theirs).abs().max() < 1e-12


def test_gradient_of_screen_positions_is_the_gradient_of_shift() -> None:
    inputs = scene(20, 32, 32, cameras=1)
    shift = torch.zeros(1, 20, 2, dtype=torch.float64, requires_grad=True)
    image = rasterise(*inputs, 32, 32, shift=shift).image
    (found,) = torch.autograd.grad((image * image).sum(), shift)
    step = 1e-5
    for axis in range(2):
        moved = torch.zeros(1, 20, 2, dtype=torch.float64)
        moved[0, 3, axis] = step
        above = rasterise(*inputs, 32, 32, shift=moved).image.square().sum()
        below = rasterise(*inputs, 32, 32, shift=-moved).image.square().sum()
        assert found[0, 3, axis].item() == pytest.approx((above - below).item() / (2 * step), rel=1e-4)


@pytest.fixture
def _threads() -> Iterator[None]:
    """What a test sets ends with it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_result_does_not_depend_on_the_number_of_threads() -> None:
    inputs = _leaves(scene(200, 70, 50), torch.float32)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        image = rasterise(*inputs, 70, 50).image
        results.append([image.detach(), *torch.autograd.grad(image.square().sum(), inputs[:6])])
        assert torch.get_num_threads() == threads
        assert numba.get_num_threads() == min(threads, numba.config.NUMBA_NUM_THREADS)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_rendering_leaves_torch_the_number_of_threads_that_the_user_chose() -> None:
    """In a fresh process, where numba starts its threads only with the first picture."""
    code = (
        "import torch; from tests.oracles.splats import scene; from avatarbench.gaussians.render import rasterise;"
        "torch.set_num_threads({0}); rasterise(*scene(5, 16, 16), 16, 16); print(torch.get_num_threads())"
    )
    for threads in (1, 3):
        done = call([sys.executable, "-c", code.format(threads)], ROOT)
        assert done.stdout.strip() == str(threads), done.stderr
