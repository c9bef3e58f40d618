"""Chamfer distance, coverage, binding agreement and validity: known answers, brute force and invariants."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.measures import agreement, chamfer, count_error, coverage, distances, fault
from avatarbench.methods.pointillist.tokenizer import Cube, Tokenizer, Vocabulary

TOKENIZER = Tokenizer(Vocabulary(40, 12), Cube((-1.0, -1.0, -1.0), 2.0))
S, E, P = 52, 53, 54


def _cloud(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


@given(n=st.integers(1, 40), m=st.integers(1, 40), seed=st.integers(0, 2**31), shift=st.sampled_from([0.0, 50.0]))
@settings(max_examples=40, deadline=None)
def test_chamfer_is_what_brute_force_finds(n: int, m: int, seed: int, shift: float) -> None:
    a, b = _cloud(n, seed) + shift, _cloud(m, seed + 1)
    every = (a.double()[:, None] - b.double()[None]).square().sum(-1).sqrt()
    assert distances(a, b) == pytest.approx(every.amin(1).numpy(), rel=1e-12, abs=1e-12)
    expected = (every.amin(1).mean() + every.amin(0).mean()) / 2
    assert chamfer(a, b) == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


def test_chamfer_has_its_known_answer_in_metres() -> None:
    a = torch.tensor([[0.0, 0, 0]])
    b = torch.tensor([[0.003, 0, 0], [0.0, 0.004, 0]])
    assert chamfer(a, b) == pytest.approx((0.003 + (0.003 + 0.004) / 2) / 2)


def test_chamfer_is_symmetric_is_zero_for_the_same_points_and_knows_no_order() -> None:
    a, b = _cloud(30, 0), _cloud(20, 1)
    assert chamfer(a, b) == chamfer(b, a)
    assert chamfer(a, a.flip(0)) == 0
    assert chamfer(a.flip(0), b) == pytest.approx(chamfer(a, b), rel=1e-12)


@pytest.mark.parametrize("bad", [torch.zeros(0, 3), torch.zeros(3), torch.full((1, 3), torch.nan)])
def test_a_cloud_that_has_no_distance_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(DataError):
        chamfer(bad, torch.zeros(1, 3))
    with pytest.raises(DataError):
        chamfer(torch.zeros(1, 3), bad)


def test_coverage_counts_what_lies_within_reach_each_way() -> None:
    generated = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]])
    true = torch.tensor([[0.0, 0, 0.004], [5.0, 0, 0], [6.0, 0, 0], [0.9999, 0, 0]])
    assert coverage(generated, true, 0.005) == (1.0, 0.5)


def test_the_count_error_is_relative_and_signed() -> None:
    assert count_error(110, 100) == pytest.approx(0.1)
    assert count_error(50, 100) == -0.5
    with pytest.raises(DataError):
        count_error(1, 0)


FAN = (
    torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [9, 9, 9], [9, 9, 8], [9, 8, 9]]),
    torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6]]),
)


def test_a_point_above_its_face_agrees_its_neighbour_is_near_and_a_far_face_is_neither() -> None:
    vertices, faces = FAN
    above = torch.tensor([[0.8, 0.2, 0.1]])  # over face 0
    assert agreement(above, torch.tensor([0]), vertices, faces) == (1.0, 1.0)
    assert agreement(above, torch.tensor([1]), vertices, faces) == (0.0, 1.0)
    assert agreement(above, torch.tensor([2]), vertices, faces) == (0.0, 0.0)
    assert agreement(above.repeat(4, 1), torch.tensor([0, 0, 1, 2]), vertices, faces) == (0.5, 0.75)


@pytest.mark.parametrize("point", [[0.5, 0.5, 0.2], [0.0, 0.0, 0.3], [-1.0, -1.0, 0.0]])
def test_a_place_on_an_edge_or_a_corner_belongs_to_all_its_faces(point: list[float]) -> None:
    vertices, faces = FAN
    for bound in (0, 1):
        assert agreement(torch.tensor([point]), torch.tensor([bound]), vertices, faces).exact == 1.0


def test_bindings_that_are_no_faces_of_the_mesh_are_refused() -> None:
    vertices, faces = FAN
    with pytest.raises(DataError, match="mesh of 3 faces"):
        agreement(torch.zeros(1, 3), torch.tensor([3]), vertices, faces)


def _sequence(*body: int) -> torch.Tensor:
    return torch.tensor([S] * 4 + list(body))


@given(n=st.integers(1, 12), padding=st.integers(0, 5), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_an_encoded_cloud_has_no_fault(n: int, padding: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    positions = torch.rand(n, 3, generator=draw) * 2 - 1
    tokens = TOKENIZER.encode(positions, torch.randint(0, 12, (n,), generator=draw)).tokens
    assert fault(torch.cat([tokens, torch.full((padding,), P)]), TOKENIZER.vocabulary) is None


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        (torch.tensor([1, 2, 3, 40, E, E, E, E]), "start block"),
        (_sequence(E, E, E, E), "no point"),
        (_sequence(1, 2, 3, 40), "no end block"),
        (_sequence(1, 2, E, E, E, E), "not whole"),
        (_sequence(1, 2, 3, 40, E, E, E), "not whole"),
        (_sequence(1, 2, 3, 40, E, E, E, E, 1), "follows"),
        (_sequence(1, 2, 3, 40, P, P, P, P), "no end block"),
        (_sequence(1, 2, 40, 3, E, E, E, E), "a coordinate stands for a binding"),
        (_sequence(1, 2, 3, 4, E, E, E, E), "a coordinate stands for a binding"),
        (_sequence(1, 9, 3, 40, 1, 8, 3, 40, E, E, E, E), "y decreases"),
        (_sequence(1, 2, 3, 40, S, S, S, S), "no end block"),
    ],
)
def test_every_breach_of_the_grammar_is_named(tokens: torch.Tensor, why: str) -> None:
    found = fault(tokens, TOKENIZER.vocabulary)
    assert found is not None
    assert why in found
