"""The identity embeddings beside dlib's own whole-image path, and OpenCV's warp, and what they say of real faces."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skimage.data import astronaut

from avatarbench import assets
from avatarbench.metrics.alignment import ARCFACE_TEMPLATE, arcface_crop, dlib_shape
from avatarbench.metrics.csim import ArcFaceEmbedding, CsimDlib, DlibEmbedding
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Frame, Missing


@pytest.fixture(scope="module")
def people() -> dict[str, Frame]:
    """The astronaut (sharp, blurred, moved) and another person at two times, with face and dlib features."""
    assets.pull("face-landmarker")
    assets.pull("dlib-face")
    with av.open(str(assets.pull("driving-clip-short"))) as clip:
        man = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in clip.decode(video=0)]
    woman = astronaut()
    images = {
        "woman": woman,
        "woman blurred": cv2.GaussianBlur(woman, (0, 0), 2).astype(np.uint8),
        "woman moved": np.roll(woman, (4, 7), axis=(0, 1)),
        "man": man[0],
        "man later": man[40],
    }
    frames = {name: Frame(image) for name, image in images.items()}
    face, dlib = FaceLandmarker(), DlibEmbedding()
    for extractor in (face, dlib):
        for frame, features in zip(frames.values(), extractor.extract(list(frames.values())), strict=True):
            frame.put(extractor.id, features)
        extractor.close()
    return frames


def test_dlib_embeddings_equal_dlibs_own_on_the_whole_image(people: dict[str, Frame]) -> None:
    import dlib

    network = dlib.face_recognition_model_v1(str(assets.path("dlib-face")))
    for frame in people.values():
        shape = dlib_shape(frame["face"]["landmarks"])
        expected = np.array(network.compute_face_descriptor(np.ascontiguousarray(frame.image), shape))
        assert np.abs(frame["dlib"]["embedding"] - expected).max() < 1e-6


def test_dlib_embeddings_do_not_move_with_order_or_batch(people: dict[str, Frame]) -> None:
    names = ["man", "woman"]
    extractor = DlibEmbedding()
    found = extractor.extract([people[name] for name in names])
    for name, features in zip(names, found, strict=True):
        assert not isinstance(features, Missing)
        assert np.array_equal(features["embedding"], people[name]["dlib"]["embedding"])


def test_an_image_is_itself_and_a_stranger_is_further_than_a_blur_or_a_shift(people: dict[str, Frame]) -> None:
    csim = CsimDlib()
    assert csim(people["woman"], people["woman"]) == pytest.approx(1, abs=1e-12)
    stranger = max(csim(people[w], people[m]) for w in people for m in people if w[0] == "w" and m[0] == "m")
    same = [
        csim(people["woman blurred"], people["woman"]),
        csim(people["woman moved"], people["woman"]),
        csim(people["man later"], people["man"]),
    ]
    assert stranger < 0.87
    assert min(same) > 0.93


def test_dlibs_own_threshold_separates_the_two_people(people: dict[str, Frame]) -> None:
    def distance(a: str, b: str) -> float:
        return float(np.linalg.norm(people[a]["dlib"]["embedding"] - people[b]["dlib"]["embedding"]))

    assert distance("woman", "woman blurred") < 0.6
    assert distance("man", "man later") < 0.6
    assert distance("woman", "man") > 0.6


def umeyama(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 3) least-squares similarity as a linear system in (a, b, tx, ty): [[a, -b, tx], [b, a, ty]]."""
    rows = np.zeros((2 * len(points), 4))
    rows[0::2] = np.column_stack([points[:, 0], -points[:, 1], np.ones(len(points)), np.zeros(len(points))])
    rows[1::2] = np.column_stack([points[:, 1], points[:, 0], np.zeros(len(points)), np.ones(len(points))])
    a, b, tx, ty = np.linalg.lstsq(rows, target.ravel(), rcond=None)[0]
    return np.array([[a, -b, tx], [b, a, ty]])


def test_the_arcface_crop_agrees_with_opencvs_warp_of_an_independent_fit(people: dict[str, Frame]) -> None:
    for name in ("woman", "man"):
        frame = people[name]
        points = frame["face"]["landmarks"][[468, 473, 4, 61, 291], :2].astype(np.float64)
        expected = cv2.warpAffine(frame.image, umeyama(points, ARCFACE_TEMPLATE), (112, 112), borderValue=0.0)
        crop = arcface_crop(frame.image, frame["face"]["landmarks"])
        assert np.abs(crop.astype(float) - expected).mean() < 0.5  # OpenCV rounds coordinates to 1/32 pixel


def test_arcface_embeddings_agree_with_opencvs_blob_through_the_same_network(
    people: dict[str, Frame], tmp_path: Path
) -> None:
    draw = np.random.default_rng(11)
    weights = numpy_helper.from_array(draw.standard_normal((3 * 28 * 28, 512)).astype(np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("MatMul", ["f", "w"], ["y"]),
        ],
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 512])],
        [weights],
    )
    path = tmp_path / "random.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    frames = list(people.values())
    for frame, features in zip(frames, ArcFaceEmbedding(model=path).extract(frames), strict=True):
        bgr = arcface_crop(frame.image, frame["face"]["landmarks"])[:, :, ::-1].copy()
        blob = cv2.dnn.blobFromImage(bgr, 1 / 127.5, (112, 112), (127.5, 127.5, 127.5), swapRB=True)
        raw = session.run(None, {"x": blob})[0][0]
        expected = raw / np.linalg.norm(raw)
        assert not isinstance(features, Missing)
        assert np.abs(features["embedding"] - expected).max() < 1e-5
