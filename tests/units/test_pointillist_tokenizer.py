"""AvatarPointillist's tokens: an exact inverse on quantised clouds, blind to the order of points, strict."""

from __future__ import annotations

import json
import warnings
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.tokenizer import (
    BINDING,
    SLOTS,
    Cube,
    PointsWarning,
    Tokenizer,
    Up,
    Vocabulary,
    from_sequence,
    to_sequence,
)

RIG = 10_144
SMALL = Tokenizer(Vocabulary(8, 5), Cube((0.0, 0.0, 0.0), 8.0), "y")
"""Bins of one metre: the level is the metre."""
FAR = Cube((-0.21, 1.3, 0.02), 0.3)


class Case(NamedTuple):
    tokenizer: Tokenizer
    levels: Tensor
    bindings: Tensor
    seed: int


@st.composite
def quantised(draw: st.DrawFn) -> Case:
    """A tokenizer of any cube that float32 can hold, and any points on its levels, some of them equal."""
    vocabulary = Vocabulary(draw(st.sampled_from([2, 7, 128, 1024])), draw(st.sampled_from([1, 3, 1199, RIG])))
    low = st.floats(-2, 2, allow_subnormal=False)
    cube = Cube((draw(low), draw(low), draw(low)), draw(st.floats(0.05, 4)))
    up: Up = draw(st.sampled_from(["y", "z"]))
    seed = draw(st.integers(0, 2**32))
    generator = torch.Generator().manual_seed(seed)
    count = draw(st.integers(1, 60))
    levels = torch.randint(vocabulary.levels, (count, 3), generator=generator)
    bindings = torch.randint(vocabulary.faces, (count,), generator=generator)
    return Case(Tokenizer(vocabulary, cube, up), levels, bindings, seed)


def one(*place: float, tokenizer: Tokenizer = SMALL, binding: int = 0) -> list[int]:
    """Tokens of one point."""
    return tokenizer.encode(torch.tensor([place]), torch.tensor([binding])).tokens.tolist()[SLOTS:-SLOTS]


@settings(max_examples=150, deadline=None)
@given(quantised())
def test_encode_and_decode_are_exact_inverses_on_quantised_clouds(case: Case) -> None:
    tokenizer = case.tokenizer
    first = tokenizer.encode(tokenizer.dequantise(case.levels), case.bindings)
    points = tokenizer.decode(first.tokens)
    again = tokenizer.encode(*points)
    assert torch.equal(again.tokens, first.tokens)
    assert again.duplicates == first.duplicates
    assert torch.equal(tokenizer.decode(again.tokens).positions, points.positions)
    assert first.clamped == again.clamped == 0
    expected = sorted(torch.cat([case.levels, case.bindings[:, None]], 1).tolist())
    assert sorted(tokenizer.rows(first.tokens).tolist()) == expected


@settings(max_examples=100, deadline=None)
@given(quantised(), st.floats(0.2, 3))
def test_the_order_of_points_says_nothing_in_any_cloud(case: Case, spread: float) -> None:
    """Clouds that were never quantised, reaching out of the cube."""
    generator = torch.Generator().manual_seed(case.seed)
    cube = case.tokenizer.cube
    unit = (torch.rand(len(case.levels), 3, generator=generator) - 0.5) * spread + 0.5
    positions = from_sequence(unit * cube.side + torch.tensor(cube.low), case.tokenizer.up)
    order = torch.randperm(len(positions), generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PointsWarning)
        straight = case.tokenizer.encode(positions, case.bindings)
        mixed = case.tokenizer.encode(positions[order], case.bindings[order])
    assert torch.equal(straight.tokens, mixed.tokens)
    assert straight[1:] == mixed[1:]
    near = 1e-4  # of the cube's side: whether float32 leaves a point inside is another test's matter
    surely, perhaps = (int(((unit < -off) | (unit > 1 + off)).any(1).sum()) for off in (near, -near))
    assert surely <= straight.clamped <= perhaps
    points = case.tokenizer.decode(straight.tokens)
    assert torch.equal(case.tokenizer.encode(*points).tokens, straight.tokens)


@settings(max_examples=100, deadline=None)
@given(quantised())
def test_a_point_in_the_cube_moves_by_half_a_bin_at_most(case: Case) -> None:
    generator = torch.Generator().manual_seed(case.seed)
    tokenizer = case.tokenizer
    unit = torch.rand(len(case.levels), 3, dtype=torch.float64, generator=generator)
    low, side = torch.tensor(tokenizer.cube.low, dtype=torch.float64), tokenizer.cube.side
    positions = from_sequence(unit * side + low, tokenizer.up).float()
    levels, outside = tokenizer.quantise(positions)
    moved = (tokenizer.dequantise(levels).double() - positions.double()).abs().max()
    assert not outside.any()
    assert float(moved) <= 0.5 * side / tokenizer.vocabulary.levels + 1e-6


@settings(max_examples=60, deadline=None)
@given(quantised())
def test_a_sequence_is_sorted_by_y_z_x_binding(case: Case) -> None:
    tokens = case.tokenizer.encode(case.tokenizer.dequantise(case.levels), case.bindings).tokens
    keys = [(y, z, x, b) for x, y, z, b in case.tokenizer.rows(tokens).tolist()]
    assert keys == sorted(keys)


def test_a_known_cloud_has_known_tokens() -> None:
    positions = torch.tensor([[5.5, 2.0, 0.9], [1.0, 1.99, 7.9], [4.2, 2.3, 0.1], [4.2, 2.3, 0.1]])
    found = SMALL.encode(positions, torch.tensor([0, 4, 3, 2]))
    s, e = 13, 14
    assert found.tokens.tolist() == [s] * 4 + [1, 1, 7, 12] + [4, 2, 0, 10] + [4, 2, 0, 11] + [5, 2, 0, 8] + [e] * 4
    assert (found.clamped, found.duplicates) == (0, 0)
    decoded = SMALL.decode(found.tokens)
    assert decoded.positions.tolist() == [[1.5, 1.5, 7.5], [4.5, 2.5, 0.5], [4.5, 2.5, 0.5], [5.5, 2.5, 0.5]]
    assert decoded.bindings.tolist() == [4, 2, 3, 0]
    assert decoded.positions.dtype == torch.float32
    assert decoded.bindings.dtype == torch.int64


def test_the_papers_vocabulary_has_11171_tokens() -> None:
    v = Vocabulary(1024, RIG)
    assert (v.start, v.end, v.pad, v.size) == (11168, 11169, 11170, 11171)


def test_a_rig_whose_z_is_up_is_turned_upright() -> None:
    """Anny's face looks along -y; the sequence's along z."""
    tokenizer = Tokenizer(Vocabulary(8, 5), Cube((0.0, 0.0, 0.0), 8.0), "z")
    assert one(1.0, -3.0, 6.0, tokenizer=tokenizer) == [1, 6, 3, 8]
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    for up in ("y", "z"):
        assert torch.equal(from_sequence(to_sequence(points, up), up), points)
    right_handed = torch.linalg.det(to_sequence(torch.eye(3), "z"))
    assert float(right_handed) == pytest.approx(1)


def test_the_lower_face_begins_a_bin_and_the_upper_face_belongs_to_the_last() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", PointsWarning)
        assert one(0.0, 3.0, 8.0) == [0, 3, 7, 8]
        assert one(0.99999, 2.99999, 7.0) == [0, 2, 7, 8]


@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("cube", [FAR, Cube((-0.1, -0.1, -0.1), 0.7), Cube((0.3, 1e3, -7.0), 0.9)])
def test_corners_that_float32_rounds_are_inside(cube: Cube, up: Up) -> None:
    tokenizer = Tokenizer(Vocabulary(64, 1), cube, up)
    low = torch.tensor(cube.low, dtype=torch.float64)
    corners = from_sequence(torch.stack([low, low + cube.side]), up).float()
    levels, outside = tokenizer.quantise(corners)
    assert levels.tolist() == [[0, 0, 0], [63, 63, 63]]
    assert not outside.any()


def test_every_bin_of_a_cube_off_the_origin_is_found_again() -> None:
    tokenizer = Tokenizer(Vocabulary(1024, 1), FAR, "z")
    levels = torch.arange(1024)[:, None].expand(-1, 3)
    assert torch.equal(tokenizer.quantise(tokenizer.dequantise(levels))[0], levels)


@pytest.mark.parametrize(("low", "side", "levels"), [(1e4, 0.3, 1024), (-5e3, 0.3, 1024), (0.0, 0.3, 2**24)])
def test_bins_that_float32_cannot_tell_apart_are_refused(low: float, side: float, levels: int) -> None:
    with pytest.raises(DataError, match="cannot tell apart"):
        Tokenizer(Vocabulary(levels, 1), Cube((0.0, low, 0.0), side))


def test_the_farthest_cube_that_is_not_refused_still_inverts() -> None:
    generator = torch.Generator().manual_seed(1)
    side, levels = 0.3, 1024
    reach = side / levels / 4 * 2**24  # where the refusal begins
    tokenizer = Tokenizer(Vocabulary(levels, 1), Cube((reach - 1.1 * side, -reach + side, 0.0), side))
    wanted = torch.randint(levels, (5000, 3), generator=generator)
    assert torch.equal(tokenizer.quantise(tokenizer.dequantise(wanted))[0], wanted)
    with pytest.raises(DataError):
        Tokenizer(Vocabulary(levels, 1), Cube((reach, 0.0, 0.0), side))


def test_points_outside_the_cube_are_moved_to_its_border_counted_and_told() -> None:
    positions = torch.tensor([[-1.0, 4.0, 9.0], [4.0, 4.0, 4.0], [4.0, 4.0, 8.1]])
    with pytest.warns(PointsWarning, match="2 of 3 points"):
        found = SMALL.encode(positions, torch.zeros(3, dtype=torch.long))
    assert found.clamped == 2
    assert sorted(SMALL.rows(found.tokens)[:, :BINDING].tolist()) == [[0, 4, 7], [4, 4, 4], [4, 4, 7]]


def test_duplicates_are_counted_and_kept() -> None:
    positions = torch.tensor([[1.1, 1.1, 1.1], [1.2, 1.3, 1.4], [1.9, 1.9, 1.9], [1.5, 1.5, 1.5]])
    found = SMALL.encode(positions, torch.tensor([2, 2, 2, 3]))
    assert found.duplicates == 2
    assert len(SMALL.decode(found.tokens).positions) == 4


@pytest.mark.parametrize(
    ("positions", "bindings", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "without points"),
        (torch.tensor([[0.0, float("nan"), 0.0], [1.0, 1, 1]]), torch.tensor([0, 0]), "1 of 2 points .* not finite"),
        (torch.tensor([[float("inf"), 0.0, 0.0]]), torch.tensor([0]), "not finite"),
        (torch.zeros(2, 3), torch.tensor([0, 5]), "from 0 to 5, and the rig has faces 0 to 4"),
        (torch.zeros(2, 3), torch.tensor([-1, 2]), "from -1 to 2"),
        (torch.zeros(2, 4), torch.tensor([0, 0]), r"\(2, 4\)"),
        (torch.zeros(3), torch.tensor([0, 0, 0]), r"\(3,\)"),
        (torch.zeros(2, 3), torch.tensor([0]), r"\(1,\)"),
        (torch.zeros(2, 3), torch.tensor([[0], [0]]), r"\(2, 1\)"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.5]), "integers"),
        (torch.zeros(2, 3, dtype=torch.long), torch.tensor([0, 1]), "metres"),
    ],
)
def test_a_cloud_that_has_no_sequence_is_refused(positions: Tensor, bindings: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SMALL.encode(positions, bindings)


S, E, P = 13, 14, 15
POINT = [1, 2, 3, 9]


@pytest.mark.parametrize(
    "tokens",
    [
        POINT,
        [S] * 4 + POINT,
        POINT + [E] * 4,
        [S] * 4 + POINT + [E] * 4,
        [S] * 4 + POINT + [E] * 4 + [P] * 8,
        POINT + [P] * 4,
    ],
)
def test_special_tokens_may_be_missing_at_either_end(tokens: list[int]) -> None:
    points = SMALL.decode(torch.tensor(tokens))
    assert points.positions.tolist() == [[1.5, 2.5, 3.5]]
    assert points.bindings.tolist() == [1]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "without points"),
        ([S] * 4 + [E] * 4, "without points"),
        ([S] * 2 + POINT, "this one with 2"),
        ([S] * 4 + POINT[:3], "no whole number of points"),
        ([S] * 4 + POINT + POINT[:1], "no whole number of points"),
        (POINT + [1, 2] + [E] * 4, "no whole number of points"),
        (POINT + [E] * 4 + POINT, "token 4 of the sequence"),
        ([S] * 4 + POINT + [E] * 2, "token 8 of the sequence"),
        (POINT + [E] * 5, "token 4 of the sequence"),
        (POINT + [P] * 4 + [E] * 4, "token 4 of the sequence"),
        (POINT + [S] * 4 + POINT, "token 4 of the sequence"),
        (POINT + [16] * 4, "token 4 of the sequence"),
        ([1, 9, 3, 9], "token 9 of point 0 is no y"),
        ([*POINT, 1, 2, 3, 4], "token 4 of point 1 is no b"),
        ([1, 2, -1, 9], "token -1 of point 0 is no z"),
    ],
)
def test_a_sequence_that_is_no_cloud_is_refused(tokens: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SMALL.decode(torch.tensor(tokens, dtype=torch.long))


def test_only_one_sequence_of_integers_is_decoded() -> None:
    with pytest.raises(DataError, match=r"\(1, 4\)"):
        SMALL.decode(torch.tensor([POINT]))
    with pytest.raises(DataError, match="float32"):
        SMALL.decode(torch.tensor(POINT).float())


def test_the_cube_around_clouds_holds_them_all_with_a_margin() -> None:
    generator = torch.Generator().manual_seed(3)
    clouds = [torch.randn(50, 3, generator=generator) * 0.1 + 1 for _ in range(4)]
    cube = Cube.around([*clouds, torch.zeros(0, 3)], margin=0.1)
    whole = torch.cat(clouds).double()
    extent = whole.amax(0) - whole.amin(0)
    assert cube.side == pytest.approx(1.1 * float(extent.max()), rel=1e-6)
    unit = (whole - torch.tensor(cube.low, dtype=torch.float64)) / cube.side
    assert torch.allclose(unit.amin(0) + unit.amax(0), torch.ones(3, dtype=torch.float64), atol=1e-6)
    assert float(unit.min()) == pytest.approx(0.05 / 1.1, abs=1e-6)
    tight = Cube.around(clouds, margin=0.0)
    assert not any(Tokenizer(Vocabulary(1024, 1), tight).quantise(cloud)[1].any() for cloud in clouds)


def test_a_cube_around_one_point_can_be_quantised() -> None:
    tokenizer = Tokenizer(Vocabulary(1024, 1), Cube.around([torch.tensor([[0.1, 1.6, -0.2]])]))
    *place, binding = one(0.1, 1.6, -0.2, tokenizer=tokenizer)
    assert all(level in (511, 512) for level in place)
    assert binding == 1024


@pytest.mark.parametrize("clouds", [[], [torch.zeros(0, 3)], [torch.tensor([[0.0, float("nan"), 0.0]])]])
def test_a_cube_needs_points_that_are_somewhere(clouds: list[Tensor]) -> None:
    with pytest.raises(DataError, match="cube"):
        Cube.around(clouds)


@pytest.mark.parametrize(("levels", "faces"), [(1, 5), (8, 0), (-3, 5)])
def test_a_vocabulary_that_says_nothing_is_refused(levels: int, faces: int) -> None:
    with pytest.raises(DataError, match="vocabulary"):
        Vocabulary(levels, faces)


@settings(max_examples=30, deadline=None)
@given(quantised())
def test_a_tokenizer_comes_back_from_its_json(case: Case) -> None:
    assert Tokenizer.from_json(json.loads(json.dumps(case.tokenizer.to_json()))) == case.tokenizer


@pytest.mark.parametrize(
    "change",
    [
        {"levels": 8.5},
        {"levels": "8"},
        {"faces": None},
        {"faces": 0},
        {"low": [0.0, 0.0]},
        {"low": [0.0, 0.0, float("nan")]},
        {"low": 3},
        {"side": -1.0},
        {"side": 10**400},
        {"up": "x"},
        {"up": ["y"]},
    ],
)
def test_values_that_are_no_tokenizers_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(DataError):
        Tokenizer.from_json(SMALL.to_json() | change)
    for name in change:
        with pytest.raises(DataError):
            Tokenizer.from_json({key: value for key, value in SMALL.to_json().items() if key != name})
