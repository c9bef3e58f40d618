"""Inputs: every frame of a protocol brought to its image contract, and the tracker's reading of it.

What is found out about them (crops, conversions, several faces) goes to the journal: a resumed run tells the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from avatarbench.dataset import Dataset, camera_of, flame_of, mask_of, square_of, views_of
from avatarbench.datasets.crop import Crop, apply, apply_mask, crop_camera, face_crop, square_crop
from avatarbench.errors import DataError, Unscorable
from avatarbench.method import Camera, FaceTrack, FlameParameters, Framing, Views
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.face import to_track
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.protocol import FrameRef, ImageContract
from avatarbench.run.framing import on_background
from avatarbench.run.journal import Journal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT_FRAMES = 64

NAMED = 3
"""Up to so many sequences of which one thing is noted are named each."""


class Inputs:
    """Reads frames lazily. One crop a sequence, found on its first frame with a face: head motion stays motion.

    ``held_out``: the sequences that :func:`avatarbench.run.plan.held_out` names. ``frame`` tells crops of a method's
    own frame from the protocol's in the journal.
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        contract: ImageContract,
        engine: FeatureEngine,
        journal: Journal,
        held_out: Sequence[str] = (),
        frame: str = "",
    ) -> None:
        self._held_out = held_out
        self._frame = frame
        self._datasets = datasets
        self._contract = contract
        self._engine = engine
        self._journal = journal
        self._crops: dict[tuple[str, str], Crop | Missing] = {}
        self._recent: OrderedDict[FrameRef, Frame] = OrderedDict()
        self._notes: set[tuple[str, str]] = set()  # of which sequence, what
        for event in journal.read():
            if event["kind"] == "crop" and event.get("frame", "") == frame:
                crop = event["crop"]
                found = Missing(crop["missing"]) if "missing" in crop else Crop(**crop)
                self._crops[event["dataset"], event["sequence"]] = found
            elif event["kind"] == "note":
                self._notes.add((event.get("sequence", ""), event["text"]))

    @property
    def contract(self) -> ImageContract:
        """The frame that pictures are brought to."""
        return self._contract

    def framed(self, framing: Framing) -> Inputs:
        """The same frames in a method's own frame. What is noted of them is noted here."""
        changes: dict[str, Any] = {"size": framing.size}
        if framing.scale is not None:
            changes |= {"scale": framing.scale, "crop": "face"}
        if framing.background is not None:
            changes["background"] = framing.background
        contract = replace(self._contract, **changes)
        name = f"{contract.crop} {contract.scale:g}"
        view = Inputs(self._datasets, contract, self._engine, self._journal, self._held_out, name)
        view._notes = self._notes
        return view

    def frame(self, ref: FrameRef) -> Frame:
        """The cropped, resampled frame, (size, size, 3) uint8.

        Raises Unscorable where the whole sequence shows no face, DataError where the frame cannot be read.
        """
        if ref in self._recent:
            self._recent.move_to_end(ref)
            return self._recent[ref]
        crop = self.crop(ref)
        image = self._behind(ref, self._read(ref.dataset, ref.sequence, ref.index))
        frame = Frame(apply(image, crop, self._contract.size))
        self._recent[ref] = frame
        if len(self._recent) > KEPT_FRAMES:
            self._recent.popitem(last=False)
        return frame

    def image(self, ref: FrameRef) -> NDArray[np.uint8]:
        return self.frame(ref).image

    def track(self, ref: FrameRef) -> FaceTrack:
        """The face of the cropped frame, in arrays of the caller's own. Raises Unscorable("no face found")."""
        face = to_track(self._face(self.frame(ref)))
        return FaceTrack(face.landmarks.copy(), face.arkit.copy(), face.head.copy(), face.faces)

    def camera(self, ref: FrameRef) -> Camera:
        """The camera of the cropped frame. Raises Unscorable where there is none, DataError where it is damaged."""
        camera = camera_of(self._datasets[ref.dataset], ref.sequence)
        if camera is None:
            raise Unscorable(f"'{ref.sequence}' has no calibrated camera")
        return crop_camera(camera, self.crop(ref), self._contract.size)

    def flame(self, ref: FrameRef) -> tuple[FlameParameters, Camera] | None:
        """What was tracked in a frame, with the camera of the cropped frame that it is seen by; None for a frame that
        was not tracked. Raises DataError where the tracking is damaged."""
        found = flame_of(self._datasets[ref.dataset], ref.sequence, ref.index)
        if found is None:
            return None
        return found[0], crop_camera(found[1], self.crop(ref), self._contract.size)

    def mask(self, ref: FrameRef) -> NDArray[np.float32] | None:
        """The cropped frame's foreground, (size, size) float32; None where the dataset has none. Raises DataError."""
        mask = mask_of(self._datasets[ref.dataset], ref.sequence, ref.index)
        return None if mask is None else apply_mask(mask, self.crop(ref), self._contract.size)

    def views(self, ref: FrameRef) -> Views:
        """Where the person of a frame is seen from many sides. Raises Unscorable where the dataset does not say."""
        views = views_of(self._datasets[ref.dataset], ref.sequence, self._held_out)
        if views is None:
            raise Unscorable(f"the dataset '{ref.dataset}' has no further views of the person of '{ref.sequence}'")
        return views

    def record(self) -> dict[str, Any]:
        """Crops by sequence, for ``inputs.json``: what pastes a prediction back into its original."""
        return {
            f"{dataset}/{sequence}": _crop_record(crop) for (dataset, sequence), crop in sorted(self._crops.items())
        }

    def _face(self, frame: Frame) -> Features:
        self._engine.extract([frame], {"face": False})
        return frame["face"]

    def _behind(self, ref: FrameRef, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture with the contract's background, which takes a mask: it changes before the one resampling."""
        if self._contract.background == "kept" or hasattr(self._datasets[ref.dataset], "square"):
            return image
        mask = mask_of(self._datasets[ref.dataset], ref.sequence, ref.index)
        if mask is None:
            self.note(f"no masks, so that its background is kept, not {self._contract.background}", ref.sequence)
            return image
        return on_background(image, mask, self._contract.background)

    def crop(self, ref: FrameRef) -> Crop:
        """The square of a frame's sequence. Raises Unscorable where no frame of it shows a face."""
        key = (ref.dataset, ref.sequence)
        if key not in self._crops:
            self._crops[key] = self._find_crop(*key)
            event = _crop_record(self._crops[key])
            other = {"frame": self._frame} if self._frame else {}
            self._journal.write("crop", dataset=ref.dataset, sequence=ref.sequence, crop=event, **other)
        crop = self._crops[key]
        if isinstance(crop, Missing):
            raise Unscorable(crop.reason)
        return crop

    def _find_crop(self, dataset: str, sequence: str) -> Crop | Missing:
        reader = self._datasets[dataset]
        try:
            if (square := square_of(reader, sequence, self._contract)) is not None:
                return square
        except Unscorable as error:
            return Missing(str(error))
        if self._contract.crop == "none":
            return square_crop(self._read(dataset, sequence, 0).shape)
        reason = f"no face found in '{sequence}'"
        for index in range(reader.length(sequence)):
            try:
                image = self._read(dataset, sequence, index)
                face = to_track(self._face(Frame(image)))
            except Unscorable:  # the next frame may show one
                continue
            except DataError as error:
                reason = str(error)
                continue
            if face.faces > 1:
                self.note(f"{face.faces} faces in frame {index}, cropped to the largest", sequence)
            return face_crop(face.landmarks, image.shape, self._contract.scale)
        return Missing(reason)

    def _read(self, dataset: str, sequence: str, index: int) -> NDArray[np.uint8]:
        reader = self._datasets[dataset]
        image = reader.read(sequence, index)
        for note in reader.notes(sequence):
            self.note(note, sequence)
        return image

    def note(self, text: str, sequence: str = "") -> None:
        """Tell a reader of the run something, once; ``sequence``: of which one it holds, where it is not of all."""
        if (sequence, text) not in self._notes:
            self._journal.write("note", text=text, **({"sequence": sequence} if sequence else {}))
            self._notes.add((sequence, text))

    def notes(self) -> list[str]:
        """Everything noted, sorted: a resumed run notes in another order. What holds of many sequences is said once."""
        of: dict[str, list[str]] = {}
        for sequence, text in sorted(self._notes):
            of.setdefault(text, []).append(sequence)
        return sorted(line for text, sequences in of.items() for line in _told(text, sequences))


def _told(text: str, sequences: list[str]) -> list[str]:
    if len(sequences) > NAMED:
        return [f"{len(sequences)} sequences (the first: {sequences[0]}): {text}"]
    return [f"{sequence}: {text}" if sequence else text for sequence in sequences]


def _crop_record(crop: Crop | Missing) -> dict[str, Any]:
    return {"missing": crop.reason} if isinstance(crop, Missing) else crop.to_dict()
