"""Checkpoints of stage one: what is written comes back, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from avatarbench.errors import AssetError, DataError
from avatarbench.methods.pointillist.checkpoint import KEY, load_checkpoint, save_checkpoint, shipped
from avatarbench.methods.pointillist.config import Config, ImageTokens, PointTokens, Transformer, Window
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Cube, Tokenizer, Vocabulary

IMAGE = (4, 8)
CONFIG = Config(
    preset="tiny",
    rig="anny",
    levels=40,
    faces=12,
    image=ImageTokens(encoder="vgg16", size=224),
    points=PointTokens(samples=32, latents=4, width=16, depth=1, heads=2, bands=2),
    transformer=Transformer(width=32, depth=2, heads=1, head_width=32, slots=True),
    window=Window(length=64, step=32),
)
TOKENIZER = Tokenizer(Vocabulary(40, 12), Cube((-0.15, -0.2, -0.1), 0.4), "z")
EXTRA = {"steps": 7, "data": "abc", "seed": 0}


def _model(seed: int = 0, config: Config = CONFIG) -> StageOne:
    torch.manual_seed(seed)
    return StageOne(config, IMAGE).eval()


def _outputs(model: StageOne) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    context = model.condition(torch.randn(1, *IMAGE, generator=draw), torch.randn(1, 32, 6, generator=draw))
    logits: torch.Tensor = model(torch.randint(0, 40, (1, 12), generator=draw), context).logits
    return logits


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stage_one.safetensors"
    save_checkpoint(path, _model(), CONFIG, TOKENIZER, IMAGE, EXTRA)
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
    found = load_checkpoint(file, expect=CONFIG)
    assert torch.equal(_outputs(found.model), _outputs(_model()))
    assert not found.model.training
    assert (found.config, found.tokenizer, found.image_tokens, found.extra) == (CONFIG, TOKENIZER, IMAGE, EXTRA)


def test_the_same_model_gives_the_same_bytes_and_another_one_another_fingerprint(file: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    same = save_checkpoint(again, _model(), CONFIG, TOKENIZER, IMAGE, EXTRA)
    assert again.read_bytes() == file.read_bytes()
    assert same == load_checkpoint(file).fingerprint
    assert save_checkpoint(other, _model(1), CONFIG, TOKENIZER, IMAGE, EXTRA) != same


def test_half_precision_rounds_parameters_and_keeps_the_rotary_frequencies(tmp_path: Path) -> None:
    path, model = tmp_path / "half.safetensors", _model()
    save_checkpoint(path, model, CONFIG, TOKENIZER, IMAGE, EXTRA, half=True)
    loaded = load_checkpoint(path).model
    for name, value in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), value.detach().half().float()), name
    rotary = "transformer.attn_layers.rotary_pos_emb.inv_freq"
    assert torch.equal(loaded.get_buffer(rotary), model.get_buffer(rotary))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_loading_leaves_the_global_random_state_alone(file: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_checkpoint(file)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("half", [False, True])
def test_weights_that_are_not_numbers_are_never_written(tmp_path: Path, half: bool) -> None:
    model = _model()
    with torch.no_grad():
        model.surface.latents[0, 0] = torch.nan
    with pytest.raises(DataError, match=r"1 weights of 'surface.latents'"):
        save_checkpoint(tmp_path / "x", model, CONFIG, TOKENIZER, IMAGE, EXTRA, half=half)
    assert not list(tmp_path.iterdir())


def test_weights_beyond_half_precision_are_refused_rather_than_made_infinite(tmp_path: Path) -> None:
    model = _model()
    with torch.no_grad():
        model.surface.latents[0, 0] = 1e6
    save_checkpoint(tmp_path / "full", model, CONFIG, TOKENIZER, IMAGE, EXTRA)
    with pytest.raises(DataError, match="too large for half precision"):
        save_checkpoint(tmp_path / "half", model, CONFIG, TOKENIZER, IMAGE, EXTRA, half=True)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (CONFIG.model_copy(update={"preset": "mini"}), "its preset is tiny, and mini"),
        (CONFIG.model_copy(update={"faces": 13}), "its faces is 12, and 13"),
        (CONFIG.model_copy(update={"rig": "flame-teeth"}), "its rig is anny"),
        (CONFIG.model_copy(update={"transformer": CONFIG.transformer.model_copy(update={"depth": 3})}), "depth is 2"),
    ],
)
def test_another_vocabulary_preset_or_size_than_asked_is_named(file: Path, other: Config, named: str) -> None:
    with pytest.raises(DataError, match=named):
        load_checkpoint(file, expect=other)


def test_what_only_training_reads_may_differ(file: Path) -> None:
    transformer = CONFIG.transformer.model_copy(update={"dropout": 0.3})
    train = CONFIG.train.model_copy(update={"steps": 1})
    load_checkpoint(file, expect=CONFIG.model_copy(update={"transformer": transformer, "train": train}))


@pytest.mark.parametrize("kept", [0, 3, 7, 200, 0.5, -1])
def test_a_truncated_file_is_refused(file: Path, kept: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        load_checkpoint(file)


def test_a_changed_byte_of_the_weights_is_noticed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="fingerprint"):
        load_checkpoint(file)


@pytest.mark.parametrize("modern", [True, False])
def test_a_pickle_is_refused_without_being_opened(tmp_path: Path, modern: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save(_model().state_dict(), path, _use_new_zipfile_serialization=modern)
    with pytest.raises(DataError, match="pickled file"):
        load_checkpoint(path)


def test_other_files_are_named_for_what_they_are(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(2)}, foreign)
    with pytest.raises(DataError, match="no checkpoint of AvatarPointillist"):
        load_checkpoint(foreign)
    with pytest.raises(AssetError, match="does not exist"):
        load_checkpoint(tmp_path / "nothing")
    with pytest.raises(DataError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_another_format_version_is_refused(file: Path) -> None:
    _rewrite(file, lambda about: about.update(format=99))
    with pytest.raises(DataError, match="format 99, and this one reads 1"):
        load_checkpoint(file)


@pytest.mark.parametrize("key", ["config", "tokenizer", "image_tokens", "fingerprint", "extra"])
def test_a_description_without_one_of_its_parts_is_refused(file: Path, key: str) -> None:
    _rewrite(file, lambda about: about.pop(key))
    with pytest.raises(DataError, match="description is damaged"):
        load_checkpoint(file)


def test_a_tokenizer_of_another_vocabulary_is_refused(file: Path) -> None:
    _rewrite(file, lambda about: about["tokenizer"].update(faces=13))
    with pytest.raises(DataError, match="40 levels and 13 faces"):
        load_checkpoint(file)


def test_missing_extra_misshapen_and_mistyped_tensors_are_named(file: Path) -> None:
    content, name = file.read_bytes(), "surface.latents"
    for tensors, message in (
        ({name: None}, f"lacks 1 of the model's tensors, '{name}'"),
        ({"more": torch.zeros(1)}, "has unknown 1"),
        ({name: torch.zeros(5, 17)}, r"'surface.latents' is \(5, 17\), and its configuration makes it \(5, 16\)"),
        ({name: torch.zeros(5, 16, dtype=torch.int64)}, "int64"),
    ):
        file.write_bytes(content)
        _rewrite(file, **tensors)
        with pytest.raises(DataError, match=message):
            load_checkpoint(file)


@pytest.mark.parametrize(
    ("section", "change"),
    [("transformer", {"depth": 10**9}), ("points", {"depth": 10**9}), ("transformer", {"width": 10**8})],
)
def test_a_described_size_that_the_file_does_not_hold_costs_no_memory(file: Path, section: str, change: dict) -> None:  # type: ignore[type-arg]
    _rewrite(file, lambda about: about["config"][section].update(change))
    with pytest.raises(DataError, match=r"too few|configuration makes it"):
        load_checkpoint(file)


def test_a_name_that_does_not_ship_says_how_to_train_and_leaves_its_folder_never() -> None:
    with pytest.raises(AssetError, match="avatarbench train pointillist"):
        shipped("no-such")
    with pytest.raises(AssetError, match=r"weights/passwd\.safetensors"):
        shipped("../../etc/passwd")
