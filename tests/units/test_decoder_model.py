"""The Gaussian decoder: what it reads, what it keeps apart, and the bounds that no weights break."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.decoder.config import Variant
from avatarbench.methods.pointillist.decoder.model import Attributes, Heads
from tests.units.decoder_tiny import tiny_config, tiny_decoder, tiny_inputs

VARIANTS: tuple[Variant, ...] = ("full", "flame-position", "ar-feature", "ar-position")


def _same(found: Attributes, expected: Attributes) -> bool:
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(found, expected, strict=True))


def _differ(found: Attributes, expected: Attributes) -> bool:
    return all(not torch.allclose(a, b, rtol=1e-2, atol=1e-4) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_points_have_no_order(variant: Variant) -> None:
    model, read = tiny_decoder(variant), tiny_inputs()
    turned = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    straight = model(*read)
    found = model(read.points[:, turned], read.states[:, turned], read.image)
    assert _same(found, Attributes(*(value[:, turned] for value in straight)))
    assert not _same(found, straight)


@pytest.mark.parametrize("padding", [0.0, 1e6, math.nan, math.inf])
def test_padding_changes_nothing_for_the_others(padding: float) -> None:
    model, read = tiny_decoder(), tiny_inputs(batch=1)
    mask = (torch.arange(14) < 9)[None]
    points, states = torch.full((1, 14, 3), padding), torch.full((1, 14, 4, 6), padding)
    points[:, :9], states[:, :9] = read.points, read.states
    found = model(points, states, read.image, mask)
    assert _same(found.subject(0, 9), model(*read).subject(0))
    sum((value[:, :9].sum() for value in found), torch.zeros(())).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_a_mask_that_hides_nothing_is_no_mask() -> None:
    model, read = tiny_decoder(), tiny_inputs()
    assert _same(model(*read, torch.ones(2, 9, dtype=torch.bool)), model(*read))


def test_subjects_of_a_batch_know_nothing_of_each_other() -> None:
    model, read = tiny_decoder(), tiny_inputs(batch=3)
    mask = torch.arange(9) < torch.tensor([[9], [4], [7]])
    together = model(*read, mask)
    for index, count in enumerate((9, 4, 7)):
        alone = model(*(value[index : index + 1, :count] for value in read[:2]), read.image[index : index + 1])
        assert _same(together.subject(index, count), alone.subject(0))


def test_every_point_and_image_token_is_attended_to() -> None:
    model, read = tiny_decoder(), tiny_inputs(batch=1)
    points, image = read.points.requires_grad_(), read.image.requires_grad_()
    model(points, read.states, image).colours[0, 0].sum().backward()
    assert points.grad is not None
    assert image.grad is not None
    assert bool((points.grad[0].abs().amax(1) > 0).all())
    assert bool((image.grad[0].abs().amax(1) > 0).all())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_reads_its_parts_and_no_others(variant: Variant) -> None:
    model, read, other = tiny_decoder(variant), tiny_inputs(), tiny_inputs(seed=5)
    before = model(*read)
    check = _differ if model.config.reads_positions else _same
    assert check(model(other.points, read.states, read.image), before)
    check = _differ if model.config.reads_states else _same
    assert check(model(read.points, other.states, read.image), before)
    assert _differ(model(read.points, read.states, other.image), before)


@pytest.mark.parametrize("slot", range(4))
def test_each_of_a_points_four_states_counts(slot: int) -> None:
    model, read = tiny_decoder(), tiny_inputs()
    changed = read.states.clone()
    changed[:, :, slot] += 1
    assert _differ(model(read.points, changed, read.image), model(*read))


def test_states_may_come_in_half_precision() -> None:
    model, read = tiny_decoder(), tiny_inputs()
    half = read.states.half()
    assert _same(model(read.points, half, read.image), model(read.points, half.float(), read.image))


def test_states_that_are_missing_or_of_another_model_are_refused() -> None:
    model, read = tiny_decoder(), tiny_inputs()
    for states, named in ((None, "was given none"), (read.states[..., :5], r"was given \(2, 9, 4, 5\)")):
        with pytest.raises(DataError, match=named):
            model(read.points, states, read.image)
    tiny_decoder("ar-position")(read.points, None, read.image)


def test_an_untrained_decoder_gives_the_configured_start() -> None:
    model, read = tiny_decoder(seed=None), tiny_inputs()
    found = model(*read)
    expected = (0.4, 0.8, 0.01, torch.tensor([1.0, 0, 0, 0]), 0.0)
    for value, start in zip(found, expected, strict=True):
        assert torch.allclose(value, torch.as_tensor(start).expand_as(value), atol=1e-6)


def test_the_first_step_moves_every_attribute_and_later_ones_the_rest() -> None:
    """Heads that start at zero hand no gradient on; after one step they do."""
    model, read = tiny_decoder(seed=None), tiny_inputs()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(2):
        optimiser.zero_grad()
        found = model(*read)
        # Offsets, quaternions' own direction and scales must have somewhere to go.
        sum((((value - 0.3) * value).sum() for value in found), torch.zeros(())).backward()
        moved = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        heads = {f"heads.{head}.weight" for head in ("colour", "opacity", "scale", "quaternion", "offset")}
        assert heads <= moved
        assert step == 0 or all(p.grad is not None for p in model.parameters())
        optimiser.step()
    assert {"positions.0.weight", "states.0.weight", "image.project.weight", "blocks.1.image.project.weight"} <= moved


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(-3, 4))
def test_no_weights_break_the_bounds(seed: int, magnitude: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    heads = Heads(tiny_config())
    for parameter in heads.parameters():
        parameter.data = 10**magnitude * torch.randn(parameter.shape, generator=draw)
    x = (10**magnitude * torch.randn(1, 20, 16, generator=draw)).requires_grad_()
    found = heads(x)
    for value, low, high in (
        (found.colours, 0, 1), (found.opacities, 0, 1), (found.scales, 0.001, 0.04), (found.offsets, -0.05, 0.05)
    ):  # fmt: skip
        low, high = (torch.tensor(float(bound)) for bound in (low, high))
        assert bool(((value >= low) & (value <= high)).all())
    assert torch.allclose(found.quaternions.norm(dim=-1), torch.ones(1, 20), atol=1e-5)
    sum((value.sum() for value in found), torch.zeros(())).backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


def test_a_quaternion_of_length_zero_is_no_rotation() -> None:
    heads = Heads(tiny_config())
    heads.quaternion.bias.data.zero_()
    found = heads(torch.randn(1, 2, 16, generator=torch.Generator().manual_seed(0), requires_grad=True))
    assert torch.equal(found.quaternions, torch.tensor([1.0, 0, 0, 0]).expand(1, 2, 4))
    found.quaternions.sum().backward()
    assert heads.quaternion.weight.grad is not None
    assert bool(torch.isfinite(heads.quaternion.weight.grad).all())


def test_checkpointing_changes_no_gradient() -> None:
    read = tiny_inputs()
    gradients = []
    for checkpointing in (False, True):
        model = tiny_decoder(checkpointing=checkpointing).train()
        sum((value.sum() for value in model(*read)), torch.zeros(())).backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        assert plain is not None
        assert torch.equal(plain, again)


@torch.no_grad()
@pytest.mark.filterwarnings("error")
def test_attributes_are_float32_and_near_under_bf16() -> None:
    model, read = tiny_decoder(), tiny_inputs()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(*read)
    assert {value.dtype for value in found} == {torch.float32}
    for value, exact in zip(found, model(*read), strict=True):
        assert float((value - exact).abs().mean()) < 0.05 * float(exact.abs().max())


class _Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for value in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(value, Tensor) and value.numel():
                held = value.untyped_storage().nbytes() // value.element_size()  # a broadcast mask holds little
                self.found = max(self.found, held)
        return made


@pytest.mark.parametrize("padded", [False, True])
def test_nothing_is_as_large_as_the_points_squared(padded: bool) -> None:
    """Forwards and backwards the largest tensor doubles with the points, as do all others."""
    model, sizes = tiny_decoder(), []
    for count in (1_000, 2_000):
        read = tiny_inputs(batch=1, count=count)
        mask = torch.arange(count)[None] < count - 3 if padded else None
        with _Largest() as largest:
            sum((value.sum() for value in model(*read, mask)), torch.zeros(())).backward()
        sizes.append(largest.found)
    assert 0 < sizes[1] <= 2 * sizes[0]
    assert sizes[1] < 2_000**2 / 10


def test_the_last_block_carries_no_image_stream() -> None:
    names = {name for name, _ in tiny_decoder().named_parameters()}
    assert "blocks.0.image.out.weight" in names
    assert not any(name.startswith(("blocks.1.image.out", "blocks.1.image.feed")) for name in names)


def test_the_same_seed_gives_the_same_decoder() -> None:
    first, second = (tiny_decoder(seed=None).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
