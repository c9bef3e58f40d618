"""The same pixels every time: in one process, from a second construction, and in any order of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from avatarbench.conformance.behaviour import differing, largest_difference
from avatarbench.conformance.bench import Take, construct, take
from avatarbench.conformance.checklist import Row
from avatarbench.conformance.isolated import close
from avatarbench.conformance.material import Scene
from avatarbench.errors import reason_of
from avatarbench.method import Method, MethodSpec, Motion
from avatarbench.run.render import METHOD_ERRORS

_SEEDED = "draw from generators seeded by an option; the run seeds random, numpy and torch before each build and frame"


@dataclass
class Repeats:
    """``again``: by the same object, its frames in reverse; ``anew``: one frame by a ``second`` construction; ``odd``:
    the take that holds the odd motion. None where it could not be constructed; ``error`` then says why."""

    again: Take
    anew: Take | None = None
    odd: Take | None = None
    second: Method | None = None
    error: BaseException | None = None


def repeat(
    spec: MethodSpec, options: dict[str, Any], method: Method, scene: Scene, odd: Motion, announces: bool
) -> Repeats:
    """Build the scene's avatar twice more. ``odd``: a motion that the second is shown after its first frame; by an
    avatar of its own where the method is told of its frames beforehand, which the odd one might spoil."""
    whole = [scene.own, *scene.drivers]
    found = Repeats(take(spec, method, scene.source, list(reversed(scene.drivers)), whole))
    close(method)  # of some codes no two may run at once; the next call starts its worker again
    try:
        found.second = construct(spec, options)
    except METHOD_ERRORS as error:
        found.error = error
        return found
    frame = scene.drivers[1]
    found.anew = take(spec, found.second, scene.source, [frame] if announces else [frame, odd], whole)
    found.odd = take(spec, found.second, scene.source, [odd], [*whole, odd]) if announces else found.anew
    close(found.second)
    return found


def repeat_rows(spec: MethodSpec, scene: Scene, first: Take, found: Repeats) -> Iterator[Row]:
    """``first``: the same avatar with the source's own frame first, then the drivers in order."""
    yield _construction(first, found)
    other = differing(first, found.again)
    if not other:
        many = f"{len(found.again.shots)} frames rendered again, backwards, are the same to the last bit"
        yield Row("behaviour", "same pixels in any order", "pass", many)
        return
    in_order = None
    if found.second is not None:
        in_order = take(spec, found.second, scene.source, [scene.own, *scene.drivers])
        close(found.second)
    most = largest_difference(first, found.again, other)
    if in_order is not None and not differing(first, in_order):
        found_text = f"stateful: in order the frames are the same, backwards {len(other)} differ by up to {most} levels"
        todo = "make a frame depend on its motion alone: a run that resumes starts in the middle of a sequence"
        yield Row("behaviour", "same pixels in any order", "warning", found_text, todo)
        return
    found_text = f"{len(other)} of {len(found.again.shots)} frames differ by up to {most} levels when rendered again"
    yield Row("behaviour", "same pixels in any order", "fail", found_text, _SEEDED)


def _construction(first: Take, found: Repeats) -> Row:
    name = "same pixels from a second construction"
    if found.anew is None:
        why = reason_of(found.error) if found.error else "unknown"
        return Row(
            "behaviour", name, "fail", f"it cannot be set up twice: {why}", "hold nothing that a second one needs"
        )
    if found.anew.error is not None:
        why = reason_of(found.anew.error)
        return Row("behaviour", name, "fail", f"the second one builds nothing: {why}", "hold nothing of the first")
    other = differing(first, found.anew)
    if other:
        most = largest_difference(first, found.anew, other)
        return Row("behaviour", name, "fail", f"a frame differs by up to {most} levels", _SEEDED)
    return Row("behaviour", name, "pass", "a frame out of its order is the same to the last bit")
