"""Weights as they ship: half the bytes, the same model, and how it draws."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from avatarbench.cli import app
from avatarbench.methods.pointillist.checkpoint import load_checkpoint, save_checkpoint
from avatarbench.methods.pointillist.decoder.checkpoint import load_decoder, save_decoder
from tests.units.decoder_tiny import IMAGE as DECODER_IMAGE
from tests.units.decoder_tiny import TOKENIZER as DECODER_TOKENIZER
from tests.units.decoder_tiny import tiny_decoder
from tests.units.test_pointillist_checkpoint import CONFIG, EXTRA, IMAGE, TOKENIZER, _model, _outputs


def _export(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["train", "pointillist", "export", *map(str, arguments)])
    return done.exit_code, f"{done.output}{done.exception or ''}"


def test_stage_one_keeps_its_outputs_and_draws_as_it_was_told(tmp_path: Path) -> None:
    trained, out = tmp_path / "ar.safetensors", tmp_path / "mini.safetensors"
    before = save_checkpoint(trained, _model(), CONFIG, TOKENIZER, IMAGE, EXTRA)
    code, said = _export(trained, "--out", out, "--temperature", 0.8, "--consensus", 4)
    found = load_checkpoint(out)
    assert code == 0
    assert found.fingerprint[:12] in said
    assert out.stat().st_size < 0.7 * trained.stat().st_size
    assert torch.allclose(_outputs(found.model), _outputs(_model()), atol=0.02)
    assert found.config.generate == CONFIG.generate.model_copy(update={"temperature": 0.8, "consensus": 4})
    assert found.extra == EXTRA | {"trained": before}


def test_a_decoder_stays_with_its_stage_one(tmp_path: Path) -> None:
    trained, out = tmp_path / "decoder.safetensors", tmp_path / "mini-decoder.safetensors"
    model = tiny_decoder()
    save_decoder(trained, model, model.config, DECODER_IMAGE, "a1" * 32, DECODER_TOKENIZER, "f0" * 32, EXTRA)
    code, _ = _export(trained, "--out", out)
    found = load_decoder(out)
    assert code == 0
    assert (found.ar, found.rig, found.extra) == ("a1" * 32, "f0" * 32, EXTRA)
    for name, value in model.named_parameters():
        assert torch.equal(value.half().float(), found.model.get_parameter(name))


@pytest.mark.parametrize("what", ["sampling of a decoder", "consensus of a decoder", "onto itself", "no weights"])
def test_what_cannot_be_exported_is_refused(tmp_path: Path, what: str) -> None:
    weights, out, more = tmp_path / "w.safetensors", tmp_path / "out.safetensors", []
    if what == "no weights":
        weights.write_bytes(b"nothing")
    else:
        model = tiny_decoder()
        save_decoder(weights, model, model.config, DECODER_IMAGE, "a1" * 32, DECODER_TOKENIZER, "f0" * 32, EXTRA)
        more = {"sampling": ["--temperature", 0.5], "consensus": ["--consensus", 2]}.get(what.split(" ")[0], [])
        out = weights if what == "onto itself" else out
    before = weights.read_bytes()
    code, said = _export(weights, "--out", out, *more)
    assert code != 0
    assert ("draws nothing" in said) or ("name another" in said) or ("cannot be read" in said)
    assert weights.read_bytes() == before
    assert not (tmp_path / "out.safetensors").exists()
