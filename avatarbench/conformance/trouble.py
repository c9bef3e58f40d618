"""What a method does with inputs that are not what it hoped for: it may refuse them, and must not break."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from avatarbench.conformance.behaviour import frames_row
from avatarbench.conformance.bench import Take, polite, take
from avatarbench.conformance.checklist import Row
from avatarbench.conformance.material import Material, Scene, black_portrait
from avatarbench.errors import reason_of
from avatarbench.method import Method, MethodSpec

SIZES = (192, 320)
"""Squares that no protocol uses by default, of the photograph and of OpenHeads."""
TINY = 64


def faceless_row(taken: Take | None, motion: str) -> Row:
    """A driver in which nobody is seen: a picture all the same, or Unscorable with a reason."""
    name = "a driver without a face"
    shot = next((s for s in taken.shots if s.motion == motion), None) if taken else None
    error = shot.error if shot else taken.error if taken else None
    todo = "raise avatarbench.errors.Unscorable with a reason for people"
    if error is not None:
        if polite(error):
            return Row("trouble", name, "pass", f"refused: {reason_of(error)}")
        return Row("trouble", name, "fail", f"raised {reason_of(error)}", todo)
    if shot is None:
        return Row("trouble", name, "n/a", "there was no avatar to show it to")
    if shot.wrong:
        return Row("trouble", name, "fail", shot.wrong, todo)
    return Row("trouble", name, "pass", "a valid picture")


def black_row(spec: MethodSpec, method: Method, scene: Scene) -> Row:
    """A black portrait. A run never shows a method that needs a face one without."""
    name = "a black portrait"
    if "mediapipe" in spec.needs:
        return Row("trouble", name, "n/a", "a run hands no portrait without a face to a method that needs mediapipe")
    if "views" in spec.needs:
        return Row("trouble", name, "n/a", "the views are what it builds from")
    return _odd(name, spec, take(spec, method, black_portrait(scene.source), scene.drivers[:1]))


def size_rows(spec: MethodSpec, method: Method, material: Material) -> Iterator[Row]:
    """Pictures of other sizes, real ones without a mask, and a tiny one."""
    if not material.has_real():
        needs = ", ".join(spec.needs)
        yield Row("contract", "a photograph", "n/a", f"needs {needs}, which no photograph here has")
    else:
        scene = material.real(SIZES[0])
        taken = take(spec, method, scene.source, scene.drivers)
        yield frames_row(spec, taken, scene.what, "a photograph")
    if spec.framing is not None:
        own = f"works in {spec.framing.size} px of its own at every protocol's size"
        yield Row("contract", "another size", "n/a", own)
        yield Row("trouble", "a tiny portrait", "n/a", own)
        return
    scene = material.heads(SIZES[1])
    yield frames_row(spec, take(spec, method, scene.source, scene.drivers[:1]), scene.what, "another size")
    scene = material.heads(TINY)
    name = f"a tiny portrait ({TINY} px)"
    if "mediapipe" in spec.needs and scene.source.face is None:
        yield Row("trouble", name, "n/a", "the tracker sees no face at this size, so that a run builds nothing")
        return
    yield _odd(name, spec, take(spec, method, scene.source, scene.drivers[:1]))


def _odd(name: str, spec: MethodSpec, taken: Take) -> Row:
    """A picture as the contract says or a refusal passes; what raises anything else is recorded by a run all the same,
    with a reason that helps nobody; a wrong picture fails."""
    todo = "raise avatarbench.errors.DataError with what is wrong with the portrait"
    errors = [taken.error, *(shot.error for shot in taken.shots)]
    error = next((e for e in errors if e is not None), None)
    if error is not None and polite(error):
        return Row("trouble", name, "pass", f"refused: {reason_of(error)}")
    if error is not None:
        first, *_ = reason_of(error).splitlines() or [type(error).__name__]  # a foreign command's log may follow
        return Row("trouble", name, "warning", f"raised {first}", todo)
    row = frames_row(spec, taken, "", name)
    return replace(row, group="trouble", found=row.found.removeprefix(": "))
