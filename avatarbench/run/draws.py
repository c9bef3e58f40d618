"""Seeded draws that depend on names alone: not on the order of things, on what else is there, or on a library's stream.

Everything is put into the order of a sha256 over the seed and its name. What is missing is then replaced by the next,
and nothing else moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def rank(seed: int, *names: str) -> bytes:
    """The place of a name in the order that ``seed`` gives. Equal on every machine and for ever."""
    return hashlib.sha256("\n".join((str(seed), *names)).encode()).digest()


def ordered(seed: int, purpose: str, names: Iterable[str]) -> list[str]:
    """``names`` in the order of ``seed``; each ``purpose`` has an order of its own."""
    return sorted(names, key=lambda name: rank(seed, purpose, name))


def shuffled(seed: int, name: str, indices: Sequence[int]) -> list[int]:
    """Frame ``indices`` of the sequence ``name`` in the order of ``seed``."""
    return sorted(indices, key=lambda index: rank(seed, "frame", name, str(index)))


def sample(seed: int, name: str, indices: Sequence[int], count: int) -> list[int]:
    """``count`` of the frame ``indices`` of ``name`` (all where there are fewer), ascending."""
    return sorted(shuffled(seed, name, indices)[:count])


def spread(indices: Sequence[int], count: int) -> list[int]:
    """``count`` of ``indices`` at even steps, the first and the last among them; all where there are fewer."""
    last = len(indices) - 1
    if count > last:
        return list(indices)
    if count == 1:
        return [indices[len(indices) // 2]]
    return [indices[(2 * i * last + count - 1) // (2 * (count - 1))] for i in range(count)]
