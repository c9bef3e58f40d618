"""photo-rig: discs cover their mesh, the photograph colours them, what it hides is filled in, the driver moves it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarbench.datasets.crop import apply, face_crop
from avatarbench.datasets.embedded import clip, portraits
from avatarbench.errors import Unscorable
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import load_head
from avatarbench.gaussians.render import render
from avatarbench.method import Camera, FaceTrack, Motion, Portrait
from avatarbench.methods.photo_rig.anatomy import COLLAR, SKIN, TONGUE, anatomy
from avatarbench.methods.photo_rig.discs import COVER, cut, discs
from avatarbench.methods.photo_rig.foreground import separate
from avatarbench.methods.photo_rig.inpaint import MOUTH, pull_push, spread
from avatarbench.methods.photo_rig.method import PhotoRig, RiggedPhoto
from avatarbench.methods.photo_rig.projection import drawn, lift, project, sample
from avatarbench.methods.photo_rig.surface import _completed
from avatarbench.metrics.face import track
from avatarbench.openheads.cameras import rig_cameras
from avatarbench.openheads.state import HeadState
from avatarbench.tracking import driving

SIZE = 96
Picture = NDArray[np.uint8]


def face_of(image: Picture) -> FaceTrack:
    (found,) = track([image])
    assert isinstance(found, FaceTrack)
    return found


@cache
def astronaut() -> Portrait:
    full = portraits().read("astronaut", 0)
    image = apply(full, face_crop(face_of(full).landmarks, full.shape, 1.8), SIZE)
    return Portrait("astronaut", image, face=face_of(image))


@cache
def avatar() -> RiggedPhoto:
    return PhotoRig().build(astronaut())


@cache
def driver() -> Motion:
    data = clip()
    first = data.read("clip", 0)
    image = apply(data.read("clip", 400), face_crop(face_of(first).landmarks, first.shape, 1.8), SIZE)
    return Motion("m", 400, image, face=face_of(image))


def own() -> Motion:
    return Motion("own", 0, astronaut().image, face=astronaut().face)


def turned(face: FaceTrack, degrees: float) -> FaceTrack:
    """The landmarks as points in space, and the head matrix, about the vertical axis."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    middle = face.landmarks.mean(axis=0)
    head = face.head.copy()
    head[:3, :3] = np.diag([1, -1, -1]) @ turn @ np.diag([1, -1, -1]) @ head[:3, :3]
    return replace(face, landmarks=((face.landmarks - middle) @ turn.T + middle).astype(np.float32), head=head)


def test_a_cut_triangle_is_tiled_by_triangles_of_its_shape() -> None:
    cells = cut(np.array([3, 1, 2]))
    assert cells.faces.tolist() == [0] * 9 + [1] + [2] * 4
    corners = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [0, 1, 1]]] * 3)
    small = cells.triangles(corners.reshape(-1, 3), torch.arange(9).reshape(3, 3))
    area = torch.linalg.cross(small[:, 1] - small[:, 0], small[:, 2] - small[:, 0])
    for face, parts in enumerate((3, 1, 2)):
        mine = area[cells.faces == face]
        whole = torch.linalg.cross(corners[face, 1] - corners[face, 0], corners[face, 2] - corners[face, 0])
        assert torch.allclose(mine, (whole / parts**2).expand_as(mine), atol=1e-6)  # one size, one orientation
    assert (cells.centres > 0).all()
    assert len(torch.unique((cells.centres[:9] * 1e4).round(), dim=0)) == 9
    with pytest.raises(ValueError, match="says 0"):
        cut(np.array([1, 0]))


def test_a_disc_has_its_triangles_shape_and_normal() -> None:
    triangle = torch.tensor([[[0.0, 0, 0.01], [0.03, 0.01, 0], [0.0, 0.005, 0.02]]])
    means, quaternions, scales = discs(triangle)
    rng = np.random.default_rng(0)
    weights = rng.dirichlet([1, 1, 1], 40_000)
    wanted = COVER**2 * np.cov((weights @ triangle[0].numpy()).T)
    turn = Rotation.from_quat(quaternions.roll(-1, -1)[0]).as_matrix()
    found = turn @ np.diag(scales[0].numpy() ** 2) @ turn.T
    normal = np.cross(triangle[0, 1] - triangle[0, 0], triangle[0, 2] - triangle[0, 0])
    flat = np.eye(3) - np.outer(normal, normal) / (normal @ normal)
    assert np.abs(flat @ found @ flat - wanted).max() < 0.03 * np.abs(wanted).max()
    assert abs(turn[:, 2] @ normal) == pytest.approx(np.linalg.norm(normal))
    assert torch.allclose(means, triangle.mean(1))


def test_discs_of_a_wall_leave_no_hole() -> None:
    camera = rig_cameras(32)["222200037"]
    wall = 0.25 * torch.tensor([[-1.0, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]])
    cells = cut(np.array([50, 50]))
    means, quaternions, scales = discs(cells.triangles(wall, torch.tensor([[0, 1, 2], [0, 2, 3]])))
    cloud = Cloud(means, quaternions, scales, torch.full((len(means),), 0.99), torch.ones(len(means), 3))
    assert float(render(cloud, [camera]).alpha.min()) > 0.97


def test_lifted_pixels_project_to_where_they_were_and_samples_are_the_pixels() -> None:
    camera = rig_cameras(16)["222200049"]
    grid = np.stack(np.meshgrid(np.arange(16), np.arange(16)), -1).reshape(-1, 2) + 0.5
    pixels = torch.from_numpy(grid.astype(np.float32))
    depth = torch.linspace(0.6, 1.4, len(pixels))
    again, found = project(lift(pixels, depth, camera), camera)
    assert torch.allclose(again, pixels, atol=1e-3)
    assert torch.allclose(found, depth, atol=1e-5)
    picture = np.random.default_rng(0).random((16, 16, 3), np.float32)
    assert np.allclose(sample(picture, pixels).reshape(16, 16, 3), picture, atol=1e-6)
    assert sample(picture, pixels[:0]).shape == (0, 3)


def test_what_gaussians_draw_adds_up_to_what_they_cover() -> None:
    camera = rig_cameras(24)["222200037"]
    generator = torch.Generator().manual_seed(1)
    means = 0.06 * torch.randn(50, 3, generator=generator)
    quaternions = torch.randn(50, 4, generator=generator)
    cloud = Cloud(means, quaternions, torch.full((50, 3), 0.01), torch.full((50,), 0.7), torch.zeros(50, 3))
    picture = torch.rand(24, 24, 3, generator=generator)
    weight, pulled = drawn(cloud, camera, picture)
    alpha = render(cloud, [camera]).alpha[0]
    assert float(weight.sum()) == pytest.approx(float(alpha.sum()), rel=1e-4)
    assert torch.allclose(pulled.sum(0), (alpha[..., None] * picture).sum((0, 1)), rtol=1e-4)


def test_a_filled_picture_keeps_what_is_known_and_invents_nothing_beyond_it() -> None:
    image = np.random.default_rng(2).random((21, 34, 3), np.float32)
    known = np.zeros((21, 34), np.float32)
    known[3:9, 2:30] = 1
    filled = pull_push(image, known)
    assert np.allclose(filled[known > 0], image[known > 0], atol=1e-6)
    low, high = image[known > 0].min(axis=0), image[known > 0].max(axis=0)
    assert (filled >= low - 1e-5).all()
    assert (filled <= high + 1e-5).all()
    flat = pull_push(np.full((7, 5, 3), 0.3, np.float32), np.eye(7, 5, dtype=np.float32))
    assert np.allclose(flat, 0.3, atol=1e-6)


def test_hidden_skin_takes_its_mirror_partners_colour_and_a_mouth_its_own() -> None:
    here = anatomy()
    faces = here.rig.faces
    cells = cut(np.ones(len(faces), np.int64))
    place = cells.points(here.rig.template, faces)
    skin = here.part[faces[:, 0]] == SKIN
    colours = (place * torch.tensor([8.0, 3, 3]) + 0.5).clamp(0, 1)
    trust = (place[:, 0] > 0).float() * skin
    found = _completed(colours, trust, torch.zeros_like(colours), torch.zeros_like(trust), cells, here)
    assert torch.allclose(found[trust > 0], colours[trust > 0], atol=1e-5)
    mirrored = (place * torch.tensor([-8.0, 3, 3]) + 0.5).clamp(0, 1)
    left = skin & (place[:, 0] < -0.002)
    assert float((found - mirrored)[left].abs().mean()) < 0.01

    shown = spread(torch.full_like(colours, 0.4), trust, cells, here)
    inside = skin & here.mouth[faces].all(1)
    assert torch.allclose(shown[skin & ~here.mouth[faces].any(1)], torch.tensor(0.4), atol=1e-4)
    assert torch.allclose(shown[inside], torch.tensor(MOUTH))
    assert (here.part == TONGUE).sum() == 226


def test_the_portraits_own_face_gives_the_portrait_back() -> None:
    image = avatar().render(own())
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == np.float32
    assert np.square(image - astronaut().image / 255).mean() < 10**-2.7  # 27 dB


def test_the_face_is_found_where_the_driver_has_it_in_whatever_size_the_driver_comes() -> None:
    image = np.rint(255 * avatar().render(driver())).astype(np.uint8)
    found, wanted = face_of(image).landmarks[:, :2], driver().face
    assert wanted is not None
    error = np.linalg.norm(found - wanted.landmarks[:, :2], axis=1).mean()
    before = np.linalg.norm(face_of(astronaut().image).landmarks[:, :2] - wanted.landmarks[:, :2], axis=1).mean()
    assert error < 0.03 * SIZE
    assert error < 0.3 * before
    double = replace(wanted, landmarks=2 * wanted.landmarks)
    large = replace(driver(), image=driver().image.repeat(2, 0).repeat(2, 1), face=double)
    assert np.abs(avatar().render(large) * 255 - image).max() < 2


def test_frames_do_not_depend_on_those_before() -> None:
    there = [avatar().render(motion) for motion in (own(), driver())]
    back = [avatar().render(motion) for motion in (driver(), own())]
    assert np.array_equal(there, back[::-1])


def test_a_turned_head_shows_no_hole() -> None:
    face = astronaut().face
    assert face is not None
    driven = turned(face, 25)
    moved = driving.followed(Motion("t", 0, astronaut().image, face=driven), avatar().fit)
    alpha = render(avatar().posed(moved.state), [moved.camera]).alpha[0].numpy()
    inside = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(np.rint(driven.landmarks[:, :2]).astype(np.int32)), 1)
    inside = cv2.erode(inside, np.ones((5, 5), np.uint8))
    assert inside.sum() > 1000
    assert alpha[inside > 0].min() > 0.95


def test_with_a_calibrated_camera_a_larger_driver_does_not_come_nearer() -> None:
    camera = avatar().fit.camera
    portrait = driving.fitted(astronaut().face, (SIZE, SIZE), camera)
    face = astronaut().face
    assert face is not None
    middle = face.landmarks.mean(axis=0)
    larger = replace(face, landmarks=(1.15 * (face.landmarks - middle) + middle).astype(np.float32))
    free = driving.followed(Motion("m", 0, astronaut().image, face=larger), portrait)
    held = driving.followed(Motion("m", 0, astronaut().image, face=larger, camera=camera), portrait)
    pose = camera.world_to_camera
    depths = [float(pose[2, :3] @ fit.translation + pose[2, 3]) for fit in (portrait, free, held)]
    assert depths[1] < 0.93 * depths[0]
    assert depths[2] == pytest.approx(depths[0], rel=1e-5)
    double = Camera(np.diag([2.0, 2, 1]) @ camera.K, pose, 2 * SIZE, 2 * SIZE)
    wide = replace(larger, landmarks=2 * larger.landmarks)
    image = np.zeros((2 * SIZE, 2 * SIZE, 3), np.uint8)
    again = driving.followed(Motion("m", 0, image, face=wide, camera=double), portrait)
    assert np.allclose(again.translation, held.translation, atol=2e-4)


def test_shoulders_stay_and_the_ground_is_white_where_the_person_is_known() -> None:
    portrait = astronaut()
    mask = np.zeros((SIZE, SIZE), np.float32)
    y, x = np.mgrid[:SIZE, :SIZE]
    mask[(np.hypot(x - 62, y - 50) < 50) | (y > 105)] = 1
    image = np.where(mask[..., None] > 0, portrait.image, 255).astype(np.uint8)
    known = PhotoRig(refinements=1).build(replace(portrait, image=image, mask=mask))
    state = known.fit.state
    joints = state.joints.copy()
    joints[4, 2] += 0.3
    moved = known.posed(HeadState(state.expression, joints, state.translation + np.float32(0.01)))
    before, after = (render(c, [known.fit.camera]) for c in (known.posed(state), moved))
    assert float((before.image - after.image).abs().max()) > 0.2
    low = known.head.cloud.means[:, 2] < COLLAR - 0.005
    still = known.follow == 0
    assert still[low].float().mean() > 0.9
    assert torch.equal(moved.means[still], known.posed(state).means[still])
    shown = known.render(Motion("m", 0, image, face=portrait.face))
    assert shown[:3, :3].min() > 0.99


def test_a_white_ground_is_told_from_a_person_and_any_other_is_not() -> None:
    image = np.full((40, 40, 3), 255, np.uint8)
    image[15:, 10:30] = (120, 90, 60)
    layers = separate(Portrait("p", image), np.zeros((40, 40), np.float32))
    assert layers.share is not None
    assert np.array_equal(layers.share > 0.5, image[..., 2] < 200)
    assert np.allclose(layers.background, 1)
    assert np.allclose(layers.person, np.array([120, 90, 60]) / 255, atol=1e-2)
    assert separate(Portrait("p", 255 - image), np.zeros((40, 40), np.float32)).share is None


def test_white_inside_the_person_is_the_persons() -> None:
    image = np.full((40, 40, 3), 255, np.uint8)
    image[10:, 8:32] = (120, 90, 60)
    image[15:18, 15:18] = 255  # a highlight
    image[30:, 18:22] = 255  # a shirt, cut by the lower border
    share = separate(Portrait("p", image), np.zeros((40, 40), np.float32)).share
    assert share is not None
    assert (share[10:, 8:32] == 1).all()
    assert (share[:10] == 0).all()


def test_the_head_is_an_avatar_file_of_the_shared_form(tmp_path: Path) -> None:
    head = avatar().head
    assert avatar().info == {"gaussians": len(head.cloud)}
    avatar().save(tmp_path / "a.avatar")
    again = load_head(tmp_path / "a.avatar")
    state = avatar().fit.state
    tensors = [torch.from_numpy(v) for v in (state.expression, state.joints, state.translation)]
    assert torch.allclose(again.posed(*tensors).means, avatar()._still, atol=1e-4)


def test_a_tiny_portrait_cut_by_the_border_is_rendered() -> None:
    size = 17
    face = astronaut().face
    assert face is not None
    scale = size / SIZE
    small = replace(face, landmarks=(face.landmarks * scale - np.float32(0.4 * size)).astype(np.float32), faces=2)
    image = apply(astronaut().image, face_crop(face.landmarks, astronaut().image.shape, 3), size)
    portrait = Portrait("small", image, face=small)
    shown = PhotoRig(refinements=1).build(portrait).render(Motion("m", 0, image, face=small))
    assert shown.shape == image.shape
    assert np.isfinite(shown).all()


def test_a_profile_is_built_and_turned_to_the_front() -> None:
    face = astronaut().face
    assert face is not None
    side = PhotoRig(refinements=0).build(replace(astronaut(), face=turned(face, 70)))
    assert np.isfinite(side.render(own())).all()


def test_missing_and_broken_faces_are_unscorable_with_a_reason() -> None:
    image, face = astronaut().image, astronaut().face
    assert face is not None
    missing = np.full((478, 3), np.nan, np.float32)
    cases = [
        (None, "no face found in the {}"),
        (replace(face, landmarks=missing), "the {}'s face has 'landmarks' that are not finite"),
        (replace(face, landmarks=face.landmarks[:468]), r"the {}'s face has 'landmarks' of \(468, 3\)"),
        (replace(face, arkit=np.full(52, np.inf, np.float32)), "the {}'s face has 'arkit' that are not finite"),
        (replace(face, head=np.zeros((4, 4), np.float32)), "the {}: the face cannot be fitted"),
    ]
    for wrong, reason in cases:
        with pytest.raises(Unscorable, match=reason.format("portrait")):
            PhotoRig().build(Portrait("p", image, face=wrong))
        with pytest.raises(Unscorable, match=reason.format("driver")):
            avatar().render(Motion("m", 0, image, face=wrong))
    far = replace(face, landmarks=face.landmarks + np.float32(1000))
    with pytest.raises(Unscorable, match="lies outside the portrait"):
        PhotoRig().build(Portrait("p", image, face=far))
