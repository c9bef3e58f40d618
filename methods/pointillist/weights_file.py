"""Trained weights and their description as one safetensors file, of which nothing can run code: what the checkpoints of
both stages share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from avatarbench.errors import AssetError, DataError
from avatarbench.files import writing

HALF_MOST = torch.finfo(torch.float16).max

AGAIN = "Fetch or train it again."


class Kind(NamedTuple):
    """``key``: the name under which all stands that is no tensor (safetensors writes several in no fixed order);
    ``format``: raised when an older file can no longer be read; ``title``, the ``command`` that writes such files, and
    the ``option`` that names one: for messages."""

    key: str
    format: int
    title: str
    command: str
    option: str


def write(path: Path, kind: Kind, model: nn.Module, about: Mapping[str, Any], half: bool) -> str:
    """Write what :func:`read` reads, whole or not at all, and return its fingerprint.

    ``half``: parameters as float16; buffers stay as they are. ``about``: plain JSON values. The same model gives the
    same bytes. Raises DataError for weights that are not finite or beyond float16, and OSError.
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
    described = {**about, "format": kind.format, "fingerprint": fingerprint}
    content = save(tensors, {kind.key: json.dumps(described, sort_keys=True)})
    with writing(path) as temporary:
        temporary.write_bytes(content)
    return fingerprint


def read(path: Path, kind: Kind) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a file, neither of them checked but for the format.

    Raises AssetError where there is no file, and DataError for one that is of another kind or format, or damaged.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(9)
        # A header of safetensors begins at the ninth byte; its length before it may begin as a pickle does.
        if start.startswith((b"PK\x03\x04", b"\x80")) and not start.endswith(b"{"):
            raise DataError(
                f"{path} is a pickled file, as torch.save writes it, and may run code when it is opened: it is not "
                f"read. Checkpoints are .safetensors files that '{kind.command}' writes."
            )
        with safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get(kind.key)
            if described is None:
                raise DataError(f"{path} holds tensors, but is no {kind.title}.")
            about = json.loads(described)
            if not isinstance(about, dict) or about.get("format") != kind.format:
                written = about.get("format", "unknown") if isinstance(about, dict) else "unknown"
                raise DataError(
                    f"{path} was written by another version of avatarbench (format {written}, and this one reads "
                    f"{kind.format}). {AGAIN}"
                )
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dictionary)
    except FileNotFoundError as error:
        raise AssetError(
            f"{path} does not exist: check the path, or leave {kind.option} out for what ships."
        ) from error
    except (SafetensorError, ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as a checkpoint: {one_line(error)}. {AGAIN}") from error


def is_kind(path: Path, kind: Kind) -> bool:
    """Whether a file is a safetensors file of that kind; what cannot be read is of none."""
    try:
        with safe_open(path, "pt") as file:
            return kind.key in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def check(path: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], fingerprint: str) -> None:
    """Raises DataError where ``found`` are not the model's tensors, by name, shape and type, ``wanted`` being those of
    a model that holds no values, or not the ones that the fingerprint was taken of."""
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
    taken = fingerprint_of(found)
    if taken != fingerprint:
        raise DataError(f"{path}: its weights have the fingerprint {taken[:12]}, not {fingerprint[:12]}. {AGAIN}")


def shipped(name: str, kind: Kind) -> Path:
    """The file of that name inside the package. Raises AssetError saying how to train one where there is none."""
    path = Path(str(files("avatarbench.methods.pointillist"))) / "weights" / f"{Path(name).name}.safetensors"
    if not path.is_file():
        raise AssetError(
            f"there is no checkpoint '{name}' in this installation ({path}). Train one, '{kind.command} --help' says "
            f"how, and name its file with {kind.option}."
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


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
