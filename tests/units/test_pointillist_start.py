"""The weights that training starts from know what lies beside what."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from x_transformers.x_transformers import apply_rotary_pos_emb

from avatarbench.errors import UsageError
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.start import farthest, geometric, wave

FACES = 30


def _config(**transformer: object) -> Config:
    return Config.model_validate(
        {
            "levels": 64,
            "faces": FACES,
            "points": {"samples": 32, "latents": 7, "width": 32, "depth": 1, "heads": 2, "bands": 4},
            "transformer": {"width": 64, "depth": 2, "heads": 3, "head_width": 32, "slots": True} | transformer,
            "window": {"length": 64, "step": 32},
        }
    )


def _corners() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    samples = torch.randn(100, 6, generator=draw).clamp(-1, 1)
    return samples, torch.rand(FACES, 3, generator=draw)


def _heads() -> Tensor:
    """Five that differ by a hundredth of the cube."""
    corners, _ = _corners()
    return corners + 0.02 * torch.randn(5, *corners.shape, generator=torch.Generator().manual_seed(3))


def _started(seed: int = 0, **transformer: object) -> StageOne:
    model = StageOne(_config(**transformer), (4, 8))
    geometric(model, *_corners(), _heads(), torch.Generator().manual_seed(seed))
    return model


def test_neighbouring_levels_are_alike_and_distant_ones_are_not() -> None:
    model = _started()
    for rows in (model.transformer.token_emb.emb.weight[:64], model.head.weight[:64]):
        alike = torch.nn.functional.cosine_similarity(rows[:-1], rows[1:])
        apart = torch.nn.functional.cosine_similarity(rows[:32], rows[32:])
        assert alike.mean() > apart.mean() + 0.3


def test_bindings_are_alike_where_their_faces_are_near() -> None:
    rows = _started().head.weight[64 : 64 + FACES]
    _, centroids = _corners()
    alike = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1)
    distance = torch.cdist(centroids, centroids)
    near, far = (distance < 0.2) & (distance > 0), distance > 0.7
    assert alike[near].mean() > alike[far].mean() + 0.1


@pytest.mark.parametrize("order", ["acf", "caf"])
def test_the_first_heads_look_one_two_and_three_tokens_back(order: str) -> None:
    model = _started(order=order)
    layers = model.transformer.attn_layers
    norms, block, _ = layers.layers[order.index("a")]
    tokens = torch.randint(0, 64, (1, 24), generator=torch.Generator().manual_seed(2))
    slots = torch.arange(24)[None] % 4
    x = norms[0](model.transformer.token_emb(tokens) + model.transformer.embeds["slot_embed"](slots))
    frequencies, _ = layers.rotary_pos_emb(torch.arange(24))
    q, k = (
        apply_rotary_pos_emb(linear(x).unflatten(-1, (3, 32)).transpose(1, 2), frequencies)
        for linear in (block.to_q, block.to_k)
    )
    seen = (q @ k.transpose(2, 3))[0].masked_fill(torch.ones(24, 24).triu(1).bool(), -torch.inf).argmax(-1)
    for head in range(3):
        assert seen[head, 3:].tolist() == [t - head - 1 for t in range(3, 24)]


def test_latents_stand_apart_and_attend_to_samples_like_themselves() -> None:
    model, (corners, _) = _started(), _corners()
    chosen = farthest(corners[:, :3], 8)
    assert len(set(chosen.tolist())) == 8
    encoder = model.surface
    assert torch.allclose(encoder.latents, encoder.embedded(corners[chosen]))
    width = encoder.latents.shape[1]
    assert torch.equal(encoder.gather.key_value.weight[:width], encoder.gather.query.weight)


def test_point_tokens_say_as_much_of_the_head_as_of_the_place() -> None:
    model = _started()
    with torch.no_grad():
        tokens = model.surface_projection(model.surface(_heads())) + model.surface_places
    mean = tokens.mean(0)
    assert (tokens - mean).square().mean().sqrt() == pytest.approx(0.58, rel=0.01)
    assert torch.allclose(mean.norm(dim=1), torch.full((8,), 0.58 * 8), rtol=1e-3)


def test_the_start_follows_from_its_seed_alone() -> None:
    assert torch.equal(_started().head.weight, _started().head.weight)
    assert not torch.equal(_started().head.weight, _started(seed=1).head.weight)


def test_waves_have_length_one() -> None:
    assert torch.allclose(wave(torch.rand(5), 7).norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("transformer", [{"slots": False}, {"architecture": "hourglass", "depth": 5}])
def test_a_transformer_without_the_parts_is_refused(transformer: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"transformer\.start=random"):
        _started(**transformer)
