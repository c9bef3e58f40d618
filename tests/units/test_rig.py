"""The rig's form: what it refuses, and what its joints and skinning do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarbench.errors import DataError
from avatarbench.heads.rig import Rig, RigArrays, rotation_matrix


def arm(**changes: Any) -> RigArrays:
    """Two bones along x: the shoulder at 0, the elbow at 1; a vertex at 0.5 and one at 2, and one shared half-half."""
    zeros = np.zeros
    return replace(
        RigArrays(
            template=np.array([[0.5, 0, 0], [2, 0, 0], [1, 0, 0]], np.float32),
            faces=np.array([[0, 1, 2]]),
            uvs=zeros((0, 2), np.float32),
            uv_faces=zeros((0, 3), np.int64),
            shape_directions=zeros((3, 3, 2), np.float32),
            expression_directions=zeros((3, 3, 1), np.float32),
            joints=np.array([[0, 0, 0], [1, 0, 0]], np.float32),
            joint_directions=zeros((2, 3, 3), np.float32),
            skinning=np.array([[1, 0], [0, 1], [0.5, 0.5]], np.float32),
            pose_directions=zeros((3, 3, 0), np.float32),
        ),
        **changes,
    )


def rig(**changes: Any) -> Rig:
    return Rig("arm", arm(**changes), (-1, 0), ("shoulder", "elbow"), ("s0", "s1"), ("e0",))


QUARTER = [0.0, 0.0, np.pi / 2]
NOTHING = torch.zeros(1, 0)


def test_a_bent_elbow_moves_the_hand_and_not_the_arm() -> None:
    bent = rig()(NOTHING, NOTHING, rig().rotations({"elbow": QUARTER}))
    expected = torch.tensor([[[0.5, 0, 0], [1, 1, 0], [1, 0, 0]]])
    torch.testing.assert_close(bent.vertices, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(bent.joints, torch.tensor([[[0.0, 0, 0], [1, 0, 0]]]), rtol=0, atol=1e-6)


def test_a_child_turns_with_its_parent_and_the_translation_comes_last() -> None:
    turned = rig().rotations({"shoulder": QUARTER, "elbow": QUARTER})
    posed = rig()(NOTHING, NOTHING, turned, torch.tensor([[10.0, 0, 5]]))
    expected = torch.tensor([[[10, 0.5, 5], [9, 1, 5], [10, 1, 5]]])
    torch.testing.assert_close(posed.vertices, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(posed.joints, torch.tensor([[[10.0, 0, 5], [10, 1, 5]]]), rtol=0, atol=1e-5)


def test_a_shared_vertex_is_moved_by_the_mean_of_the_matrices() -> None:
    shared = np.array([[1, 0], [0, 1], [0.25, 0.75]], np.float32)
    moved = rig(template=np.array([[0, 0, 0], [0, 0, 0], [3, 0, 0]], np.float32), skinning=shared)
    vertices = moved(NOTHING, NOTHING, moved.rotations({"elbow": QUARTER})).vertices
    torch.testing.assert_close(vertices[0, 2], torch.tensor([0.25 * 3 + 0.75 * 1, 0.75 * 2, 0]), rtol=0, atol=1e-6)


def test_shapes_expressions_and_offsets_add_up_before_the_pose() -> None:
    shapes = np.zeros((3, 3, 2), np.float32)
    shapes[:, 1, 0], shapes[:, 2, 1] = 1, 10
    expressions = np.full((3, 3, 1), 0.5, np.float32)
    joints = np.zeros((2, 3, 3), np.float32)
    joints[1, 0] = [1, 0, 2]
    made = rig(shape_directions=shapes, expression_directions=expressions, joint_directions=joints)
    rest, moved = made.rest(torch.tensor([[2.0, 3]]), torch.tensor([[4.0]]), torch.tensor([[0.0, 0, 7]]).repeat(3, 1))
    torch.testing.assert_close(rest[0] - made.template, torch.tensor([2.0, 4, 39]).expand(3, 3))
    torch.testing.assert_close(moved[0], torch.tensor([[0.0, 0, 0], [1 + 2 + 8, 0, 0]]))


def test_a_batch_of_one_goes_for_all_heads_of_the_others() -> None:
    expressions = np.full((3, 3, 1), 0.5, np.float32)
    made = rig(expression_directions=expressions, pose_directions=np.ones((3, 3, 9), np.float32))
    draw = torch.Generator().manual_seed(0)
    full = {
        "shape": torch.rand(4, 2, generator=draw),
        "expression": torch.rand(4, 1, generator=draw),
        "rotations": made.rotations({"elbow": torch.rand(4, 3, generator=draw)}),
        "translation": torch.rand(4, 3, generator=draw),
    }
    for alone in full:
        given = {key: value[:1] if key != alone else value for key, value in full.items()}
        found = made(**given)
        assert {len(part) for part in found} == {4}
        for index in range(4):
            one = made(**{key: value[min(index, len(value) - 1)][None] for key, value in given.items()})
            for batched, single in zip(found, one, strict=True):
                torch.testing.assert_close(batched[index], single[0], rtol=0, atol=1e-6)
    assert made(full["shape"][:0], full["expression"][:1], full["rotations"][:1]).vertices.shape == (0, 3, 3)


def test_rotations_take_their_batch_from_the_vectors() -> None:
    vectors = torch.rand(3, 3, generator=torch.Generator().manual_seed(1))
    found = rig().rotations({"elbow": vectors, "shoulder": QUARTER})
    assert found.shape == (3, 2, 3, 3)
    torch.testing.assert_close(found[:, 1], rotation_matrix(vectors))
    torch.testing.assert_close(found[2, 0], rotation_matrix(torch.tensor(QUARTER)))
    assert rig().rotations({"elbow": QUARTER}, batch=5).shape == (5, 2, 3, 3)
    with pytest.raises(ValueError, match="batches of 1, 2, 3"):
        rig().rotations({"elbow": vectors, "shoulder": vectors[:2]})


def test_pose_correctives_follow_all_joints_but_the_first() -> None:
    directions = np.zeros((3, 3, 9), np.float32)
    directions[0, 2] = np.arange(9)
    made = rig(pose_directions=directions)
    turned = made.rotations({"elbow": QUARTER, "shoulder": [0.0, 0, 1]})
    feature = turned[0, 1] - torch.eye(3)
    lifted = made(NOTHING, NOTHING, turned).rest[0, 0] - made.template[0]
    torch.testing.assert_close(lifted, torch.tensor([0, 0, float((feature.flatten() * torch.arange(9)).sum())]))


def test_a_rigid_motion_of_the_root_moves_everything_rigidly() -> None:
    made = rig()
    turned = made.rotations({"elbow": [0.3, -0.2, 0.9]})
    before = made(NOTHING, NOTHING, turned).vertices
    turn = rotation_matrix(torch.tensor([0.4, 0.5, -0.6]))
    turned[:, 0] = turn @ turned[:, 0]
    shift = torch.tensor([[1.0, 2, 3]])
    torch.testing.assert_close(made(NOTHING, NOTHING, turned, shift).vertices, before @ turn.T + shift)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e-3, 1.0, 3.0])
def test_axis_angles_are_scipys(scale: float) -> None:
    vectors = np.random.default_rng(0).normal(0, 1, (20, 3)) * scale
    found = rotation_matrix(torch.from_numpy(vectors))
    np.testing.assert_allclose(found, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)


def test_gradients_at_no_rotation_are_right() -> None:
    vector = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_matrix, vector)


def test_gradients_of_a_posed_rig_are_right() -> None:
    made = rig(shape_directions=np.random.default_rng(0).normal(0, 1, (3, 3, 2)).astype(np.float32)).double()
    given = [torch.randn(2, size, dtype=torch.float64, requires_grad=True) for size in (2, 1, 6, 3)]

    def posed(shape: Any, expression: Any, vectors: Any, translation: Any) -> Any:
        return made(shape, expression, rotation_matrix(vectors.view(2, 2, 3)), translation).vertices

    assert torch.autograd.gradcheck(posed, given)


def test_a_joint_is_turned_by_name_for_one_frame_or_many() -> None:
    made = rig()
    many = made.rotations({"elbow": torch.tensor([[0.1, 0, 0], [0.2, 0, 0]])}, batch=2)
    torch.testing.assert_close(many[1, 1], rotation_matrix(torch.tensor([0.2, 0, 0])))
    torch.testing.assert_close(many[:, 0], torch.eye(3).expand(2, 3, 3))
    with pytest.raises(ValueError, match="no joint 'knee'; it has shoulder, elbow"):
        made.rotations({"knee": QUARTER})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"faces": np.array([[0, 1, 3]])}, "'faces' names index 3, and there are 3"),
        ({"faces": np.array([[0, -1, 2]])}, "'faces' names index -1"),
        ({"faces": np.array([[0.0, 1, 2]])}, "'faces' holds float64, not integers"),
        ({"template": np.full((3, 3), np.nan, np.float32)}, "'template' holds NaN"),
        ({"joints": np.zeros((3, 3), np.float32)}, r"'joints' is \(3, 3\), where \(2, 3\) is expected"),
        ({"joint_directions": np.zeros((2, 3, 2), np.float32)}, r"'joint_directions' is \(2, 3, 2\)"),
        ({"skinning": np.full((3, 2), 0.4, np.float32)}, "do not sum to one"),
        ({"pose_directions": np.zeros((3, 3, 5), np.float32)}, "has 5 columns; 2 joints need 9, or none"),
        ({"uv_faces": np.zeros((1, 3), np.int64)}, r"'uv_faces' is \(1, 3\), where \(0, 3\) is expected"),
    ],
)
def test_arrays_that_cannot_be_a_rigs_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        rig(**changes)


@pytest.mark.parametrize("parents", [(0, -1), (-1, -1), (-1, 1), (-1, 2)])
def test_joints_that_are_no_tree_are_refused(parents: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="not a tree"):
        arm().check(parents)
