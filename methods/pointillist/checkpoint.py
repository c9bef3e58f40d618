"""Trained weights of stage one as one safetensors file, of which nothing can run code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from avatarbench.errors import AssetError, DataError
from avatarbench.files import writing
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Tokenizer

FORMAT = 1
"""Raised when an older file can no longer be read."""

KEY = "avatarbench-pointillist"
"""All that is no tensor stands under one name: safetensors writes several in no fixed order."""

RIG = "rig_faces"
"""In ``extra``: the digest of the faces that bindings name, where it is known."""

HALF_MOST = torch.finfo(torch.float16).max


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


def faces_digest(faces: Tensor) -> str:
    """sha256 of corners (F, 3), whatever integers they are."""
    return hashlib.sha256(faces.detach().cpu().long().contiguous().numpy().tobytes()).hexdigest()


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
    parameters = {name for name, _ in model.named_parameters()}
    tensors = {}
    for name, value in model.state_dict().items():
        stored = value.detach().cpu()
        wrong = ~torch.isfinite(stored) | ((stored.abs() > HALF_MOST) if half else False)
        if bool(wrong.any()):
            what = "not finite" if not half else "not finite or too large for half precision"
            raise DataError(f"{int(wrong.sum())} weights of '{name}' are {what}; {path} was not written.")
        stored = stored.half() if half and name in parameters else stored
        tensors[name] = stored.clone(memory_format=torch.contiguous_format)
    fingerprint = fingerprint_of(tensors)
    about = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "tokenizer": tokenizer.to_json(),
        "image_tokens": list(image_tokens),
        "fingerprint": fingerprint,
        "extra": dict(extra),
    }
    content = save(tensors, {KEY: json.dumps(about, sort_keys=True)})
    with writing(path) as temporary:
        temporary.write_bytes(content)
    return fingerprint


def load_checkpoint(path: Path, device: torch.device | str = "cpu", expect: Config | None = None) -> Loaded:
    """The model of a file and what belongs to it. The global random state stays as it is.

    ``expect``: refuse weights of another vocabulary, preset or size. Raises AssetError where there is no file, and
    DataError naming what is wrong with it: no checkpoint of ours, damaged, of another format, tensors that are missing,
    left over or of another shape, weights that are not those the fingerprint was taken of.
    """
    about, tensors = _read(path)
    try:
        config = Config.model_validate(about["config"])
        tokenizer = Tokenizer.from_json(about["tokenizer"])
        count, features = (int(value) for value in about["image_tokens"])
        extra, fingerprint = dict(about["extra"]), str(about["fingerprint"])
    except (KeyError, TypeError, ValueError, ValidationError, DataError) as error:
        raise DataError(f"{path}: its description is damaged ({_one_line(error)}). {AGAIN}") from error
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
        _check_shapes(path, StageOne(config, (count, features)).state_dict(), tensors)
    found = fingerprint_of(tensors)
    if found != fingerprint:
        raise DataError(f"{path}: its weights have the fingerprint {found[:12]}, not {fingerprint[:12]}. {AGAIN}")
    with torch.random.fork_rng(devices=[]):
        model = StageOne(config, (count, features))
    model.load_state_dict(tensors)
    return Loaded(model.to(device).eval(), config, tokenizer, (count, features), fingerprint, extra)


def shipped(name: str = "mini") -> Path:
    """The checkpoint of that name inside the package. Raises AssetError saying how to train one where there is none."""
    path = Path(str(files("avatarbench.methods.pointillist"))) / "weights" / f"{Path(name).name}.safetensors"
    if not path.is_file():
        raise AssetError(
            f"there is no checkpoint '{name}' in this installation ({path}). Train one, 'avatarbench train pointillist "
            "--help' says how, and name its file with --checkpoint."
        )
    return path


def fingerprint_of(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in the names' order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


AGAIN = "Fetch or train it again."


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with path.open("rb") as stream:
            start = stream.read(9)
        # A header of safetensors begins at the ninth byte; its length before it may begin as a pickle does.
        if start.startswith((b"PK\x03\x04", b"\x80")) and not start.endswith(b"{"):
            raise DataError(
                f"{path} is a pickled file, as torch.save writes it, and may run code when it is opened: it is not "
                "read. Checkpoints are .safetensors files that 'avatarbench train pointillist ar' writes."
            )
        with safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get(KEY)
            if described is None:
                raise DataError(f"{path} holds tensors, but is no checkpoint of AvatarPointillist's stage one.")
            about = json.loads(described)
            if not isinstance(about, dict) or about.get("format") != FORMAT:
                written = about.get("format", "unknown") if isinstance(about, dict) else "unknown"
                raise DataError(
                    f"{path} was written by another version of avatarbench (format {written}, and this one reads "
                    f"{FORMAT}). {AGAIN}"
                )
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dictionary)
    except FileNotFoundError as error:
        raise AssetError(f"{path} does not exist: check the path, or leave --checkpoint out for what ships.") from error
    except (SafetensorError, ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as a checkpoint: {_one_line(error)}. {AGAIN}") from error


def _check_shapes(path: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for title, names in (("lacks", wanted.keys() - found.keys()), ("has unknown", found.keys() - wanted.keys())):
        if names:
            raise DataError(
                f"{path} {title} {len(names)} of the model's tensors, '{min(names)}' among them. It is of another "
                f"version or damaged. {AGAIN}"
            )
    for name, value in wanted.items():
        if found[name].shape != value.shape:
            raise DataError(
                f"{path}: '{name}' is {tuple(found[name].shape)}, and its configuration makes it {tuple(value.shape)}. "
                f"{AGAIN}"
            )
        if not found[name].is_floating_point() or found[name].dtype.itemsize > 4:
            raise DataError(f"{path}: '{name}' is {found[name].dtype}; float16 or float32 is expected. {AGAIN}")


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
