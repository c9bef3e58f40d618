"""Our own gate, as CI runs it: OpenHeads against the baseline that ships, and what it says to defects and bad input."""

from __future__ import annotations

import json
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from avatarbench.gate.baseline import Baseline, load
from avatarbench.gate.compare import check
from avatarbench.gate.make import of_folder
from benchmarks.gate import DEFECTS, Job, plant, resume, run
from tests.conftest import ROOT, Cli
from tests.units.gate_fixture import gate_run, levels

BASELINE = ROOT / "results" / "baselines" / "openheads-gate.json"
DEAR = ("csim-dlib", "ssim")
"""Left out where they are not the point: they cost as much as the rest."""
WORKFLOW = ROOT / "docs" / "examples" / "avatarbench-check.yml"


def without(baseline: Baseline, *metrics: str) -> Baseline:
    return baseline.model_copy(update={"metrics": [m for m in baseline.metrics if m.id not in metrics]})


def test_another_seed_thread_count_and_batch_score_what_the_shipped_baseline_says_and_planted_defects_are_caught(
    cli: Cli, tmp_path: Path
) -> None:
    """Nothing computed before is used. After a change on purpose: see docs/gate.md, 'A new baseline'.

    Ten such re-runs: benchmarks/gate.py.
    """
    saved = load(BASELINE)
    assert saved.command == Job().command()
    made = run(tmp_path / "first", Job(), seed=7, threads=2, batch=3)
    reports = ("--junit", "check.xml", "--markdown", "out/summary.md", "--json", "check.json")
    done = cli("check", "last", "--runs", "first", "--baseline", BASELINE, *reports)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("passed: 14 unchanged within tolerance.")
    assert {c.find("failure") for c in ET.parse(tmp_path / "check.xml").getroot().iter("testcase")} == {None}
    assert (tmp_path / "out" / "summary.md").read_text().startswith("### ✅")
    report = json.loads((tmp_path / "check.json").read_text())
    assert report["failed"] is False
    assert "seed 7, the baseline's 0" in [f["message"] for f in report["findings"]]

    found = {}
    for name, defect in DEFECTS.items():
        planted = plant(made, "face-warp", defect, tmp_path / name.replace(" ", "-"), without=DEAR)
        verdict = check(of_folder(resume(planted, made.parent)), without(saved, *DEAR), str(BASELINE))
        assert verdict.failed, name
        assert {r.outcome for r in verdict.rows if r.method == "source-copy"} == {"same"}
        found[name] = {r.metric.id: r.outcome for r in verdict.rows if r.method == "face-warp"}
    blur, shift, colours = found.values()
    assert (blur["lpips-alex"], blur["psnr"]) == ("regressed", "improved")  # a blur flatters PSNR: both are named
    assert (shift["psnr"], shift["akd-mediapipe"]) == ("regressed", "regressed")
    assert (colours["psnr"], colours["lpips-alex"]) == ("regressed", "regressed")


def test_save_and_check_and_what_they_say_to_bad_input(cli: Cli, tmp_path: Path) -> None:
    lpips = levels(0.2)
    gate_run(tmp_path / "runs" / "a", {"lpips-vgg": lpips})
    gate_run(tmp_path / "runs" / "worse", {"lpips-vgg": [v + 0.1 for v in lpips]})
    gate_run(tmp_path / "runs" / "unfinished", {"lpips-vgg": lpips}, status="interrupted")
    assert cli("baseline", "save", "a", "-o", "b.json", "--tolerance", "lpips-vgg=0.05").returncode == 0
    done = cli("check", "worse", "--baseline", "b.json")
    assert done.returncode == 1
    assert "worse by 0.1, tolerance 0.05" in done.stdout
    for arguments, text in (
        (("check", "unfinished", "--baseline", "b.json"), "nothing was checked: run unfinished"),
        (("check", "a", "--baseline", "b.json", "--junit", "runs"), "cannot write runs"),
        (("baseline", "save", "a", "-o", "b.json"), "b.json exists"),
    ):
        done = cli(*arguments)
        assert done.returncode == 2, f"{arguments}: {done.stdout}{done.stderr}"
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    assert cli("baseline", "save", "worse", "-o", "b.json", "--rerun", "a", "--update").returncode == 0
    saved = load(tmp_path / "b.json")
    assert saved.tolerances == {"*": {"lpips-vgg": 0.05}}
    assert saved.spread["warp"]["lpips-vgg"].mean == pytest.approx(0.1, rel=1e-5)


def test_the_workflow_for_users_calls_what_there_is(cli: Cli) -> None:
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["check"]["steps"]
    lines = [
        line for s in steps for line in s.get("run", "").replace("\\\n", " ").splitlines() if "avatarbench" in line
    ]
    calls = [shlex.split(line.split("||")[0])[1:] for line in lines if line.split()[0].endswith("bin/avatarbench")]
    assert [c[0] for c in calls] == ["run", "check"]
    for verb, *words in calls:
        shown = cli(verb, "--help").stdout
        assert all(word in shown for word in words if word.startswith("--"))
