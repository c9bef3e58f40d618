"""Hair grows where it should, stays out of the head and the face, and follows the head that carries it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avatarbench.errors import DataError
from avatarbench.heads.anny import AnnyRig, load_anny
from avatarbench.openheads.hair import Strands, follow, grow
from avatarbench.openheads.hair_head import Head
from avatarbench.openheads.hair_regions import above_hairline, beard_weight, below_cheekline, regions, scalp_weight
from avatarbench.openheads.hair_style import BEARDS, STYLES, HairStyle, draw_hair, reflectance

PEOPLE = (
    {"age": 2 / 3},
    {"age": 0.95, "gender": 0.0, "african": 1.0, "asian": 0.0, "caucasian": 0.0, "weight": 0.9},
    {"age": 0.6, "gender": 1.0, "african": 0.0, "asian": 1.0, "caucasian": 0.0, "weight": 0.2},
)
LENGTHS = {"bald": 0.0, "buzz": 0.006, "short": 0.04, "curly": 0.1, "afro": 0.06, "bob": 0.2}
PLAIN = HairStyle(
    "short", 0.7, 0.3, 0.2, 0.04, 0.1, 1.0, 0.5, 0.5, 0.1, 0.5, 1.0, 0.4, 1.0, 0.75, 1.0, "none", 0.0, 0.7
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    gender: float = 0.5
    age: float = 0.667
    african: float = 0.3
    asian: float = 0.3
    caucasian: float = 0.4


@cache
def rig() -> AnnyRig:
    return load_anny()


@cache
def head(person: int) -> NDArray[np.float32]:
    shape = rig().shape(PEOPLE[person])
    return rig().rest(shape, torch.zeros(1, 52))[0][0].numpy()


@cache
def hair(style: str, beard: str = "none", person: int = 0) -> tuple[Strands, ...]:
    curl = {"curly": 0.75, "afro": 1.0, "long-wavy": 0.4}.get(style, 0.1)
    length = {"stubble": 0.003, "moustache": 0.01, "goatee": 0.02, "full": 0.03}.get(beard, 0.0)
    chosen = replace(PLAIN, style=style, length=LENGTHS.get(style, 0.07), curl=curl, beard=beard, beard_length=length)
    if style in ("long", "long-wavy", "ponytail", "bun"):
        chosen = replace(chosen, length=0.32)
    return tuple(grow(chosen, rig(), head(person), 3))


def spline(strands: Strands) -> NDArray[np.float64]:
    """(N, K, 3) points along the curves that a renderer draws, all but the strand that is buried on purpose."""
    points = strands.points[:-1].astype(np.float64)
    pieces = []
    for t in (0.0, 1 / 3, 2 / 3):
        weights = np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
        pieces.append(sum(w * points[:, k : points.shape[1] - 3 + k] for k, w in enumerate(weights)))
    return np.concatenate(pieces, 1)


def posed(
    joints: dict[str, tuple[float, float, float]] | None = None, **actions: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vertices and transforms of the first head under joint rotations and actions."""
    expression = torch.zeros(1, 52)
    for name, value in actions.items():
        expression[0, rig().expression_names.index(name)] = value
    with torch.no_grad():
        found = rig()(rig().shape(PEOPLE[0]), expression, rig().rotations(joints))
    return found.vertices[0].numpy(), found.transforms[0].numpy()


def of_kind(groups: tuple[Strands, ...], kind: str) -> list[Strands]:
    return [group for group in groups if group.kind == kind]


@pytest.mark.parametrize("person", range(len(PEOPLE)))
@pytest.mark.parametrize("style", STYLES)
def test_every_style_grows_from_the_skin(style: str, person: int) -> None:
    rest = head(person)
    for group in hair(style, "full", person):
        assert np.isfinite(group.points).all()
        assert (group.radii > 0).all()
        skin = (rest[group.corners] * group.barycentric[:, :, None]).sum(1)
        assert np.linalg.norm(group.roots - skin, axis=1).max() < 1e-3
        np.testing.assert_array_equal(group.corners, rig().faces.numpy()[group.faces])


@pytest.mark.parametrize("style", STYLES)
def test_roots_lie_in_their_regions(style: str) -> None:
    here = regions(rig())
    for group in hair(style, "full"):
        at = (here.vertices[group.corners] * group.barycentric[:, :, None]).sum(1)
        if group.kind == "scalp":
            assert above_hairline(at).min() > -0.015
            assert not here.masks["ears"][group.corners].any()
        if group.kind == "beard":
            assert below_cheekline(at).min() > -0.008
            assert not here.masks["lips"][group.corners].any()
        if group.kind == "lash":
            assert here.masks["eyelids"][group.corners].all()
        if group.kind == "brow":
            assert (at[:, 1] < -0.06).all()
            assert (at[:, 2] > 0.05).all()
            assert (at[:, 2] < 0.075).all()


@pytest.mark.parametrize("person", range(len(PEOPLE)))
@pytest.mark.parametrize("style", [style for style in STYLES if style != "bald"])
def test_scalp_hair_stays_outside_the_skull_and_off_the_eyes(style: str, person: int) -> None:
    rest = head(person)
    on = Head.fit(regions(rig()), rest.astype(np.float64))
    for group in of_kind(hair(style, "none", person), "scalp"):
        points = (spline(group) - on.shift) / on.scale
        above = points[points[..., 2] > -0.05]  # lower down the hull is the neck's and the shoulders'
        assert np.quantile(on.skull.distance(above)[0], 0.001) > -0.006
        eyes = (np.abs(points[..., 0]) < 0.047) & (points[..., 1] < -0.03)
        assert not (eyes & (np.abs(points[..., 2] - 0.04) < 0.012)).any()


def test_the_bald_have_brows_and_lashes_only() -> None:
    assert {group.kind for group in hair("bald")} == {"brow", "lash"}


def test_a_seed_gives_the_same_strands_and_another_seed_others() -> None:
    first, second, other = (grow(PLAIN, rig(), head(0), seed) for seed in (1, 1, 2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.points, b.points)
        np.testing.assert_array_equal(a.radii, b.radii)
    assert not np.array_equal(first[0].points[:50], other[0].points[:50])


def test_hair_has_several_tones_and_grey_strands() -> None:
    scalp = of_kind(hair("short"), "scalp")
    assert len(scalp) == 4
    total = sum(len(group.points) for group in scalp)
    grey = max(scalp, key=lambda group: float(group.colour.sum()))
    assert len(grey.points) / total == pytest.approx(PLAIN.grey, abs=0.02)


def test_a_head_at_rest_gives_the_strands_back() -> None:
    vertices, transforms = posed()
    before = list(hair("long", "full"))
    for old, new in zip(before, follow(before, vertices, head(0), transforms), strict=True):
        np.testing.assert_allclose(new.points, old.points, atol=2e-6)


def test_a_turned_head_carries_scalp_hair_rigidly() -> None:
    vertices, transforms = posed({"head": (0.1, 0.2, 0.5)})
    scalp = of_kind(hair("short"), "scalp")
    turn = transforms[rig().joint_names.index("head")].astype(np.float64)
    for old, new in zip(scalp, follow(scalp, vertices, head(0), transforms), strict=True):
        high = old.points[:, :, 2].min(1) > -0.02  # above the nape, where the neck's skin begins
        expected = old.points[high] @ turn[:3, :3].T + turn[:3, 3]
        np.testing.assert_allclose(new.points[high], expected, atol=1e-6)


def test_the_ends_of_long_hair_turn_less_than_the_head() -> None:
    vertices, transforms = posed({"head": (0.0, 0.0, 0.6)})
    group = of_kind(hair("long"), "scalp")[0]
    moved = follow([group], vertices, head(0), transforms)[0].points
    turn = transforms[rig().joint_names.index("head")]
    rigid = group.points @ turn[:3, :3].T + turn[:3, 3]
    low = group.points[:, -1, 2] < -0.16
    assert low.sum() > 100
    here, stiff = (np.linalg.norm(p[low, -1] - group.points[low, -1], axis=1).mean() for p in (moved, rigid))
    assert here < 0.5 * stiff


def test_an_open_jaw_carries_the_chin_and_not_the_moustache() -> None:
    vertices, transforms = posed(jawOpen=1.0)
    for group in of_kind(hair("bald", "full"), "beard"):
        moved = follow([group], vertices, head(0), transforms)[0]
        shift = np.linalg.norm(moved.roots - group.roots, axis=1)
        skin = (vertices[group.corners] * group.barycentric[:, :, None]).sum(1)
        assert np.linalg.norm(moved.roots - skin, axis=1).max() < 1e-4
        at = (regions(rig()).vertices[group.corners] * group.barycentric[:, :, None]).sum(1)
        chin, lip = (np.abs(at[:, 0]) < 0.015) & (at[:, 2] < -0.06), (np.abs(at[:, 0]) < 0.01) & (at[:, 2] > -0.02)
        assert shift[chin].min() > 0.008
        assert shift[lip].max() < 0.006


@pytest.mark.parametrize(("action", "kind"), [("browInnerUp", "brow"), ("eyeBlinkLeft", "lash")])
def test_brows_and_lashes_move_with_their_actions(action: str, kind: str) -> None:
    vertices, transforms = posed(**{action: 1.0})
    before = of_kind(hair("bald"), kind)
    after = follow(before, vertices, head(0), transforms)
    assert max(np.abs(new.points - old.points).max() for old, new in zip(before, after, strict=True)) > 0.003


def test_weights_mark_the_crown_and_the_chin_and_no_ear() -> None:
    scalp, beard = scalp_weight(rig(), head(1)), beard_weight(rig(), head(1))
    here = regions(rig())
    z = here.vertices[:, 2]
    assert scalp[z > 0.14].min() == 1
    assert scalp[here.masks["ears"]].max() == 0
    assert beard[z > 0.02].max() == 0
    assert beard[here.masks["lips"]].max() == 0
    chin = (np.abs(here.vertices[:, 0]) < 0.01) & (here.vertices[:, 1] < -0.09) & (z < -0.06) & (z > -0.075)
    assert beard[chin].min() > 0.9
    assert scalp.min() >= 0
    assert max(scalp.max(), beard.max()) <= 1


def test_masks_are_far_from_their_threshold() -> None:
    """A JPEG decoder that rounds otherwise must not move a vertex from one side to the other in numbers."""
    counts = {name: int(mask.sum()) for name, mask in regions(rig()).masks.items()}
    assert counts == {"ears": 629, "lips": 247, "eyelids": 295, "inside-mouth": 403}


def test_draws_cover_every_style_and_beard() -> None:
    rng = np.random.Generator(np.random.PCG64(5))
    people = [Person(gender=g, age=a, african=b) for g in (0.0, 1.0) for a in (0.6, 0.95) for b in (0.1, 4.0)]
    drawn = [draw_hair(rng, people[k % len(people)]) for k in range(800)]
    assert {style.style for style in drawn} == set(STYLES)
    assert {style.beard for style in drawn} == set(BEARDS)


def test_draws_are_repeatable_and_survive_json() -> None:
    first, second = (draw_hair(np.random.Generator(np.random.PCG64(9)), Person()) for _ in range(2))
    assert first == second
    assert HairStyle.from_json(json.loads(json.dumps(first.to_json()))) == first


def test_women_grow_no_beards_and_the_old_turn_grey() -> None:
    def drawn(**traits: float) -> list[HairStyle]:
        rng = np.random.Generator(np.random.PCG64(1))
        return [draw_hair(rng, Person(**traits)) for _ in range(100)]

    assert all(style.beard == "none" for style in drawn(gender=1.0))
    young, old = (np.mean([style.grey for style in drawn(age=age)]) for age in (0.62, 1.0))
    assert young == 0
    assert old > 0.4


def test_more_melanin_is_darker_and_blue_falls_first() -> None:
    shades = np.array([reflectance(m) for m in (0.1, 0.3, 0.5, 0.7, 0.9)])
    assert (np.diff(shades, axis=0) < 0).all()
    assert (shades[:, 0] > shades[:, 1]).all()
    assert (shades[:, 1] > shades[:, 2]).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [({"style": "mohawk"}, "mohawk"), ({"beard": "goat"}, "goat"), ({"curl": float("nan")}, "curl")],
)
def test_an_impossible_style_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        HairStyle.from_json({**PLAIN.to_json(), **change})


def test_a_style_with_a_missing_field_is_refused() -> None:
    values = PLAIN.to_json()
    del values["curl"]
    with pytest.raises(DataError, match="curl"):
        HairStyle.from_json(values)


def test_another_topology_is_refused() -> None:
    with pytest.raises(ValueError, match="vertices"):
        grow(PLAIN, rig(), head(0)[:-1], 0)
