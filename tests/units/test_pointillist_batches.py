"""What a step learns from: changes agree between cloud, head and portrait, and every draw knows its place."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.config import Augment, Generate
from avatarbench.methods.pointillist.training.augment import Change, coloured, draw_change
from avatarbench.methods.pointillist.training.batches import Batch, Batches
from avatarbench.methods.pointillist.training.seeds import generator_at, seed_of
from tests.pointillist_tiny import TinyEncoder, TinyPortrait, TinySet, tiny_config

CPU = torch.device("cpu")
STRONG = {"mirror": True, "scale": 0.05, "warp": 0.01, "colour": 0.3}


def batches(subjects: TinySet | None = None, encoder: TinyEncoder | None = None, **train: object) -> Batches:
    return Batches(subjects or TinySet(), tiny_config(**train), encoder or TinyEncoder(), CPU)


def change(seed: int = 0, **augment: object) -> Change:
    return draw_change(Augment.model_validate(augment), 0.4, generator_at(seed))


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in zip(a, b, strict=True))


def test_nothing_configured_changes_nothing() -> None:
    places = torch.randn(50, 3, generator=generator_at(1))
    assert torch.equal(change().places(places), places)
    assert torch.equal(change().faces(TinySet().faces), TinySet().faces)


def test_a_mirrored_cloud_is_bound_to_the_faces_it_lies_on() -> None:
    tiny, mirrored = TinySet((40,)), next(c for c in (change(seed, mirror=True) for seed in range(9)) if c.mirrored)
    cloud, rest = tiny.cloud("000"), tiny.rest("000")
    places = mirrored.places(cloud.positions)
    assert torch.equal(places, cloud.positions * torch.tensor([-1.0, 1, 1]))
    corners = rest[tiny.faces[tiny.mirror[cloud.bindings]]]  # the octahedron is its own mirror image
    weights = torch.linalg.solve(corners.transpose(1, 2), places)
    assert bool((weights > -1e-4).all())
    assert torch.allclose(weights.sum(1), torch.ones(40), atol=1e-3)


def test_a_mirrored_head_keeps_its_outside_outside() -> None:
    tiny = TinySet()
    found = {}
    for seed in range(9):
        made = change(seed, mirror=True, warp=0.004, scale=0.03)
        vertices, faces = made.places(tiny.rest("001")), made.faces(tiny.faces)
        corners = vertices[faces]
        normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        found[made.mirrored] = bool(((normals * (corners.mean(1) - vertices.mean(0))).sum(1) > 0).all())
    assert found == {True: True, False: True}


def test_half_of_the_subjects_are_mirrored_and_scales_spread_as_configured() -> None:
    drawn = [change(seed, mirror=True, scale=0.05) for seed in range(400)]
    assert 160 < sum(one.mirrored for one in drawn) < 240
    scales = torch.stack([one.scales for one in drawn])
    assert scales.mean().item() == pytest.approx(1, abs=0.01)
    assert scales.std().item() == pytest.approx(0.05, rel=0.1)


def test_the_displacement_has_the_configured_size_everywhere_and_is_smooth() -> None:
    places = torch.tensor([[0.0, 0, 0], [0.15, -0.1, 0.1], [0.001, 0, 0], [-0.19, 0.19, 0.19]])
    moved = torch.stack([change(seed, warp=0.01).places(places) - places for seed in range(600)])
    for n in range(len(places)):
        assert moved[:, n].std().item() == pytest.approx(0.01, rel=0.1)
    assert (moved[:, 0] - moved[:, 2]).abs().max().item() < 0.0005  # a millimetre apart: a few per cent of the size
    assert abs(torch.corrcoef(moved[:, [0, 3], 0].T)[0, 1].item()) < 0.35  # opposite corners move by themselves


def test_a_points_place_in_the_cloud_and_in_the_head_move_alike() -> None:
    """Corners of the rest mesh that are put into the cloud end where the mesh's corners end."""
    made, rest = change(3, **STRONG), TinySet().rest("002")
    cloud = torch.cat([torch.randn(5, 3, generator=generator_at(1)), rest])
    assert torch.allclose(made.places(cloud)[5:], made.places(rest), atol=1e-6)


def test_light_changes_a_picture_within_its_strength_and_without_it_not_at_all() -> None:
    image = torch.randint(0, 256, (16, 16, 3), generator=generator_at(2)).to(torch.uint8)
    assert torch.equal(coloured(image, 0.0, generator_at(0)), image)
    flat = torch.full((4, 4, 3), 100, dtype=torch.uint8)
    lit = [coloured(flat, 0.2, generator_at(seed)).float().mean().item() for seed in range(50)]
    assert min(lit) >= 100 * 0.8 * 0.9 - 1
    assert max(lit) <= 100 * 1.2 * 1.1 + 1
    assert len({round(value) for value in lit}) > 10


def test_processes_share_the_windows_of_one_process() -> None:
    whole = batches(batch=5, augment=STRONG).batch(3)
    parts = [batches(batch=5, augment=STRONG).batch(3, process, 2) for process in range(2)]
    assert [len(part.tokens) for part in parts] == [3, 2]
    pad = TinySet().tokenizer.vocabulary.pad
    for process, part in enumerate(parts):
        length = part.tokens.shape[1]
        assert torch.equal(part.tokens, whole.tokens[process::2, :length])
        assert bool((whole.following[process::2, length:] == pad).all())
        assert torch.equal(part.samples, whole.samples[process::2])
        assert torch.equal(part.image, whole.image[process::2])
    assert whole.clamped == sum(part.clamped for part in parts)


def test_a_step_is_the_same_whatever_came_before_it() -> None:
    one, other = batches(augment=STRONG), batches(augment=STRONG)
    for step in range(5):
        one.batch(step)
    assert same(one.batch(7), other.batch(7))
    assert not same(one.batch(7), batches(augment=STRONG, seed=1).batch(7))


def test_windows_of_an_epoch_hold_every_token_of_unchanged_subjects() -> None:
    class Once(TinySet):
        """One portrait each, whose tracked head is as large as the true one."""

        def portraits(self, person: str) -> tuple[TinyPortrait, ...]:
            return super().portraits(person)[:1]

    tiny = Once((9, 14))
    made = batches(tiny, batch=1)
    found = [made.batch(step) for step in range(len(made.order))]
    for person in tiny.people:
        sequence = tiny.tokenizer.encode(*tiny.cloud(person)).tokens.tolist()
        windows = [batch.tokens[0].tolist() for batch in found]
        inside = [w for w in windows if any(sequence[i : i + 12] == w[:12] for i in range(0, len(sequence), 4))]
        assert max(w.count(tiny.tokenizer.vocabulary.start) for w in inside) == 4
        assert max(w.count(tiny.tokenizer.vocabulary.end) for w in inside) == 4


def test_a_mirrored_subject_has_a_mirrored_portrait() -> None:
    seen: list[Tensor] = []

    class Watching(TinyEncoder):
        def tokens(self, images: Tensor) -> Tensor:
            seen.append(images[0].clone())
            return super().tokens(images)

    tiny = TinySet((9,))
    made = batches(tiny, Watching(), batch=1, augment={"mirror": True})
    for step in range(40):
        made.batch(step)
    plain = [torch.from_numpy(portrait.image) for portrait in tiny.portraits("000")]
    wanted = [image for pixels in plain for image in (pixels, pixels.flip(1))]
    assert len(seen) == 4  # two portraits, either way round: each goes through the encoder once
    assert all(any(torch.equal(image, one) for one in seen) for image in wanted)


@pytest.mark.parametrize(("colours", "calls"), [(0, 40), (3, 6)])
def test_a_portrait_has_as_many_lights_as_are_configured(colours: int, calls: int) -> None:
    encoder = TinyEncoder()
    made = batches(TinySet((9,)), encoder, batch=1, augment={"colour": 0.2, "colours": colours})
    for step in range(40):
        made.batch(step)
    assert encoder.calls == calls


def test_what_is_kept_of_the_encoder_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [batches(augment=STRONG | {"colours": 2}).batch(step).image for step in range(6)]
    monkeypatch.setattr("avatarbench.methods.pointillist.training.batches.KEPT", 100)
    short = batches(augment=STRONG | {"colours": 2})
    assert all(torch.equal(short.batch(step).image, image) for step, image in enumerate(whole))
    assert len(short._kept) <= 2


def test_points_that_leave_the_cube_are_counted_and_nobody_is_warned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert batches(augment={"scale": 0.3, "warp": 0.1}).batch(0).clamped > 0


def test_a_batch_ends_where_all_of_it_is_padding() -> None:
    made = batches(TinySet((9,)), batch=1)
    lengths = {made.batch(step).tokens.shape[1] for step in range(len(made.order))}
    assert lengths == {28, 32}  # 44 tokens in windows of 32 that begin at 0 and 16; the last token has nothing after it


def test_sets_that_cannot_be_learnt_are_refused() -> None:
    with pytest.raises(
        DataError, match="the set has levels=16, and the configuration levels=32: train with levels=16,"
    ):
        batches(TinySet(levels=16))
    with pytest.raises(DataError, match="holds no person"):
        batches(TinySet(()))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"rig": "flame-teeth"}, "the set has rig=flame-teeth, and the configuration rig=anny: train with rig=flame"),
        ({"fit": "mini"}, "the set has fit=mini, .*'generate' knows no other rigs: build a set without fit.faces"),
        ({"fit": "mini", "fit_config": {"faces": 1200}}, "the configuration fit=paper: train with fit=mini, or name"),
        ({"fit": "mini", "fit_config": {"faces": 600}}, "'generate' knows no other rigs"),
    ],
)
def test_a_set_of_another_rig_or_fit_is_refused_without_advice_that_generation_refuses_later(
    made: dict[str, object], message: str
) -> None:
    subjects = TinySet()
    subjects.config = subjects.config | made
    with pytest.raises(DataError, match=message):
        batches(subjects)


def test_clouds_larger_than_the_model_may_generate_are_refused() -> None:
    config = tiny_config().model_copy(update={"generate": Generate(points=13)})
    with pytest.raises(DataError, match=r"the cloud of 001 has 14 points .* at most 13: give generate.points=14"):
        Batches(TinySet(), config, TinyEncoder(), CPU)


def test_seeds_of_different_places_are_unrelated() -> None:
    places = [(0,), (1,), (0, 0), (0, "a"), ("0",), (0, 1), (1, 0)]
    seeds = [seed_of(*place) for place in places]
    assert len(set(seeds)) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert np.mean([bin(a ^ b).count("1") for a, b in pairwise(seeds)]) > 20
