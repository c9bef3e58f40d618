"""The checklist's rows of specs, saved files and environments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarbench import registry
from avatarbench.conformance import isolated, saving, spec_rows
from avatarbench.conformance.checklist import Row
from avatarbench.conformance.material import made_up_flame
from avatarbench.method import MethodSpec
from avatarbench.methods.pointillist.checkpoint import shipped
from avatarbench.protocol import FrameRef

SPEC = MethodSpec(id="mine", name="", summary="", factory="mine.method:Mine", status="working", licence_code="MIT")


def outcome(row: Row) -> str:
    if row.outcome in ("fail", "warning"):
        assert row.todo, f"{row.name} does not say what to do"
    assert row.found
    return row.outcome


class Saving:
    def __init__(self, write: Callable[[Path], object]) -> None:
        self.save = write


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: None, "no file"),
        (lambda path: path.touch(), "empty"),
        (lambda path: np.savez(path, a=1), "avatar.part.npz"),
        (lambda path: (path.write_text("x"), path.with_name("rig.json").write_text("y")), "rig.json"),
        (lambda path: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_save_that_is_not_one_whole_file_fails(write: Callable[[Path], object], why: str) -> None:
    (row,) = saving.saving_rows(Saving(write))
    assert outcome(row) == "fail"
    assert why in row.found


def test_a_saved_file_of_another_kind_is_the_methods_own() -> None:
    rows = list(saving.saving_rows(Saving(lambda path: path.write_bytes(b"mesh"))))
    assert [outcome(row) for row in rows] == ["pass", "n/a"]
    assert [outcome(row) for row in saving.saving_rows(object())] == ["n/a"]


def spec_outcomes(spec: MethodSpec, monkeypatch: pytest.MonkeyPatch, owner: str = "mine") -> dict[str, str]:
    monkeypatch.setattr(spec_rows, "_import_light", lambda spec: Row("spec", "import-light spec", "pass", "stubbed"))
    monkeypatch.setattr(spec_rows.registry, "owner", lambda kind, name: owner)
    monkeypatch.setattr(spec_rows, "spec_module", lambda spec: "avatarbench.metrics.psnr")
    return {row.name: outcome(row) for row in spec_rows.spec_rows(spec)}


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({}, "licence of the code", "pass"),
        ({"licence_code": ""}, "licence of the code", "fail"),
        ({"licence_code": "unknown"}, "licence of the code", "fail"),
        ({"licence_code": "not chosen yet"}, "licence of the code", "warning"),
        ({"ships": ("avatarbench.openheads:test/openheads.json",)}, "licence of the weights", "fail"),
        ({"ships": ("avatarbench.openheads:test/openheads.json",)}, "files that ship", "pass"),
        ({"ships": ("avatarbench.openheads:test/nothing.bin",)}, "files that ship", "fail"),
        ({"ships": ("no_such_package:weights.bin",)}, "files that ship", "fail"),
        ({"assets": ("face-landmarker",)}, "assets", "pass"),
        ({"assets": ("no-such-weights",)}, "assets", "fail"),
        ({"repository": "https://github.com/a/b"}, "paper and repository", "warning"),
        ({"repository": "https://github.com/a/b", "commit": "0" * 40}, "paper and repository", "pass"),
        ({"needs": ("mediapipe", "camera")}, "needs", "pass"),
    ],
)
def test_fields_of_a_spec(changes: dict[str, Any], name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spec_outcomes(replace(SPEC, **changes), monkeypatch)[name] == expected


def test_a_need_that_no_protocol_provides_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_rows.registry, "everything", lambda kind: [])
    assert spec_outcomes(replace(SPEC, needs=("flame",)), monkeypatch)["needs"] == "fail"


def test_only_our_own_methods_owe_a_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    assert spec_outcomes(SPEC, monkeypatch)["README"] == "n/a"
    assert spec_outcomes(SPEC, monkeypatch, "avatarbench")["README"] == "fail"


@pytest.mark.parametrize(
    ("source", "expected", "why"),
    [
        ("X = 1\n", "pass", "kit_spec in"),
        ("import numpy\n", "fail", "kit_spec imports numpy"),
        ("import kit_method\n", "fail", "imports the method itself"),
        ("import nothing_of_that_name\n", "fail", "No module named"),
    ],
)
def test_a_heavy_spec_is_found_in_a_new_interpreter(
    source: str, expected: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kit_spec.py").write_text(source)
    (tmp_path / "kit_method.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(spec_rows, "spec_module", lambda spec: "kit_spec")
    row = spec_rows._import_light(replace(SPEC, factory="kit_method:Method"))
    assert outcome(row) == expected
    assert why in row.found


def test_made_up_flame_moves_with_its_frame_and_rests_in_a_portrait() -> None:
    moved, again = (made_up_flame(FrameRef("openheads", "509_FREE_1", 3, "")) for _ in range(2))
    other = made_up_flame(FrameRef("openheads", "509_FREE_1", 4, ""))
    rest = made_up_flame(FrameRef("openheads", "501_PORTRAIT_1", 0, ""))
    assert np.array_equal(moved.expr, again.expr)
    assert not np.array_equal(moved.expr, other.expr)
    assert not rest.expr.any()
    assert not rest.jaw_pose.any()


def test_an_environment_that_no_recipe_stands_behind_fails() -> None:
    assert outcome(isolated.environment_row(SPEC, {})) == "n/a"
    row = isolated.environment_row(replace(SPEC, environment="no_such.recipe:RECIPE"), {})
    assert outcome(row) == "fail"
    assert "no_such.recipe:RECIPE" in row.found


OURS = [m for m in registry.everything("methods") if isinstance(m, MethodSpec) and m.environment == "inprocess"]


@pytest.mark.parametrize(
    "spec", [m for m in OURS if m.status != "unavailable" and not m.brings], ids=lambda spec: str(spec.id)
)
def test_every_method_of_our_process_says_where_its_code_and_weights_are_from(spec: MethodSpec) -> None:
    row = isolated.origin_row(spec, {})
    own = spec.id.startswith("pointillist")
    assert (row.outcome, "; weights: " in row.found) == (("pass", True) if own else ("n/a", False))


def test_a_method_of_our_process_names_its_weights_by_their_hashes() -> None:
    row = isolated.origin_row(registry.method("pointillist"), {})
    assert f"checkpoint {hashlib.sha256(shipped().read_bytes()).hexdigest()[:12]}, decoder " in row.found
