"""list and show over synthetic entries, registered beside the real ones for one test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from avatarbench import registry
from avatarbench.cli import app
from avatarbench.cli.inventory import entries
from avatarbench.cli.list import kind_of
from avatarbench.dataset import DatasetSpec
from avatarbench.errors import AvatarbenchError, UnknownNameError, UsageError
from avatarbench.method import MethodSpec
from avatarbench.metric import MetricSpec
from avatarbench.protocol import ProtocolSpec, Selection

WALKER = MethodSpec(
    id="walker",
    name="Walker",
    summary="walks",
    factory="made:Walker",
    status="working",
    licence_code="MIT",
    licence_weights="CC-BY-NC-4.0",
    needs=("flame",),
    assets=("face-landmarker", "no-such-asset"),
    notes="a note of its own",
)
GHOST = MethodSpec(id="ghost", name="Ghost", summary="", factory="", status="unavailable", licence_code="none")
BOXED = MethodSpec(
    id="boxed", name="Boxed", summary="", factory="", status="unverified", licence_code="MIT", environment="docker"
)
STROLLER = MethodSpec(
    id="stroller", name="Stroller", summary="", factory="", status="working", licence_code="MIT", brings=("shoes",)
)
WOBBLE = MetricSpec(
    id="wobble",
    name="Wobble",
    version=3,
    kind="pair",
    better="lower",
    unit="px",
    range=(0.0, float("inf")),
    against="driver",
    definition="how much it wobbles",
    citation="Somebody 2026",
    factory="made:Wobble",
    extractors=("face",),
)
FIELD = DatasetSpec(id="wobble", name="Field", summary="", licence="CC0", access="a form", factory="made:open")
MEADOW = ProtocolSpec(
    id="meadow",
    version=2,
    name="Meadow",
    task="cross",
    summary="over the meadow",
    sources=Selection("wobble"),
    drivers=Selection("nowhere", start=4, stride=8, limit=10),
    metrics=("wobble",),
    provides=("image",),
    reference="identity",
)
MADE: dict[str, list[Any]] = {
    "methods": [WALKER, GHOST, BOXED, STROLLER],
    "metrics": [WOBBLE],
    "datasets": [FIELD],
    "protocols": [MEADOW],
}


class Entry:
    """What importlib.metadata gives for one entry point, with its spec at hand."""

    class dist:
        name = "thirdparty"

    def __init__(self, spec: Any) -> None:
        self.name, self.value, self.spec = spec.id, "made:SPEC", spec

    def load(self) -> Any:
        return self.spec


class BrokenEntry(Entry):
    def load(self) -> Any:
        raise RuntimeError("no luck today")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def made(group: str) -> list[EntryPoint]:
        kind = group.removeprefix("avatarbench.")
        found: list[Any] = [Entry(s) for s in MADE.get(kind, [])]
        if kind == "methods":
            found.append(BrokenEntry(MethodSpec("shaky", "Shaky", "", "", "working", "MIT")))
        return found

    monkeypatch.setattr(registry, "entry_points", made)
    registry._entries.cache_clear()
    yield
    registry._entries.cache_clear()


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def line_of(output: str, word: str) -> str:
    return next(line for line in output.splitlines() if line.split()[:1] == [word])


def test_methods_are_listed_with_status_licences_needs_and_what_is_missing() -> None:
    output = run("list", "methods")
    walker = line_of(output, "walker")
    for part in ("Walker", "working", "MIT / CC-BY-NC-4.0", "flame", "no-such-asset (unknown asset)", "thirdparty"):
        assert part in walker
    assert "the option 'shoes'" in line_of(output, "stroller")
    assert "public code" in line_of(output, "ghost")
    assert "no recipe of an environment at 'docker'" in line_of(output, "boxed")


def test_a_broken_entry_is_listed_with_its_error_beside_the_others() -> None:
    shaky = line_of(run("list", "methods"), "shaky")
    assert "broken" in shaky
    assert "RuntimeError: no luck today" in shaky


def test_metrics_protocols_and_datasets_are_listed() -> None:
    metric = line_of(run("list", "metrics"), "wobble")
    assert metric.split()[:6] == ["wobble", "Wobble", "lower", "px", "pair", "driver"]
    protocol = line_of(run("list", "protocols"), "meadow")
    for part in ("2", "cross", "nowhere from 4 every 8, at most 10 a sequence", "256 px", "wobble", "dataset nowhere"):
        assert part in protocol
    assert "CC0" in line_of(run("list", "dataset"), "wobble")


def terminal(width: int) -> Console:
    return Console(width=width, force_terminal=True, color_system=None)


@pytest.mark.parametrize("kind", ["methods", "protocols", "metrics"])
def test_a_narrow_terminal_loses_columns_and_breaks_no_id(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    list_module = sys.modules["avatarbench.cli.list"]
    monkeypatch.setattr(list_module, "stdout_console", lambda: terminal(60))
    list_module.list_(kind)
    narrow = capsys.readouterr().out
    assert "Left out for room: package" in narrow
    assert max(map(len, narrow.splitlines())) <= 60
    monkeypatch.setattr(list_module, "stdout_console", lambda: terminal(1_000))
    list_module.list_(kind)
    wide = capsys.readouterr().out
    assert "Left out" not in wide
    ids = {entry["id"] for entry in entries(kind_of(kind) or "methods")}
    for output in (narrow, wide):
        assert ids <= {line.split()[0] for line in output.splitlines() if line.strip()}


def test_piped_output_has_no_spaces_at_the_ends_of_lines() -> None:
    for arguments in (("list", "methods"), ("show", "walker"), ("list", "datasets")):
        assert not [line for line in run(*arguments).splitlines() if line != line.rstrip()]


def test_piped_output_is_written_at_once_and_a_closed_pipe_is_no_error() -> None:
    code = "import os; from avatarbench.cli.output import stdout_console; stdout_console().print('one'); os._exit(7)"
    command = [sys.executable, "-c", code]
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, env=buffered, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("one\n", "", 7)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, env=buffered, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.stderr, done.returncode) == ("", 1)


def test_json_carries_every_field() -> None:
    found = {e["id"]: e for e in json.loads(run("list", "methods", "--json"))}
    assert found["walker"]["notes"] == "a note of its own"
    assert found["walker"]["owner"] == "thirdparty"
    assert "no-such-asset (unknown asset)" in found["walker"]["missing"]
    assert "no luck today" in found["shaky"]["error"]


def test_an_unknown_kind_names_the_near_miss() -> None:
    with pytest.raises(UsageError, match="did you mean 'metrics'"):
        run("list", "metrix")


def test_show_finds_a_name_in_any_kind() -> None:
    output = run("show", "walker")
    for part in (
        "method walker",
        "made:Walker",
        "a note of its own",
        "sha256 64184e22",
        "unknown asset 'no-such-asset'",
    ):
        assert part in output
    assert "no: needs flame" in output


def test_show_metric_gives_definition_and_source() -> None:
    output = run("show", "metric", "wobble")
    for part in ("how much it wobbles", "Somebody 2026", "the driving frame", "0 or more", "made:Wobble"):
        assert part in output


def test_show_protocol_says_which_methods_can_run_it() -> None:
    output = run("show", "meadow")
    assert "nowhere, from frame 4, every 8 frames, at most 10 a sequence" in output
    runs = {line.split()[1]: line for line in output.splitlines() if line.startswith("runs ")}
    assert "yes" in runs["stroller"]
    assert "yes" in runs["boxed"]  # its environment is no matter of the protocol
    assert "no: no public code" in runs["ghost"]
    assert "no: needs flame" in runs["walker"]


def test_a_name_of_two_kinds_asks_for_the_kind() -> None:
    with pytest.raises(UsageError, match="avatarbench show metric wobble or avatarbench show dataset wobble"):
        run("show", "wobble")
    assert "CC0" in run("show", "dataset", "wobble")


def test_show_names_the_near_misses_and_asks_for_what_is_lacking() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'walker'"):
        run("show", "wlker")
    with pytest.raises(UsageError, match="avatarbench show metric wobble"):
        run("show", "metrics")
    with pytest.raises(UsageError, match="unknown kind 'metrik'"):
        run("show", "metrik", "wobble")
    with pytest.raises(AvatarbenchError, match="no luck today"):
        run("show", "shaky")
