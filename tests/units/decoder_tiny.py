"""A decoder of a few thousand weights, none of them zero, and what it reads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avatarbench.methods.pointillist.decoder.config import DecoderConfig, Limits, Start, Variant
from avatarbench.methods.pointillist.decoder.model import Decoder
from avatarbench.methods.pointillist.tokenizer import Cube, Tokenizer, Vocabulary

IMAGE = (5, 12)
AR_WIDTH = 6
TOKENIZER = Tokenizer(Vocabulary(40, 12), Cube((-0.15, -0.2, -0.1), 0.4), "z")


class Inputs(NamedTuple):
    """As ``Decoder.forward`` takes them, without a mask."""

    points: Tensor
    states: Tensor
    image: Tensor


def tiny_config(variant: Variant = "full", checkpointing: bool = False) -> DecoderConfig:
    config = DecoderConfig(
        preset="tiny",
        variant=variant,
        width=16,
        blocks=2,
        heads=2,
        bands=3,
        start=Start(scale=0.01, opacity=0.8, colour=0.4),
        limits=Limits(offset=0.05, least=0.001, most=0.04),
    )
    return config.model_copy(update={"train": config.train.model_copy(update={"checkpointing": checkpointing})})


def tiny_decoder(variant: Variant = "full", seed: int | None = 0, checkpointing: bool = False) -> Decoder:
    """``seed``: of weights that are random everywhere, also where they start at zero; None: as training starts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        model = Decoder(tiny_config(variant, checkpointing), IMAGE, AR_WIDTH).eval()
        if seed is not None:
            for parameter in model.parameters():
                parameter.data += 0.2 * torch.randn(parameter.shape)
    return model


def tiny_inputs(batch: int = 2, count: int = 9, seed: int = 1) -> Inputs:
    draw = torch.Generator().manual_seed(seed)
    return Inputs(
        2 * torch.rand(batch, count, 3, generator=draw) - 1,
        torch.randn(batch, count, 4, AR_WIDTH, generator=draw),
        torch.randn(batch, *IMAGE, generator=draw),
    )
