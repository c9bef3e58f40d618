"""AvatarPointillist as a method: what training saw is what a portrait becomes, and what cannot work is said first."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from avatarbench import registry
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import DataError, Unscorable, UsageError
from avatarbench.gaussians.head import load_head
from avatarbench.method import FaceTrack, Motion, Portrait
from avatarbench.methods.pointillist import build_portraits
from avatarbench.methods.pointillist.ablations import ArFeature, ArPosition, FlamePosition
from avatarbench.methods.pointillist.avatar import PointAvatar
from avatarbench.methods.pointillist.checkpoint import COUNTS
from avatarbench.methods.pointillist.conditioning import PortraitCondition, binding_rig, portrait_condition
from avatarbench.methods.pointillist.decoder.checkpoint import shipped_decoder
from avatarbench.methods.pointillist.draw import draw
from avatarbench.methods.pointillist.engine import Engine
from avatarbench.methods.pointillist.images import load_encoder
from avatarbench.methods.pointillist.method import Drawn, Pointillist, tracked
from avatarbench.metrics.face import FaceLandmarker, track
from avatarbench.openheads.cameras import FRONTAL
from avatarbench.run.config import RunConfig
from avatarbench.run.preflight import check, resolve
from tests.e2e.media import FACE
from tests.pointillist_weights import BOUND, CONFIG, TOKENIZER, TOKENS, write_decoder, write_stage_one

VARIANTS = {"flame-position": FlamePosition, "ar-feature": ArFeature, "ar-position": ArPosition}


class Weights(NamedTuple):
    folder: Path
    stage_one: Path
    decoder: Path
    fingerprint: str


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("weights")
    fingerprint = write_stage_one(folder / "ar.safetensors")
    return Weights(folder, folder / "ar.safetensors", write_decoder(folder / "d.safetensors", fingerprint), fingerprint)


@pytest.fixture(scope="module")
def method(weights: Weights) -> Pointillist:
    return Pointillist(weights.stage_one, weights.decoder, device="cpu")


@pytest.fixture(scope="module")
def covering(weights: Weights) -> Pointillist:
    """Its points are the rig's vertices, which cover the face; untrained, stage one's are anywhere."""
    own = write_decoder(weights.folder / "covering.safetensors", weights.fingerprint, "flame-position")
    return FlamePosition(weights.stage_one, own, device="cpu")


@pytest.fixture(scope="module")
def avatar(method: Pointillist) -> PointAvatar:
    return method.build(_portrait())


@cache
def _face() -> FaceTrack:
    (found,) = track([FACE])
    assert isinstance(found, FaceTrack)
    return found


def _portrait() -> Portrait:
    return Portrait("p", FACE, face=_face())


def test_a_portrait_becomes_gaussians_on_its_tracked_head(avatar: PointAvatar) -> None:
    head = avatar.head
    assert 0 < len(head.cloud) <= BOUND
    assert avatar.info["gaussians"] == len(head.cloud)
    seconds = {"tracking_seconds", "generation_seconds", "decoding_seconds"}
    assert avatar.info.keys() == {"gaussians", "generation_tries"} | seconds
    assert min(avatar.info.values()) > 0
    assert (head.form, len(head.faces)) == ("barycentric", CONFIG.faces)
    assert np.array_equal(head.shape.numpy(), avatar.fit.shape)


def test_the_same_seed_gives_the_same_avatar_and_another_one_another(
    method: Pointillist, avatar: PointAvatar, weights: Weights
) -> None:
    assert torch.equal(method.build(_portrait()).head.cloud.means, avatar.head.cloud.means)
    other = Pointillist(weights.stage_one, weights.decoder, seed=1, device="cpu").build(_portrait())
    assert not torch.equal(other.head.cloud.means[:1], avatar.head.cloud.means[:1])


def test_a_cloud_without_an_end_is_drawn_again_under_the_seeds_that_follow(
    method: Pointillist, avatar: PointAvatar, weights: Weights
) -> None:
    condition = method.condition(_portrait(), _face(), avatar.fit)

    def drawn(**options: int) -> Drawn:
        return Pointillist(weights.stage_one, weights.decoder, device="cpu", **options).points(condition)

    alone = [drawn(seed=seed, retries=0) for seed in range(4)]
    assert [one.tries for one in alone] == [1] * 4
    counts = [len(one.points.bindings) for one in alone]
    bound = max(min(counts[1:]), 1)
    first = next(n for n, count in enumerate(counts) if count <= bound)
    found = drawn(points=bound)
    assert found.tries == first + 1
    assert torch.equal(found.points.positions, alone[first].points.positions)
    assert found.states is not None
    assert torch.equal(found.states, alone[first].states)
    with pytest.raises(Unscorable, match=r"seed 0: it reached the bound of 1 points .*; seed 1: .* give another seed"):
        drawn(points=1, retries=1)
    with pytest.raises(UsageError, match="retries=-1"):
        drawn(retries=-1)


def test_a_cloud_far_smaller_than_any_that_was_trained_on_is_drawn_again(
    weights: Weights, avatar: PointAvatar, tmp_path: Path
) -> None:
    write_stage_one(tmp_path / "ar.safetensors", extra={COUNTS: [2 * BOUND, 3 * BOUND]})
    method = Pointillist(tmp_path / "ar.safetensors", weights.decoder, retries=1, device="cpu")
    condition = method.condition(_portrait(), _face(), avatar.fit)
    with pytest.raises(Unscorable, match=rf"ended after \d+ points, and the smallest .* has {2 * BOUND}; seed 1: "):
        method.points(condition)


def test_points_are_drawn_as_the_decoders_were_unless_asked_otherwise(weights: Weights, tmp_path: Path) -> None:
    sampling = {"generate": {"points": 7, "temperature": 0.5}, "precision": "float32", "encoder": "another"}
    own = write_decoder(tmp_path / "d.safetensors", weights.fingerprint, extra=sampling)
    method = Pointillist(weights.stage_one, own, device="cpu")
    assert (method.options.points, method.options.temperature) == (7, 0.5)
    asked = Pointillist(weights.stage_one, own, points=9, device="cpu").options
    assert (asked.points, asked.temperature) == (9, 0.5)
    with pytest.raises(
        DataError, match=r"the image encoder is \w{12}, and the decoder was trained with that of another"
    ):
        method.condition(_portrait(), _face(), tracked(_portrait(), _face()))


def test_a_consensus_is_what_the_draws_of_its_seed_agree_on(weights: Weights, method: Pointillist) -> None:
    several = Pointillist(weights.stage_one, weights.decoder, consensus=3, device="cpu")
    assert several.options == method.options.model_copy(update={"consensus": 3})
    numbers = torch.Generator().manual_seed(0)
    tokens, samples = torch.randn(TOKENS, generator=numbers), torch.rand(64, 6, generator=numbers)
    condition = PortraitCondition(tokens, samples, torch.zeros(0, 3), FACE, ())
    found = several.points(condition)

    with torch.inference_mode():
        context = several.loaded.model.condition(tokens[None], samples[None])
    engine = Engine(several.loaded.model)
    (expected,) = draw(several.loaded, engine, context, several.options, [0])
    assert expected.left_out == 0
    assert torch.equal(found.points.positions, several.loaded.tokenizer.decode(expected.tokens).positions)
    assert found.states is not None
    assert torch.equal(found.states.flatten(0, 1), expected.states)
    assert not torch.equal(found.points.positions, method.points(condition).points.positions)


def test_stage_one_sees_what_a_training_set_would_store_of_the_picture(method: Pointillist) -> None:
    data, sequence = NersembleDataset(embedded_split()), f"501_PORTRAIT_{FRONTAL}"
    image, mask = data.read(sequence, 0), data.mask(sequence, 0)
    (face,) = track([image])
    assert isinstance(face, FaceTrack)
    landmarker = FaceLandmarker()
    stored = build_portraits.track(image, binding_rig(CONFIG), landmarker)
    landmarker.close()
    assert not isinstance(stored, str)
    portrait = Portrait("p", image, mask, face)
    found = method.condition(portrait, face, tracked(portrait, face))
    assert mask is not None
    assert np.array_equal(found.image, stored[0])
    assert torch.equal(found.vertices, stored[1])


def test_stage_one_sees_what_generating_from_the_portrait_alone_shows_it(method: Pointillist) -> None:
    encoder = load_encoder(CONFIG.image)
    expected = portrait_condition(FACE, CONFIG, TOKENIZER, encoder)
    portrait = _portrait()
    found = method.condition(portrait, _face(), tracked(portrait, _face()))
    assert np.array_equal(found.image, expected.image)
    for name in ("image_tokens", "samples", "vertices"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_what_is_outside_of_the_mask_turns_white_and_what_is_white_is_not_composited_again(
    method: Pointillist, avatar: PointAvatar
) -> None:
    mask = np.zeros(FACE.shape[:2], np.float32)
    mask[20:180, 40:160] = 1
    mask[:, 100] = 0.5  # a soft outline
    seen = method.condition(replace(_portrait(), mask=mask), _face(), avatar.fit).image
    assert (seen == 255).all(2).mean() > (method.condition(_portrait(), _face(), avatar.fit).image == 255).all(2).mean()
    clean = np.where(mask[..., None] > 0, FACE, 255).astype(np.uint8)
    bare, masked = (
        method.condition(Portrait("p", clean, given, _face()), _face(), avatar.fit).image for given in (None, mask)
    )
    assert np.array_equal(bare, masked)


def test_frames_follow_the_driver_and_not_each_other(covering: Pointillist) -> None:
    avatar = covering.build(_portrait())
    still = Motion("m", 0, FACE, _face())
    moved = replace(_face(), landmarks=_face().landmarks + np.array([12.0, 0, 0], np.float32))
    first = avatar.render(still)
    assert first.shape == FACE.shape
    assert 0 <= first.min() < 0.9
    assert first.max() <= 1
    beside = avatar.render(Motion("m", 1, FACE, moved))
    assert np.abs(beside[:, 12:] - first[:, :-12]).mean() < 0.3 * np.abs(beside - first).mean()
    assert np.array_equal(avatar.render(still), first)
    with pytest.raises(Unscorable, match="no face found in the driver"):
        avatar.render(Motion("m", 2, FACE))


def test_under_a_calibrated_camera_the_head_stands_where_the_portrait_shows_it(covering: Pointillist) -> None:
    free = covering.build(_portrait())
    camera = free.fit.camera
    placed = covering.build(replace(_portrait(), camera=camera))
    assert torch.equal(placed.head.cloud.means, free.head.cloud.means)
    ours = placed.render(Motion("m", 0, FACE, _face(), camera=camera))
    theirs = free.render(Motion("m", 0, FACE, _face()))
    assert theirs.min() < 0.9
    assert np.abs(ours - theirs).mean() < 0.01


def test_the_avatars_file_gives_the_same_head_and_keeps_how_it_moves(avatar: PointAvatar, tmp_path: Path) -> None:
    avatar.save(tmp_path / "a.avatar")
    found = load_head(tmp_path / "a.avatar")
    expression, joints, place = found.neutral()
    expression, joints = expression + 0.3, joints + 0.1
    ours, theirs = avatar.head.posed(expression, joints, place), found.posed(expression, joints, place)
    assert found.form == "barycentric"
    assert torch.allclose(ours.means, theirs.means, atol=1e-6)
    assert torch.equal(theirs.means, found.posed(expression, joints, place, "barycentric").means)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_ablation_takes_the_decoder_of_its_variant_alone(weights: Weights, variant: str) -> None:
    own = write_decoder(weights.folder / f"{variant}.safetensors", weights.fingerprint, variant)
    built = VARIANTS[variant](weights.stage_one, own, device="cpu").build(_portrait())
    count = len(built.head.cloud)
    assert count > 500 if variant == "flame-position" else count <= BOUND
    with pytest.raises(DataError, match=f"variant 'full', and '{variant}' was asked for"):
        VARIANTS[variant](weights.stage_one, weights.decoder, device="cpu")
    spec = registry.method(f"pointillist/{variant}")
    assert registry.load(spec.factory) is VARIANTS[variant]
    assert spec.brings == ("decoder",)  # which does not ship


def test_a_record_tells_the_very_weights_that_ran(weights: Weights) -> None:
    found = Pointillist.origin(checkpoint=weights.stage_one, seed=3)["weights"]

    assert found["checkpoint"]["sha256"] == hashlib.sha256(Path(weights.stage_one).read_bytes()).hexdigest()
    assert found["decoder"]["path"] == str(shipped_decoder())
    assert found["decoder"]["sha256"] == hashlib.sha256(shipped_decoder().read_bytes()).hexdigest()


def test_weights_of_two_trainings_are_refused_by_their_fingerprints(weights: Weights) -> None:
    other = write_stage_one(weights.folder / "other.safetensors", seed=1)
    (why,) = Pointillist.obstacles(checkpoint=weights.folder / "other.safetensors", decoder=weights.decoder)
    assert weights.fingerprint[:12] in why
    assert other[:12] in why
    assert Pointillist.obstacles(checkpoint=weights.stage_one, decoder=weights.decoder, device="cpu") == []


def test_a_run_without_weights_stops_before_any_work_and_says_what_is_missing() -> None:
    config = RunConfig(
        methods=["pointillist", "source-copy"],
        protocol="openheads-self",
        metrics=["psnr"],
        method={"pointillist": {"checkpoint": "/nowhere/ar.safetensors"}},
    )
    found = resolve(config)
    check(found, config)
    assert found.without_methods == {"pointillist": "setup"}
    assert found.fatal == []
    (why,) = found.optional
    assert "ar.safetensors does not exist" in why
    assert "the options 'checkpoint' and 'decoder' name such files" in why


def test_a_portrait_without_a_face_or_with_too_small_a_one_is_refused(method: Pointillist) -> None:
    with pytest.raises(Unscorable, match="no face found in the portrait"):
        method.build(Portrait("p", FACE))
    tiny = replace(_face(), landmarks=_face().landmarks * 0.15)
    with pytest.raises(DataError, match="pixels"):
        method.build(Portrait("p", np.ascontiguousarray(FACE[::7, ::7]), face=tiny))
