"""What the decoder learns from of stage one: a folder of generated clouds, with the states that they were made of.

``avatarbench train pointillist clouds`` writes it; docs/pointillist-decoder-training.md describes the files.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.tokenizer import SLOTS, Points, Tokenizer

FORMAT = 1
"""Raised when this reader can no longer read what an earlier version wrote."""
MANIFEST, SETTINGS = "manifest.json", "settings.json"
STAGE_ONE = "stage_one"
"""In the settings: the digest of the set that stage one was trained on, and its people's marks where they are known."""
DRAWN = ("generate", "precision", "encoder")
"""In the settings: how clouds were drawn, and which network saw the portraits."""
KEPT_BYTES = 2 << 30
"""Of clouds held in memory, those used last; others are read again when they are asked for."""
REMEDY = "Make it anew with: avatarbench train pointillist clouds"


def as_now(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` of a folder, or its ``sampling``, with those of ``generate`` that were not there yet when it was
    written. What each of them is unless told leaves draws as they were before."""
    try:
        drawn = Generate.model_validate(settings["generate"])
    except (KeyError, ValidationError):  # of a later version, or of none: as different as it looks
        return dict(settings)
    return {**settings, "generate": drawn.model_dump(mode="json")}


class Drawn(NamedTuple):
    """One generated cloud, and what the decoder is told of its portrait.

    ``points``: at the middles of their bins, in the rig's axes; ``states`` (N, 4, W) float32: stage one's, of x, y, z
    and binding; ``image`` (I, W') float32: the frozen encoder's tokens; ``vertices`` (V, 3) float32 metres and
    ``shape`` (S,): the head that was tracked in the portrait, at rest.
    """

    points: Points
    states: Tensor
    image: Tensor
    vertices: Tensor
    shape: Tensor


class Clouds:
    """A finished folder. ``portraits``: by person, the numbers (in the training set) of those whose cloud came to its
    own end, which are what is learnt from; ``left``: by person, the others with the reason.

    ``known``: the marks of the people whom stage one was trained on, None where its weights do not say; ``sampling``:
    :data:`DRAWN` of the settings; ``data``: digest of the training set; ``fingerprint``: of stage one's checkpoint;
    ``digest``: sha256 of the manifest, and so of everything. Files are checked against it when they are read. Raises
    DataError for a folder that is not finished or not one of these, and for a file that is missing, damaged or another
    one.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        path = self.root / MANIFEST
        content = _bytes(path)
        self.digest = hashlib.sha256(content).hexdigest()
        try:
            found = json.loads(content)
            if found["format"] != FORMAT:
                raise DataError(
                    f"{path} was written by another version of avatarbench (format {found['format']}, and this one "
                    f"reads {FORMAT}): make the clouds anew in another folder."
                )
            self.settings: dict[str, Any] = dict(found["settings"])
            self.data, self.fingerprint = str(self.settings["data"]), str(self.settings["checkpoint"])
            count, width = (int(value) for value in self.settings["image_tokens"])
            self.image_tokens, self.width = (count, width), int(self.settings["width"])
            self.tokenizer = Tokenizer.from_json(self.settings["tokenizer"])
            known = self.settings.get(STAGE_ONE, {}).get("people")
            self.known: dict[str, dict[str, str]] | None = None if known is None else dict(known)
            self.sampling = {key: self.settings[key] for key in DRAWN}
            people = {name: list(entries) for name, entries in found["people"].items()}
            self.people: tuple[str, ...] = tuple(people)
            self._files = {
                (name, int(e["portrait"])): (str(e["file"]), e["sha256"]) for name in people for e in people[name]
            }
            good = {name: [int(e["portrait"]) for e in people[name] if e["reason"] == "ended"] for name in people}
            self.portraits = {name: tuple(numbers) for name, numbers in good.items()}
            self.left = {
                name: {int(e["portrait"]): str(e["reason"]) for e in people[name] if e["reason"] != "ended"}
                for name in people
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{path} is no manifest of generated clouds ({error!r}). {REMEDY}") from error
        self._kept: OrderedDict[tuple[str, int], Drawn] = OrderedDict()
        self._room = KEPT_BYTES

    def drawn(self, person: str, portrait: int) -> Drawn:
        """The cloud that was made of a person's portrait."""
        key = (person, portrait)
        if key not in self._kept:
            self._keep(key, self._read(*key))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _read(self, person: str, portrait: int) -> Drawn:
        if (person, portrait) not in self._files:
            raise DataError(f"{self.root} has no cloud of portrait {portrait} of '{person}'. {REMEDY}")
        name, digest = self._files[person, portrait]
        path = self.root / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{self.root / MANIFEST} names '{name}', which is not in the folder. {REMEDY}")
        content = _bytes(path)
        if hashlib.sha256(content).hexdigest() != digest:
            raise DataError(f"{path} is not what {MANIFEST} says: it is damaged or of another folder. {REMEDY}")
        try:
            found = load(content)
            points = self.tokenizer.decode(found["tokens"])
            states = found["states"].float().reshape(len(points.bindings), SLOTS, self.width)
            image = found["image"].float().reshape(self.image_tokens)
            return Drawn(points, states, image, found["vertices"].float().reshape(-1, 3), found["shape"].float())
        except (SafetensorError, KeyError, RuntimeError, DataError) as error:
            raise DataError(f"{path} holds no cloud ({' '.join(str(error).split())}). {REMEDY}") from error

    def _keep(self, key: tuple[str, int], drawn: Drawn) -> None:
        self._kept[key] = drawn
        self._room -= _size(drawn)
        while self._room < 0 and len(self._kept) > 1:
            self._room += _size(self._kept.popitem(last=False)[1])


def _size(drawn: Drawn) -> int:
    return sum(part.nbytes for part in (*drawn.points, *drawn[1:]) if isinstance(part, torch.Tensor))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        why = (
            "there are no finished clouds. Make or finish them with: avatarbench train pointillist clouds"
            if path.name == MANIFEST
            else f"{MANIFEST} lists it. {REMEDY}"
        )
        raise DataError(f"{path} does not exist: {why}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
