"""Official code through the command line, against a stand-in repository: it runs, and is labelled wherever it shows."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Cli
from tests.standins import common

RUN = (
    "run",
    "-m",
    "cvthead",
    "-m",
    "source-copy",
    "-p",
    "clip-self",
    "--metric",
    "psnr",
    "--limit",
    "1",
    "--size",
    "64",
)


def test_a_stand_in_runs_and_its_row_enters_no_table(cli: Cli, tmp_path: Path) -> None:
    repo = common.checkout("cvthead", tmp_path)
    own = ("--repo", repo, "--weights", repo / "weights", f"+method.cvthead.python={common.python()}")
    done = cli(*RUN, *own)
    assert done.returncode == 0, done.stderr + done.stdout
    folder = next(tmp_path.glob("runs/*"))
    record = json.loads((folder / "run.json").read_text())
    methods = {m["id"]: m for m in record["methods"]}
    assert methods["cvthead"]["stand_in"] is True
    assert methods["cvthead"]["name"] == "CVTHead (stand-in)"
    assert methods["cvthead"]["frames"] == 1
    assert methods["cvthead"]["options"]["repo"] == str(repo)
    assert methods["cvthead"]["origin"]["repository"] == str(repo)
    assert methods["source-copy"]["stand_in"] is False
    value = next(r["value"] for r in record["results"] if r["method"] == "cvthead")
    assert value == value  # it did render and was scored
    assert "left out, since what ran only stands in for a method: CVTHead (stand-in)" in done.stdout
    assert f"{value:.2f}" not in done.stdout
    saved = cli("baseline", "save", folder, "-o", "b.json")
    assert saved.returncode == 2
    assert "ran what only stands in for a method (CVTHead (stand-in))" in saved.stderr

    # The mark is the repository's: no option lifts it, and a run under way does not lose it with the file.
    lifted = cli(*RUN, *own, "+method.cvthead.stand_in=false")
    assert lifted.returncode == 2
    assert "it has no option 'stand_in'" in lifted.stderr
    mark = (repo / "STANDIN.json").read_text(encoding="utf-8")
    (repo / "STANDIN.json").unlink()
    again = cli("run", "--resume", folder)
    assert again.returncode == 2
    assert "'cvthead' ran then and cannot run now" in again.stderr  # weights that are known are not these
    (repo / "STANDIN.json").write_text(mark, encoding="utf-8")
    changed = {m["id"]: dict(m["origin"], commit="other") for m in record["methods"] if m["origin"]}
    record["methods"] = [dict(m, origin=changed.get(m["id"], m["origin"])) for m in record["methods"]]
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    moved = cli("run", "--resume", folder)
    assert moved.returncode == 2
    assert "'cvthead' runs from another checkout, or with other weights, now" in moved.stderr


def test_what_is_missing_of_official_code_is_told_before_any_work(cli: Cli, tmp_path: Path) -> None:
    done = cli(*RUN)
    assert done.returncode == 2, done.stdout
    clone = "its repository was not given: git clone --recurse-submodules https://github.com/HowieMa/CVTHead"
    assert clone in done.stderr
    assert "its weights were not given: cvthead.pt (CVTHead)" in done.stderr
    assert not (tmp_path / "runs").exists()
