"""Runs one method through the whole checklist."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from avatarbench import assets, registry
from avatarbench.conformance.behaviour import (
    arrays_row,
    cost_figures,
    cost_rows,
    fidelity_row,
    follows_row,
    frames_row,
    info_row,
    inputs_row,
)
from avatarbench.conformance.bench import Take, construct, take
from avatarbench.conformance.checklist import Checklist, Row
from avatarbench.conformance.isolated import environment_row, opened, origin_row, restart_row
from avatarbench.conformance.material import Material, without_face
from avatarbench.conformance.repeat import repeat, repeat_rows
from avatarbench.conformance.saving import saving_rows
from avatarbench.conformance.spec_rows import spec_rows
from avatarbench.conformance.trouble import black_row, faceless_row, size_rows
from avatarbench.errors import AvatarbenchError, UsageError, reason_of
from avatarbench.method import Method, MethodSpec
from avatarbench.run.memory import PeakMemory
from avatarbench.run.render import METHOD_ERRORS, memory

SIZE = 256
TRACKER = "face-landmarker"

Watch = Callable[[str], None]


def check(name: str, options: Mapping[str, Any] | None = None, watch: Watch = lambda doing: None) -> Checklist:
    """The checklist of the registered method ``name``, constructed with ``options``. ``watch`` is told what is under
    way.

    Takes seconds and a few builds. Raises UsageError for a name that is not registered and for options that the method
    does not take; what the method raises is a row.
    """
    spec, given, found = registry.method(name), dict(options or {}), Checklist(name)
    watch("reading the spec")
    found.rows += spec_rows(spec)
    if spec.status == "unavailable":
        found.rows.append(Row("start", "set up", "n/a", f"status 'unavailable': {spec.notes or 'no public code'}"))
        return found
    found.blocked = _blocked(spec, given)
    if found.blocked:
        todo = "bring what is missing, then check again; none of its code was run"
        found.rows.append(Row("start", "set up", "n/a", "; ".join(found.blocked), todo))
        return found
    watch("its environment")
    found.rows += [origin_row(spec, given), environment_row(spec, given)]
    if found.rows[-1].outcome == "fail":
        return found
    watch("setting it up")
    try:
        method = construct(spec, given)
    except METHOD_ERRORS as error:
        found.rows.append(Row("start", "set up", "fail", f"raised {reason_of(error)}", "see the reason"))
        return found
    with ExitStack() as stack:
        try:
            stack.enter_context(opened(method, watch))
        except METHOD_ERRORS as error:
            found.rows.append(Row("start", "set up", "fail", f"open() raised {reason_of(error)}", "see the reason"))
            return found
        found.rows.append(Row("start", "set up", "pass", spec.factory))
        _run(spec, given, method, stack.enter_context(Material(spec)), found, watch)
    return found


def _run(
    spec: MethodSpec, options: dict[str, Any], method: Method, material: Material, found: Checklist, watch: Watch
) -> None:
    """Everything that takes frames."""
    watch("building an avatar")
    scene = material.heads(SIZE)
    with PeakMemory() as peak:
        first = take(spec, method, scene.source, [scene.own, *scene.drivers])
    frames = frames_row(spec, first, scene.what)
    found.rows.append(frames)
    if first.avatar is None or first.error is not None:
        return
    mib = memory(method, peak)
    found.figures = cost_figures(first, mib)
    found.rows += [info_row(first.avatar), *saving_rows(first.avatar)]
    if frames.outcome == "fail":
        found.rows.append(Row("behaviour", "everything else", "n/a", "not looked at: it compares pictures"))
        return
    watch("building it again")
    noise = without_face(scene.drivers[0])
    repeats = repeat(spec, options, method, scene, noise, hasattr(first.avatar, "announce"))
    found.rows += repeat_rows(spec, scene, first, repeats)
    found.rows += [fidelity_row(spec, scene, first), follows_row(spec, scene, first)]
    watch("other pictures")
    found.rows += size_rows(spec, method, material)
    found.rows.append(faceless_row(repeats.odd, noise.id))
    found.rows.append(black_row(spec, method, scene))
    found.rows.append(restart_row(spec, method, scene, first))
    takes = [one for one in (first, repeats.again, repeats.anew) if isinstance(one, Take)]
    found.rows += [
        inputs_row(takes),
        arrays_row(takes),
        *cost_rows(first, mib, isolated=hasattr(method, "peak_memory_mib")),
    ]


def _blocked(spec: MethodSpec, options: dict[str, Any]) -> list[str]:
    """What is missing here, as a run's preflight would say. Raises UsageError for options that it does not take."""
    wanted = (*spec.assets, *((TRACKER,) if "mediapipe" in (*spec.needs, *spec.wants) else ()))
    known = [name for name in dict.fromkeys(wanted) if name in assets.ids()]
    lacking = [f"lacks {error}" for error in assets.ensure(known, None).values()]
    try:
        factory = registry.load(spec.factory)
    except AvatarbenchError:
        return lacking  # setting it up says so
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise UsageError(f"method '{spec.id}' does not take these options: {error}.") from error
    ask = getattr(factory, "obstacles", None)
    return [*lacking, *(ask(**options) if ask else ())]
