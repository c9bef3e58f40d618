import time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.spatial import Delaunay
from skimage.transform import PiecewiseAffineTransform

from avatarbench.datasets.crop import apply, face_crop
from avatarbench.datasets.embedded import clip, portraits
from avatarbench.errors import Unscorable
from avatarbench.method import FaceTrack, Motion, Portrait
from avatarbench.methods.face_warp.method import FaceWarp, WarpedPortrait
from avatarbench.methods.face_warp.raster import inverse_map
from avatarbench.methods.face_warp.surround import head_motion
from avatarbench.methods.face_warp.topology import EYES, LIPS, MOUTH, OVAL, PUPILS, skin_triangles
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Frame, Missing

SIZE = 256
Landmarks = NDArray[np.float32]


@pytest.fixture(scope="module")
def tracker() -> FaceLandmarker:
    return FaceLandmarker()


def landmarks_of(tracker: FaceLandmarker, image: NDArray[np.uint8]) -> Landmarks:
    features = tracker.extract([Frame(image)])[0]
    assert not isinstance(features, Missing)
    found: Landmarks = features["landmarks"]
    return found


@pytest.fixture(scope="module")
def astronaut(tracker: FaceLandmarker) -> tuple[NDArray[np.uint8], Landmarks]:
    full = portraits().read("astronaut", 0)
    image = apply(full, face_crop(landmarks_of(tracker, full), full.shape, 1.8), SIZE)
    return image, landmarks_of(tracker, image)


@pytest.fixture(scope="module")
def avatar(astronaut: tuple[NDArray[np.uint8], Landmarks]) -> WarpedPortrait:
    return FaceWarp().build(Portrait("astronaut", astronaut[0], face=track(astronaut[1])))


def track(landmarks: Landmarks) -> FaceTrack:
    return FaceTrack(landmarks, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))


def motion(landmarks: Landmarks) -> Motion:
    return Motion("m", 0, np.zeros((SIZE, SIZE, 3), np.uint8), face=track(landmarks))


def inside(landmarks: Landmarks, margin: float = 0.0) -> NDArray[np.bool_]:
    """The pixels whose centres lie within the face's rim, drawn together by ``margin`` of its size."""
    rim = landmarks[list(OVAL), :2] - 0.5
    rim = rim + margin * (rim.mean(axis=0) - rim)
    hull = Delaunay(rim)
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1)
    return hull.find_simplex(grid.reshape(-1, 2)).reshape(SIZE, SIZE) >= 0


def test_the_tessellation_covers_the_face_but_for_eyes_and_mouth() -> None:
    triangles = skin_triangles()
    assert triangles.shape == (852, 3)
    assert len(np.unique(triangles)) == 468
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    rims = len(OVAL) + sum(len(o.upper) + len(o.lower) + 2 for o in (*EYES, MOUTH))
    assert (uses == 1).sum() == rims
    assert uses.max() == 2


def test_the_portraits_own_landmarks_give_the_portrait_back(
    avatar: WarpedPortrait, astronaut: tuple[NDArray[np.uint8], Landmarks]
) -> None:
    image, landmarks = astronaut
    assert np.abs(avatar.render(motion(landmarks)).astype(int) - image).max() <= 1


def test_moved_landmarks_move_the_face_and_leave_the_border(
    avatar: WarpedPortrait, astronaut: tuple[NDArray[np.uint8], Landmarks]
) -> None:
    image, landmarks = astronaut
    by = np.array([7, -5, 0], np.float32)
    out = avatar.render(motion(landmarks + by)).astype(int)
    moved = np.roll(image, (-5, 7), axis=(0, 1)).astype(int)
    assert np.abs(out - moved)[inside(landmarks + by, 0.05)].max() <= 2
    border = np.ones((SIZE, SIZE), bool)
    border[1:-1, 1:-1] = False
    assert np.abs(out - image)[border].mean() < 3


def test_a_triangle_map_equals_scikit_images() -> None:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(10, 110, 7), np.linspace(10, 110, 7)), axis=-1).reshape(-1, 2)
    source, target = (grid + rng.uniform(-4, 4, grid.shape) for _ in range(2))
    peer = PiecewiseAffineTransform.from_estimate(target, source)
    triangles = Delaunay(target).simplices.astype(np.int64)
    where, _ = inverse_map(source, target, triangles, np.zeros(len(grid)), (120, 120))
    pixels = np.stack(np.meshgrid(np.arange(120), np.arange(120)), axis=-1).reshape(-1, 2).astype(float)
    expected = peer(pixels)
    owner = Delaunay(target).find_simplex(pixels).reshape(120, 120)
    # The filler may give a pixel next to an edge to either triangle, whose maps agree on the edge itself alone.
    clear = (minimum_filter(owner, 3) == maximum_filter(owner, 3)) & (owner >= 0)
    assert clear.sum() > 5000
    difference = np.abs(where - expected.reshape(120, 120, 2)).max(axis=2)
    assert difference[clear].max() < 1e-3
    assert difference[owner >= 0].mean() < 0.05


def test_a_smooth_motion_of_the_face_agrees_with_scikit_images(
    avatar: WarpedPortrait, astronaut: tuple[NDArray[np.uint8], Landmarks]
) -> None:
    landmarks = astronaut[1]
    driven = landmarks.copy()
    driven[:, 0] += 4 * np.sin(landmarks[:, 1] / 40) + 3
    driven[:, 1] += 3 * np.cos(landmarks[:, 0] / 50)
    skin = np.unique(skin_triangles())
    peer = PiecewiseAffineTransform.from_estimate(driven[skin, :2] - 0.5, landmarks[skin, :2] - 0.5)
    where, _ = avatar.map((driven - np.array([0.5, 0.5, 0])).astype(np.float64))
    within = inside(driven, 0.05)
    for eye in EYES:  # whose inside follows the pupil, which the peer does not know
        ring = driven[[*eye.corners, *eye.upper, *eye.lower], :2]
        low, high = np.floor(ring.min(axis=0)).astype(int) - 2, np.ceil(ring.max(axis=0)).astype(int) + 2
        within[low[1] : high[1], low[0] : high[0]] = False
    ys, xs = np.nonzero(within)
    difference = np.linalg.norm(where[ys, xs] - peer(np.stack([xs, ys], axis=1).astype(float)), axis=1)
    assert np.median(difference) < 0.05
    assert np.quantile(difference, 0.99) < 0.6


def test_the_warped_face_is_found_where_the_driver_put_it(tracker: FaceLandmarker, avatar: WarpedPortrait) -> None:
    data = clip()
    first = data.read("clip", 0)
    crop = face_crop(landmarks_of(tracker, first), first.shape, 1.8)
    driven = landmarks_of(tracker, apply(data.read("clip", 400), crop, SIZE))
    found = landmarks_of(tracker, avatar.render(motion(driven)))
    own = landmarks_of(tracker, avatar.image)
    error = np.linalg.norm((found - driven)[:468, :2], axis=1).mean()
    assert error < 4
    assert error < 0.2 * np.linalg.norm((own - driven)[:468, :2], axis=1).mean()


def test_a_blink_covers_the_iris(avatar: WarpedPortrait, astronaut: tuple[NDArray[np.uint8], Landmarks]) -> None:
    closed = astronaut[1].copy()
    eye = EYES[0]
    closed[list(eye.upper), :2] = closed[list(eye.lower), :2] - np.array([0, 0.5], np.float32)
    where, _ = avatar.map((closed - np.array([0.5, 0.5, 0])).astype(np.float64))
    iris = avatar.landmarks[PUPILS[0], :2]
    visible = np.linalg.norm(where - iris, axis=2) < 2
    where_open, _ = avatar.map(avatar.landmarks)
    assert (np.linalg.norm(where_open - iris, axis=2) < 2).sum() >= 10
    assert visible.sum() <= 3


def test_a_mouth_opened_beyond_the_portraits_is_dark_below(
    avatar: WarpedPortrait, astronaut: tuple[NDArray[np.uint8], Landmarks]
) -> None:
    opened = astronaut[1].copy()
    middle = opened[[13, 14], :2].mean(axis=0)
    opened[opened[:, 1] > middle[1], 1] += 30
    image = avatar.render(motion(opened)).astype(int)
    x = round(float(middle[0]))
    lower_lip = round(float(opened[14, 1]))
    assert image[lower_lip - 5, x].max() < 90
    assert image[round(float(opened[13, 1])) + 3, x].mean() > 130  # the upper teeth stay at the upper lip
    _, dark = avatar.map(avatar.landmarks)
    assert not dark.any()


def test_a_turned_head_shows_its_near_side(
    avatar: WarpedPortrait, astronaut: tuple[NDArray[np.uint8], Landmarks]
) -> None:
    landmarks = astronaut[1].astype(np.float64)
    angle = np.radians(50)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    centre = landmarks.mean(axis=0)
    driven = (landmarks - centre) @ turn.T + centre - np.array([0.5, 0.5, 0])
    where, _ = avatar.map(driven)
    tip = np.rint(driven[4, :2]).astype(int)
    assert np.linalg.norm(where[tip[1], tip[0]] - avatar.landmarks[4, :2]) < 3
    assert np.isfinite(where).all()


def test_the_heads_motion_is_recovered_whatever_the_mouth_does(
    astronaut: tuple[NDArray[np.uint8], Landmarks],
) -> None:
    landmarks = astronaut[1].astype(np.float64)
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    driven = 1.3 * landmarks @ turn.T + np.array([5.0, -8.0, 2.0])
    driven[list(LIPS)] += 20
    found = head_motion(landmarks, driven)
    assert found.scale == pytest.approx(1.3)
    assert np.allclose(found.rotation, turn)
    assert np.allclose(found.shift, [5, -8, 2])


def test_landmarks_outside_the_image_are_drawn_as_far_as_they_go(
    avatar: WarpedPortrait, astronaut: tuple[NDArray[np.uint8], Landmarks]
) -> None:
    far = avatar.render(motion(astronaut[1] + np.array([180, 60, 0], np.float32)))
    assert far.shape == (SIZE, SIZE, 3)
    assert far.dtype == np.uint8
    cut = FaceWarp().build(Portrait("cut", avatar.image, face=track(astronaut[1] + np.array([120, 0, 0], np.float32))))
    assert cut.render(motion(astronaut[1])).shape == (SIZE, SIZE, 3)


def test_missing_or_broken_faces_are_unscorable(
    avatar: WarpedPortrait, astronaut: tuple[NDArray[np.uint8], Landmarks]
) -> None:
    with pytest.raises(Unscorable, match="no face found in the driver"):
        avatar.render(Motion("m", 0, avatar.image))
    with pytest.raises(Unscorable, match="no face found in the portrait"):
        FaceWarp().build(Portrait("p", avatar.image))
    with pytest.raises(Unscorable, match="not finite"):
        avatar.render(motion(np.full_like(astronaut[1], np.nan)))


def test_rendering_is_repeatable_and_quick(
    avatar: WarpedPortrait, astronaut: tuple[NDArray[np.uint8], Landmarks]
) -> None:
    driven = motion(astronaut[1] * np.float32(1.02))
    images = [avatar.render(driven) for _ in range(2)]
    assert np.array_equal(*images)
    started = time.process_time()
    for _ in range(5):
        avatar.render(driven)
    assert (time.process_time() - started) / 5 < 0.2
