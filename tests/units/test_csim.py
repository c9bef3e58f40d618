"""Identity cosines on embeddings that are known, and the loaders on files that are not what they should be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from avatarbench.errors import AssetError, Unscorable
from avatarbench.metrics.alignment import ARCFACE_POINTS, ARCFACE_TEMPLATE, DLIB_POINTS, arcface_crop, dlib_chip
from avatarbench.metrics.csim import ArcFaceEmbedding, CsimArcFace, CsimDlib, DlibEmbedding
from avatarbench.metrics.features import Features, Frame, Missing

METRICS = [(CsimDlib(), "dlib"), (CsimArcFace(), "arcface")]


def arcface_file(path: Path, outputs: int = 512, size: int = 112) -> Path:
    """A small random network with ArcFace's signature: 8 x 8 mean pooling, then one linear layer."""
    draw = np.random.default_rng(7)
    inner = 3 * (size // 8) ** 2
    weights = [
        numpy_helper.from_array(draw.standard_normal((inner, outputs)).astype(np.float32), "w"),
        numpy_helper.from_array(draw.standard_normal(outputs).astype(np.float32), "b"),
    ]
    nodes = [
        helper.make_node("AveragePool", ["x"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "arcface",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def landmarks(points: Mapping[int, tuple[float, float]]) -> NDArray[np.float32]:
    made = np.zeros((478, 3), np.float32)
    for index, point in points.items():
        made[index, :2] = point
    return made


def framed(seed: int = 0, shift: float = 0) -> Frame:
    """A noise picture with a face whose five points are the ArcFace template, shifted."""
    image = np.random.default_rng(seed).integers(0, 256, (140, 140, 3), np.uint8)
    points = dict(zip(ARCFACE_POINTS, (ARCFACE_TEMPLATE + shift).tolist(), strict=True))
    made = Frame(image)
    made.put("face", {"landmarks": landmarks(points), "faces": np.array([1], np.int32)})
    return made


def embedded(extractor: str, *values: float) -> Frame:
    made = Frame(np.zeros((8, 8, 3), np.uint8))
    made.put("face", {"faces": np.array([2], np.int32)})
    made.put(extractor, {"embedding": np.array(values, np.float32)})
    return made


@pytest.mark.parametrize(("metric", "extractor"), METRICS)
def test_it_is_the_cosine_whatever_the_lengths(metric: CsimDlib, extractor: str) -> None:
    a = embedded(extractor, 3, 4, 0)
    assert metric(a, a) == pytest.approx(1, abs=1e-12)
    assert metric(a, embedded(extractor, 6, 8, 0)) == pytest.approx(1, abs=1e-12)
    assert metric(a, embedded(extractor, -3, -4, 0)) == pytest.approx(-1, abs=1e-12)
    assert metric(a, embedded(extractor, 0, 5, 0)) == pytest.approx(0.8, abs=1e-12)


@pytest.mark.parametrize(("metric", "extractor"), METRICS)
def test_the_reason_names_the_image_without_a_face(metric: CsimDlib, extractor: str) -> None:
    there, faceless = embedded(extractor, 1, 0), Frame(np.zeros((8, 8, 3), np.uint8))
    faceless.put(extractor, Missing("no face found"))
    with pytest.raises(Unscorable, match=r"^no face found in the prediction$"):
        metric(faceless, there)
    with pytest.raises(Unscorable, match=r"^no face found in the reference$"):
        metric(there, faceless)
    assert metric.note(there, there) == (
        "2 faces in the prediction, largest taken; 2 faces in the reference, largest taken"
    )


@pytest.mark.parametrize("extractor", [DlibEmbedding(model=Path("unread")), ArcFaceEmbedding(model=Path("unread"))])
def test_a_frame_without_a_face_has_no_embedding_and_needs_no_network(
    extractor: DlibEmbedding | ArcFaceEmbedding,
) -> None:
    faceless = Frame(np.zeros((8, 8, 3), np.uint8))
    faceless.put("face", Missing("no face found"))
    assert extractor.extract([faceless, faceless]) == [Missing("no face found")] * 2


def test_a_face_on_the_template_is_cropped_unchanged() -> None:
    frame = framed()
    face: Features = frame["face"]
    assert np.array_equal(arcface_crop(frame.image, face["landmarks"]), frame.image[:112, :112])


def test_a_shifted_face_is_shifted_back_and_black_fills_what_lies_outside() -> None:
    frame = framed(shift=-10)
    crop = arcface_crop(frame.image, frame["face"]["landmarks"])
    assert np.array_equal(crop[10:, 10:], frame.image[:102, :102])
    assert not crop[:9].any()


def test_coinciding_points_give_a_reason_instead_of_an_embedding(tmp_path: Path) -> None:
    frame = framed()
    frame.put("face", {"landmarks": np.zeros((478, 3), np.float32)})
    found = ArcFaceEmbedding(model=arcface_file(tmp_path / "r.onnx")).extract([frame])[0]
    assert found == Missing("the face's five points do not define an alignment")


def test_arcface_embeddings_are_unit_vectors_that_order_and_batch_do_not_move(tmp_path: Path) -> None:
    model = arcface_file(tmp_path / "r.onnx")
    frames = [framed(seed) for seed in range(4)]
    extractor = ArcFaceEmbedding(model=model)
    together = extractor.extract(frames)
    alone = [ArcFaceEmbedding(model=model).extract([frame])[0] for frame in reversed(frames)][::-1]
    extractor.close()
    for a, b in zip(together, alone, strict=True):
        assert not isinstance(a, Missing)
        assert not isinstance(b, Missing)
        assert a["embedding"].shape == (512,)
        assert a["embedding"].dtype == np.float32
        assert np.linalg.norm(a["embedding"]) == pytest.approx(1, abs=1e-6)
        assert np.array_equal(a["embedding"], b["embedding"])


@pytest.mark.parametrize(("outputs", "size"), [(128, 112), (512, 128)])
def test_a_network_of_another_signature_is_refused(tmp_path: Path, outputs: int, size: int) -> None:
    model = arcface_file(tmp_path / "other.onnx", outputs, size)
    with pytest.raises(AssetError, match=r"other\.onnx maps .* ArcFace maps \[3, 112, 112\] to 512"):
        ArcFaceEmbedding(model=model).extract([framed()])


@pytest.mark.parametrize("kind", [DlibEmbedding, ArcFaceEmbedding])
@pytest.mark.parametrize("content", [b"", b"not a network at all"])
def test_a_file_that_is_no_network_is_refused_by_name(
    tmp_path: Path, kind: type[DlibEmbedding | ArcFaceEmbedding], content: bytes
) -> None:
    wrong = tmp_path / "wrong.bin"
    wrong.write_bytes(content)
    frame = framed()
    frame["face"]["landmarks"][list(DLIB_POINTS), :2] = [(90, 50), (70, 51), (30, 50), (50, 51), (60, 80)]
    with pytest.raises(AssetError, match=r"wrong\.bin"):
        kind(model=wrong).extract([frame])


def test_the_fingerprint_follows_the_weights(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"a")
    b.write_bytes(b"b")
    for kind in (DlibEmbedding, ArcFaceEmbedding):
        assert kind(model=a).fingerprint == kind(model=a).fingerprint != kind(model=b).fingerprint
    assert DlibEmbedding(model=a).fingerprint != ArcFaceEmbedding(model=a).fingerprint


def test_the_dlib_chip_is_upright_with_the_subjects_left_eye_on_the_right() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    points = {263: (140, 80), 362: (115, 80), 33: (60, 80), 133: (85, 80), 2: (100, 125)}
    image[70:90, 105:150] = (255, 0, 0)
    image[70:90, 50:95] = (0, 0, 255)
    image[115:135, 90:110] = (0, 255, 0)
    chip = dlib_chip(image, landmarks(points)).astype(float)
    assert chip.shape == (150, 150, 3)
    rows, columns = np.mgrid[:150, :150]
    red, green, blue = ((np.average(columns, weights=c), np.average(rows, weights=c)) for c in np.moveaxis(chip, 2, 0))
    assert blue[0] < green[0] < red[0]
    assert blue[1] == pytest.approx(red[1], abs=1)
    assert green[1] > red[1] + 20
