"""Untrained weights of both stages on Anny's decimated head, small enough to build an avatar within a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from avatarbench.heads.rig import faces_digest
from avatarbench.methods.pointillist.checkpoint import save_checkpoint
from avatarbench.methods.pointillist.conditioning import binding_rig
from avatarbench.methods.pointillist.config import Config, Generate, ImageTokens, PointTokens, Transformer, Window
from avatarbench.methods.pointillist.decoder.checkpoint import save_decoder
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.decoder.model import Decoder
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Cube, Tokenizer, Vocabulary

BOUND = 600
"""Ten times what untrained weights end a cloud after."""
TOKENS = (196, 512)
CONFIG = Config(
    preset="tiny",
    rig="anny",
    fit="mini-cloud",
    levels=64,
    faces=1199,
    image=ImageTokens(encoder="vgg16", size=224),
    points=PointTokens(samples=64, latents=4, width=16, depth=1, heads=2, bands=2),
    transformer=Transformer(width=32, depth=1, heads=2, head_width=32),
    window=Window(length=32, step=16),
    generate=Generate(points=BOUND),
)
TOKENIZER = Tokenizer(Vocabulary(64, 1199), Cube((-0.3, -0.3, -0.3), 0.6), "z")


def write_stage_one(path: Path, seed: int = 0, extra: Mapping[str, Any] | None = None) -> str:
    """Its fingerprint."""
    torch.manual_seed(seed)
    return save_checkpoint(path, StageOne(CONFIG, TOKENS), CONFIG, TOKENIZER, TOKENS, extra or {})


def write_decoder(path: Path, stage_one: str, variant: str = "full", extra: Mapping[str, Any] | None = None) -> Path:
    """A decoder for the stage one of that fingerprint, whose heads are moved off their start, so that inputs count."""
    config = DecoderConfig.model_validate(
        {"preset": "tiny", "variant": variant, "width": 32, "blocks": 1, "heads": 2, "bands": 2}
    )
    torch.manual_seed(1)
    model = Decoder(config, TOKENS, CONFIG.transformer.width)
    with torch.no_grad():
        for head in (model.heads.colour, model.heads.scale, model.heads.offset):
            head.weight.normal_(0, 0.05)
    rig = faces_digest(binding_rig(CONFIG).faces)
    known = None if variant == "flame-position" else stage_one
    save_decoder(path, model, config, TOKENS, known, TOKENIZER, rig, extra or {})
    return path
