"""Clouds in the size of the head that was tracked. Ours; the paper says nothing of it.

One picture does not tell how large a head is: OpenHeads' differ by 4 %, and the tracker makes all of them nearly alike,
so that the top of a head is half a centimetre off where no model can foretell it. An avatar stands on the tracked head,
under a camera that was placed for that head, so its cloud has to have that size too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.tokenizer import Points


class Portrait(Protocol):
    @property
    def vertices(self) -> Tensor: ...


class People(Protocol):
    """What of a training set decides how large somebody's cloud is."""

    def cloud(self, person: str) -> Points: ...

    def rest(self, person: str) -> Tensor: ...

    def portraits(self, person: str) -> Sequence[Portrait]: ...


def relative_scale(tracked: Tensor, true: Tensor) -> float:
    """How large a head was tracked: the s that minimises sum |k - s v|^2, over vertices k of ``tracked`` and v of
    ``true`` (V, 3), both at rest; s = sum k.v / sum v.v. The rig's origin stays where it is, which is what a pose turns
    and moves. Raises DataError for meshes of two rigs, and for one that has no size."""
    ours, theirs = tracked.double(), true.double()
    if ours.shape != theirs.shape:
        raise DataError(
            f"a tracked mesh has {len(ours)} vertices and the person's own {len(theirs)}: they are of two rigs. Build "
            "the set anew."
        )
    scale = float((ours * theirs).sum() / theirs.square().sum())
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(f"a tracked mesh is {scale} times as large as the person's own: build the set anew.")
    return scale


def cloud_on(people: People, person: str, portrait: int = 0) -> Points:
    """The fitted cloud of a person, as large as the head that was tracked in one of the portraits: rig axes, metres."""
    cloud = people.cloud(person)
    scale = relative_scale(people.portraits(person)[portrait].vertices, people.rest(person))
    return Points(cloud.positions * scale, cloud.bindings)
