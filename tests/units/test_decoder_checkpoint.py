"""Checkpoints of the decoder: what is written comes back, and neither a foreign file nor a foreign stage one passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from avatarbench.errors import AssetError, DataError
from avatarbench.methods.pointillist.checkpoint import Loaded, load_checkpoint, save_checkpoint
from avatarbench.methods.pointillist.config import Config, ImageTokens, PointTokens, Transformer, Window
from avatarbench.methods.pointillist.decoder.checkpoint import (
    KEY,
    check_pair,
    load_decoder,
    save_decoder,
    shipped_decoder,
)
from avatarbench.methods.pointillist.decoder.config import Variant
from avatarbench.methods.pointillist.decoder.model import Decoder
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Cube, Tokenizer, Vocabulary
from tests.units.decoder_tiny import IMAGE, TOKENIZER, tiny_config, tiny_decoder, tiny_inputs

AR, RIG = "a1" * 32, "f0" * 32
EXTRA = {"steps": 3, "data": "abc"}


def _save(path: Path, model: Decoder | None = None, half: bool = False, ar: str | None = AR) -> str:
    model = model or tiny_decoder()
    return save_decoder(path, model, model.config, IMAGE, ar, TOKENIZER, RIG, EXTRA, half=half)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "decoder.safetensors"
    _save(path)
    return path


def _rewrite(path: Path, change: Any = None, **tensors: torch.Tensor | None) -> None:
    """The same file with a changed description, or with tensors replaced (None: taken out)."""
    with safe_open(path, "pt") as opened:
        about = json.loads(opened.metadata()[KEY])
    found: dict[str, torch.Tensor | None] = {**load_file(path), **tensors}
    if change:
        change(about)
    save_file({name: value for name, value in found.items() if value is not None}, path, {KEY: json.dumps(about)})


def test_what_is_saved_comes_back_with_all_that_belongs_to_it(file: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = load_decoder(file)
    assert torch.equal(torch.get_rng_state(), before)
    for value, expected in zip(found.model(*tiny_inputs()), tiny_decoder()(*tiny_inputs()), strict=True):
        assert torch.equal(value, expected)
    assert not found.model.training
    assert (found.config, found.tokenizer, found.image_tokens) == (tiny_config(), TOKENIZER, IMAGE)
    assert (found.ar, found.rig, found.extra) == (AR, RIG, EXTRA)


def test_the_same_decoder_gives_the_same_bytes_and_another_one_another_fingerprint(file: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    same = _save(again)
    assert again.read_bytes() == file.read_bytes()
    assert same == load_decoder(file).fingerprint
    assert _save(other, tiny_decoder(seed=1)) != same


def test_half_precision_halves_the_file_and_rounds_the_weights(file: Path, tmp_path: Path) -> None:
    path, model = tmp_path / "half", tiny_decoder()
    _save(path, half=True)
    loaded = load_decoder(path).model
    for name, value in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), value.detach().half().float()), name
    weights = sum(value.numel() for value in model.state_dict().values())
    saved = file.stat().st_size - path.stat().st_size
    assert 2 * weights <= saved < 2 * weights + 100  # types and places are named in fewer letters, too


def test_every_variant_comes_back_as_what_it_is(tmp_path: Path) -> None:
    variants: tuple[Variant, ...] = ("flame-position", "ar-feature", "ar-position")
    for variant in variants:
        path = tmp_path / variant
        _save(path, tiny_decoder(variant), ar=None if variant == "flame-position" else AR)
        found = load_decoder(path)
        assert found.config.variant == variant
        assert (found.ar is None) == (variant == "flame-position")


def test_a_decoder_of_generated_points_is_not_saved_without_their_stage_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="say of which"):
        _save(tmp_path / "x", ar=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "half"), [(torch.nan, False), (1e6, True)])
def test_weights_that_are_not_numbers_or_beyond_half_precision_are_never_written(
    tmp_path: Path, value: float, half: bool
) -> None:
    model = tiny_decoder()
    model.join.bias.data[0] = value
    with pytest.raises(DataError, match=r"1 weights of 'join.bias'"):
        _save(tmp_path / "x", model, half=half)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_a_truncated_file_is_refused(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        load_decoder(file)


def test_a_changed_byte_of_the_weights_is_noticed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="fingerprint"):
        load_decoder(file)


@pytest.mark.parametrize("modern", [True, False])
def test_a_pickle_is_refused_without_being_opened(tmp_path: Path, modern: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save(tiny_decoder().state_dict(), path, _use_new_zipfile_serialization=modern)
    with pytest.raises(DataError, match=r"pickled file.*'avatarbench train pointillist decoder'"):
        load_decoder(path)


def test_other_files_are_named_for_what_they_are(tmp_path: Path, file: Path) -> None:
    foreign = tmp_path / "foreign"
    save_file({"a": torch.zeros(2)}, foreign)
    with pytest.raises(DataError, match="no checkpoint of AvatarPointillist's decoder"):
        load_decoder(foreign)
    with pytest.raises(DataError, match="no checkpoint of AvatarPointillist's stage one"):
        load_checkpoint(file)
    with pytest.raises(AssetError, match=r"does not exist.*--decoder"):
        load_decoder(tmp_path / "nothing")


def test_a_newer_format_is_refused(file: Path) -> None:
    _rewrite(file, lambda about: about.update(format=2))
    with pytest.raises(DataError, match="format 2, and this one reads 1"):
        load_decoder(file)


@pytest.mark.parametrize(
    "key", ["config", "tokenizer", "image_tokens", "ar_width", "ar", "rig", "extra", "fingerprint"]
)
def test_a_description_without_one_of_its_parts_is_refused(file: Path, key: str) -> None:
    _rewrite(file, lambda about: about.pop(key))
    with pytest.raises(DataError, match="description is damaged"):
        load_decoder(file)


@pytest.mark.parametrize("change", [{"ar": None}, {"ar_width": 0}, {"image_tokens": [5, -1]}, {"ar_width": "wide"}])
def test_a_description_that_makes_no_decoder_is_refused(file: Path, change: dict[str, Any]) -> None:
    _rewrite(file, lambda about: about.update(change))
    with pytest.raises(DataError, match="description is damaged"):
        load_decoder(file)


def test_missing_extra_misshapen_and_mistyped_tensors_are_named(file: Path) -> None:
    content, name = file.read_bytes(), "join.bias"
    for tensors, message in (
        ({name: None}, f"lacks 1 of the model's tensors, '{name}'"),
        ({"more": torch.zeros(1)}, "has unknown 1"),
        ({name: torch.zeros(5)}, r"'join.bias' is \(5,\), and its configuration makes it \(16,\)"),
        ({name: torch.zeros(16, dtype=torch.int64)}, "int64"),
    ):
        file.write_bytes(content)
        _rewrite(file, **tensors)
        with pytest.raises(DataError, match=message):
            load_decoder(file)


@pytest.mark.parametrize("change", [{"blocks": 10**9}, {"width": 10**8}])
def test_a_described_size_that_the_file_does_not_hold_costs_no_memory(file: Path, change: dict[str, int]) -> None:
    _rewrite(file, lambda about: about["config"].update(change))
    with pytest.raises(DataError, match=r"too few|configuration makes it"):
        load_decoder(file)


@pytest.fixture(scope="module")
def stage_one(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    config = Config(
        preset="tiny",
        rig="anny",
        levels=40,
        faces=12,
        image=ImageTokens(encoder="vgg16", size=224),
        points=PointTokens(samples=8, latents=2, width=8, depth=0, heads=1, bands=1),
        transformer=Transformer(width=8, depth=1, heads=1, head_width=8),
        window=Window(length=16, step=8),
    )
    path = tmp_path_factory.mktemp("ar") / "ar.safetensors"
    with torch.random.fork_rng(devices=[]):
        save_checkpoint(path, StageOne(config, IMAGE), config, TOKENIZER, IMAGE, {"rig_faces": RIG})
    return load_checkpoint(path)


def test_a_decoder_takes_the_stage_one_that_it_was_trained_on_and_no_other(tmp_path: Path, stage_one: Loaded) -> None:
    _save(tmp_path / "own", ar=stage_one.fingerprint)
    check_pair(load_decoder(tmp_path / "own"), stage_one)
    _save(tmp_path / "foreign", ar="b2" * 32)
    with pytest.raises(DataError, match=f"(?s){'b2' * 6}.*{stage_one.fingerprint[:12]}.*trained together"):
        check_pair(load_decoder(tmp_path / "foreign"), stage_one)


def test_a_decoder_without_stage_one_goes_with_any_of_its_rig(tmp_path: Path, stage_one: Loaded) -> None:
    _save(tmp_path / "flame", tiny_decoder("flame-position"), ar=None)
    found = load_decoder(tmp_path / "flame")
    check_pair(found, stage_one)
    check_pair(found, stage_one._replace(fingerprint="c3" * 32))


def test_another_vocabulary_cube_rig_or_image_encoder_is_named(tmp_path: Path, stage_one: Loaded) -> None:
    _save(tmp_path / "own", ar=stage_one.fingerprint)
    found = load_decoder(tmp_path / "own")
    moved = Tokenizer(TOKENIZER.vocabulary, Cube((-0.15, -0.2, -0.1), 0.5), "z")
    wider = Tokenizer(Vocabulary(40, 13), TOKENIZER.cube, "z")
    for other, named in (
        (stage_one._replace(tokenizer=moved), "side: 0.4 .*, 0.5 for"),
        (stage_one._replace(tokenizer=wider), "faces: 12 .*, 13 for"),
        (stage_one._replace(image_tokens=(5, 13)), r"image tokens.*\(5, 12\).*\(5, 13\)"),
        (stage_one._replace(extra={"rig_faces": "e4" * 32}), "rig's faces.*f0f0f0.*e4e4e4"),
    ):
        with pytest.raises(DataError, match=named):
            check_pair(found, other)


def test_a_name_that_does_not_ship_says_how_to_train_and_leaves_its_folder_never() -> None:
    with pytest.raises(AssetError, match="avatarbench train pointillist decoder"):
        shipped_decoder("no-such")
    with pytest.raises(AssetError, match=r"weights/passwd\.safetensors"):
        shipped_decoder("../../etc/passwd")
