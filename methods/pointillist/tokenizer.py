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

ROUNDING = 2.0**-24
"""Of a float32 number: at most this share of it is lost."""
LEAST_SIDE = 1e-3  # metres: of the cube around clouds that have no extent


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
        """The smallest cube about all points (N, 3) of ``clouds``, in the sequence's axes, wider by ``margin`` of its
        side. Raises DataError where there are none, or one that is not finite."""
        lows, highs = [], []
        for cloud in clouds:
            if len(cloud):
                lows.append(cloud.amin(0))
                highs.append(cloud.amax(0))
        if not lows:
            raise DataError("a cube needs at least one point to stand around.")
        low, high = torch.stack(lows).amin(0).double(), torch.stack(highs).amax(0).double()
        side = max(float((high - low).max()), LEAST_SIDE) * (1 + margin)
        corner = (low + high) / 2 - side / 2
        return cls((float(corner[0]), float(corner[1]), float(corner[2])), side)


class Encoded(NamedTuple):
    """``tokens`` (4 N + 8,) int64; ``clamped``: points that lay outside the cube; ``duplicates``: points that repeat
    another one once quantised, whose bindings are equal too. All of them are in the sequence."""

    tokens: Tensor
    clamped: int
    duplicates: int


@dataclass(frozen=True)
class Tokenizer:
    """Of one data set: its vocabulary, its cube, and which of the rig's axes is up.

    Raises DataError for a cube so far from the origin, or levels so fine, that float32 metres do not tell the bins
    apart: the middle of a bin would be read as its neighbour.
    """

    vocabulary: Vocabulary
    cube: Cube
    up: Up = "y"

    def __post_init__(self) -> None:
        bin_ = self.cube.side / self.vocabulary.levels
        if 4 * ROUNDING * self._reach() > bin_:  # a middle may be moved by a quarter of a bin at most
            raise DataError(
                f"a cube of side {self.cube.side:g} m at {self.cube.low} has bins of {bin_:g} m, which float32 metres "
                "cannot tell apart that far from the origin: give the clouds in the rig's rest pose, or fewer levels."
            )

    def _reach(self) -> float:
        """The largest coordinate, in size, that the cube holds."""
        return max(max(abs(low), abs(low + self.cube.side)) for low in self.cube.low)

    def quantise(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3) metres -> (N, 3) int64 levels in the sequence's axes, and (N,) bool: clamped into the cube.

        The upper faces belong to the last bins, and a point that only its rounding to float32 carries over a face is
        inside. Raises DataError for a position that is not finite.
        """
        if not bool(torch.isfinite(positions).all()):
            bad = int((~torch.isfinite(positions).all(1)).sum())
            raise DataError(
                f"{bad} of {len(positions)} points have a coordinate that is not finite: fit the cloud anew."
            )
        levels = self.vocabulary.levels
        unit = (to_sequence(positions, self.up).double() - self._low(positions)) / self.cube.side
        found = torch.floor(unit * levels)
        slack = ROUNDING * self._reach() / self.cube.side
        outside = ((unit < -slack) | (unit > 1 + slack)).any(1)
        return found.clamp(0, levels - 1).long(), outside

    def dequantise(self, levels: Tensor) -> Tensor:
        """(N, 3) levels -> (N, 3) float32 metres in the rig's axes: the middles of their bins."""
        unit = (levels.double() + 0.5) / self.vocabulary.levels
        return from_sequence(unit * self.cube.side + self._low(levels), self.up).float()

    def _low(self, like: Tensor) -> Tensor:
        """(3,) float64 on the device of ``like``."""
        return torch.tensor(self.cube.low, dtype=torch.float64, device=like.device)

    def encode(self, positions: Tensor, bindings: Tensor) -> Encoded:
        """The sequence of a cloud: sorted by quantised (y, z, x), then by binding; the order of the points is all one.

        Warns (:class:`PointsWarning`) of what it clamps. Raises DataError for no points, a binding that is no face of
        the rig, a position that is not finite, and other shapes or types.
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
        v = self.vocabulary
        rows[:, BINDING] += v.levels
        block = torch.ones(SLOTS, dtype=torch.long, device=rows.device)
        return Encoded(torch.cat([block * v.start, rows.reshape(-1), block * v.end]), clamped, duplicates)

    def decode(self, tokens: Tensor) -> Points:
        """The cloud of a sequence (T,), whose special tokens may be missing at either end; each point at the middle of
        its bin.

        Raises DataError where the tokens are no cloud, naming the first that is out of place, and for no points.
        """
        rows = self.rows(tokens)
        return Points(self.dequantise(rows[:, :BINDING]), rows[:, BINDING])

    def rows(self, tokens: Tensor) -> Tensor:
        """(N, 4) int64 levels of x, y, z, and the face, of a sequence (T,). Raises DataError as :meth:`decode`."""
        v = self.vocabulary
        if tokens.ndim != 1 or tokens.is_floating_point():
            raise DataError(f"a sequence is (T,) integers, and this is {tuple(tokens.shape)} {tokens.dtype}.")
        body = tokens.long()
        lead = int((body[:SLOTS] == v.start).sum())
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
                raise DataError(
                    f"token {int(special[0]) + lead} of the sequence is special, and what follows is not {SLOTS} end "
                    "tokens or none, then padding: the sequence was cut, or is none."
                )
            body = body[: special[0]]
        if not len(body):
            raise DataError("a sequence without points is no cloud.")
        if len(body) % SLOTS:
            raise DataError(f"{len(body)} tokens are no whole number of points, which have {SLOTS} each: was it cut?")
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
        if not positions.is_floating_point() or bindings.is_floating_point() or bindings.dtype == torch.bool:
            raise DataError(f"positions are {positions.dtype} and bindings {bindings.dtype}, not metres and integers.")
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
            cube, up, counts = Cube((x, y, z), float(values["side"])), values["up"], (values["levels"], values["faces"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"these are no tokenizer's values ({type(error).__name__}: {error}): {values}.") from error
        if up not in ("y", "z") or not all(type(count) is int for count in counts):
            raise DataError(f"these are no tokenizer's values (up is 'y' or 'z', counts are whole): {values}.")
        return cls(Vocabulary(*counts), cube, up)


def to_sequence(vectors: Tensor, up: Up) -> Tensor:
    """(..., 3) from a rig's axes to the sequence's: x to the subject's left, y up, z out of the face, which are
    FLAME's; Anny's z is up and its face looks along -y."""
    return vectors if up == "y" else torch.stack([vectors[..., 0], vectors[..., 2], -vectors[..., 1]], -1)


def from_sequence(vectors: Tensor, up: Up) -> Tensor:
    """The inverse of :func:`to_sequence`."""
    return vectors if up == "y" else torch.stack([vectors[..., 0], -vectors[..., 2], vectors[..., 1]], -1)
