"""One picture does not tell how large a head is: clouds have the size of the head that was tracked."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.tracked_size import cloud_on, relative_scale
from avatarbench.methods.pointillist.training.trainer import Trainer
from tests.pointillist_tiny import TinyEncoder, TinySet, tiny_config


class Giants(TinySet):
    """The same people and portraits, but the heads and clouds are truly ``factor`` times as large."""

    factor = 1.25

    def rest(self, person: str) -> torch.Tensor:
        return super().rest(person) * (self.factor if self._true else 1.0)

    def __post_init__(self) -> None:
        self._true = True
        super().__post_init__()

    def portraits(self, person: str):  # type: ignore[no-untyped-def]  # as TinySet's
        self._true = False
        try:
            return super().portraits(person)
        finally:
            self._true = True


def test_the_scale_is_that_of_the_mesh_whatever_its_noise() -> None:
    true = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    noise = 0.01 * torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    assert relative_scale(0.93 * true, true) == pytest.approx(0.93)
    assert relative_scale(0.93 * true + noise, true) == pytest.approx(0.93, abs=2e-3)


@pytest.mark.parametrize("portrait", [0, 1])
def test_a_cloud_has_the_size_of_the_head_tracked_in_that_portrait(portrait: int) -> None:
    tiny = TinySet()
    found, fitted = cloud_on(tiny, "001", portrait), tiny.cloud("001")
    assert torch.allclose(found.positions, fitted.positions * (1 + 0.01 * portrait))
    assert torch.equal(found.bindings, fitted.bindings)


def test_how_large_people_truly_are_changes_nothing_that_is_learnt() -> None:
    config = tiny_config()
    ours, theirs = (
        Trainer(subjects, config, TinyEncoder(), Accelerator()).batches.batch(0) for subjects in (TinySet(), Giants())
    )
    assert ((ours.tokens - theirs.tokens).abs() <= 1).all()  # rounding may move a point to the level beside
    assert torch.equal(ours.samples, theirs.samples)


def test_meshes_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(DataError, match="two rigs"):
        relative_scale(torch.ones(3, 3), torch.ones(4, 3))
    with pytest.raises(DataError, match="times as large"):
        relative_scale(torch.full((3, 3), torch.nan), torch.ones(3, 3))
