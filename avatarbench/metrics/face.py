"""The face of a frame: 478 landmarks, 52 blendshape scores and the head's pose, by MediaPipe's face landmarker."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import AssetError
from avatarbench.method import FaceTrack
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.metrics.native_log import quiet_native_log
from avatarbench.metrics.networks import Weights, fingerprint, versions

ARKIT_NAMES: tuple[str, ...] = (
    "_neutral",
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight"),
    *("eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight"),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight"),
    *("mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel"),
    *("mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker"),
    *("mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *("mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight"),
    *("mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight"),
)
"""The landmarker's 52 outputs in its order; ``_neutral`` replaces ARKit's ``tongueOut``, Left is the subject's left."""

NO_FACE = "no face found"

_OPTIONS: dict[str, float] = {
    "num_faces": 5,
    "min_face_detection_confidence": 0.5,
    "min_face_presence_confidence": 0.5,
    "min_tracking_confidence": 0.5,
}
_DEFINITION = 1


class FaceLandmarker:
    """Features of the largest face (area of the landmarks' bounding box), at most five being looked for.

    ``landmarks`` (478, 3) float32, x and y in pixels of the image, z in the scale of x; ``arkit`` (52,) float32 in the
    order of :data:`ARKIT_NAMES`; ``head`` (4, 4) float32, canonical face to camera, centimetres; ``faces`` (1,) int32,
    how many were found.
    Every image is looked at by itself (MediaPipe's image mode). It runs on the CPU whatever ``device`` is.
    Raises AssetError where the model is missing or MediaPipe cannot load it.
    """

    id: ClassVar[str] = "face"
    requires: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, ...]] = ("landmarks", "arkit", "head", "faces")
    activations: ClassVar[tuple[str, ...]] = ()

    def __init__(self, device: str = "cpu", model: Path | None = None) -> None:
        self._weights = Weights("face-landmarker", model)
        self._native: Any = None
        self._finalizer: weakref.finalize[..., FaceLandmarker] | None = None
        self._settled = False

    @property
    def fingerprint(self) -> str:
        """Hash of the model file, the MediaPipe version and the options."""
        return fingerprint(self.id, _DEFINITION, self._weights.sha256, {**versions("mediapipe"), **_OPTIONS})

    def extract(self, frames: Sequence[Frame], activations: bool = False) -> list[Features | Missing]:
        """Features of each frame, or ``Missing("no face found")``."""
        return [self._read(frame.image) for frame in frames]

    def close(self) -> None:
        """Release the native landmarker and its threads; a later :meth:`extract` opens another."""
        if self._finalizer is not None:
            self._finalizer()
        self._native, self._finalizer, self._settled = None, None, False

    def _read(self, image: NDArray[np.uint8]) -> Features | Missing:
        if image.size == 0:
            return Missing("the image is empty")
        if self._settled:
            return self._detect(image)
        # The graph's parts start, and log, one after the other: they are all up once a face has gone through them.
        with quiet_native_log():
            found = self._detect(image)
        self._settled = not isinstance(found, Missing)
        return found

    def _detect(self, image: NDArray[np.uint8]) -> Features | Missing:
        import mediapipe

        if self._native is None:
            self._open()
        result = self._native.detect(
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        )
        if not result.face_landmarks:
            return Missing(NO_FACE)
        counts = tuple(
            map(len, (result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes))
        )
        if len(set(counts)) > 1:  # a face that only one of its networks let go would shift every later one
            return Missing(
                "MediaPipe's answers do not belong together: {} landmark lists, {} blendshape lists, {} head "
                "matrices".format(*counts)
            )
        height, width = image.shape[:2]
        scale = np.array([width, height, width], np.float32)
        faces = [np.array([(p.x, p.y, p.z) for p in face], np.float32) * scale for face in result.face_landmarks]
        largest = int(np.argmax([np.prod(np.ptp(face[:, :2], axis=0)) for face in faces]))
        return {
            "landmarks": faces[largest],
            "arkit": np.array([c.score for c in result.face_blendshapes[largest]], np.float32),
            "head": np.array(result.facial_transformation_matrixes[largest], np.float32),
            "faces": np.array([len(faces)], np.int32),
        }

    def _open(self) -> None:
        from mediapipe.tasks.python import BaseOptions
        from mediapipe.tasks.python.vision import FaceLandmarker as Native
        from mediapipe.tasks.python.vision import FaceLandmarkerOptions

        model = self._weights.path
        options = FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
            **_OPTIONS,
        )
        try:
            self._native = Native.create_from_options(options)
        except (OSError, RuntimeError, ValueError) as error:
            raise AssetError(
                f"MediaPipe cannot load the face landmarker {model}: {error}. "
                "Check the file with: avatarbench assets verify"
            ) from error
        self._finalizer = weakref.finalize(self, _release, self._native)


def _release(native: Any) -> None:
    try:
        native.close()
    except RuntimeError as error:
        if "after shutdown" not in str(error):
            raise
        # The interpreter is exiting and MediaPipe's dispatch thread has gone: the process takes the handle along.
        # Without it the landmarker's own __del__, which would fail loudly on a dismantled interpreter, does nothing.
        native._handle = None


def to_track(features: Features) -> FaceTrack:
    """The ``face`` features of a frame as a method's :class:`FaceTrack`."""
    return FaceTrack(
        landmarks=features["landmarks"],
        arkit=features["arkit"],
        head=features["head"],
        faces=features["faces"].item(),
    )


def track(images: Sequence[NDArray[np.uint8]]) -> list[FaceTrack | Missing]:
    """The face of each (H, W, 3) uint8 sRGB image, in order; Missing with the reason where there is none."""
    landmarker = FaceLandmarker()
    try:
        found = landmarker.extract([Frame(image) for image in images], activations=False)
    finally:
        landmarker.close()
    return [f if isinstance(f, Missing) else to_track(f) for f in found]
