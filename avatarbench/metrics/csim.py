"""Identity similarity: cosine of two face embeddings, by dlib's face ResNet or by ArcFace.

ArcFace runs through onnxruntime on insightface's published network. The ``insightface`` package itself is not a
dependency, because it brings a second OpenCV that overwrites the one mediapipe installs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from avatarbench.errors import AssetError, Unscorable
from avatarbench.metric import MetricSpec
from avatarbench.metrics.face_pair import both, faces_note
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.metrics.networks import Weights, fingerprint, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARCFACE_DIMENSIONS = 512
_DLIB_CHIP = "263 362 33 133 2 rounded, 150 px, padding 0.25"
_ARCFACE_CROP = "468 473 4 61 291, similarity, 112 px, bilinear"

DLIB = MetricSpec(
    id="csim-dlib",
    name="CSIM-dlib",
    version=1,
    kind="pair",
    better="higher",
    unit="",
    range=(-1.0, 1.0),
    against="identity",
    definition=(
        "Cosine of the 128-d descriptors of dlib's face ResNet, prediction against the target frame (self) or the "
        "source portrait (cross). Chip: dlib's own 5-point alignment, 150 px, padding 0.25, from MediaPipe landmarks "
        "263, 362, 33, 133, 2 rounded to whole pixels. The descriptors are neither centred nor of unit length, so "
        "strangers' cosines are high too (0.8 is usual): compare within a column, not with ArcFace's. dlib's own "
        "criterion for one person is a Euclidean distance below 0.6."
    ),
    citation="King, Dlib-ml, JMLR 2009; dlib_face_recognition_resnet_model_v1, 2017",
    factory="avatarbench.metrics.csim:CsimDlib",
    extractors=("face", "dlib"),
    assets=("face-landmarker", "dlib-face"),
    judge="dlib-face",
    digits=4,
)

ARCFACE = MetricSpec(
    id="csim-arcface",
    name="CSIM-Arc",
    version=1,
    kind="pair",
    better="higher",
    unit="",
    range=(-1.0, 1.0),
    against="identity",
    definition=(
        "Cosine of the 512-d embeddings of insightface's buffalo_l recognition network (w600k_r50), prediction "
        "against the target frame (self) or the source portrait (cross). Crop: 112 px, least-squares similarity of "
        "MediaPipe landmarks 468, 473 (iris centres), 4 (nose tip), 61, 291 (mouth corners) onto the ArcFace "
        "template; RGB, (x - 127.5) / 127.5."
    ),
    citation="Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR 2019",
    factory="avatarbench.metrics.csim:CsimArcFace",
    extractors=("face", "arcface"),
    assets=("face-landmarker", "arcface"),
    judge="arcface",
    digits=4,
)


class DlibEmbedding:
    """``embedding`` (128,) float32, as dlib gives it: on the CPU whatever ``device`` is, one chip at a time."""

    id: ClassVar[str] = "dlib"
    requires: ClassVar[tuple[str, ...]] = ("face",)
    kept: ClassVar[tuple[str, ...]] = ("embedding",)
    activations: ClassVar[tuple[str, ...]] = ()

    def __init__(self, device: str = "cpu", model: Path | None = None) -> None:
        self._weights = Weights("dlib-face", model)
        self._network: Any = None

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.id, 1, self._weights.sha256, {**versions("dlib-bin|dlib"), "chip": _DLIB_CHIP})

    def extract(self, frames: Sequence[Frame], activations: bool = False) -> list[Features | Missing]:
        """The embedding of each frame's face, or why there is none. Raises AssetError for a wrong file."""
        return [self._embed(frame) for frame in frames]

    def close(self) -> None:
        self._network = None

    def _embed(self, frame: Frame) -> Features | Missing:
        from avatarbench.metrics.alignment import dlib_chip

        face = frame.get("face")
        if face is None or isinstance(face, Missing):
            return face or Missing("no face features")
        if self._network is None:
            self._network = self._load()
        descriptor = self._network.compute_face_descriptor(dlib_chip(frame.image, face["landmarks"]))
        return {"embedding": np.array(descriptor, np.float32)}

    def _load(self) -> Any:
        import dlib

        model = self._weights.path
        try:
            return dlib.face_recognition_model_v1(str(model))
        except RuntimeError as error:
            raise AssetError(
                f"dlib cannot read {model} as its face network: {error}. Check the file with: avatarbench assets verify"
            ) from error


class ArcFaceEmbedding:
    """``embedding`` (512,) float32 of unit length. onnxruntime on the CPU, one crop at a time: equal in any batch."""

    id: ClassVar[str] = "arcface"
    requires: ClassVar[tuple[str, ...]] = ("face",)
    kept: ClassVar[tuple[str, ...]] = ("embedding",)
    activations: ClassVar[tuple[str, ...]] = ()

    def __init__(self, device: str = "cpu", model: Path | None = None) -> None:
        self._weights = Weights("arcface", model)
        self._session: Any = None

    @property
    def fingerprint(self) -> str:
        computed_by = versions("onnxruntime", "scikit-image")
        return fingerprint(self.id, 1, self._weights.sha256, {**computed_by, "crop": _ARCFACE_CROP})

    def extract(self, frames: Sequence[Frame], activations: bool = False) -> list[Features | Missing]:
        """The embedding of each frame's face, or why there is none. Raises AssetError for a wrong file."""
        return [self._embed(frame) for frame in frames]

    def close(self) -> None:
        self._session = None

    def _embed(self, frame: Frame) -> Features | Missing:
        from avatarbench.metrics.alignment import arcface_crop

        face = frame.get("face")
        if face is None or isinstance(face, Missing):
            return face or Missing("no face features")
        try:
            crop = arcface_crop(frame.image, face["landmarks"])
        except Unscorable as error:
            return Missing(str(error))
        if self._session is None:
            self._session = self._load()
        batch = ((crop.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
        vector = np.asarray(self._session.run(None, {self._session.get_inputs()[0].name: batch})[0], np.float64).ravel()
        norm = np.linalg.norm(vector)
        if not np.isfinite(norm) or norm == 0:
            return Missing("the identity network gives no direction")
        return {"embedding": (vector / norm).astype(np.float32)}

    def _load(self) -> Any:
        import onnxruntime

        model = self._weights.path
        try:
            session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base below Exception
            raise AssetError(
                f"onnxruntime cannot load {model}: {error}. Check the file with: avatarbench assets verify"
            ) from error
        given, wanted = session.get_inputs()[0].shape[1:], session.get_outputs()[0].shape[-1]
        if given != [3, 112, 112] or wanted != ARCFACE_DIMENSIONS:
            raise AssetError(
                f"{model} maps {given} to {wanted} numbers; ArcFace maps [3, 112, 112] to {ARCFACE_DIMENSIONS}."
            )
        return session


class CsimDlib:
    """``csim-dlib``. Raises Unscorable where an image has no face."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        return _cosine(prediction, reference, "dlib")

    def note(self, prediction: Frame, reference: Frame) -> str | None:
        return faces_note(prediction, reference, "reference")


class CsimArcFace:
    """``csim-arcface``. Raises Unscorable where an image has no face."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        return _cosine(prediction, reference, "arcface")

    def note(self, prediction: Frame, reference: Frame) -> str | None:
        return faces_note(prediction, reference, "reference")


def _cosine(prediction: Frame, reference: Frame, extractor: str) -> float:
    ours, theirs = both(prediction, reference, extractor, "reference")
    a: NDArray[np.float64] = ours["embedding"].astype(np.float64)
    b: NDArray[np.float64] = theirs["embedding"].astype(np.float64)
    return float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1.0, 1.0))
