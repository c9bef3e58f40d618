"""Trained weights of stage one as one safetensors file, of which nothing can run code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from pydantic import ValidationError

from avatarbench.errors import DataError
from avatarbench.methods.pointillist import weights_file
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Tokenizer
from avatarbench.methods.pointillist.weights_file import AGAIN, one_line

FORMAT = 1
"""Raised when an older file can no longer be read."""

KEY = "avatarbench-pointillist"

KIND = weights_file.Kind(
    KEY, FORMAT, "checkpoint of AvatarPointillist's stage one", "avatarbench train pointillist ar", "--checkpoint"
)

RIG, ENCODER, COUNTS, MARKS = "rig_faces", "encoder", "points", "marks"
"""In ``extra``, where they are known: the digest of the faces that bindings name; the image encoder's fingerprint; the
fewest and the most points of a training cloud; and what tells the people who were trained on from others
(``TrainingSet.marks``), by name."""


class Encoded(Protocol):
    """What images were encoded with (:class:`avatarbench.methods.pointillist.images.ImageEncoder`)."""

    @property
    def count(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...


class Loaded(NamedTuple):
    """``model`` in evaluation mode, float32; ``fingerprint``: sha256 of the weights as stored; ``image_tokens``: count
    and width of what the frozen image encoder gives; ``extra``: where the weights come from, in the trainer's words."""

    model: StageOne
    config: Config
    tokenizer: Tokenizer
    image_tokens: tuple[int, int]
    fingerprint: str
    extra: dict[str, Any]

    @property
    def rig(self) -> str | None:
        """:func:`faces_digest` of the rig that was trained on, None for weights written before it was recorded."""
        found = self.extra.get(RIG)
        return None if found is None else str(found)

    @property
    def fewest(self) -> int:
        """Points of the smallest training cloud; 0 where they were not recorded."""
        return int(self.extra[COUNTS][0]) if COUNTS in self.extra else 0

    @property
    def least(self) -> int:
        """Points below which a cloud is no head: half as many as the smallest training cloud has."""
        return -(-self.fewest // 2)

    @property
    def marks(self) -> dict[str, dict[str, str]] | None:
        """Of the people who were trained on; None for weights written before they were recorded."""
        return self.extra.get(MARKS)

    def misfit(self, encoder: Encoded) -> str | None:
        """How ``encoder`` is not the one that the weights were trained with; None where it is, as far as is known."""
        known = str(self.extra.get(ENCODER, encoder.fingerprint))
        if (encoder.count, encoder.width) == self.image_tokens and encoder.fingerprint == known:
            return None
        return (
            f"the image encoder ({encoder.fingerprint[:12]}) gives {encoder.count} x {encoder.width} tokens, and the "
            f"checkpoint was trained with {self.image_tokens[0]} x {self.image_tokens[1]} of "
            f"{str(self.extra.get(ENCODER, 'one that was not recorded'))[:12]}"
        )


def save_checkpoint(
    path: Path,
    model: StageOne,
    config: Config,
    tokenizer: Tokenizer,
    image_tokens: tuple[int, int],
    extra: Mapping[str, Any],
    half: bool = False,
) -> str:
    """Write what :func:`load_checkpoint` reads, whole or not at all, and return its fingerprint.

    ``half``: parameters as float16, which loading widens again; buffers, the rotary frequencies among them, stay as
    they are. ``extra``: plain JSON values (steps, data digest, seed). The same model gives the same bytes. Raises
    DataError for weights that are not finite or beyond float16, and OSError.
    """
    about = {
        "config": config.model_dump(mode="json"),
        "tokenizer": tokenizer.to_json(),
        "image_tokens": list(image_tokens),
        "extra": dict(extra),
    }
    return weights_file.write(path, KIND, model, about, half)


def load_checkpoint(path: Path, device: torch.device | str = "cpu", expect: Config | None = None) -> Loaded:
    """The model of a file and what belongs to it. The global random state stays as it is.

    ``expect``: refuse weights of another vocabulary, preset or size. Raises AssetError where there is no file, and
    DataError naming what is wrong with it: no checkpoint of ours, damaged, of another format, tensors that are missing,
    left over or of another shape, weights that are not those the fingerprint was taken of.
    """
    about, tensors = weights_file.read(path, KIND)
    try:
        config = Config.model_validate(about["config"])
        tokenizer = Tokenizer.from_json(about["tokenizer"])
        count, features = (int(value) for value in about["image_tokens"])
        extra, fingerprint = dict(about["extra"]), str(about["fingerprint"])
        _check_extra(extra)
    except (LookupError, TypeError, ValueError, ValidationError, DataError) as error:
        raise DataError(f"{path}: its description is damaged ({one_line(error)}). {AGAIN}") from error
    if expect is not None:
        _check_same(path, config, expect)
    vocabulary = tokenizer.vocabulary
    if (vocabulary.levels, vocabulary.faces) != (config.levels, config.faces):
        raise DataError(
            f"{path}: its tokenizer has {vocabulary.levels} levels and {vocabulary.faces} faces, its configuration "
            f"{config.levels} and {config.faces}. {AGAIN}"
        )
    if config.transformer.depth + config.points.depth > len(tensors):  # before a model of that size is made
        raise DataError(f"{path}: {len(tensors)} tensors are too few for its configuration. {AGAIN}")
    with torch.device("meta"):
        wanted = StageOne(config, (count, features)).state_dict()
    weights_file.check(path, wanted, tensors, fingerprint)
    with torch.random.fork_rng(devices=[]):
        model = StageOne(config, (count, features))
    model.load_state_dict(tensors)
    return Loaded(model.to(device).eval(), config, tokenizer, (count, features), fingerprint, extra)


def _check_extra(extra: Mapping[str, Any]) -> None:
    """Raises ValueError or TypeError where what is read of it is of another form."""
    if COUNTS in extra and not 1 <= int(extra[COUNTS][0]) <= int(extra[COUNTS][1]):
        raise ValueError(f"points of training clouds: {extra[COUNTS]}")
    for person, marks in dict(extra.get(MARKS) or {}).items():
        if not isinstance(marks, dict) or not all(isinstance(mark, str) for mark in marks.values()):
            raise ValueError(f"marks of {person}: {marks}")


def shipped(name: str = "mini") -> Path:
    """The checkpoint of that name inside the package. Raises AssetError saying how to train one where there is none."""
    return weights_file.shipped(name, KIND)


def _check_same(path: Path, config: Config, expect: Config) -> None:
    """What the weights depend on; how they were trained and how points are drawn may differ."""
    for section in ("preset", "rig", "levels", "faces", "image", "points", "transformer"):
        ours, theirs = getattr(config, section), getattr(expect, section)
        if section in ("image", "points", "transformer"):
            values = ours.model_dump()
            for key, wanted in theirs.model_dump().items():
                if key != "dropout" and values[key] != wanted:
                    raise DataError(_unlike(path, f"{section}.{key}", values[key], wanted))
        elif ours != theirs:
            raise DataError(_unlike(path, section, ours, theirs))


def _unlike(path: Path, key: str, found: object, wanted: object) -> str:
    return f"{path} is of another model: its {key} is {found}, and {wanted} was asked for. Name its own preset."
