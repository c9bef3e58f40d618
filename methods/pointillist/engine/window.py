"""Where a token's key goes, what it sees, and when a new window begins.

A window holds ``length`` tokens. "refill": when it is full, its last token still predicts the next one; before that
is fed, a new window begins with the old one's last half, read anew. So every token is predicted as truncated training
saw it, by a window of training's kind. "roll": rotations count on, and a token at position t sees those from
4 floor(t / 4) + 4 - length on, whole points; what deeper layers see there was itself made from older ones, so this is
not a recomputed window.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from avatarbench.methods.pointillist.tokenizer import SLOTS

Policy = Literal["refill", "roll"]
ROWS = 8
"""Subjects that are stepped through together; more of them come after each other, eight by eight."""


class Spot(NamedTuple):
    """A token's rotation, its ``place`` in the ring, and the places it sees: [0, first) and [second, ring)."""

    position: int
    place: int
    first: int
    second: int


class Window:
    """``position``: how many tokens the present window has been fed. ``capacity``: places of the ring, no more than the
    window's length, less where no sequence gets so long."""

    def __init__(self, length: int, policy: Policy, most: int) -> None:
        self.length, self.policy = length, policy
        self.capacity = min(length, -(-most // SLOTS) * SLOTS)
        self.position = 0

    @property
    def full(self) -> bool:
        return self.policy == "refill" and self.position == self.length

    @property
    def kept(self) -> int:
        """Tokens that the next window begins with: half, whole points."""
        return self.length // 2 // SLOTS * SLOTS

    @property
    def room(self) -> int | None:
        """Tokens that still fit, None where there is no end."""
        return self.length - self.position if self.policy == "refill" else None

    def advance(self) -> Spot:
        """The spot of the next token."""
        spot = spot_of(self.position, self.capacity)
        self.position += 1
        return spot


def spot_of(position: int, ring: int) -> Spot:
    """``ring``: a multiple of 4 places. What is left of the point that this token's point replaces is not seen."""
    place = position % ring
    second = ring if position < ring else place // SLOTS * SLOTS + SLOTS
    return Spot(position, place, place + 1, second)
