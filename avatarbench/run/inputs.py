"""Inputs: every frame of a protocol brought to its image contract, and the tracker's reading of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avatarbench.dataset import Dataset
from avatarbench.datasets.crop import Crop, apply, face_crop, square_crop
from avatarbench.errors import DataError, Unscorable
from avatarbench.method import FaceTrack
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.face import to_track
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.protocol import FrameRef, ImageContract

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT_FRAMES = 64


class Inputs:
    """Reads frames lazily. One crop a sequence, found on its first frame with a face: head motion stays motion."""

    def __init__(self, datasets: Mapping[str, Dataset], contract: ImageContract, engine: FeatureEngine) -> None:
        self._datasets = datasets
        self._contract = contract
        self._engine = engine
        self._crops: dict[tuple[str, str], Crop | Missing] = {}
        self._recent: OrderedDict[FrameRef, Frame] = OrderedDict()
        self._notes: list[str] = []

    def frame(self, ref: FrameRef) -> Frame:
        """The cropped, resampled frame, (size, size, 3) uint8.

        Raises Unscorable where the whole sequence shows no face, DataError where the frame cannot be read.
        """
        if ref in self._recent:
            self._recent.move_to_end(ref)
            return self._recent[ref]
        crop = self._crop(ref)
        image = self._datasets[ref.dataset].read(ref.sequence, ref.index)
        frame = Frame(apply(image, crop, self._contract.size))
        self._recent[ref] = frame
        if len(self._recent) > KEPT_FRAMES:
            self._recent.popitem(last=False)
        return frame

    def image(self, ref: FrameRef) -> NDArray[np.uint8]:
        return self.frame(ref).image

    def track(self, ref: FrameRef) -> FaceTrack:
        """The face of the cropped frame. Raises Unscorable("no face found")."""
        return to_track(self._face(self.frame(ref)))

    def frames_of(self, dataset: str, sequence: str) -> list[FrameRef]:
        """Every frame of a sequence: the real frames of an identity."""
        reader = self._datasets[dataset]
        digest = reader.digest(sequence)
        return [FrameRef(dataset, sequence, i, digest) for i in range(reader.length(sequence))]

    def record(self) -> dict[str, Any]:
        """Crops by sequence, for ``inputs.json``: what pastes a prediction back into its original."""
        return {
            f"{dataset}/{sequence}": {"missing": crop.reason} if isinstance(crop, Missing) else crop.to_dict()
            for (dataset, sequence), crop in sorted(self._crops.items())
        }

    def _face(self, frame: Frame) -> Features:
        self._engine.extract([frame], {"face": False})
        return frame["face"]

    def _crop(self, ref: FrameRef) -> Crop:
        key = (ref.dataset, ref.sequence)
        if key not in self._crops:
            self._crops[key] = self._find_crop(*key)
        crop = self._crops[key]
        if isinstance(crop, Missing):
            raise Unscorable(crop.reason)
        return crop

    def _find_crop(self, dataset: str, sequence: str) -> Crop | Missing:
        reader = self._datasets[dataset]
        if self._contract.crop == "none":
            return square_crop(reader.read(sequence, 0).shape)
        reason = f"no face found in '{sequence}'"
        for index in range(reader.length(sequence)):
            try:
                image = reader.read(sequence, index)
                face = to_track(self._face(Frame(image)))
            except Unscorable:  # the next frame may show one
                continue
            except DataError as error:
                reason = str(error)
                continue
            if face.faces > 1:
                self._notes.append(f"{sequence}: {face.faces} faces in frame {index}, cropped to the largest")
            return face_crop(face.landmarks, image.shape, self._contract.scale)
        return Missing(reason)

    def notes(self) -> list[str]:
        """What a reader should know of the inputs read so far: conversions, several faces."""
        read = [f"{s}: {note}" for d, s in sorted(self._crops) for note in self._datasets[d].notes(s)]
        return list(dict.fromkeys((*read, *self._notes)))
