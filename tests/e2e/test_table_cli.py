"""table, list and show as a user calls them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import call
from tests.units.runs_fixture import method, metric, write_run

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
HTML = ("t.html", '<td class="best">1.000</td>')
METRICS = [metric("akd", name="AKD", unit="px"), metric("psnr", name="PSNR", better="higher", unit="dB")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    values = {("a", "akd"): [1.0], ("b", "akd"): [2.0], ("a", "psnr"): [20.0], ("b", "psnr"): [30.0]}
    return write_run(tmp_path / "runs" / "first", [method("a"), method("b")], METRICS, values, pairs=1)


def test_a_run_is_given_by_path_by_id_or_as_the_last_one(cli: Cli, run: Path) -> None:
    outputs = {cli("table", given, "--format", "markdown").stdout for given in (run, "first", "last")}
    assert len(outputs) == 1
    assert "**1.000** |" in next(iter(outputs))


def test_ids_are_looked_up_where_the_runs_are_kept(cli: Cli, run: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert "1.000" in cli("table", "last", "--runs", "elsewhere").stdout
    wrong = cli("table", "frist", "--runs", "elsewhere")
    assert wrong.returncode == 2
    assert "did you mean 'first'?" in wrong.stderr


def test_the_format_follows_the_ending_of_the_file(cli: Cli, run: Path, tmp_path: Path) -> None:
    for name, part in (
        ("t.md", "**1.000**"),
        ("t.tex", r"\textbf{1.000}"),
        ("t.csv", "first,a,a"),
        ("t.txt", "AKD ↓"),
        HTML,
    ):
        result = cli("table", "first", "--out", name)
        assert (result.returncode, result.stdout) == (0, "")
        assert part in (tmp_path / name).read_text(encoding="utf-8")


def test_piped_output_is_not_wrapped_and_carries_no_colour(cli: Cli, run: Path) -> None:
    result = cli("table", "first", env={"COLUMNS": "30"})
    assert "\x1b" not in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.split()[:1] == ["a"])
    assert line.split() == ["a", "1.000", "20.000"]


def test_metrics_digits_speed_and_csv(cli: Cli, run: Path) -> None:
    rows = list(csv.DictReader(cli("table", "first", "--metrics", "psnr", "-f", "csv").stdout.splitlines()))
    assert [(r["method"], r["value"]) for r in rows] == [("a", "20.0"), ("b", "30.0")]
    assert "20.0\n" in cli("table", "first", "--digits", "1").stdout
    assert "Frames/s" in cli("table", "first", "--speed").stdout


def test_a_paper_table_is_printed_as_published(cli: Cli) -> None:
    result = cli("table", "--published", "avatarpointillist:1", "--format", "latex")
    assert result.returncode == 0
    assert r"Ours (AvatarPointillist) & \textbf{0.15} & \textbf{95.18}" in result.stdout


def test_a_paper_table_is_filled_from_the_newest_runs_or_from_those_named(cli: Cli, tmp_path: Path) -> None:
    metrics = [metric("lpips-vgg", name="LPIPS-V"), metric("akd-mediapipe", name="AKD")]
    values = {(m, k.id): [float(n)] * 4 for n, m in enumerate(("a", "pointillist")) for k in metrics}
    protocol = {"id": "openheads-self"}
    write_run(
        tmp_path / "runs" / "one", [method("a"), method("pointillist")], metrics, values, pairs=4, protocol=protocol
    )
    paper = ("--paper", "avatarpointillist", "--table", "2")
    found = cli("table", *paper, "-f", "csv")
    assert cli("table", "one", *paper, "-f", "csv").stdout == found.stdout
    rows = [r for r in csv.DictReader(found.stdout.splitlines()) if r["method"] == "pointillist"]
    assert {(r["metric"], r["value"]) for r in rows if r["beside"] == "LPIPS"} == {
        ("LPIPS", "0.15"),
        ("lpips-vgg", "1.0"),
        ("lpips-alex", "nan"),
    }
    assert "measured: openheads-self (N = 4)" in cli("table", *paper).stdout
    page = cli("table", "one", *paper, "--also", "a", "--marks", "colour", "-f", "html").stdout
    assert '<th scope="row">a</th><td>n/a (not in the paper)</td>' in page
    assert '<td class="best">0.000</td>' in page


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "give one or more runs"),
        (("frist",), 2, "did you mean 'first'?"),
        (("first", "--metrics", "akb"), 2, "did you mean 'akd'?"),
        (("first", "first"), 2, "given twice"),
        (("first", "--out", "no/such/folder/t.md"), 1, "cannot write no/such/folder/t.md"),
        (("--published", "nobody:1"), 2, "no published table 'nobody:1'"),
        (("first", "--format", "docx"), 2, "docx"),
        (("--paper", "avatarpontillist", "--table", "2"), 2, "did you mean 'avatarpointillist'?"),
        (("--paper", "avatarpointillist", "--table", "9"), 2, "Known: 1, 2, S1."),
        (("--paper", "avatarpointillist"), 2, "--paper avatarpointillist --table S1"),
        (("--table", "2"), 2, "--paper avatarpointillist --table 2"),
        (("--paper", "avatarpointillist", "--table", "2", "--speed"), 2, "leave out --speed"),
        (("first", "--paper", "avatarpointillist", "--table", "2"), 2, "run first has none of the methods"),
    ],
    ids=str,
)
def test_bad_input_is_told_without_a_traceback(
    cli: Cli, run: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = cli("table", *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_that_is_no_run_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = cli("table", "empty")
    assert result.returncode == 2
    assert "no run 'empty'" in result.stderr
    assert "run.json" in result.stderr


@pytest.mark.parametrize("kind", ["methods", "protocols", "metrics", "datasets"])
def test_the_real_entries_are_listed_whole(cli: Cli, kind: str) -> None:
    found = json.loads(cli("list", kind, "--json").stdout)
    assert not [e["error"] for e in found if "error" in e]
    plain = cli("list", kind, env={"COLUMNS": "40"}).stdout.splitlines()
    ids = [line.split()[0] for line in plain if line.strip()]
    assert [e["id"] for e in found] == [i for i in ids if i in {e["id"] for e in found}]


@pytest.mark.parametrize("verb", ["table", "list", "show"])
def test_help_has_examples(cli: Cli, verb: str) -> None:
    assert f"avatarbench {verb} " in cli(verb, "--help").stdout


def test_listing_and_tables_import_nothing_heavy(run: Path, tmp_path: Path) -> None:
    """One process takes the commands in turn: what one of them imports stays, and is laid at its door."""
    kinds = ("methods", "protocols", "metrics", "datasets")
    listing = [*(["list", kind] for kind in kinds), ["show", "face-warp"]]
    tables = [["table", "first"], ["table", "first", "--format", "latex"]]
    tables.append(["table", "--paper", "avatarpointillist", "--table", "2"])
    code = (
        "import json, sys\n"
        "from avatarbench.cli import app\n"
        "heavy = {'torch', 'scipy', 'mediapipe', 'cv2', 'skimage', 'torchvision', 'pandas'}\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    try:\n        app(command)\n"
        "    except SystemExit as stop:\n        assert not stop.code, (command, stop.code)\n"
        "    barred = heavy if command[0] == 'table' else heavy | {'pyarrow'}\n"
        "    assert not barred & set(sys.modules), (command, barred & set(sys.modules))\n"
    )
    result = call([sys.executable, "-c", code, json.dumps([*listing, *tables])], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "LPIPS" in result.stdout
