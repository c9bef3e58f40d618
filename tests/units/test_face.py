"""The face features: what is found, in which image, and that nothing but the image decides."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.data import astronaut

from avatarbench import assets
from avatarbench.errors import AssetError
from avatarbench.method import FaceTrack
from avatarbench.metrics.face import ARKIT_NAMES, FaceLandmarker, to_track, track
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.metrics.rotations import euler_degrees, nearest_rotation

FACE = astronaut()[10:210, 130:330]


@pytest.fixture(scope="module", autouse=True)
def _model() -> None:
    assets.pull("face-landmarker")


@pytest.fixture(scope="module")
def landmarker() -> Iterator[FaceLandmarker]:
    extractor = FaceLandmarker()
    yield extractor
    extractor.close()


def read(landmarker: FaceLandmarker, image: NDArray[np.uint8]) -> Features:
    found = landmarker.extract([Frame(image)])[0]
    assert not isinstance(found, Missing), found
    return found


def resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def two_faces(large_left: bool) -> NDArray[np.uint8]:
    """The face at 200 px and at 120 px, side by side on grey."""
    canvas = np.full((260, 420, 3), 128, np.uint8)
    large, small = (10, 250) if large_left else (200, 20)
    canvas[30:230, large : large + 200] = FACE
    canvas[60:180, small : small + 120] = resized(FACE, 120)
    return canvas


def test_features_have_the_contract_s_shapes_and_lie_on_the_face(landmarker: FaceLandmarker) -> None:
    features = read(landmarker, astronaut())
    assert set(features) == set(FaceLandmarker.kept)
    assert features["landmarks"].shape == (478, 3)
    assert features["arkit"].shape == (52,)
    assert features["head"].shape == (4, 4)
    assert {features[k].dtype for k in ("landmarks", "arkit", "head")} == {np.dtype(np.float32)}
    assert features["faces"].item() == 1
    right_eye, left_eye, nose = features["landmarks"][[33, 263, 4], :2]
    assert 180 < right_eye[0] < nose[0] < left_eye[0] < 270
    assert 90 < right_eye[1] < nose[1] < 140


def test_arkit_names_are_the_models_output_order() -> None:
    from mediapipe import Image as MpImage
    from mediapipe import ImageFormat
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import FaceLandmarker as Native
    from mediapipe.tasks.python.vision import FaceLandmarkerOptions

    base = BaseOptions(model_asset_path=str(assets.path("face-landmarker")))
    with Native.create_from_options(FaceLandmarkerOptions(base_options=base, output_face_blendshapes=True)) as native:
        result = native.detect(MpImage(image_format=ImageFormat.SRGB, data=astronaut()))
    assert tuple(c.category_name for c in result.face_blendshapes[0]) == ARKIT_NAMES


@pytest.mark.parametrize("large_left", [True, False])
def test_of_two_faces_the_largest_is_described_and_both_are_counted(
    landmarker: FaceLandmarker, large_left: bool
) -> None:
    alone, both = read(landmarker, np.ascontiguousarray(FACE)), read(landmarker, two_faces(large_left))
    assert both["faces"].item() == 2
    offset = np.array([10 if large_left else 200, 30])
    assert np.abs(both["landmarks"][:, :2] - offset - alone["landmarks"][:, :2]).mean() < 2.0
    assert np.abs(both["arkit"] - alone["arkit"]).mean() < 0.03


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 300), (64, 64), (0, 5)])
def test_an_image_without_a_face_is_missing_with_a_reason(landmarker: FaceLandmarker, shape: tuple[int, int]) -> None:
    found = landmarker.extract([Frame(np.zeros((*shape, 3), np.uint8))])[0]
    assert isinstance(found, Missing)
    assert found.reason == ("the image is empty" if 0 in shape else "no face found")


@pytest.mark.parametrize("size", [128, 200, 256, 512])
def test_landmarks_scale_with_the_image(landmarker: FaceLandmarker, size: int) -> None:
    expected = read(landmarker, astronaut())["landmarks"][:, :2] / 512
    assert np.abs(read(landmarker, resized(astronaut(), size))["landmarks"][:, :2] / size - expected).mean() < 0.005


def test_a_view_into_a_larger_image_gives_what_its_copy_gives(landmarker: FaceLandmarker) -> None:
    assert not FACE.flags.c_contiguous
    view, copy = read(landmarker, FACE), read(landmarker, FACE.copy())
    assert all(np.array_equal(view[k], copy[k]) for k in FaceLandmarker.kept)


def test_neither_earlier_frames_nor_the_batch_nor_the_instance_change_a_result(landmarker: FaceLandmarker) -> None:
    images = [astronaut(), two_faces(True), np.zeros((90, 60, 3), np.uint8), resized(astronaut(), 256)]
    forward = landmarker.extract([Frame(i) for i in images])
    backward = landmarker.extract([Frame(i) for i in reversed(images)])[::-1]
    fresh = FaceLandmarker()
    alone = [fresh.extract([Frame(i)])[0] for i in images]
    fresh.close()
    for a, b, c in zip(forward, backward, alone, strict=True):
        if isinstance(a, Missing):
            assert a == b == c
        else:
            assert not isinstance(b, Missing)
            assert not isinstance(c, Missing)
            assert all(np.array_equal(a[k], b[k]) and np.array_equal(a[k], c[k]) for k in FaceLandmarker.kept)


def test_an_extractor_works_again_after_it_was_closed() -> None:
    extractor = FaceLandmarker()
    before = read(extractor, astronaut())
    extractor.close()
    extractor.close()
    assert np.array_equal(read(extractor, astronaut())["landmarks"], before["landmarks"])
    extractor.close()


def test_track_gives_one_answer_an_image_in_order() -> None:
    found = track([astronaut(), np.zeros((32, 32, 3), np.uint8), two_faces(True)])
    assert isinstance(found[0], FaceTrack)
    assert found[1] == Missing("no face found")
    assert isinstance(found[2], FaceTrack)
    assert (found[0].faces, found[2].faces) == (1, 2)


def test_to_track_carries_the_features_over(landmarker: FaceLandmarker) -> None:
    features = read(landmarker, astronaut())
    face = to_track(features)
    assert np.array_equal(face.landmarks, features["landmarks"])
    assert np.array_equal(face.arkit, features["arkit"])
    assert np.array_equal(face.head, features["head"])
    assert type(face.faces) is int


def test_answers_that_do_not_belong_together_give_a_reason_and_no_wrong_face() -> None:
    point, score = SimpleNamespace(x=0.5, y=0.5, z=0.0), SimpleNamespace(score=0.1)
    answer = SimpleNamespace(
        face_landmarks=[[point] * 478] * 2,
        face_blendshapes=[[score] * 52] * 2,
        facial_transformation_matrixes=[np.eye(4)],
    )
    extractor = FaceLandmarker()
    extractor._native = SimpleNamespace(detect=lambda _: answer)
    assert extractor.extract([Frame(astronaut())]) == [
        Missing("MediaPipe's answers do not belong together: 2 landmark lists, 2 blendshape lists, 1 head matrices")
    ]


def test_the_head_matrix_is_a_rigid_motion_into_a_camera_that_looks_along_minus_z(landmarker: FaceLandmarker) -> None:
    head = read(landmarker, astronaut())["head"]
    np.testing.assert_array_equal(head[3], [0, 0, 0, 1])
    assert head[2, 3] < -10  # centimetres
    assert np.linalg.det(head[:3, :3]) == pytest.approx(1, abs=0.05)


def euler(landmarker: FaceLandmarker, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return euler_degrees(nearest_rotation(read(landmarker, np.ascontiguousarray(image))["head"][:3, :3]))


def test_a_picture_turned_counter_clockwise_is_a_positive_roll(landmarker: FaceLandmarker) -> None:
    upright = Image.fromarray(astronaut()[0:256, 96:352])
    roll = euler(landmarker, np.asarray(upright))[2]
    for degrees in (15, -15):
        turned = euler(landmarker, np.asarray(upright.rotate(degrees, Image.Resampling.BICUBIC)))
        assert turned[2] - roll == pytest.approx(degrees, abs=3)


def test_a_nose_left_of_the_eyes_is_a_negative_yaw(landmarker: FaceLandmarker) -> None:
    image = turned_away()
    right_eye, left_eye, nose = read(landmarker, image)["landmarks"][[33, 263, 4], 0]
    assert nose < (right_eye + left_eye) / 2
    assert euler(landmarker, image)[1] < -10


@pytest.mark.parametrize("name", ["astronaut", "clip"])
def test_a_mirrored_picture_turns_yaw_and_roll_around_and_keeps_the_pitch(
    landmarker: FaceLandmarker, name: str
) -> None:
    image = astronaut()[0:256, 96:352] if name == "astronaut" else turned_away()
    np.testing.assert_allclose(
        euler(landmarker, image[:, ::-1]), euler(landmarker, image) * (1, -1, -1), atol=1.5, err_msg=name
    )


def turned_away() -> NDArray[np.uint8]:
    """The driving clip's first frame: a head turned by about 14 degrees and tilted by 7."""
    with av.open(str(assets.pull("driving-clip"))) as clip:
        return np.asarray(next(clip.decode(video=0)).to_ndarray(format="rgb24"), np.uint8)


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.task"
    wrong.write_bytes(b"not a model")
    extractor = FaceLandmarker(model=wrong)
    with pytest.raises(AssetError, match=r"wrong\.task"):
        extractor.extract([Frame(astronaut())])


def test_the_fingerprint_follows_the_model_file(tmp_path: Path) -> None:
    same, other = tmp_path / "same.task", tmp_path / "other.task"
    same.write_bytes(assets.path("face-landmarker").read_bytes())
    other.write_bytes(b"x")
    assert FaceLandmarker(model=same).fingerprint == FaceLandmarker().fingerprint
    assert FaceLandmarker(model=other).fingerprint != FaceLandmarker().fingerprint


def test_importing_the_module_imports_neither_mediapipe_nor_torch() -> None:
    code = "import sys, avatarbench.metrics.face; print([m for m in ('mediapipe', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_detection_and_exit_write_nothing_to_stderr_even_when_never_closed() -> None:
    done = python(
        "from skimage.data import astronaut\n"
        "from avatarbench.metrics.face import FaceLandmarker\n"
        "from avatarbench.metrics.features import Frame\n"
        "e = FaceLandmarker()\n"
        "print([e.extract([Frame(i)])[0]['faces'].item() for i in (astronaut(), astronaut()[:400])])\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 1]\n", "")


def test_quiet_native_log_drops_chatter_and_lets_errors_through() -> None:
    done = python(
        "import os\n"
        "from avatarbench.metrics.native_log import quiet_native_log\n"
        "try:\n"
        "    with quiet_native_log():\n"
        "        os.write(2, b'W0000 00:00:1 1 x.cc:1] chatter\\nINFO: Created delegate\\n')\n"
        "        os.write(2, b'E0000 00:00:1 1 x.cc:2] bad\\n')\n"
        "        os.write(2, b'a plain line\\n')\n"
        "        raise KeyError('k')\n"
        "except KeyError:\n"
        "    os.write(2, b'after\\n')\n"
    )
    assert done.stderr == "E0000 00:00:1 1 x.cc:2] bad\na plain line\nafter\n"
