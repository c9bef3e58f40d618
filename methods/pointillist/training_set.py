"""What AvatarPointillist learns from: a folder of people, each with a cloud, portraits, and their tracking.

``avatarbench train pointillist data`` writes it; docs/pointillist-data.md describes the files.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.tokenizer import Points, Tokenizer

FORMAT = 1
"""Raised when this reader can no longer read what an earlier builder wrote."""

MANIFEST, RIG, CLOUD, TRACKING, RECORD = (
    "manifest.json", "rig.safetensors", "cloud.safetensors", "tracking.safetensors", "person.json",
)  # fmt: skip
IDENTITY = "identity"
"""Among a person's sources: sha256 of who an OpenHeads person is, in sets made since that is kept."""
KEPT_BYTES = 2 << 30
"""Decoded portraits held in memory; further ones are read again when they are asked for."""


class Portrait(NamedTuple):
    """``image`` (H, W, 3) uint8 RGB; ``vertices`` (V, 3) float32, metres: the rest mesh of the head that was tracked in
    this very picture, neutral, on the rig that the bindings name, in the rig's axes."""

    image: NDArray[np.uint8]
    vertices: Tensor


class TrainingSet:
    """A finished folder. ``faces`` (F, 3) int64 and ``mirror`` (F,) int64, the face at each face's mirror image;
    ``config``: what the clouds were made with; ``digest``: sha256 of the manifest, and so of everything.

    Files are checked against the manifest when they are read. Raises DataError for a folder that is not finished or not
    one of these, and for a file that is missing, damaged or another one.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        content = self._bytes(MANIFEST)
        self.digest = hashlib.sha256(content).hexdigest()
        try:
            found = json.loads(content)
            if found["format"] != FORMAT:
                raise DataError(
                    f"{self.root / MANIFEST} was written by another version of avatarbench (format {found['format']}, "
                    f"and this one reads {FORMAT}): build the set anew in another folder."
                )
            self.tokenizer = Tokenizer.from_json(found["tokenizer"])
            self.config: dict[str, Any] = dict(found["config"])
            self.people: tuple[str, ...] = tuple(found["people"])
            self.described: dict[str, dict[str, Any]] = dict(found["people"])
            self._digests: dict[str, str] = dict(found["files"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self.root / MANIFEST} is no manifest of a training set ({error!r}). {_REMEDY}"
            ) from error
        rig = self._tensors(RIG)
        self.faces, self.mirror = self._of(rig, RIG, "faces", (-1, 3)), self._of(rig, RIG, "mirror", (-1,))
        count = self.tokenizer.vocabulary.faces
        if not len(self.faces) == len(self.mirror) == count:
            raise DataError(
                f"{self.root / RIG} has {len(self.faces)} faces, and the tokenizer is for {count}. {_REMEDY}"
            )
        self._clouds: dict[str, dict[str, Tensor]] = {}
        self._portraits: dict[str, tuple[Portrait, ...]] = {}
        self._room = KEPT_BYTES

    def cloud(self, person: str) -> Points:
        """The fitted canonical cloud of a person, in the rig's axes."""
        found = self._cloud(person)
        name = f"{person}/{CLOUD}"
        positions = self._of(found, name, "positions", (-1, 3))
        return Points(positions, self._of(found, name, "bindings", (len(positions),)).long())

    def rest(self, person: str) -> Tensor:
        """(V, 3) float32 metres: the rest mesh that the cloud was fitted on."""
        return self._of(self._cloud(person), f"{person}/{CLOUD}", "rest", (-1, 3))

    def portraits(self, person: str) -> tuple[Portrait, ...]:
        """At least one, the person's own portrait first where its face was found."""
        if person in self._portraits:
            return self._portraits[person]
        names = [one["file"] for one in self._described(person)["portraits"]]
        key = f"{person}/{TRACKING}"
        vertices = self._of(self._tensors(key), key, "vertices", (len(names), -1, 3))
        images = [self._image(f"{person}/{name}") for name in names]
        found = tuple(Portrait(image, mesh) for image, mesh in zip(images, vertices, strict=True))
        size = sum(image.nbytes for image in images)
        if size <= self._room:
            self._room -= size
            self._portraits[person] = found
        return found

    def marks(self, person: str) -> dict[str, str]:
        """What tells a person from others whatever the name: sha256 of the ``cloud`` file, and, where it was kept, of
        the ``identity``."""
        sources = self._described(person).get("sources")
        found = {"cloud": self._digests.get(f"{person}/{CLOUD}")}
        found |= {IDENTITY: sources.get(IDENTITY) if isinstance(sources, dict) else None}
        return {name: value for name, value in found.items() if isinstance(value, str)}

    def tracking(self, person: str) -> dict[str, Tensor]:
        """All that the tracker said of a person's portraits, each with one row a portrait."""
        self._described(person)
        return self._tensors(f"{person}/{TRACKING}")

    def _described(self, person: str) -> dict[str, Any]:
        if person not in self.described:
            raise DataError(f"{self.root} has no person '{person}'; it has {', '.join(self.people[:20])}.")
        return self.described[person]

    def _cloud(self, person: str) -> dict[str, Tensor]:
        if person not in self._clouds:
            self._described(person)
            self._clouds[person] = self._tensors(f"{person}/{CLOUD}")
        return self._clouds[person]

    def _image(self, name: str) -> NDArray[np.uint8]:
        try:
            with Image.open(io.BytesIO(self._checked(name)), formats=("PNG",)) as image:
                return np.array(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{self.root / name} is no picture that can be read ({error}). {_REMEDY}") from error

    def _tensors(self, name: str) -> dict[str, Tensor]:
        try:
            return load(self._checked(name))
        except SafetensorError as error:
            raise DataError(f"{self.root / name} holds no tensors ({error}). {_REMEDY}") from error

    def _of(self, tensors: dict[str, Tensor], name: str, key: str, shape: tuple[int, ...]) -> Tensor:
        found = tensors.get(key)
        if (
            found is None
            or found.ndim != len(shape)
            or any(want not in (-1, have) for want, have in zip(shape, found.shape, strict=True))
        ):
            seen = "is missing" if found is None else f"has the shape {tuple(found.shape)}"
            raise DataError(f"{self.root / name}: '{key}' {seen}, where {shape} is expected. {_REMEDY}")
        return found

    def _checked(self, name: str) -> bytes:
        """The bytes of a file of the manifest, which are what they were when it was written."""
        wanted = self._digests.get(name)
        parts = Path(name).parts
        if wanted is None or Path(name).is_absolute() or ".." in parts:
            raise DataError(f"{self.root / MANIFEST} lists no file '{name}'. {_REMEDY}")
        content = self._bytes(name)
        have = hashlib.sha256(content).hexdigest()
        if have != wanted:
            raise DataError(
                f"{self.root / name} has sha256 {have[:16]}..., and {MANIFEST} says {wanted[:16]}...: it is damaged or "
                f"of another set. {_REMEDY}"
            )
        return content

    def _bytes(self, name: str) -> bytes:
        path = self.root / name
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            why = (
                "there is no finished training set. Make or finish it with: avatarbench train pointillist data"
                if name == MANIFEST
                else f"{MANIFEST} lists it. {_REMEDY}"
            )
            raise DataError(f"{path} does not exist: {why}") from error
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


_REMEDY = "Copy the set again, or build it anew."


def mirror_map(vertices: Tensor, faces: Tensor) -> Tensor:
    """(F,) int64: for every face the one whose centre and normal lie nearest to its mirror image in x = 0, by the rig's
    template ``vertices`` (V, 3), metres. A face turned the other way counts as 2 cm away: eyelids and lips are two
    layers."""
    from scipy.spatial import cKDTree

    corners = vertices[faces].double()
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = torch.nn.functional.normalize(normal, dim=1)
    described = torch.cat([corners.mean(1), 0.01 * normal], 1).numpy()
    flip = np.array([-1.0, 1, 1, -1, 1, 1])
    return torch.from_numpy(cKDTree(described).query(described * flip)[1].astype(np.int64))
