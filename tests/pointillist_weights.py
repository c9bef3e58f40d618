"""Untrained weights of both stages on Anny's decimated head, small enough to build an avatar within a second."""

from __future__ import annotations

from pathlib import Path

import torch

from avatarbench.methods.pointillist.checkpoint import faces_digest, save_checkpoint
from avatarbench.methods.pointillist.conditioning import binding_rig
from avatarbench.methods.pointillist.config import Config, Generate, ImageTokens, PointTokens, Transformer, Window
from avatarbench.methods.pointillist.decoder.checkpoint import save_decoder
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.decoder.model import Decoder
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Cube, Tokenizer, Vocabulary

BOUND = 12
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


def write_stage_one(path: Path, seed: int = 0) -> str:
    """Its fingerprint."""
    torch.manual_seed(seed)
    return save_checkpoint(path, StageOne(CONFIG, TOKENS), CONFIG, TOKENIZER, TOKENS, {})


def write_decoder(path: Path, stage_one: str, variant: str = "full") -> Path:
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
    save_decoder(path, model, config, TOKENS, None if variant == "flame-position" else stage_one, TOKENIZER, rig, {})
    return path
