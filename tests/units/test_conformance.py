"""The checklist says of a method that breaks a rule which rule that is, and of a good one that it keeps them all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from avatarbench.conformance import behaviour, repeat, trouble
from avatarbench.conformance.bench import Take, take
from avatarbench.conformance.check import check
from avatarbench.conformance.checklist import Checklist, Row
from avatarbench.conformance.material import Scene, black_portrait, without_face
from avatarbench.errors import DataError, Unscorable, UsageError
from avatarbench.isolation.client import WorkerError
from avatarbench.method import FaceTrack, Framing, MethodSpec, Motion, Portrait

SPEC = MethodSpec(id="mine", name="", summary="", factory="mine.method:Mine", status="working", licence_code="MIT")
SIDE = 48


def picture(seed: int) -> np.ndarray:
    """Large smooth patches: what a face is at the scale that pictures are compared at."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return patches.repeat(SIDE // 6, 0).repeat(SIDE // 6, 1)


def face() -> FaceTrack:
    landmarks = np.full((478, 3), 10, np.float32)
    landmarks[1] = SIDE - 10
    return FaceTrack(landmarks, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))


def motion(name: str, seed: int) -> Motion:
    return Motion(name, 0, picture(seed), face())


def scene() -> Scene:
    source, other = (Portrait(f"p{n}", picture(n), face=face()) for n in (0, 1))
    drivers = tuple(motion(f"d{n}", 10 + n) for n in range(3))
    return Scene(source, motion("own", 0), drivers, other, "patches")


Render = Callable[["Fake", Portrait, Motion], Any]


class Fake:
    """A method whose avatars are one function."""

    def __init__(self, render: Render) -> None:
        self.function, self.count = render, 0

    def build(self, portrait: Portrait) -> Any:
        return FakeAvatar(self, portrait)


class FakeAvatar:
    def __init__(self, method: Fake, portrait: Portrait) -> None:
        self.method, self.portrait = method, portrait

    def render(self, motion: Motion) -> Any:
        self.method.count += 1
        return self.method.function(self.method, self.portrait, motion)


def mixed(method: Fake, portrait: Portrait, motion: Motion) -> np.ndarray:
    """A good method's: mostly its portrait, and some of its driver."""
    return (0.8 * portrait.image + 0.2 * motion.image).astype(np.uint8)


def taken(render: Render, at: Scene | None = None) -> Take:
    one = at or scene()
    return take(SPEC, Fake(render), one.source, [one.own, *one.drivers])


def outcome(row: Row) -> str:
    if row.outcome in ("fail", "warning"):
        assert row.todo, f"{row.name} does not say what to do"
    assert row.found
    return row.outcome


# Whole methods


def test_a_good_method_passes_and_its_figures_are_there() -> None:
    found = check("face-warp")
    assert found.passed, str(found)
    rows = {row.name: row for row in found.rows}
    assert {name for name, row in rows.items() if row.outcome == "warning"} == set()
    assert rows["a photograph"].outcome == rows["follows its driver"].outcome == "pass"
    assert rows["environment"].outcome == rows["a black portrait"].outcome == "n/a"
    assert found.figures["fps"] > 0
    assert json.loads(json.dumps(found.to_dict()))["counts"]["fail"] == 0


def test_a_bound_need_not_follow_and_is_still_shown_everything_else() -> None:
    found = check("source-copy")
    assert found.passed, str(found)
    rows = {row.name: row for row in found.rows}
    assert rows["follows its driver"].outcome == "n/a"
    assert "a bound" in rows["follows its driver"].found
    assert rows["a black portrait"].outcome == "pass"


def test_what_cannot_run_is_not_run_and_says_why() -> None:
    unavailable = check("splitavatar")
    assert unavailable.passed
    assert "neither code nor weights" in unavailable.rows[-1].found
    lam = check("lam")
    assert lam.verdict in ("not run", "fail")
    assert "git clone" in lam.blocked[0]
    assert not lam.figures


def test_options_that_a_method_does_not_take_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="does not take these options"):
        check("source-copy", {"speed": 2})


def test_a_verdict_is_the_worst_row() -> None:
    rows = [Row("g", "a", "pass", "x"), Row("g", "b", "warning", "x", "y")]
    assert Checklist("m", rows).verdict == "pass"
    assert Checklist("m", rows, blocked=["no repository"]).verdict == "not run"
    assert Checklist("m", [*rows, Row("g", "c", "fail", "x", "y")], blocked=["z"]).verdict == "fail"


# Pictures


FAULTS: dict[str, tuple[Any, str]] = {
    "size": (np.zeros((SIDE, SIDE - 1, 3), np.uint8), "shape"),
    "dtype": (np.zeros((SIDE, SIDE, 3), np.int64), "dtype int64"),
    "range": (np.full((SIDE, SIDE, 3), 255.0), "outside"),
    "nan": (np.full((SIDE, SIDE, 3), np.nan, np.float32), "NaN"),
    "list": ([1, 2], "list, not a numpy array"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_picture_that_breaks_the_contract_fails(fault: str) -> None:
    value, why = FAULTS[fault]
    row = behaviour.frames_row(SPEC, taken(lambda *_: value), "patches")
    assert outcome(row) == "fail"
    assert why in row.found


def test_alpha_is_asked_for_where_the_framing_has_it() -> None:
    spec = replace(SPEC, framing=Framing(size=SIDE, alpha=True))
    flat = taken(mixed)
    one = scene()
    row = behaviour.frames_row(spec, take(spec, Fake(mixed), one.source, one.drivers), "patches")
    assert outcome(row) == "fail"
    assert "has alpha" in row.todo
    assert outcome(behaviour.frames_row(SPEC, flat, "patches")) == "pass"


def test_an_avatar_or_frame_that_raises_fails_with_the_reason() -> None:
    def raises(method: Fake, portrait: Portrait, motion: Motion) -> Any:
        raise SystemExit("usage: render.py")

    assert "SystemExit: usage" in behaviour.frames_row(SPEC, taken(raises), "patches").found

    class Builds:
        def build(self, portrait: Portrait) -> Any:
            raise KeyError("mesh")

    row = behaviour.frames_row(SPEC, take(SPEC, Builds(), scene().source, scene().drivers), "patches")
    assert outcome(row) == "fail"
    assert "no avatar: KeyError" in row.found


def test_inputs_that_are_written_into_are_named() -> None:
    def vandal(method: Fake, portrait: Portrait, motion: Motion) -> np.ndarray:
        motion.image[0] = 0
        assert motion.face is not None
        motion.face.landmarks[:] += 1
        return portrait.image.copy()

    row = behaviour.inputs_row([taken(vandal)])
    assert outcome(row) == "fail"
    assert "motion.image" in row.found
    assert "motion.face.landmarks" in row.found
    assert outcome(behaviour.inputs_row([taken(mixed)])) == "pass"


def test_a_buffer_that_is_used_again_is_a_warning() -> None:
    buffer = np.zeros((SIDE, SIDE, 3), np.uint8)

    def reuses(method: Fake, portrait: Portrait, motion: Motion) -> np.ndarray:
        buffer[:] = motion.image
        return buffer

    assert outcome(behaviour.arrays_row([taken(reuses)])) == "warning"
    assert outcome(behaviour.arrays_row([taken(mixed)])) == "pass"


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (None, "n/a"),
        ({}, "pass"),
        ({"gaussians": 12}, "pass"),
        ({"gaussians": float("nan")}, "fail"),
        ({"kind": "fast"}, "fail"),
        ({3: 4.0}, "fail"),
        ([1], "fail"),
    ],
)
def test_info_is_names_and_finite_numbers(info: Any, expected: str) -> None:
    class Avatar:
        pass

    avatar = Avatar()
    if info is not None:
        avatar.info = info  # type: ignore[attr-defined]
    assert outcome(behaviour.info_row(avatar)) == expected


# Behaviour


def repeated(render: Render, monkeypatch: pytest.MonkeyPatch, second: Render | None = None) -> dict[str, Row]:
    one, method = scene(), Fake(render)
    first = take(SPEC, method, one.source, [one.own, *one.drivers])
    monkeypatch.setattr(repeat, "construct", lambda spec, options: Fake(second or render))
    found = repeat.repeat(SPEC, {}, method, one, without_face(one.drivers[0]), False)
    return {row.name: row for row in repeat.repeat_rows(SPEC, one, first, found)}


def test_frames_that_depend_on_their_motion_alone_are_the_same_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {outcome(row) for row in repeated(mixed, monkeypatch).values()} == {"pass"}


def test_seeded_draws_are_the_same_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def seeded(method: Fake, portrait: Portrait, motion: Motion) -> np.ndarray:
        return np.random.randint(0, 256, portrait.image.shape).astype(np.uint8)

    assert {outcome(row) for row in repeated(seeded, monkeypatch).values()} == {"pass"}


def test_draws_of_their_own_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    own = np.random.default_rng(0)

    def unseeded(method: Fake, portrait: Portrait, motion: Motion) -> np.ndarray:
        return own.integers(0, 256, portrait.image.shape).astype(np.uint8)

    assert {outcome(row) for row in repeated(unseeded, monkeypatch).values()} == {"fail"}


def test_a_method_that_remembers_its_frames_is_called_stateful(monkeypatch: pytest.MonkeyPatch) -> None:
    class Remembering(FakeAvatar):
        seen = 0

        def render(self, motion: Motion) -> Any:
            self.seen += 1
            return np.full_like(self.portrait.image, self.seen)

    monkeypatch.setattr(Fake, "build", lambda self, portrait: Remembering(self, portrait))
    rows = repeated(mixed, monkeypatch)
    order = rows["same pixels in any order"]
    assert outcome(order) == "warning"
    assert "stateful" in order.found


def test_a_second_construction_that_differs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def darker(method: Fake, portrait: Portrait, motion: Motion) -> np.ndarray:
        return mixed(method, portrait, motion) // 2

    row = repeated(mixed, monkeypatch, darker)["same pixels from a second construction"]
    assert outcome(row) == "fail"
    assert "levels" in row.found


def test_an_avatar_of_somebody_else_or_of_nothing_is_a_warning() -> None:
    one = scene()
    portraits: Sequence[Render] = (
        lambda m, p, d: one.other.image,
        lambda m, p, d: 255 - p.image,
        lambda m, p, d: np.zeros_like(p.image),
    )
    for render in portraits:
        assert outcome(behaviour.fidelity_row(SPEC, one, taken(render, one))) == "warning"
    assert outcome(behaviour.fidelity_row(SPEC, one, taken(mixed, one))) == "pass"


def test_one_picture_for_all_drivers_fails_a_method_and_not_a_bound() -> None:
    still = taken(lambda m, p, d: p.image)
    assert outcome(behaviour.follows_row(SPEC, scene(), still)) == "fail"
    assert outcome(behaviour.follows_row(replace(SPEC, role="bound"), scene(), still)) == "n/a"
    assert outcome(behaviour.follows_row(SPEC, scene(), taken(mixed))) == "pass"
    hardly = taken(lambda m, p, d: p.image // 2 + (d.id == "d1"))
    assert outcome(behaviour.follows_row(SPEC, scene(), hardly)) == "warning"


# Trouble


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unscorable("no face found"), "pass"),
        (DataError("too dark"), "pass"),
        (AttributeError("'NoneType' object has no attribute 'landmarks'"), "fail"),
        (WorkerError("AttributeError: 'NoneType' object"), "fail"),
        (None, "pass"),
    ],
)
def test_a_faceless_driver_is_refused_in_words_or_answered(error: Exception | None, expected: str) -> None:
    def render(method: Fake, portrait: Portrait, motion: Motion) -> np.ndarray:
        if error is not None and motion.face is None:
            raise error
        return portrait.image

    noise = without_face(scene().drivers[0])
    assert noise.face is None
    found = take(SPEC, Fake(render), scene().source, [noise])
    assert outcome(trouble.faceless_row(found, noise.id)) == expected


def test_a_black_portrait_may_be_refused_but_not_answered_with_nan() -> None:
    def nan(method: Fake, portrait: Portrait, motion: Motion) -> np.ndarray:
        image = portrait.image / np.float32(255)
        return image / image.max()

    def crash(method: Fake, portrait: Portrait, motion: Motion) -> np.ndarray:
        raise ZeroDivisionError

    one = scene()
    assert not black_portrait(one.source).image.any()
    with np.errstate(invalid="ignore"):
        assert outcome(trouble.black_row(SPEC, Fake(nan), one)) == "fail"
    assert outcome(trouble.black_row(SPEC, Fake(crash), one)) == "warning"
    assert outcome(trouble.black_row(SPEC, Fake(mixed), one)) == "pass"
    assert outcome(trouble.black_row(replace(SPEC, needs=("mediapipe",)), Fake(crash), one)) == "n/a"
