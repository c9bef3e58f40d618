"""NeRSemble (v2, v1, the benchmark's download) and OpenHeads, which is written in v2's layout: calibrated cameras,
masks, frames read lazily."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarbench.datasets.images import read_image
from avatarbench.datasets.nersemble_calibration import (
    correct_affine,
    correct_colour,
    read_affine_colour,
    read_camera,
    read_colour,
)
from avatarbench.datasets.nersemble_layout import BACKGROUND, Recording, scan
from avatarbench.datasets.nersemble_matte import difference_matte
from avatarbench.datasets.video import Video
from avatarbench.errors import DataError
from avatarbench.method import Camera, Views

OPEN_DECODERS = 2
"""A video and its masks are read in turn: so many stay open, whatever they hold."""

OPEN_BYTES = 600_000_000
"""What further open decoders may hold: all cameras at 512 px, eleven views of the benchmark's, none at full size."""


AVATAR = Path("fit") / "head.avatar"
"""Where a fitted avatar lies in a person's folder."""


class NersembleDataset:
    """Sequences ``<identity>_<sequence>_<camera serial>`` of a NeRSemble or OpenHeads folder.

    Each is one mp4, or a folder of numbered frames, whose numbers say which time step each one shows. Cameras whose
    videos of one sequence differ in length serve the common one. ``subset`` are patterns of sequence names;
    ``colour=True`` applies the cameras' colour calibration where the folder has one. ``avatars=True`` says that a
    fitted avatar of every person ships with the folder, at :data:`AVATAR` of the person's own.
    """

    def __init__(
        self, root: Path | str, subset: Sequence[str] = (), colour: bool = False, avatars: bool = False
    ) -> None:
        self.root = Path(root).expanduser()
        self.colour = colour
        self.avatars = avatars
        self._layout = scan(self.root)
        self.root = self._layout.root
        patterns = subset or ("*",)
        everything = sorted(self._layout.recordings.items())
        self._recordings = {name: r for name, r in everything if any(fnmatchcase(name, p) for p in patterns)}
        if not self._recordings:
            raise DataError(f"{self.root} has no sequence like {' or '.join(patterns)}; {self._known()}.")
        self._videos: dict[Path, Video] = {}
        self._open: OrderedDict[Path, Video] = OrderedDict()
        self._lengths: dict[str, int] = {}
        self._cameras: dict[str, Camera] = {}
        self._digests: dict[str, str] = {}
        self._notes: dict[str, list[str]] = {}
        self._announced: dict[Path, int | None] = {}

    @property
    def home(self) -> Path:
        """The folder of the people: the one that was named, or the benchmark's below it."""
        return self.root

    def sequences(self) -> Sequence[str]:
        """Names, sorted."""
        return list(self._recordings)

    def identity(self, sequence: str) -> str:
        """The person's number, e.g. ``"017"``."""
        return self._find(sequence).identity

    def length(self, sequence: str) -> int:
        """Frames that every camera of the sequence has. Raises DataError for a damaged video, with the frame."""
        if sequence not in self._lengths:
            found = self._find(sequence)
            self._lengths[sequence] = self._common_length(found) if found.is_video else len(found.files)
        return self._lengths[sequence]

    def frame_number(self, sequence: str, index: int) -> int:
        """The time step of a frame: the number in its name, or its index in the video."""
        found = self._find(sequence)
        self._check(sequence, index)
        return index if found.is_video else found.numbers[index]

    def read(self, sequence: str, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 sRGB. Raises DataError naming the file and the frame."""
        found = self._find(sequence)
        self._check(sequence, index)
        image = self._raw(found, index)
        if not self.colour:
            return image
        path = self._colour(found)
        if path is None:
            self._note(sequence, "no colour calibration: colours as recorded")
            return image
        if path.suffix == ".npy":
            return correct_affine(image, read_affine_colour(path))
        return correct_colour(image, read_colour(path, found.camera))

    def camera(self, sequence: str) -> Camera | None:
        """The camera, scaled to the size of the frames; None for a person without ``camera_params.json``.

        Raises DataError, naming the file and the key, where it lacks this camera or is malformed.
        """
        found = self._find(sequence)
        path = self._calibration(found)
        if path is None:
            return None
        if sequence not in self._cameras:
            self._cameras[sequence] = read_camera(path, found.camera, *_frame_size(found.files[0]))
        return self._cameras[sequence]

    def mask(self, sequence: str, index: int) -> NDArray[np.float32] | None:
        """(H, W) float32 in [0, 1]: the stored mask, or a rough one against the picture of the empty stage, or None.

        Raises DataError for a mask of another size than the frame and for masks that lack the frame.
        """
        found = self._find(sequence)
        self._check(sequence, index)
        stored = self._stored_masks(found)
        if stored is not None:
            grey = self._video(stored).read(index) if found.is_video else self._mask_frame(found, stored, index)
            width, height = _frame_size(found.files[0])
            if grey.shape[:2] != (height, width) and found.alpha:  # v1's alpha maps may be smaller than its pictures
                grey = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR))
            if grey.shape[:2] != (height, width):
                raise DataError(
                    f"{stored}: mask {index} is {grey.shape[1]} x {grey.shape[0]}, the frame {width} x {height}."
                )
            return np.divide(grey[..., 1], 255, dtype=np.float32)
        empty = self._background(found)
        if empty is None:
            return None
        self._note(sequence, "mask from the difference to the empty stage (rough)")
        return difference_matte(self._raw(found, index), read_image(empty)[0])

    def views(self, sequence: str, held_out: Sequence[str] = ()) -> Views:
        """Where the person is seen, with the recordings that the sequences ``held_out`` are cameras of."""
        person = self._find(sequence).identity
        avatar = self.root / person / AVATAR if self.avatars else None
        return Views(person, self.root, avatar, tuple(sorted({self._find(name).sequence for name in held_out})))

    def digest(self, sequence: str) -> str:
        """sha256 over the sha256 of every file that a method may be handed: frames, calibration, masks."""
        if sequence not in self._digests:
            found = self._find(sequence)
            files = [*found.files, self._calibration(found)]
            if self.colour:
                files.append(self._colour(found))
            masks = self._stored_masks(found)
            if found.alpha:
                files += [self._file(path) for path in found.alpha]
            elif masks is not None:
                files += [masks] if found.is_video else [self._file(masks / f.name) for f in found.files]
            else:
                files.append(self._background(found))
            each = ["none" if file is None else _sha256(file) for file in files]
            self._digests[sequence] = hashlib.sha256("\n".join(each).encode()).hexdigest()
        return self._digests[sequence]

    def notes(self, sequence: str) -> Sequence[str]:
        """What was passed over of this person, cameras that are missing here alone, and conversions made so far."""
        found = self._find(sequence)
        notes = self._layout.skipped(found.identity)
        take = self._layout.takes[found.identity, found.sequence]
        missing = self._layout.cameras[found.sequence] - {r.camera for r in take}
        if found.is_video and missing:  # numbered frames are sparse by design: each person may have other cameras
            where = f"{found.identity}/{found.sequence}"
            notes.append(f"{where} lacks camera {', '.join(sorted(missing))}, which others have; the rest is served")
        video = self._videos.get(found.files[0])
        return [*notes, *self._notes.get(sequence, ()), *(video.notes if video is not None else ())]

    def beside(self, sequence: str, name: str) -> Path:
        """The folder ``name`` of a recording, beside its pictures; there or not."""
        found = self._find(sequence)
        return found.folder / "sequences" / found.sequence / name

    def close(self) -> None:
        """Close the videos that are open."""
        for video in self._open.values():
            video.close()
        self._open.clear()

    def _find(self, sequence: str) -> Recording:
        found = self._recordings.get(sequence)
        if found is not None:
            return found
        identity, _, rest = sequence.partition("_")
        take = self._layout.takes.get((identity, rest.rpartition("_")[0]), [])
        known = f"it has {', '.join(r.name for r in take)} of that recording" if take else self._known()
        why = self._layout.skipped(identity)
        passed = f" Passed over: {'; '.join(why[:5])}." if why else ""
        raise DataError(f"{self.root} has no sequence '{sequence}'; {known}.{passed}")

    def _known(self) -> str:
        names = sorted(self._layout.recordings)
        return f"it has {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"

    def _common_length(self, found: Recording) -> int:
        own = len(self._video(found.files[0]))
        others = [r for r in self._layout.takes[found.identity, found.sequence] if r.is_video and r != found]
        counts = [own, *(n for r in others if (n := self._by_header(r.files[0])))]
        if min(counts) < max(counts):
            where, span = f"{found.identity}/{found.sequence}", f"{min(counts)} to {max(counts)}"
            self._note(found.name, f"the cameras of {where} have {span} frames: the first {min(counts)} are served")
        return min(counts)

    def _check(self, sequence: str, index: int) -> None:
        count = self.length(sequence)
        if not 0 <= index < count:
            raise DataError(f"'{sequence}' of {self.root} has {count} frames; frame {index} was asked for.")

    def _raw(self, found: Recording, index: int) -> NDArray[np.uint8]:
        if found.is_video:
            return self._video(found.files[0]).read(index)
        image, notes = read_image(found.files[index])
        for note in notes:
            self._note(found.name, note)
        return image

    def _note(self, sequence: str, text: str) -> None:
        notes = self._notes.setdefault(sequence, [])
        if text not in notes:
            notes.append(text)

    def _video(self, path: Path) -> Video:
        """The video of a file, scanned once; the decoder used longest ago is closed."""
        if path not in self._videos:
            self._videos[path] = Video(path)
        self._open[path] = self._videos[path]
        self._open.move_to_end(path)
        while len(self._open) > OPEN_DECODERS and sum(video.held for video in self._open.values()) > OPEN_BYTES:
            self._open.popitem(last=False)[1].close()
        return self._videos[path]

    def _by_header(self, path: Path) -> int | None:
        """Frames that another camera's video announces: to count them would cost a decoding of every camera."""
        if path not in self._announced:
            try:
                with av.open(str(path), "r") as container:
                    self._announced[path] = container.streams.video[0].frames or None
            except (av.FFmpegError, OSError, IndexError):  # its own reading will say what is wrong with it
                self._announced[path] = None
        return self._announced[path]

    def _file(self, path: Path) -> Path | None:
        return self._layout.contained(path)

    def _calibration(self, found: Recording) -> Path | None:
        here = found.folder / "calibration" / "camera_params.json"
        return self._file(here) or self._file(found.folder / "camera_params.json")

    def _colour(self, found: Recording) -> Path | None:
        here = found.folder / "annotations" / found.sequence / "color_correction" / f"{found.camera}.npy"
        return self._file(found.folder / "calibration" / "color_calibration.json") or self._file(here)

    def _stored_masks(self, found: Recording) -> Path | None:
        """The video, or the folder, of masks beside a recording: ours under ``masks``, the benchmark's under
        ``alpha_maps``; v1's first file, where it has any."""
        if found.alpha:
            return next((path for path in found.alpha if self._file(path)), None)
        here, name = (
            found.folder / "sequences" / found.sequence,
            f"cam_{found.camera}{'.mp4' if found.is_video else ''}",
        )
        return self._file(here / "masks" / name) or self._file(here / "alpha_maps" / name)

    def _mask_frame(self, found: Recording, folder: Path, index: int) -> NDArray[np.uint8]:
        path = found.alpha[index] if found.alpha else folder / found.files[index].name
        if self._file(path) is None:
            raise DataError(f"{path.parent} has no mask {path.name}, or only a link that leads out of {self.root}.")
        return read_image(path)[0]

    def _background(self, found: Recording) -> Path | None:
        return self._file(found.folder / "sequences" / BACKGROUND / f"image_{found.camera}.jpg")


def _frame_size(path: Path) -> tuple[int, int]:
    """Width and height by the file's header. Raises DataError."""
    try:
        if path.suffix == ".mp4":
            with av.open(str(path), "r") as container:
                stream = container.streams.video[0]
                return stream.width, stream.height
        with Image.open(path, formats=("WEBP", "PNG")) as image:
            return image.size
    except (av.FFmpegError, OSError, IndexError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read ({error}): copy it again.") from error


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
