"""What ``avatarbench data prepare`` wrote, as a dataset: frames under the protocols' image contract, ready to be used.

``prepared.json`` says of what and how; ``sequences/NAME/`` holds ``sequence.json`` (crop, camera, digest of the
original, hash of what follows, which frames), ``frames/000007.png`` and ``masks/000007.png`` by index, ``track.npz``
and ``flame.npz``; ``avatarbench-manifests/`` the resolved protocols.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench.datasets.crop import Crop
from avatarbench.datasets.images import read_image
from avatarbench.datasets.ledger import sha256
from avatarbench.errors import DataError, Unscorable
from avatarbench.method import Camera, FlameParameters
from avatarbench.npz import read_npz
from avatarbench.protocol import ImageContract

ABOUT = "prepared.json"
SEQUENCE = "sequence.json"
FORMAT = 1
FILES = ("frames/*.png", "masks/*.png", "*.npz")


def prepared(root: Path, name: str) -> PreparedDataset | None:
    """The prepared folder ``root``; None for any other folder. Raises DataError for one of another data set."""
    return PreparedDataset(root, name) if (root / ABOUT).is_file() else None


class PreparedDataset:
    """Frames by the indices that they have in the original; those that no protocol draws are not there.

    ``read``, ``mask`` and ``camera`` give the square of ``contract``, with its background; ``digest``, ``length`` and
    ``frame_number`` are the original's, so that a manifest is the same on both. Raises DataError for files that are
    missing or damaged.
    """

    def __init__(self, root: Path | str, name: str) -> None:
        self.root = Path(root).expanduser()
        about = read_json(self.root / ABOUT)
        if about.get("dataset") != name or about.get("format") != FORMAT:
            raise DataError(
                f"{self.root} is prepared from '{about.get('dataset')}' in format {about.get('format')}, and '{name}' "
                f"in format {FORMAT} is asked for: prepare it again."
            )
        try:
            self.contract = ImageContract(**about["image"])
        except (KeyError, TypeError) as error:
            raise DataError(f"{self.root / ABOUT} has no image contract ({error}): prepare it again.") from error
        folder = self.root / "sequences"
        found = sorted(p.parent for p in folder.glob(f"*/{SEQUENCE}")) if folder.is_dir() else []
        inside = [p for p in found if p.resolve().is_relative_to(self.root.resolve())]
        self._sequences = {p.name: read_json(p / SEQUENCE) for p in inside}
        self._digests: dict[str, str] = {}
        if not self._sequences:
            raise DataError(f"{self.root} holds no finished sequence: run the same 'avatarbench data prepare' again.")

    def sequences(self) -> Sequence[str]:
        return list(self._sequences)

    def identity(self, sequence: str) -> str:
        return str(self._find(sequence)["identity"])

    def length(self, sequence: str) -> int:
        """Of the original."""
        return int(self._find(sequence)["length"])

    def indices(self, sequence: str) -> list[int]:
        """The frames that are there."""
        return list(self._find(sequence)["frames"])

    def frame_number(self, sequence: str, index: int) -> int:
        found, count = self._find(sequence), self.length(sequence)
        if not 0 <= index < count:
            raise DataError(f"'{sequence}' of {self.root} has {count} frames; frame {index} was asked for.")
        return int(found["numbers"][index]) if found["numbers"] else index

    def digest(self, sequence: str) -> str:
        """Of the original, with the mattes that were given; another where files are not as they were prepared."""
        if sequence not in self._digests:
            found, files = self._find(sequence), files_digest(self.root / "sequences" / sequence)
            own = str(found["digest"])
            intact = found.get("files") == files
            self._digests[sequence] = own if intact else hashlib.sha256(f"{own}\n{files}".encode()).hexdigest()
        return self._digests[sequence]

    def notes(self, sequence: str) -> Sequence[str]:
        """What reading the original noted."""
        return [str(note) for note in self._find(sequence)["notes"]]

    def read(self, sequence: str, index: int) -> NDArray[np.uint8]:
        """(size, size, 3) uint8. Raises DataError for a frame that was not prepared."""
        return read_image(self._file(sequence, index, "frames"))[0]

    def mask(self, sequence: str, index: int) -> NDArray[np.float32] | None:
        """(size, size) float32 in [0, 1]; None where the original has none."""
        if not self._find(sequence)["masks"]:
            return None
        return np.divide(read_image(self._file(sequence, index, "masks"))[0][..., 1], 255, dtype=np.float32)

    def camera(self, sequence: str) -> Camera | None:
        """The camera that takes the square."""
        found = self._find(sequence)["camera"]
        if found is None:
            return None
        size = self.contract.size
        return Camera(np.array(found["K"], np.float64), np.array(found["world_to_camera"], np.float64), size, size)

    def crop(self, sequence: str) -> Crop:
        """The square in the original's pixels: what :func:`avatarbench.datasets.crop.paste_back` takes.

        Raises Unscorable where no frame of the original shows a face.
        """
        found = self._find(sequence)
        if "missing" in found["crop"]:
            raise Unscorable(str(found["crop"]["missing"]))
        return Crop(**found["crop"])

    def square(self, sequence: str, contract: ImageContract) -> Crop:
        """The square of ``contract`` in the frames of this folder, which is all of them.

        Raises DataError for another contract than the one prepared for, Unscorable where no frame shows a face.
        """
        if contract != self.contract:
            ours, theirs = asdict(self.contract), asdict(contract)
            differ = ", ".join(f"{key} {ours[key]}, not {theirs[key]}" for key in ours if ours[key] != theirs[key])
            raise DataError(f"{self.root} is prepared with {differ}: run on the original data, or prepare it for that.")
        self.crop(sequence)
        return Crop(0, 0, self.contract.size)

    def flame(self, sequence: str, index: int) -> tuple[FlameParameters, Camera] | None:
        """What another tracker found, with the camera that takes the square; None for a frame that it lacks."""
        path = self.root / "sequences" / sequence / "flame.npz"
        self._find(sequence)
        if not path.is_file():
            return None
        values = read_npz(path, "prepare it again")
        at = np.flatnonzero(values["indices"] == index)
        if not at.size:
            return None
        row, size = int(at[0]), self.contract.size
        each = ("expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation")
        flame = FlameParameters(
            shape=values["shape"], static_offset=values.get("static_offset"), **{key: values[key][row] for key in each}
        )
        return flame, Camera(values["K"][row], values["world_to_camera"][row], size, size)

    def close(self) -> None:
        """Nothing is kept open."""

    def _find(self, sequence: str) -> dict[str, Any]:
        try:
            return self._sequences[sequence]
        except KeyError:
            known = ", ".join(list(self._sequences)[:5])
            raise DataError(f"{self.root} has no sequence '{sequence}'; it has {known}.") from None

    def _file(self, sequence: str, index: int, kind: str) -> Path:
        found = self._find(sequence)
        if index not in found["frames"]:
            self.crop(sequence)  # no face says more than no frame
            raise DataError(
                f"{self.root} holds {len(found['frames'])} frames of '{sequence}', those that the protocols draw; "
                f"frame {index} is not among them: run on the original data."
            )
        path = self.root / "sequences" / sequence / kind / f"{index:06d}.png"
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise DataError(f"{path} leads out of {self.root}: prepare it again.")
        return path


def files_digest(folder: Path) -> str:
    """sha256 over the name and sha256 of every file that was prepared of a sequence. Raises DataError."""
    found = sorted(path for pattern in FILES for path in folder.glob(pattern))
    try:
        named = "\n".join(f"{path.relative_to(folder).as_posix()} {sha256(path)}" for path in found)
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror or error}): prepare it again.") from error
    return hashlib.sha256(named.encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}): prepare it again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no object: prepare it again.")
    return content
