"""The peer: the reference packages in a plain loop, as a careful user writes it.

One frame at a time; models are built once, nothing records gradients, and each metric finds the landmarks it needs.
"""

from __future__ import annotations

from typing import Any

import dlib
import mediapipe
import numpy as np
import torch
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarbench import assets
from tests.oracles import reference

Picture = NDArray[np.uint8]
EYES_AND_NOSE = (263, 362, 33, 133, 2)


class Peer:
    """Values of the full offline suite, metric by metric; ``fd-vgg`` at the end, from the features collected."""

    def __init__(self, channels_last: bool = False) -> None:
        self.layout = "channels-last" if channels_last else "contiguous NCHW"
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.alex, self.vgg, self.trunk = (
            network.to(memory_format=self._format)
            for network in (
                reference.lpips_package("alex"),
                reference.lpips_package("vgg"),
                reference.torchvision_vgg(),
            )
        )
        self.landmarker = FaceLandmarker.create_from_options(
            FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(assets.pull("face-landmarker"))),
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
                num_faces=5,
            )
        )
        self.identity = dlib.face_recognition_model_v1(str(assets.pull("dlib-face")))
        self.features: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def score(self, prediction: Picture, target: Picture) -> dict[str, float]:
        """One pair under every pair metric; NaN where a face is missing."""
        pooled = [reference.vgg_pooled(self.trunk, image, self._format) for image in (prediction, target)]
        self.features.append((pooled[0], pooled[1]))
        with torch.inference_mode():
            perceptual = {
                name: model(self._input(prediction), self._input(target)).item()
                for name, model in (("lpips-alex", self.alex), ("lpips-vgg", self.vgg))
            }
        return {
            "psnr": reference.psnr_skimage(prediction, target),
            "ssim": reference.ssim_skimage(prediction, target),
            **perceptual,
            "akd-mediapipe": self._keypoints(prediction, target),
            "apd-mediapipe": self._pose(prediction, target),
            "aed-mediapipe": self._expression(prediction, target),
            "csim-dlib": self._identity(prediction, target),
        }

    def _input(self, image: Picture) -> torch.Tensor:
        return reference.lpips_input(image).contiguous(memory_format=self._format)

    def frechet(self) -> float:
        """``fd-vgg`` of all pairs so far."""
        ours, theirs = (np.stack(side) for side in zip(*self.features, strict=True))
        return reference.frechet_scipy(ours, theirs)

    def close(self) -> None:
        self.landmarker.close()

    def _face(self, image: Picture) -> tuple[Any, int, NDArray[np.float64]] | None:
        """The detection, the index of its largest face, and that face's (478, 2) points in pixels."""
        found = self.landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image))
        if not found.face_landmarks:
            return None
        size = np.array([image.shape[1], image.shape[0]], np.float32)
        faces = [np.array([(p.x, p.y) for p in face], np.float32) * size for face in found.face_landmarks]
        largest = int(np.argmax([np.prod(np.ptp(face, axis=0)) for face in faces]))
        return found, largest, faces[largest].astype(np.float64)

    def _keypoints(self, prediction: Picture, target: Picture) -> float:
        ours, theirs = self._face(prediction), self._face(target)
        if ours is None or theirs is None:
            return np.nan
        return float(np.linalg.norm(ours[2] - theirs[2], axis=1).mean()) * 512 / max(target.shape)

    def _pose(self, prediction: Picture, target: Picture) -> float:
        angles = []
        for found in (self._face(prediction), self._face(target)):
            if found is None:
                return np.nan
            matrix = np.array(found[0].facial_transformation_matrixes[found[1]], np.float64)[:3, :3]
            u, _, v = np.linalg.svd(matrix)
            angles.append(Rotation.from_matrix(u @ v).as_euler("xyz", degrees=True))
        return float(np.abs((angles[0] - angles[1] + 180) % 360 - 180).mean())

    def _expression(self, prediction: Picture, target: Picture) -> float:
        scores = []
        for found in (self._face(prediction), self._face(target)):
            if found is None:
                return np.nan
            scores.append([c.score for c in found[0].face_blendshapes[found[1]]])
        return float(np.abs(np.array(scores[0]) - np.array(scores[1])).mean())

    def _identity(self, prediction: Picture, target: Picture) -> float:
        embeddings = []
        for image in (prediction, target):
            found = self._face(image)
            if found is None:
                return np.nan
            points = [dlib.point(int(x), int(y)) for x, y in np.rint(found[2][list(EYES_AND_NOSE)])]
            shape = dlib.full_object_detection(dlib.rectangle(0, 0, image.shape[1], image.shape[0]), points)
            embeddings.append(np.array(self.identity.compute_face_descriptor(image, shape)))
        a, b = embeddings
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
