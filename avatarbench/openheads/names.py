"""Names of OpenHeads' truth: the 52 actions of Anny's head in its order, which is the landmarker's with another end."""

from __future__ import annotations

from avatarbench.metrics.face import ARKIT_NAMES

EXPRESSIONS: tuple[str, ...] = (*ARKIT_NAMES[1:], "tongueOut")
"""``AnnyRig.expression_names`` without loading the rig. The landmarker has ``_neutral`` at its start instead of
``tongueOut`` at the end."""

INDEX: dict[str, int] = {name: at for at, name in enumerate(EXPRESSIONS)}


def sides(name: str) -> tuple[str, ...]:
    """The actions of a name: ``mouthSmile`` is ``mouthSmileLeft`` and ``mouthSmileRight``, ``jawOpen`` itself.

    Raises KeyError for a name that is neither.
    """
    if name in INDEX:
        return (name,)
    pair = (f"{name}Left", f"{name}Right")
    if not all(one in INDEX for one in pair):
        raise KeyError(name)
    return pair


def _mirrored(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


MIRROR: tuple[int, ...] = tuple(INDEX[_mirrored(name)] for name in EXPRESSIONS)
"""``expression[MIRROR]`` is the expression of the person in a mirror."""
