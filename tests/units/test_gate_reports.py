"""The verdict as programs and pull requests read it."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from avatarbench.gate import junit, markdown, records, terminal
from avatarbench.gate.compare import check
from avatarbench.gate.verdict import Verdict
from tests.units.gate_fixture import gate_baseline, levels
from tests.units.runs_fixture import metric

METRICS = [metric("psnr", better="higher"), metric("lpips-vgg"), metric("aed", name="A|ED"),
           metric("clip", unavailable="weights"), metric("fid", kind="set", reference_frames=24)]  # fmt: skip


@pytest.fixture
def failing(tmp_path: Path) -> Verdict:
    """PSNR better, LPIPS worse, AED without a frame, FID worse, CLIP never there; another version of nothing."""
    lpips, psnr = levels(0.2), levels(20)
    aed: list[float | str] = [*levels(0.03)]
    then = gate_baseline(
        tmp_path / "then", {"psnr": psnr, "lpips-vgg": lpips, "aed": aed}, metrics=METRICS, sets={"fid": (10, 24)}
    )
    aed[0] = "no <face> | \x00 found"
    values = {"psnr": [v + 1 for v in psnr], "lpips-vgg": [v + 0.01 for v in lpips], "aed": aed}
    now = gate_baseline(tmp_path / "now", values, metrics=METRICS, sets={"fid": (12, 24)})
    return check(now, then, "base.json")


def test_the_headline_counts_what_failed_and_what_improved(failing: Verdict) -> None:
    assert failing.headline() == "FAILED: 2 worse; 1 with lost coverage; 1 better; 0 unchanged within tolerance."


def test_junit_has_one_case_a_metric_and_method_and_counts_them(failing: Verdict) -> None:
    text = junit.render(failing)
    root = ET.fromstring(text.encode())
    (suite,) = root
    cases = {(c.get("classname"), c.get("name")): c for c in suite.findall("testcase")}
    assert {name for cls, name in cases if cls == "clip-self.warp"} == {"psnr", "lpips-vgg", "aed", "clip", "fid"}
    failed = {name: c.find("failure") for (_, name), c in cases.items()}
    assert {name for name, f in failed.items() if f is not None} == {"lpips-vgg", "aed", "fid"}
    kinds = {name: f.get("type") for name, f in failed.items() if f is not None}
    assert kinds == {"lpips-vgg": "regressed", "aed": "lost", "fid": "regressed"}
    assert cases["clip-self.warp", "clip"].find("skipped") is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (str(len(cases)), "3", "1")
    assert next(c.tag for c in suite) == "properties"
    assert "no <face> | � found" in (failed["aed"].get("message") if failed["aed"] is not None else "")


def test_failed_conditions_are_cases_of_their_own(tmp_path: Path) -> None:
    then = gate_baseline(tmp_path / "then", {"psnr": levels(20)})
    now = gate_baseline(tmp_path / "now", {"psnr": levels(20)}, protocol={"version": 2})
    root = ET.fromstring(junit.render(check(now, then, "b.json")))
    failed = [c.get("name") for c in root.iter("testcase") if c.find("failure") is not None]
    assert failed == ["protocol", "psnr"]


def test_markdown_shows_failures_folds_the_rest_and_takes_text_literally(failing: Verdict) -> None:
    page = markdown.render(failing)
    assert page.startswith("### ❌ avatarbench clip-self: FAILED: 2 worse;")
    shown, folded = page.split("<details>", 1)
    for text in ("**regressed**", "**improved**", "**lost**", "A\\|ED", "no \\<face\\> \\| "):
        assert text in shown
    assert "CLIP" in folded
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert page.count("<details>") == page.count("</details>")


def test_json_is_strict_and_holds_every_row(failing: Verdict) -> None:
    content = json.loads(records.render(failing), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert content["failed"] is True
    rows = {r["metric"]: r for r in content["rows"]}
    assert rows["lpips-vgg"]["fails"] is True
    assert rows["lpips-vgg"]["change"] == pytest.approx(0.01, rel=1e-4)
    assert rows["fid"]["low"] is None
    assert rows["clip"]["outcome"] == "absent"


def test_the_terminal_names_every_metric_and_ends_with_the_verdict(failing: Verdict) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal.renderable(failing, console))
    lines = console.export_text().splitlines()
    assert lines[-1].startswith("FAILED: 2 worse")
    text = "\n".join(lines)
    for part in ("PSNR", "improved", "regressed", "23 (was 24)", "+0.0100", "[+0.0100, +0.0100]"):
        assert part in text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_shows_fewer_columns_and_whole_figures(failing: Verdict, width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal.renderable(failing, console))
    text = console.export_text()
    assert "…" not in text
    worse = next(line for line in text.splitlines() if "LPIPS-VGG" in line)
    assert worse.split()[-1] == "regressed"
    assert "+0.0100" in worse
    assert "tolerance 0.002, interval [0.01, 0.01]" in " ".join(text.split())
