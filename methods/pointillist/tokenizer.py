"""A bound point cloud as a sequence of tokens, and back (paper section 3.2)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from avatarbench.errors import DataError

SLOTS = 4
"""Tokens of a point: x, y, z, binding. The special tokens come in blocks as long."""
X, Y, Z, BINDING = range(SLOTS)

Up = Literal["y", "z"]


class PointsWarning(UserWarning):
    """Points that a sequence does not hold as they were."""


class Points(NamedTuple):
    """``positions`` (N, 3) float32, metres, in the rig's axes; ``bindings`` (N,) int64, faces of the rig."""

    positions: Tensor
    bindings: Tensor


@dataclass(frozen=True)
class Vocabulary:
    """Coordinates come first, then the bindings to ``faces`` triangles, then start, end and padding."""

    levels: int
    faces: int

    def __post_init__(self) -> None:
        if self.levels < 2 or self.faces < 1:
            raise DataError(f"a vocabulary of {self.levels} levels and {self.faces} faces: give 2 and 1 or more.")

    @property
    def start(self) -> int:
        return self.levels + self.faces

    @property
    def end(self) -> int:
        return self.start + 1

    @property
    def pad(self) -> int:
        return self.start + 2

    @property
    def size(self) -> int:
        return self.start + 3


@dataclass(frozen=True)
class Cube:
    """What the levels divide: ``low`` (3,) and ``side`` in metres, in the sequence's axes (y up)."""

    low: tuple[float, float, float]
    side: float

    def __post_init__(self) -> None:
        if not (all(map(math.isfinite, self.low)) and math.isfinite(self.side) and self.side > 0):
            raise DataError(f"a cube at {self.low} of side {self.side} m holds no points: both must be finite.")

    @classmethod
    def around(cls, clouds: Iterable[Tensor], margin: float = 0.05) -> Self:
        """The smallest cube about all points (N, 3) of ``clouds``, wider by ``margin`` of its side. Raises DataError
        where there are none."""
        lows, highs = [], []
        for cloud in clouds:
            if len(cloud):
                lows.append(cloud.amin(0))
                highs.append(cloud.amax(0))
        if not lows:
            raise DataError("a cube needs at least one point to stand around.")
        low, high = torch.stack(lows).amin(0).double(), torch.stack(highs).amax(0).double()
        side = max(float((high - low).max()), 1e-6) * (1 + margin)
        corner = (low + high) / 2 - side / 2
        return cls((float(corner[0]), float(corner[1]), float(corner[2])), side)


class Encoded(NamedTuple):
    """``tokens`` (4 N + 8,) int64; ``clamped``: points that lay outside the cube; ``duplicates``: points that are equal
    to another one once quantised."""

    tokens: Tensor
    clamped: int
    duplicates: int


@dataclass(frozen=True)
class Tokenizer:
    """Of one data set: its vocabulary, its cube, and which of the rig's axes is up."""

    vocabulary: Vocabulary
    cube: Cube
    up: Up = "y"

    def quantise(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3) metres -> (N, 3) int64 levels in the sequence's axes, and (N,) bool: clamped into the cube.

        Raises DataError for a position that is not finite.
        """
        if not bool(torch.isfinite(positions).all()):
            bad = int((~torch.isfinite(positions).all(1)).sum())
            raise DataError(
                f"{bad} of {len(positions)} points have a coordinate that is not finite: fit the cloud anew."
            )
        levels = self.vocabulary.levels
        unit = (to_sequence(positions, self.up).double() - torch.tensor(self.cube.low).double()) / self.cube.side
        found = torch.floor(unit * levels)
        outside = ((unit < 0) | (unit > 1)).any(1)
        return found.clamp(0, levels - 1).long(), outside

    def dequantise(self, levels: Tensor) -> Tensor:
        """(N, 3) levels -> (N, 3) float32 metres in the rig's axes: the middles of their bins."""
        unit = (levels.double() + 0.5) / self.vocabulary.levels
        return from_sequence(unit * self.cube.side + torch.tensor(self.cube.low).double(), self.up).float()

    def encode(self, positions: Tensor, bindings: Tensor) -> Encoded:
        """The sequence of a cloud: sorted by quantised (y, z, x), then by binding; the order of the points is all one.

        Warns of what it clamps. Raises DataError for no points, a binding that is no face of the rig, and a position
        that is not finite.
        """
        self._check(positions, bindings)
        quantised, outside = self.quantise(positions)
        rows = torch.cat([quantised, bindings.long()[:, None]], 1)
        for column in (BINDING, X, Z, Y):  # stable sorts, the last one decides first
            rows = rows[torch.argsort(rows[:, column], stable=True)]
        clamped = int(outside.sum())
        if clamped:
            warnings.warn(
                f"{clamped} of {len(rows)} points lie outside the data set's cube and were moved to its border.",
                PointsWarning,
                stacklevel=2,
            )
        duplicates = int((rows[1:] == rows[:-1]).all(1).sum())
        rows = rows + torch.tensor([0, 0, 0, self.vocabulary.levels])
        v = self.vocabulary
        block = torch.ones(SLOTS, dtype=torch.long)
        return Encoded(torch.cat([block * v.start, rows.reshape(-1), block * v.end]), clamped, duplicates)

    def decode(self, tokens: Tensor) -> Points:
        """The cloud of a sequence (T,), whose special tokens may be missing at either end.

        Raises DataError where the tokens are no cloud, naming the first that is out of place.
        """
        rows = self.rows(tokens)
        return Points(self.dequantise(rows[:, :BINDING]), rows[:, BINDING])

    def rows(self, tokens: Tensor) -> Tensor:
        """(N, 4) int64 levels of x, y, z, and the face, of a sequence (T,). Raises DataError as :meth:`decode`."""
        v = self.vocabulary
        body = tokens.reshape(-1).long()
        lead = int((body[:SLOTS] == v.start).sum()) if len(body) else 0
        if lead not in (0, SLOTS):
            raise DataError(f"a sequence begins with {SLOTS} start tokens or none, and this one with {lead}.")
        body = body[lead:]
        special = torch.nonzero(body >= v.start)[:, 0]
        if len(special):
            tail = body[special[0] :]
            ends = int((tail == v.end).sum())
            if (
                ends not in (0, SLOTS)
                or not bool((tail[:ends] == v.end).all())
                or not bool((tail[ends:] == v.pad).all())
            ):
                raise DataError(f"token {int(special[0]) + lead} of the sequence is special and stands among points.")
            body = body[: special[0]]
        if len(body) % SLOTS:
            raise DataError(f"{len(body)} tokens are no whole number of points, which have {SLOTS} each.")
        rows = body.reshape(-1, SLOTS).clone()
        wrong = (rows >= v.levels) | (rows < 0)
        wrong[:, BINDING] = rows[:, BINDING] < v.levels
        if bool(wrong.any()):
            at = torch.nonzero(wrong)[0]
            raise DataError(f"token {int(rows[at[0], at[1]])} of point {int(at[0])} is no {'xyzb'[int(at[1])]}.")
        rows[:, BINDING] -= v.levels
        return rows

    def _check(self, positions: Tensor, bindings: Tensor) -> None:
        if positions.ndim != 2 or positions.shape[1] != 3 or bindings.shape != positions.shape[:1]:
            raise DataError(
                f"positions {tuple(positions.shape)} and bindings {tuple(bindings.shape)} are not (N, 3), (N,)."
            )
        if len(positions) == 0:
            raise DataError("a cloud without points has no sequence.")
        faces = self.vocabulary.faces
        if bool(((bindings < 0) | (bindings >= faces)).any()):
            raise DataError(
                f"bindings run from {int(bindings.min())} to {int(bindings.max())}, and the rig has faces 0 to "
                f"{faces - 1}: the cloud is of another rig."
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "levels": self.vocabulary.levels,
            "faces": self.vocabulary.faces,
            "low": list(self.cube.low),
            "side": self.cube.side,
            "up": self.up,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Raises DataError for values that :meth:`to_json` did not write."""
        try:
            x, y, z = (float(value) for value in values["low"])
            if values["up"] not in ("y", "z"):
                raise ValueError(f"up is {values['up']!r}")
            cube = Cube((x, y, z), float(values["side"]))
            return cls(Vocabulary(int(values["levels"]), int(values["faces"])), cube, values["up"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"these are no tokenizer's values ({error}): {values}.") from error


def to_sequence(vectors: Tensor, up: Up) -> Tensor:
    """(..., 3) from a rig's axes to the sequence's: x to the subject's left, y up, z out of the face, which are
    FLAME's; Anny's z is up and its face looks along -y."""
    return vectors if up == "y" else torch.stack([vectors[..., 0], vectors[..., 2], -vectors[..., 1]], -1)


def from_sequence(vectors: Tensor, up: Up) -> Tensor:
    """The inverse of :func:`to_sequence`."""
    return vectors if up == "y" else torch.stack([vectors[..., 0], -vectors[..., 2], vectors[..., 1]], -1)
