"""What makes two runs another measurement: each thing has its own message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avatarbench.errors import UsageError
from avatarbench.gate.compare import check
from avatarbench.gate.verdict import Finding, Verdict
from tests.units.gate_fixture import gate_baseline, levels
from tests.units.runs_fixture import ENVIRONMENT, method, metric

VALUES = {"psnr": levels(20), "lpips-vgg": levels(0.2)}


def against(tmp_path: Path, then: dict[str, Any], now: dict[str, Any]) -> Verdict:
    values = {"values": VALUES}
    return check(
        gate_baseline(tmp_path / "now", **values | now), gate_baseline(tmp_path / "then", **values | then), "b.json"
    )


def faults(verdict: Verdict) -> list[tuple[str, str]]:
    return [(f.kind, f.message) for f in verdict.findings if f.fails]


@pytest.mark.parametrize(
    ("then", "now", "kind", "text"),
    [
        ({}, {"protocol": {"version": 2}}, "protocol", "clip-self has version 2, the baseline was made with 1"),
        ({}, {"protocol": {"size": 512}}, "protocol", "has size 512, the baseline was made with 256"),
        ({}, {"image": {"crop": "none"}}, "protocol", "the image contract is another: crop none instead of face"),
        ({}, {"protocol": {"data": "openheads"}}, "data", "data is openheads, the baseline's unmarked"),
        (
            {},
            {"files": {"openheads/clip": "c" * 64}, "protocol": {"manifest": "cd" * 32}},
            "data",
            "the contents of 1 input file (openheads/clip) changed",
        ),
        ({}, {"protocol": {"manifest": "cd" * 32}}, "manifest", "the manifest is cdcdcdcdcdcd, the baseline's abab"),
    ],
)
def test_another_protocol_manifest_or_data_fails_and_nothing_is_compared(
    tmp_path: Path, then: dict[str, Any], now: dict[str, Any], kind: str, text: str
) -> None:
    verdict = against(tmp_path, then, now)
    assert any(k == kind and text in message for k, message in faults(verdict))
    assert {r.outcome for r in verdict.rows} == {"changed"}
    assert all(text in r.message for r in verdict.rows if kind != "manifest")


def test_a_contract_that_knows_more_fields_is_the_same(tmp_path: Path) -> None:
    verdict = against(tmp_path, {}, {"image": {"background": "kept"}})
    assert not verdict.failed


def test_other_people_behind_the_same_sample_ids_fail(tmp_path: Path) -> None:
    then, now = gate_baseline(tmp_path / "a", VALUES), gate_baseline(tmp_path / "b", VALUES)
    turned = {s: (at + 1) % 4 for s, at in now.samples.items()}
    verdict = check(now.model_copy(update={"samples": turned}), then, "b.json")
    assert faults(verdict)[0][0] == "manifest"
    assert "belong to another identity" in faults(verdict)[0][1]


@pytest.mark.parametrize(
    ("now", "kind", "text", "outcome"),
    [
        ({"version": 2}, "metrics", "lpips-vgg has version 2, the baseline was measured with 1", "changed"),
        ({"better": "higher"}, "metrics", "lpips-vgg has direction higher", "changed"),
        ({"unit": "px"}, "metrics", "lpips-vgg has unit px, the baseline was measured with none", "changed"),
        (
            {"assets": {"vgg": "b" * 64}},
            "weights",
            "lpips-vgg used vgg bbbbbbbbbbbb, the baseline's aaaaaaaaaaaa",
            "changed",
        ),
        ({"unavailable": "weights"}, "metrics", "lpips-vgg could not be measured: weights", "unmeasured"),
    ],
)
def test_another_definition_or_other_weights_fail_that_metric_alone(
    tmp_path: Path, now: dict[str, Any], kind: str, text: str, outcome: str
) -> None:
    base = {"assets": {"vgg": "a" * 64}}
    verdict = against(
        tmp_path,
        {"metrics": [metric("psnr", better="higher"), metric("lpips-vgg", **base)]},
        {"metrics": [metric("psnr", better="higher"), metric("lpips-vgg", **base | now)]},
    )
    assert [k for k, _ in faults(verdict)] == [kind]
    assert text in faults(verdict)[0][1]
    assert {r.metric.id: r.outcome for r in verdict.rows} == {"psnr": "same", "lpips-vgg": outcome}


def test_a_metric_that_was_not_asked_for_fails_and_a_new_one_is_named(tmp_path: Path) -> None:
    verdict = against(tmp_path, {}, {"values": {"psnr": levels(20), "ssim": levels(1)}})
    assert faults(verdict) == [("metrics", "lpips-vgg was not asked for in this run")]
    assert Finding("metrics", False, "not in the baseline and not guarded: ssim") in verdict.findings
    assert {r.metric.id: r.outcome for r in verdict.rows} == {"psnr": "same", "lpips-vgg": "unmeasured"}


def test_a_metric_without_weights_on_both_sides_is_skipped(tmp_path: Path) -> None:
    metrics = [metric("psnr", better="higher"), metric("lpips-vgg", unavailable="weights")]
    verdict = against(tmp_path, {"metrics": metrics}, {"metrics": metrics})
    assert not verdict.failed
    assert {r.metric.id: r.outcome for r in verdict.rows} == {"psnr": "same", "lpips-vgg": "absent"}


def test_other_options_fail_and_other_code_is_a_note(tmp_path: Path) -> None:
    options = against(tmp_path / "a", {}, {"methods": [method("warp", options={"temperature": 0.5})]})
    assert faults(options) == [("options", "warp ran with {'temperature': 0.5}, the baseline's with none")]
    code = against(tmp_path / "b", {}, {"methods": [method("warp", spec={"factory": "made:anew"})]})
    assert not code.failed
    assert any(f.kind == "methods" and "made:anew" in f.message for f in code.findings)


def test_a_method_that_could_not_run_fails(tmp_path: Path) -> None:
    verdict = against(tmp_path, {}, {"methods": [method("warp", unavailable="its checkpoint is missing")]})
    assert faults(verdict) == [("methods", "warp could not run: its checkpoint is missing")]
    assert {r.outcome for r in verdict.rows} == {"unmeasured"}


def test_another_seed_or_machine_is_told_and_never_fails(tmp_path: Path) -> None:
    here = ENVIRONMENT.model_copy(update={"gpu": "a card", "packages": {"torch": "2.8"}, "git_commit": "f" * 40})
    verdict = against(tmp_path, {}, {"seed": 3, "environment": here})
    assert not verdict.failed
    told = " | ".join(f.message for f in verdict.findings)
    for text in (
        "seed 3, the baseline's 0",
        "GPU a card, the baseline's none",
        "commit ffffffffffff",
        "torch 2.8 (was none)",
    ):
        assert text in told


def test_a_baseline_of_another_protocol_method_or_metrics_is_no_baseline_of_this_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is of the protocol vfhq-self, the baseline of clip-self"):
        against(tmp_path / "a", {}, {"protocol": {"id": "vfhq-self"}})
    with pytest.raises(UsageError, match="no metric in common: the run has ssim, the baseline psnr, lpips-vgg"):
        against(tmp_path / "b", {}, {"values": {"ssim": levels(1)}})
    then, now = gate_baseline(tmp_path / "c", VALUES), gate_baseline(tmp_path / "d", VALUES)
    renamed = now.model_copy(update={"methods": [now.methods[0].model_copy(update={"id": "other"})]})
    with pytest.raises(UsageError, match="no method in common: the run has other, the baseline warp"):
        check(renamed, then, "b.json")
