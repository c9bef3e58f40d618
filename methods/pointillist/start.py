"""Where training starts: weights that already know which levels and faces are neighbours. Ours; the paper says nothing.

Only numbers are set, no part is added, so that everything after is the paper's model. Drawn anew, a small transformer
spends its first millions of tokens learning that level 512 lies beside 513.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from avatarbench.errors import UsageError
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import SLOTS

TOKEN, SLOT, COMMON, ROW = 4.0, 2.0, 3.0, 0.6
"""Lengths of a token's, a slot's and the slots' common embedding, and of a row of the output layer."""
SLOWEST, FASTEST = 0.5, 64.0
"""Cycles of the waves over the cube."""
UNIT = 0.58
"""Root mean square of an image token's parts as its projection is drawn: that of a linear layer on a unit input."""
NEAR = 1.1
"""How sharply the first layer's heads look at one place before."""


@torch.no_grad()
def geometric(model: StageOne, corners: Tensor, centroids: Tensor, heads: Tensor, generator: torch.Generator) -> None:
    """Set a new model's token, slot and latent embeddings, its output layer, its first self-attention, and the scale of
    its point tokens.

    ``corners`` (S, 6): surface samples of a typical head as :meth:`StageOne.condition` takes them, S at least the
    latents + 1; ``centroids`` (F, 3): of the rig's faces on that head, in [0, 1] over the cube, the sequence's axes;
    ``heads`` (H, S', 6): samples of heads that training will show. Levels are waves of their place,
    bindings those of their face; the first layer's heads look one, two, three tokens back; the latents stand at places
    of the head, and a point token is the place's wave and, as large, what is particular about this head there. Raises
    UsageError for a transformer that has no such parts.
    """
    t, v = model.config.transformer, model.vocabulary
    waves = min(24, (t.width - SLOTS - 2) // 8)
    if t.architecture != "plain" or not t.slots or waves < 1:
        raise UsageError(
            "transformer.start=geometric is for a plain transformer with transformer.slots=true and a width of 16 or "
            "more: give transformer.start=random."
        )
    levels = wave((torch.arange(v.levels) + 0.5) / v.levels, waves)
    faces = torch.cat([wave(centroids[:, axis], waves) for axis in range(3)], 1) / math.sqrt(3)
    inner, outer = (orthogonal(t.width, generator) for _ in range(2))
    of_levels, of_faces = slice(0, 2 * waves), slice(2 * waves, 8 * waves)
    common, of_slots = inner[:, 8 * waves], inner[:, 8 * waves + 1 : 8 * waves + 1 + SLOTS]

    embedding = model.transformer.token_emb.emb.weight
    embedding.copy_(0.1 * torch.randn(embedding.shape, generator=generator) / math.sqrt(t.width))
    embedding[: v.levels] += levels @ inner[:, of_levels].T
    embedding[v.levels : v.start] += faces @ inner[:, of_faces].T
    embedding[v.start :] = directions(3, t.width, generator)
    embedding.mul_(TOKEN)
    model.transformer.embeds["slot_embed"].weight.copy_(COMMON * common + SLOT * of_slots.T)

    rows = model.head.weight
    rows.copy_(0.1 * torch.randn(rows.shape, generator=generator) / math.sqrt(t.width))
    rows[: v.levels] += levels @ outer[:, of_levels].T
    rows[v.levels : v.start] += faces @ outer[:, of_faces].T
    rows.mul_(ROW)
    _look_back(model, common)
    places = (_place_latents(model, corners) + 1) / 2
    waved = torch.cat([wave(places[:, axis], waves) for axis in range(3)], 1) / math.sqrt(3)
    _tell_apart(model, heads, waved @ inner[:, of_faces].T)


def wave(places: Tensor, waves: int) -> Tensor:
    """(N,) in [0, 1] -> (N, 2 ``waves``), each of length one: sines and cosines from slow to fast."""
    cycles = torch.exp(torch.linspace(math.log(SLOWEST), math.log(FASTEST), waves))
    angles = 2 * math.pi * places[:, None].float() * cycles
    return torch.cat([angles.sin(), angles.cos()], 1) / math.sqrt(waves)


def orthogonal(width: int, generator: torch.Generator) -> Tensor:
    """(width, width), its columns orthonormal."""
    return torch.linalg.qr(torch.randn(width, width, generator=generator)).Q


def directions(count: int, width: int, generator: torch.Generator) -> Tensor:
    """(count, width), each of length one."""
    return nn.functional.normalize(torch.randn(count, width, generator=generator), dim=-1)


def _look_back(model: StageOne, common: Tensor) -> None:
    """Every head of the first self-attention sees the token one, two or three places before: query and key are the
    slots' common direction, the key's pairs turned against the rotary embedding by that many places."""
    layers = model.transformer.attn_layers
    frequencies = layers.rotary_pos_emb.inv_freq  # a pair turns by it a place
    attention = next(
        block for (_, block, _), kind in zip(layers.layers, layers.layer_types, strict=True) if kind == "a"
    )
    heads, rotated = attention.heads, 2 * len(frequencies)
    query = attention.to_q.weight.view(heads, -1, len(common))
    key = attention.to_k.weight.view(heads, -1, len(common))
    for part in (query, key):
        part.mul_(0.1)
    for head in range(heads):
        turn = frequencies * (1 + head % (SLOTS - 1))
        query[head, 0:rotated:2] = NEAR * common
        query[head, 1:rotated:2] = 0
        key[head, 0:rotated:2] = NEAR * turn.cos()[:, None] * common
        key[head, 1:rotated:2] = NEAR * turn.sin()[:, None] * common


def _place_latents(model: StageOne, corners: Tensor) -> Tensor:
    """The latents are embeddings of places far from each other on the head, and look for samples like themselves; these
    places, (1 + latents, 3)."""
    encoder = model.surface
    chosen = farthest(corners[:, :3], len(encoder.latents))
    encoder.latents.copy_(encoder.embedded(corners[chosen]))
    width = len(encoder.gather.query.weight)
    encoder.gather.query.weight.mul_(3)
    encoder.gather.key_value.weight[:width] = encoder.gather.query.weight
    encoder.gather.key_value.bias[:width] = encoder.gather.query.bias
    return corners[chosen, :3]


def _tell_apart(model: StageOne, heads: Tensor, places: Tensor) -> None:
    """Heads differ by millimetres in half a metre, so that drawn weights make nearly the same point tokens of all of
    them: what they differ by is made as large as an image token's part, and their mean is replaced by ``places``
    (1 + latents, width), each of length one."""
    tokens = model.surface(heads) @ model.surface_projection.weight.T
    mean = tokens.mean(0)
    least = 0.01 * tokens.square().mean().sqrt()  # where there is one head, or all are alike
    gain = UNIT / torch.maximum((tokens - mean).square().mean().sqrt(), least)
    model.surface_projection.weight.mul_(gain)
    model.surface_projection.bias.zero_()
    model.surface_places.copy_(UNIT * math.sqrt(places.shape[1]) * places - gain * mean)


def farthest(points: Tensor, count: int) -> Tensor:
    """(count,) indices: the first point, then always the one farthest from all so far."""
    found = [0]
    distance = (points - points[0]).norm(dim=1)
    while len(found) < count:
        found.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[found[-1]]).norm(dim=1))
    return torch.tensor(found)
