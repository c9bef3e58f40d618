"""The autoregressive model: conditioning and transformer (paper section 4.1, supplement D)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

with warnings.catch_warnings():  # x-transformers scripts a function as it is imported, which torch tells its users
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    from x_transformers import Decoder, TransformerWrapper

from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.grammar import Grammar
from avatarbench.methods.pointillist.hourglass import Hourglass
from avatarbench.methods.pointillist.surface_encoder import SurfaceEncoder
from avatarbench.methods.pointillist.tokenizer import SLOTS, Vocabulary


class Output(NamedTuple):
    """``logits`` (B, T, V), of which those at t predict token t + 1; ``states`` (B, T, width): after the final norm, at
    the same places (the F of Eq. 4 is the state whose logits predicted the token)."""

    logits: Tensor
    states: Tensor


class ImageProjection(nn.Module):
    """The encoder's tokens (B, I, W) -> (B, I, width), normalised, each place with a learnt offset."""

    def __init__(self, count: int, features: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.project = nn.Linear(features, width)
        self.places = nn.Parameter(torch.zeros(count, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.project(self.norm(tokens)) + self.places


class StageOne(nn.Module):
    """``image_tokens``: how many the frozen image encoder gives, and their width.

    A window's first token starts a point or a block of special tokens; windows know of no place but their own.
    """

    def __init__(self, config: Config, image_tokens: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(config.levels, config.faces)
        width = config.transformer.width
        self.image = ImageProjection(*image_tokens, width)
        self.surface = SurfaceEncoder(config.points)
        self.surface_projection = nn.Linear(config.points.width, width)
        self.surface_places = nn.Parameter(torch.zeros(1 + config.points.latents, width))
        self.transformer = build_transformer(config, self.vocabulary.size)
        self.grammar = Grammar(self.vocabulary)

    def condition(self, image: Tensor, samples: Tensor) -> Tensor:
        """``image`` (B, I, W) of the frozen encoder and surface ``samples`` (B, S, 6) -> (B, I + 1 + latents, width),
        what cross-attention sees."""
        points = self.surface_projection(self.surface(samples)) + self.surface_places
        return torch.cat([self.image(image), points], 1)

    def states(self, tokens: Tensor, context: Tensor) -> Tensor:
        """``tokens`` (B, T), a window of each subject; ``context`` of :meth:`condition`. (B, T, width): the states that
        logits are made of, for who does not want all of those."""
        if isinstance(self.transformer, Hourglass):
            return self.transformer(tokens, context)
        slots = {"slot": torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens) % SLOTS}
        return self.transformer(
            tokens,
            context=context,
            embed_ids=slots if self.config.transformer.slots else {},
            return_embeddings=True,
        )

    @property
    def head(self) -> nn.Linear:
        """The layer that makes logits (T, V) of states; it has no bias."""
        return self.transformer.to_logits  # type: ignore[return-value]  # both architectures have it under this name

    def forward(self, tokens: Tensor, context: Tensor) -> Output:
        """``tokens`` (B, T), a window of each subject; ``context`` of :meth:`condition`. Logits are not masked."""
        states = self.states(tokens, context)
        return Output(self.head(states), states)


def build_transformer(config: Config, vocabulary: int) -> nn.Module:
    """x-transformers' decoder in the layer order that is configured (its own is acf), or stacks of it."""
    t = config.transformer
    if t.architecture == "hourglass":
        return Hourglass(t, vocabulary)
    layers = Decoder(
        dim=t.width,
        depth=t.depth,
        heads=t.heads,
        attn_dim_head=t.head_width,
        cross_attend=True,
        custom_layers=tuple(t.order) * t.depth,
        rotary_pos_emb=True,
        use_rmsnorm=True,
        attn_flash=True,
        ff_dropout=t.dropout,
    )
    return TransformerWrapper(
        num_tokens=vocabulary,
        max_seq_len=config.window.length,
        attn_layers=layers,
        use_abs_pos_emb=False,
        embed_num_tokens={"slot": SLOTS} if t.slots else {},
    )
