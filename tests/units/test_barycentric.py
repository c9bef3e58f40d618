"""Barycentric transfer: what a bound point inherits, and that it moves as the surface below it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.heads import quaternions
from avatarbench.heads.binding import Binding, animate, barycentric, bind
from avatarbench.heads.rig import Rig, RigArrays, rotation_matrix

V, F, S, E, J = 40, 60, 4, 6, 4
PARENTS = (-1, 0, 1, 1)


def toy_rig(seed: int = 0, correctives: bool = True) -> Rig:
    """A small rig of FLAME's form with random numbers, in float64."""
    draw = np.random.default_rng(seed)
    weights = draw.dirichlet(np.ones(J) * 0.5, V)
    arrays = RigArrays(
        template=draw.normal(0, 0.1, (V, 3)).astype(np.float32),
        faces=np.stack([draw.permutation(V)[:3] for _ in range(F)]),
        uvs=np.zeros((0, 2), np.float32),
        uv_faces=np.zeros((0, 3), np.int64),
        shape_directions=draw.normal(0, 0.01, (V, 3, S)).astype(np.float32),
        expression_directions=draw.normal(0, 0.01, (V, 3, E)).astype(np.float32),
        joints=draw.normal(0, 0.1, (J, 3)).astype(np.float32),
        joint_directions=draw.normal(0, 0.01, (J, 3, S + E)).astype(np.float32),
        skinning=weights.astype(np.float32),
        pose_directions=draw.normal(0, 0.01, (V, 3, 9 * (J - 1) if correctives else 0)).astype(np.float32),
    )
    names = [f"joint{i}" for i in range(J)]
    rig = Rig("toy", arrays, PARENTS, names, [f"s{i}" for i in range(S)], [f"e{i}" for i in range(E)]).double()
    rig.skinning /= rig.skinning.sum(1, keepdim=True)  # to one in float64 too
    return rig


def normal(*size: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def motion(frames: int, seed: int = 5, angle: float = 0.4) -> dict[str, Tensor]:
    return {
        "expression": normal(frames, E, seed=seed),
        "rotations": rotation_matrix(normal(frames, J, 3, seed=seed + 1, scale=angle)),
        "translation": normal(frames, 3, seed=seed + 2),
    }


def unit(count: int, seed: int = 9) -> Tensor:
    return torch.nn.functional.normalize(normal(count, 4, seed=seed), dim=-1)


def surface(rig: Rig, shape: Tensor, count: int = 50, lift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Points on random faces of the rest mesh, moved off it by up to ``lift`` metres; and their faces."""
    faces = torch.randint(0, F, (count,), generator=torch.Generator().manual_seed(1))
    inner = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64)).sample((count,))
    rest = rig.rest(shape, shape[:, :0])[0][0]
    return (rest[rig.faces[faces]] * inner[..., None]).sum(1) + normal(count, 3, seed=2, scale=lift), faces


def matrices(wxyz: Tensor) -> Any:
    return Rotation.from_quat(wxyz.reshape(-1, 4).numpy()[:, [1, 2, 3, 0]]).as_matrix()


@pytest.mark.parametrize("correctives", [True, False])
def test_a_point_on_a_vertex_moves_exactly_with_the_vertex(correctives: bool) -> None:
    rig, shape, moves = toy_rig(correctives=correctives), normal(1, S), motion(7)
    offsets = normal(V, 3, seed=8, scale=0.01)
    for corner in range(3):
        faces = torch.arange(F)
        own = rig.faces[:, corner]
        points = rig.rest(shape, shape[:, :0], offsets)[0][0][own]
        bound = bind(rig, points, faces, shape, offsets)
        assert torch.equal(bound.barycentric, torch.eye(3, dtype=torch.float64)[corner].expand(F, 3))
        assert torch.equal(bound.skinning, rig.skinning[own])
        assert torch.equal(bound.expression_directions, rig.expression_directions[own])
        assert torch.equal(bound.pose_directions, rig.pose_directions[own])
        posed = rig(shape, **moves, offsets=offsets).vertices[:, own]
        torch.testing.assert_close(animate(bound, **moves).points, posed, rtol=0, atol=1e-14)


def plain(rig: Rig, points: Tensor, faces: Tensor, shape: Tensor, moves: dict[str, Tensor]) -> Any:
    """Equation 5 and skinning for one point and one frame at a time, with numpy in float64."""
    array = {name: buffer.numpy() for name, buffer in rig.named_buffers()}
    coefficients = shape[0].numpy()
    rest = array["template"] + array["shape_directions"] @ coefficients
    found = np.empty((len(moves["expression"]), len(points), 3))
    for frame, (psi, turned, moved) in enumerate(zip(*(m.numpy() for m in moves.values()), strict=True)):
        joints = array["joints"] + array["joint_directions"] @ np.concatenate([coefficients, psi])
        world: list[Any] = []
        for joint, parent in enumerate(PARENTS):
            local = np.eye(4)
            local[:3, :3] = turned[joint]
            local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
            world.append(local if parent < 0 else world[parent] @ local)
        back = [np.block([[np.eye(3), -joint[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]) for joint in joints]
        for i, (point, face) in enumerate(zip(points.numpy(), faces.numpy(), strict=True)):
            corners = array["faces"][face]
            edges = np.stack([rest[corners[1]] - rest[corners[0]], rest[corners[2]] - rest[corners[0]]], 1)
            second, third = np.linalg.lstsq(edges, point - rest[corners[0]], rcond=None)[0]
            b = np.array([1 - second - third, second, third])
            w = b @ array["skinning"][corners]
            directions = np.einsum("i,ice->ce", b, array["expression_directions"][corners])
            correctives = np.einsum("i,icp->cp", b, array["pose_directions"][corners])
            q = point + directions @ psi + correctives @ (turned[1:] - np.eye(3)).reshape(-1)
            matrix = sum(w[j] * world[j] @ back[j] for j in range(J))
            found[frame, i] = (matrix @ np.append(q, 1))[:3] + moved
    return found


@pytest.mark.parametrize("lift", [0.0, 0.05])
def test_animation_is_equation_5_written_plainly(lift: float) -> None:
    rig, shape, moves = toy_rig(), normal(1, S), motion(3)
    points, faces = surface(rig, shape, lift=lift)
    found = animate(bind(rig, points, faces, shape), **moves).points.numpy()
    np.testing.assert_allclose(found, plain(rig, points, faces, shape, moves), rtol=0, atol=1e-11)


def test_off_the_surface_coordinates_are_those_of_the_foot_point_and_not_clamped() -> None:
    corners = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [0, 1, 0]]], dtype=torch.float64).expand(3, 3, 3)
    points = torch.tensor([[0.5, 0.25, 7.0], [3.0, 0.0, -1.0], [-1.0, -0.5, 0.0]], dtype=torch.float64)
    found = barycentric(points, corners)
    expected = torch.tensor([[0.5, 0.25, 0.25], [-0.5, 1.5, 0.0], [2.0, -0.5, -0.5]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    clamped = barycentric(points, corners, clamp=True)
    torch.testing.assert_close(clamped[1:], torch.tensor([[0, 1, 0], [1, 0, 0]], dtype=torch.float64))
    torch.testing.assert_close(clamped[0], found[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flat_triangle_gives_the_nearest_place_of_its_longest_edge(dtype: torch.dtype) -> None:
    line = [[0.0, 0, 0], [0.01, 0, 0], [0.03, 0, 0]]
    repeated = [[0.0, 0, 0], [0, 0, 0], [0, 0.02, 0]]
    corners = torch.tensor([line, line, line, repeated, [[0.1, 0.2, 0.3]] * 3], dtype=dtype)
    points = torch.tensor([[0.015, 1, 0], [0.5, 0, 0], [-1, 0, 0], [0, 0.005, 0], [9, 9, 9]], dtype=dtype)
    points.requires_grad_()
    found = barycentric(points, corners)
    expected = [[0.5, 0, 0.5], [0, 0, 1], [1, 0, 0], [0, 0.75, 0.25], [1 / 3] * 3]
    torch.testing.assert_close(found.detach(), torch.tensor(expected, dtype=dtype))
    found.sum().backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


def test_a_sliver_beside_a_flat_triangle_keeps_its_plane() -> None:
    corners = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0.5, 1e-3, 0]]])
    point = torch.tensor([[0.5, 5e-4, 0.2]])
    torch.testing.assert_close(barycentric(point, corners), torch.tensor([[0.25, 0.25, 0.5]]), rtol=0, atol=1e-4)


def test_a_rigid_motion_of_all_moves_points_and_quaternions_with_it() -> None:
    rig, shape, moves = toy_rig(), normal(1, S), motion(5)
    points, faces = surface(rig, shape, lift=0.02)
    bound, own = bind(rig, points, faces, shape), unit(50)
    before = animate(bound, **moves, quaternions=own)
    turn, shift = rotation_matrix(normal(5, 3, seed=30)), normal(5, 3, seed=31)
    root = (bound.joints + (moves["expression"] @ bound.joint_directions).view(5, J, 3))[:, :1]
    rotations = moves["rotations"].clone()
    rotations[:, 0] = turn @ rotations[:, 0]
    after = animate(bound, moves["expression"], rotations, moves["translation"] + shift, quaternions=own)
    centre = root + moves["translation"][:, None]
    expected = (before.points - centre) @ turn.mT + centre + shift[:, None]
    torch.testing.assert_close(after.points, expected, rtol=0, atol=1e-12)
    assert before.quaternions is not None
    assert after.quaternions is not None
    np.testing.assert_allclose(
        matrices(after.quaternions).reshape(5, 50, 3, 3),
        turn.numpy()[:, None] @ matrices(before.quaternions).reshape(5, 50, 3, 3),
        atol=1e-12,
    )


def test_binding_does_not_depend_on_where_the_head_stands() -> None:
    rig, shape = toy_rig(), normal(1, S)
    points, faces = surface(rig, shape, lift=0.02)
    turn, shift = rotation_matrix(normal(3)), normal(3, seed=3)
    corners = rig.rest(shape, shape[:, :0])[0][0][rig.faces[faces]]
    moved = barycentric(points @ turn.T + shift, corners @ turn.T + shift)
    torch.testing.assert_close(moved, barycentric(points, corners), rtol=0, atol=1e-9)


def test_under_one_joint_a_quaternion_turns_as_its_point_does() -> None:
    rig = toy_rig()
    rig.skinning.copy_(torch.eye(J, dtype=torch.float64)[2].expand(V, J))
    moves = motion(4, angle=1.0)
    points, faces = surface(rig, normal(1, S))
    bound, own = bind(rig, points, faces, normal(1, S)), unit(50)
    found = animate(bound, **moves, quaternions=own).quaternions
    assert found is not None
    turn = moves["rotations"][:, 0] @ moves["rotations"][:, 1] @ moves["rotations"][:, 2]
    expected = turn.numpy()[:, None] @ matrices(own)
    np.testing.assert_allclose(matrices(found).reshape(4, 50, 3, 3), expected, atol=1e-12)


@pytest.mark.parametrize(("degrees", "tolerance"), [(30, 0.2), (60, 1.0)])
def test_between_two_joints_the_blend_is_near_the_nearest_rotation(degrees: float, tolerance: float) -> None:
    share = torch.linspace(0, 1, 21, dtype=torch.float64)
    weights = torch.stack([1 - share, share])
    turned = rotation_matrix(torch.tensor([[0.0, 0, 0], [0, np.radians(degrees), 0]], dtype=torch.float64))
    found = Rotation.from_matrix(matrices(quaternions.blend(weights, quaternions.from_matrix(turned)[None])[0].T))
    u, _, v = np.linalg.svd(np.einsum("jn,jrc->nrc", weights.numpy(), turned.numpy()))
    error = (found * Rotation.from_matrix(u @ v).inv()).magnitude()
    assert np.degrees(error).max() < tolerance


@pytest.mark.parametrize("norm", [1.0, 2.5])
def test_quaternions_keep_their_norm_and_are_left_alone_when_asked(norm: float) -> None:
    rig, moves = toy_rig(), motion(40, angle=1.2)
    points, faces = surface(rig, normal(1, S), lift=0.05)
    bound, own = bind(rig, points, faces, normal(1, S)), unit(50) * norm
    turned = animate(bound, **moves, quaternions=own).quaternions
    left = animate(bound, **moves, quaternions=own, turn=False).quaternions
    assert turned is not None
    assert left is not None
    torch.testing.assert_close(turned.norm(dim=-1), torch.full((40, 50), norm, dtype=torch.float64))
    assert torch.equal(left, own.expand(40, 50, 4))
    assert animate(bound, **moves).quaternions is None


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.3, 2.0, 3.1])
def test_a_quaternion_from_a_matrix_is_that_rotation(angle: float) -> None:
    axes = torch.nn.functional.normalize(normal(200, 3), dim=-1)
    rotations = rotation_matrix(torch.cat([axes, torch.eye(3, dtype=torch.float64), -torch.eye(3).double()]) * angle)
    found = quaternions.from_matrix(rotations)
    assert (found[:, 0] >= 0).all()
    np.testing.assert_allclose(matrices(found), rotations.numpy(), atol=1e-12)


def test_gradients_of_all_that_may_be_learnt_are_right() -> None:
    rig, shape = toy_rig(), normal(1, S)
    points, faces = surface(rig, shape, count=3, lift=0.02)
    moves = motion(2)

    def posed(*given: Tensor) -> tuple[Tensor, Tensor]:
        start, shape, expression, angles, translation, own, shift = given
        bound = bind(rig, start, faces, shape)
        rotations = rotation_matrix(angles)
        found = animate(bound, expression, rotations, translation, start + shift, own)
        assert found.quaternions is not None
        return found.points, found.quaternions

    angles = normal(2, J, 3, seed=4, scale=0.4)
    given = [points, shape, moves["expression"], angles, moves["translation"], unit(3), normal(3, 3, scale=0.01)]
    assert torch.autograd.gradcheck(posed, [value.requires_grad_() for value in given], fast_mode=True)


def test_at_rest_gradients_are_finite() -> None:
    rig = toy_rig()
    points, faces = surface(rig, normal(1, S))
    angles = torch.zeros(1, J, 3, dtype=torch.float64, requires_grad=True)
    bound = bind(rig, points, faces, normal(1, S))
    found = animate(bound, torch.zeros(1, E).double(), rotation_matrix(angles), quaternions=unit(50))
    torch.testing.assert_close(found.points[0], points, rtol=0, atol=1e-14)
    assert found.quaternions is not None
    (found.points.square().sum() + found.quaternions[..., 1].sum()).backward()
    assert angles.grad is not None
    assert torch.isfinite(angles.grad).all()
    assert angles.grad.abs().max() > 0


def test_a_batch_is_its_frames_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, moves = toy_rig(), motion(70)
    points, faces = surface(rig, normal(1, S))
    bound, own = bind(rig, points, faces, normal(1, S)), unit(50)
    single = [animate(bound, *(value[i : i + 1] for value in moves.values()), quaternions=own) for i in range(70)]
    for frames in (1, 3, 64, 1000):
        monkeypatch.setattr("avatarbench.heads.skinning.cached_frames", lambda *_, frames=frames: frames)
        found = animate(bound, **moves, quaternions=own)
        torch.testing.assert_close(found.points, torch.cat([one.points for one in single]), rtol=0, atol=1e-13)
        torch.testing.assert_close(found.quaternions, torch.cat([one.quaternions for one in single]))  # type: ignore[misc]
        with torch.no_grad():
            assert torch.equal(animate(bound, **moves, quaternions=own).points, found.points)
            assert torch.equal(animate(bound, **moves, quaternions=own).quaternions, found.quaternions)  # type: ignore[arg-type]
    assert animate(bound, **motion(0)).points.shape == (0, 50, 3)


def test_fewer_coefficients_are_the_first_and_more_are_refused() -> None:
    rig, moves = toy_rig(), motion(2)
    points, faces = surface(rig, normal(1, S))
    bound = bind(rig, points, faces, normal(1, S))
    cut = {**moves, "expression": moves["expression"].clone()}
    cut["expression"][:, 2:] = 0
    short = animate(bound, **{**moves, "expression": moves["expression"][:, :2]}).points
    torch.testing.assert_close(short, animate(bound, **cut).points)
    with pytest.raises(DataError, match=r"expression \(2, 7\).*at most 6"):
        animate(bound, **{**moves, "expression": torch.zeros(2, 7).double()})
    with pytest.raises(DataError, match=r"rotations \(2, 3, 3, 3\)"):
        animate(bound, **{**moves, "rotations": moves["rotations"][:, :3]})


def test_a_batch_of_one_goes_for_all_frames() -> None:
    rig, moves = toy_rig(), motion(4)
    points, faces = surface(rig, normal(1, S))
    bound, own = bind(rig, points, faces, normal(1, S)), unit(50)
    for alone in moves:
        given = {key: value if key == alone else value[:1] for key, value in moves.items()}
        found = animate(bound, **given, quaternions=own)
        for index in range(4):
            one = animate(bound, **{k: v[min(index, len(v) - 1)][None] for k, v in given.items()}, quaternions=own)
            torch.testing.assert_close(found.points[index], one.points[0], rtol=0, atol=1e-12)
            assert found.quaternions is not None
            assert one.quaternions is not None
            torch.testing.assert_close(found.quaternions[index], one.quaternions[0], rtol=0, atol=1e-12)


def test_a_face_that_the_rig_lacks_is_refused() -> None:
    rig = toy_rig()
    points = torch.zeros(2, 3).double()
    for bad in (F, -1):
        with pytest.raises(DataError, match=rf"bound to face {bad}; the rig 'toy' has {F} faces"):
            bind(rig, points, torch.tensor([0, bad]))
    with pytest.raises(DataError, match=r"\(2, 3\) and faces \(3,\)"):
        bind(rig, points, torch.tensor([0, 1, 2]))


def test_a_binding_changes_its_type_as_a_whole() -> None:
    rig, moves = toy_rig(), motion(3)
    points, faces = surface(rig, normal(1, S))
    bound: Binding = bind(rig, points, faces, normal(1, S))
    single = animate(bound.to(torch.float32), **{key: value.float() for key, value in moves.items()}).points
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), animate(bound, **moves).points, rtol=0, atol=2e-6)
    assert bound.to(torch.float32).faces.dtype == torch.int64
