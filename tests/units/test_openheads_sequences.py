"""Motion of OpenHeads: the same everywhere, smooth, within its limits, and in the rig's own terms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatarbench import assets
from avatarbench.errors import UsageError
from avatarbench.heads.anny import JOINTS, load_anny
from avatarbench.heads.rig import rotation_matrix
from avatarbench.openheads import split
from avatarbench.openheads.curves import record, recording
from avatarbench.openheads.moves import MAX_ANGLES, SCRIPTS, SENTENCES, Move, spelled
from avatarbench.openheads.names import EXPRESSIONS, INDEX, MIRROR, sides
from avatarbench.openheads.sequences import JOINT_SHARES, NAMES, digest, head_angles, joints, sequence
from avatarbench.openheads.state import HeadState

PINNED = {
    "EXP-1-head": "64d4d40d6f9166602c47fe245f27a79c211fdc8436ddb2f2db543c7d97c7e506",
    "EMO-4-disgust+happy": "e46552dd1defdc044d7ddfde015c0c493fec801de1a5d582a5fd8999941951fc",
    "SEN-04-two_plus_seven": "19bd3c8a95b21670d2ef31476726f218871d60fb27907f960059ed27a131956b",
    "FREE": "9fbcd32c5d4a717f774e65cc81176a232ab224e3f43f01e2c8e1b6d56f75b432",
    "RECORDED": "612d02bccc33d00b32228cb4c42e01a8f23d29a890e790a102bc5feeadb86ab7",
    "PORTRAIT": "9f5a06fec94829a0322235ecb6e2fde051dbba2d3ab5e44048d97f800e41b368",
}


def expressions(states: list[HeadState]) -> np.ndarray:
    return np.stack([state.expression for state in states])


def angles(states: list[HeadState]) -> np.ndarray:
    return np.stack([head_angles(state) for state in states])


def test_names_are_the_rigs_in_its_order() -> None:
    assert load_anny().expression_names == EXPRESSIONS


@pytest.mark.parametrize("name", PINNED)
def test_a_seed_gives_the_same_numbers_as_ever(name: str) -> None:
    assert digest(sequence(name, 7, 3, 60)) == PINNED[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_sequence_is_finite_rounded_and_a_beginning_of_the_longer_one(name: str) -> None:
    long, short = sequence(name, 1, 2, 160), sequence(name, 1, 2, 45)
    assert digest(long[:45]) == digest(short)
    found = expressions(long)
    assert found.shape == (160, 52)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    numbers = np.concatenate([np.concatenate([s.expression, s.joints.ravel(), s.translation]) for s in long])
    assert np.abs(numbers.astype(np.float64) * 1e6 - np.rint(numbers.astype(np.float64) * 1e6)).max() < 0.1
    assert np.abs(numbers).max() < 1.5


@pytest.mark.parametrize("name", ["EXP-1-head", "EXP-2-eyes", "EMO-1-shout+laugh", "SEN-01-cramp_small_danger", "FREE"])
def test_motion_has_no_jumps_and_no_kinks(name: str) -> None:
    fine = sequence(name, 5, 1, 2500, fps=1000)
    for values, fastest in ((expressions(fine), 0.04), (angles(fine), 0.6)):
        speed = np.diff(values, axis=0)
        assert np.abs(speed).max() < fastest  # within a millisecond
        # A kink changes the speed at once by as much as the speed itself; a smooth curve by a small part of it.
        assert np.abs(np.diff(speed, axis=0)).max() < fastest / 4


def test_people_splits_seeds_and_sequences_move_differently() -> None:
    found = [
        sequence(name, seed, index, 30, split=of)
        for name, seed, index, of in (
            ("FREE", 0, 0, "train"),
            ("FREE", 0, 1, "train"),
            ("FREE", 1, 0, "train"),
            ("FREE", 0, 0, "test"),
            ("EXP-5-mouth", 0, 0, "train"),
        )
    ]
    assert len({digest(states) for states in found}) == len(found)


def test_the_head_sequence_uses_its_range_and_keeps_to_it() -> None:
    found = np.concatenate([angles(sequence("EXP-1-head", 0, index, 700)) for index in range(4)])
    for column, most in enumerate(MAX_ANGLES):
        assert 0.85 * most < np.abs(found[:, column]).max() < most + 2.5  # a living head sways about its pose


def test_yaw_turns_to_the_subjects_left_pitch_down_and_roll_to_the_left_shoulder() -> None:
    rig = load_anny()
    shape = rig.shape({})
    nose = int(rig.template[:, 1].argmin())
    crown = int(rig.template[:, 2].argmax())

    def moved(turn: tuple[float, float, float], vertex: int) -> np.ndarray:
        rotations = rotation_matrix(torch.tensor(joints(np.array([turn]))[0], dtype=torch.float32))[None]
        still = rig.rotations()
        both = [rig(shape, torch.zeros(1, 52), r).vertices[0, vertex].numpy() for r in (rotations, still)]
        return both[0] - both[1]

    assert moved((20, 0, 0), nose)[0] > 0.02
    assert moved((0, 15, 0), nose)[2] < -0.01
    assert moved((0, 0, 15), crown)[0] > 0.02


def test_neck_and_head_turn_together_by_the_whole() -> None:
    wanted = np.array([[31.0, -12.0, 9.0], [0.0, 0.0, 0.0]])
    found = joints(wanted)
    assert sum(JOINT_SHARES.values()) == pytest.approx(1)
    assert [JOINTS[joint] for joint in JOINT_SHARES] == ["neck01", "neck02", "neck03", "head"]
    for vectors, angle in zip(found, wanted, strict=True):
        state = HeadState(np.zeros(52, np.float32), vectors.astype(np.float32), np.zeros(3, np.float32))
        assert head_angles(state) == pytest.approx(angle, abs=1e-4)


def test_faces_blink_with_both_lids_and_are_not_symmetric() -> None:
    found = expressions(sequence("EXP-5-mouth", 0, 0, 500))
    left, right = (found[:, INDEX[f"eyeBlink{side}"]] for side in ("Left", "Right"))
    starts = np.flatnonzero((left[1:] > 0.5) & (left[:-1] <= 0.5))
    assert 3 <= len(starts) <= 12  # in 20 seconds
    assert left.max() > 0.8
    assert left == pytest.approx(right, abs=1e-6)
    smile = found[:, [INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]]
    assert np.abs(smile[:, 0] - smile[:, 1]).max() > 0.03


def test_eyes_take_back_a_part_of_the_heads_turn() -> None:
    states = sequence("EXP-1-head", 0, 0, 700)
    yaw, found = angles(states)[:, 0], expressions(states)
    leftwards = found[:, INDEX["eyeLookOutLeft"]] - found[:, INDEX["eyeLookInLeft"]]
    assert np.corrcoef(yaw, leftwards)[0, 1] < -0.7


def test_a_portrait_keeps_its_face_and_turn_and_sways_by_millimetres() -> None:
    states = sequence("PORTRAIT", 3, 1, 200)
    assert len({state.expression.tobytes() for state in states}) == 1
    assert len({state.joints.tobytes() for state in states}) == 1
    reach = np.ptp([state.translation for state in states], axis=0)
    assert (reach > 0.0005).all()
    assert (reach <= (0.008, 0.004, 0.004)).all()


def test_a_portrait_is_nearly_neutral_with_open_eyes() -> None:
    for number in split.NUMBERS:
        (state,) = sequence("PORTRAIT", split.SEED, number, 1, split="test")
        assert np.abs(head_angles(state)).max() < 7
        assert state.expression.max() < 0.5
        assert state.expression[[INDEX[name] for name in sides("eyeBlink")]].max() == 0
        assert state.expression[INDEX["mouthSmileLeft"]] > 0.02


def test_free_motion_of_the_test_split_spans_expressions_and_poses() -> None:
    plan = split.SplitPlan()
    found = [plan.motion(number) for number in split.NUMBERS]
    assert all(len(states) == 24 for states in found)
    faces, poses = (np.stack([of(states) for states in found]) for of in (expressions, angles))
    assert (faces.max(axis=(0, 1)) > 0.3).sum() >= 44
    assert ((faces.max(axis=1) > 0.3).sum(axis=1) >= 22).all()
    assert np.ptp(poses[..., 0]) > 55
    assert np.ptp(poses[..., 1]) > 25
    assert (faces[..., INDEX["eyeBlinkLeft"]] > 0.5).mean() < 0.15


def test_the_recorded_curves_are_the_clips() -> None:
    for name in ("driving-clip", "face-landmarker"):
        assets.pull(name)
    frames = (0, 60)
    scores, vectors = record.read(frames)
    from importlib.resources import files

    with np.load(str(files("avatarbench.openheads.curves") / "driving-clip.npz"), allow_pickle=False) as stored:
        assert len(stored["arkit"]) == 472
        # The landmarker's arithmetic differs a little between processors.
        assert np.abs(stored["arkit"][list(frames)].astype(int) - scores).max() <= 5
        assert np.abs(stored["rotation"][list(frames)].astype(int) - vectors).max() <= 100


def test_a_recording_is_held_at_its_ends_and_passes_through_its_frames() -> None:
    clip = recording()
    expression, turned = clip.at(np.array([-1.0, 0.0, 100 / clip.fps, clip.seconds + 9]))
    assert np.array_equal(expression[0], expression[1])
    assert expression[2] == pytest.approx(clip.expression[100])
    assert turned[3] == pytest.approx(clip.angles[-1])


def test_a_mirror_exchanges_sides_and_is_undone_by_itself() -> None:
    mirror = list(MIRROR)
    assert np.array_equal(np.arange(52)[mirror][mirror], np.arange(52))
    assert EXPRESSIONS[MIRROR[INDEX["mouthSmileLeft"]]] == "mouthSmileRight"
    assert EXPRESSIONS[MIRROR[INDEX["jawOpen"]]] == "jawOpen"


def test_scripts_name_actions_that_exist() -> None:
    for moves in (*SCRIPTS.values(), *map(spelled, SENTENCES)):
        assert any(move != Move() for move in moves)
        assert all(0 < amplitude <= 1 and sides(name) for move in moves for name, amplitude in move.actions.items())


def test_an_unknown_sequence_is_named() -> None:
    with pytest.raises(UsageError, match="no sequence 'EXP-1-heads'; it has EXP-1-head, "):
        sequence("EXP-1-heads", 0, 0, 5)
