"""Trained weights of the decoder, and the stage one that they belong to, as one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError

from avatarbench.errors import DataError
from avatarbench.methods.pointillist import weights_file
from avatarbench.methods.pointillist.checkpoint import ENCODER, Loaded
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.decoder.model import Decoder
from avatarbench.methods.pointillist.tokenizer import Tokenizer
from avatarbench.methods.pointillist.weights_file import AGAIN, one_line

FORMAT = 1
"""Raised when an older file can no longer be read."""

KEY = "avatarbench-pointillist-decoder"

KIND = weights_file.Kind(
    KEY, FORMAT, "checkpoint of AvatarPointillist's decoder", "avatarbench train pointillist decoder", "--decoder"
)


class LoadedDecoder(NamedTuple):
    """``model`` in evaluation mode, float32; ``fingerprint``: sha256 of the weights as stored; ``ar``: that of the
    stage one whose points and states were trained on, None where there was none; ``rig``: :func:`faces_digest` of the
    faces that bindings name; ``image_tokens``: count and width; ``extra``: the trainer's words."""

    model: Decoder
    config: DecoderConfig
    tokenizer: Tokenizer
    fingerprint: str
    ar: str | None
    rig: str
    image_tokens: tuple[int, int]
    extra: dict[str, Any]

    @property
    def sampling(self) -> Generate | None:
        """How the clouds were drawn that were trained on, where that is known."""
        found = self.extra.get("generate")
        return None if found is None else Generate.model_validate(found)

    @property
    def encoder(self) -> str | None:
        """The fingerprint of the image encoder, where it is known."""
        found = self.extra.get("encoder")
        return None if found is None else str(found)


def save_decoder(
    path: Path,
    model: Decoder,
    config: DecoderConfig,
    image_tokens: tuple[int, int],
    ar: str | None,
    tokenizer: Tokenizer,
    rig: str,
    extra: Mapping[str, Any],
    half: bool = False,
) -> str:
    """Write what :func:`load_decoder` reads, whole or not at all, and return its fingerprint.

    ``half``: parameters as float16, which loading widens again. ``extra``: plain JSON values. The same model gives the
    same bytes. Raises DataError for weights that are not finite or beyond float16, and for a decoder of generated
    points without the fingerprint of what generated them, and OSError.
    """
    if config.generated and ar is None:
        raise DataError(
            f"the variant '{config.variant}' decodes the points of one stage one: say of which, by its fingerprint; "
            f"{path} was not written."
        )
    about = {
        "config": config.model_dump(mode="json"),
        "tokenizer": tokenizer.to_json(),
        "image_tokens": list(image_tokens),
        "ar_width": model.ar_width,
        "ar": ar,
        "rig": rig,
        "extra": dict(extra),
    }
    return weights_file.write(path, KIND, model, about, half)


def load_decoder(path: Path, device: torch.device | str = "cpu") -> LoadedDecoder:
    """The decoder of a file and what belongs to it. The global random state stays as it is.

    Raises AssetError where there is no file, and DataError naming what is wrong with it: no decoder of ours, damaged,
    of another format, tensors that are missing, left over or of another shape, or are not the ones it was saved with.
    """
    about, tensors = weights_file.read(path, KIND)
    try:
        config = DecoderConfig.model_validate(about["config"])
        tokenizer = Tokenizer.from_json(about["tokenizer"])
        count, features = (int(value) for value in about["image_tokens"])
        width, rig = int(about["ar_width"]), str(about["rig"])
        ar = None if about["ar"] is None else str(about["ar"])
        extra, fingerprint = dict(about["extra"]), str(about["fingerprint"])
        if extra.get("generate") is not None:
            Generate.model_validate(extra["generate"])
        if min(count, features, width) < 1 or (config.generated and ar is None):
            raise ValueError(f"image tokens {count} x {features}, states of {width}, stage one {ar}")
    except (KeyError, TypeError, ValueError, ValidationError, DataError) as error:
        raise DataError(f"{path}: its description is damaged ({one_line(error)}). {AGAIN}") from error
    if config.blocks > len(tensors):  # before a model of that size is made
        raise DataError(f"{path}: {len(tensors)} tensors are too few for its configuration. {AGAIN}")
    with torch.device("meta"):
        wanted = Decoder(config, (count, features), width).state_dict()
    weights_file.check(path, wanted, tensors, fingerprint)
    with torch.random.fork_rng(devices=[]):
        model = Decoder(config, (count, features), width)
    model.load_state_dict(tensors)
    model.to(device).eval()
    return LoadedDecoder(model, config, tokenizer, fingerprint, ar, rig, (count, features), extra)


def check_pair(decoder: LoadedDecoder, ar: Loaded) -> None:
    """Raises DataError where a decoder was trained on the points of another stage one than ``ar``, naming both
    fingerprints; a decoder that needs none must still have its vocabulary, cube, rig and image tokens."""
    if decoder.config.generated and decoder.ar != ar.fingerprint:
        raise DataError(
            f"this decoder ({decoder.fingerprint[:12]}) was trained on the points of the stage one "
            f"{(decoder.ar or 'unknown')[:12]}, and the one at hand is {ar.fingerprint[:12]}: another's states mean "
            "nothing to it. Name the two that were trained together, or train a decoder for this one."
        )
    ours, theirs = decoder.tokenizer.to_json(), ar.tokenizer.to_json()
    for key in ours:
        _same(decoder, f"the tokenizer's {key}", ours[key], theirs[key])
    _same(decoder, "the image tokens' count and width", decoder.image_tokens, ar.image_tokens)
    if decoder.encoder is not None and ENCODER in ar.extra:
        _same(decoder, "the image encoder (sha256)", decoder.encoder[:12], str(ar.extra[ENCODER])[:12])
    if ar.rig is not None:  # not recorded in the oldest weights
        _same(decoder, "the rig's faces (sha256)", decoder.rig[:12], ar.rig[:12])


def _same(decoder: LoadedDecoder, what: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        raise DataError(
            f"{what}: {ours} for this decoder ({decoder.fingerprint[:12]}), {theirs} for the stage one at hand. Name "
            "the two that were trained together."
        )


def shipped_decoder(name: str = "mini-decoder") -> Path:
    """The decoder of that name inside the package: ``mini-decoder`` ships; its ablations do not. Raises AssetError
    saying how to train one where there is none."""
    return weights_file.shipped(name, KIND)
