"""``--repo`` and ``--weights``: whose they are, and what a run is configured with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avatarbench.cli.own_code import add_paths, make_absolute
from avatarbench.errors import UsageError


def test_of_one_official_method_the_path_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, dict[str, Any]] = {}
    add_paths(options, ["face-warp", "lam"], "repo", ["LAM"])
    add_paths(options, ["face-warp", "lam"], "weights", ["~/w=1"])  # a path may hold an equals sign
    monkeypatch.chdir(tmp_path)
    make_absolute(options, ["face-warp", "lam"])
    assert options == {"lam": {"repo": str(tmp_path / "LAM"), "weights": str(Path("~/w=1").expanduser())}}


def test_of_several_each_is_named_and_an_override_wins() -> None:
    options: dict[str, dict[str, Any]] = {"lam": {"repo": "/given"}}
    add_paths(options, ["lam", "cvthead"], "repo", ["lam=/a", "cvthead=/b"])
    assert options == {"lam": {"repo": "/given"}, "cvthead": {"repo": "/b"}}


@pytest.mark.parametrize(
    ("methods", "given", "why"),
    [
        (["lam", "cvthead"], ["x"], r"it could be for lam or cvthead: say for which \(--repo lam=PATH --repo cvthead"),
        (["cvthead"], ["cvtheda=x"], "unknown method 'cvtheda', did you mean 'cvthead'?"),
        (["cvthead", "source-copy"], ["source-copy=x"], "'source-copy' runs in this process"),
        (["cvthead"], ["lam=x"], "the run has no method 'lam'"),
        (["cvthead"], ["a/x", "cvthead=b"], "--repo was given twice for 'cvthead'"),
        (["source-copy"], ["x"], "no chosen method runs in an environment of its own"),
        (["cvthead"], ["cvthead="], "give a path after the equals sign"),
    ],
)
def test_a_path_that_is_for_nobody_or_for_many_is_an_error(methods: list[str], given: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        add_paths({}, methods, "repo", given)
