"""Gaussians in the frames of triangles."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.rigged import Frames, face_frames, to_local, to_world


def _mesh(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(12, 3, generator=draw, dtype=torch.float64), torch.randint(0, 12, (20, 3), generator=draw)


def _local(count: int, faces: int) -> Cloud:
    draw = torch.Generator().manual_seed(1)
    normal = lambda *s: torch.randn(*s, generator=draw, dtype=torch.float64)  # noqa: E731
    return Cloud(
        normal(count, 3),
        torch.nn.functional.normalize(normal(count, 4), dim=-1),
        normal(count, 3).abs() + 0.1,
        torch.full((count,), 0.5, dtype=torch.float64),
        normal(count, 3),
        torch.arange(count) % faces,
    )


def _triangles() -> tuple[Tensor, Tensor]:
    vertices, faces = _mesh()
    keep = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    return vertices, faces[keep]


def test_frames_are_rotations_with_the_edge_the_normal_and_the_centroid() -> None:
    vertices, faces = _triangles()
    frames = face_frames(vertices, faces)
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(frames.rotation.transpose(1, 2) @ frames.rotation, identity.expand(len(faces), 3, 3))
    assert torch.allclose(torch.linalg.det(frames.rotation), torch.ones(len(faces), dtype=torch.float64))
    a, b, c = vertices[faces].unbind(1)
    assert torch.allclose(frames.rotation[..., 0], torch.nn.functional.normalize(b - a, dim=-1))
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    assert torch.allclose(frames.rotation[..., 1], normal)
    height = torch.linalg.cross(b - a, c - a).norm(dim=-1) / (b - a).norm(dim=-1)
    assert torch.allclose(frames.scale, ((b - a).norm(dim=-1) + height) / 2)


def test_a_meshs_frames_with_bindings_are_each_gaussians_frame() -> None:
    vertices, faces = _triangles()
    local, frames = _local(40, len(faces)), face_frames(vertices, faces)
    assert local.bindings is not None
    one, other = to_world(local, frames.of(local.bindings)), to_world(local, frames, local.bindings)
    for field in fields(local):
        assert torch.equal(getattr(one, field.name), getattr(other, field.name))


def test_local_and_world_are_inverses() -> None:
    vertices, faces = _triangles()
    local = _local(40, len(faces))
    frames = face_frames(vertices, faces).of(local.bindings)
    again = to_local(to_world(local, frames), frames)
    for field in fields(local):
        found, expected = getattr(again, field.name), getattr(local, field.name)
        if field.name == "quaternions":  # a quaternion and its negative are one rotation
            found = found * torch.sign((found * expected).sum(-1, keepdim=True))
        assert torch.allclose(found, expected, atol=1e-9), field.name


def test_a_rigid_and_scaled_mesh_carries_its_gaussians_along() -> None:
    vertices, faces = _triangles()
    local = _local(40, len(faces))
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, -1.1, 0.4], dtype=torch.float64))
    lift, size = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64), 1.7
    before = to_world(local, face_frames(vertices, faces).of(local.bindings))
    after = to_world(local, face_frames(size * vertices @ turn.T + lift, faces).of(local.bindings))
    assert torch.allclose(after.means, size * before.means @ turn.T + lift)
    assert torch.allclose(after.scales, size * before.scales)
    matrix = lambda q: roma.unitquat_to_rotmat(q.roll(-1, -1))  # noqa: E731
    assert torch.allclose(matrix(after.quaternions), turn @ matrix(before.quaternions))


def test_a_triangle_without_area_gives_finite_frames_and_gradients() -> None:
    vertices = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    frames = face_frames(vertices, torch.tensor([[0, 1, 2]]))
    sum(part.sum() for part in frames).backward()  # type: ignore[union-attr]
    assert all(torch.isfinite(part).all() for part in frames)
    assert vertices.grad is not None
    assert torch.isfinite(vertices.grad).all()


def test_frames_are_batched() -> None:
    vertices, faces = _triangles()
    both = torch.stack([vertices, 2 * vertices])
    batched = face_frames(both, faces)
    for n in range(2):
        for one, all_ in zip(face_frames(both[n], faces), batched, strict=True):
            assert torch.equal(one, all_[n])
    assert isinstance(batched.of(torch.tensor([0, 0])), Frames)
    assert np.isfinite(batched.scale.numpy()).all()


@pytest.mark.parametrize("flip", [False, True])
def test_turning_a_triangle_over_turns_its_normal(flip: bool) -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 2, 1]] if flip else [[0, 1, 2]])
    assert face_frames(vertices, faces).rotation[0, 2, 1].item() == (-1 if flip else 1)
