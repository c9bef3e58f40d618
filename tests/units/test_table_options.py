"""What runs and the command line ask for, as tables take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avatarbench.cli.table import Format, Marks, table
from avatarbench.errors import UsageError
from avatarbench.run.record import RunRecord
from avatarbench.tables.options import changes, command, method_options
from tests.units.runs_fixture import method, metric, write_run

SPEC = {"drivers": {"start": 0, "stride": 2, "sequences": ["*_FREE_*"]}, "image": {"size": 256, "scale": 1.8}}


def record(folder: Path, **config: Any) -> RunRecord:
    methods = [method("a", options={"points": 50, "layers": [1, 2]}), method("b")]
    values: dict[Any, Any] = {("a", "psnr"): [1.0]}
    write_run(folder, methods, [metric("psnr")], values, pairs=1, protocol={"spec": SPEC}, config=config)
    return RunRecord.load(folder)


def test_what_cuts_a_protocol_is_told_and_what_repeats_it_is_not(tmp_path: Path) -> None:
    cut = record(tmp_path / "cut", sources={"limit": 3}, frames={"limit": 8, "stride": 4}, image={"size": 128})
    assert changes(cut) == ("sources.limit=3", "frames.limit=8", "frames.stride=4", "image.size=128")
    same = record(tmp_path / "same", frames={"stride": 2, "sequences": ["*_FREE_*"]}, image={"size": 256})
    assert changes(same) == ()
    assert changes(record(tmp_path / "none")) == ()


def test_options_of_the_methods_asked_for_are_told(tmp_path: Path) -> None:
    run = record(tmp_path / "r")
    assert method_options(run, ["a", "b"]) == ("a: points=50, layers=1,2",)
    assert method_options(run, ["b"]) == ()


def test_a_command_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    run = record(tmp_path / "r").model_copy(update={"command": ["avatarbench", "run", "--portraits", "my faces"]})
    assert command(run) == "avatarbench run --portraits 'my faces'"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"published_only": True}, "--paper splitavatar --table 5"),
        ({"published_only": True, "paper": "splitavatar"}, "There is: --paper splitavatar --table 1;"),
        ({"published": "avatarpointillist:1", "runs": [Path("r")]}, "take neither runs"),
        ({"published": "avatarpointillist:1", "metrics": "psnr"}, "nor --metrics"),
        ({"published": "avatarpointillist:1", "paper": "avatarpointillist"}, "take neither runs"),
        ({"published_only": True, "paper": "avatarpointillist", "number": "1", "digits": 3}, "--digits"),
        ({"published": "avatarpointillist:1", "marks": Marks.colour, "out": Path("t.md")}, "GitHub drops colours"),
        ({"published": "avatarpointillist:1", "marks": Marks.colour, "output": Format.csv}, "a column says"),
    ],
    ids=str,
)
def test_options_that_would_do_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        table(**options)


def test_the_long_and_the_short_way_to_a_papers_own_table_print_one(tmp_path: Path) -> None:
    table(published="splitavatar:3", out=tmp_path / "short.html", marks=Marks.colour)
    table(paper="splitavatar", number="3", published_only=True, out=tmp_path / "long.html", marks=Marks.colour)
    page = (tmp_path / "long.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "short.html").read_text(encoding="utf-8")
    assert ".best { color: #c00000; }" in page
    assert "src=" not in page
    assert "href=" not in page
