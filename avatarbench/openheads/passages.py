"""Passages of motion: one source of expression and head pose each, over times that begin at zero."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avatarbench.openheads.curves import recording
from avatarbench.openheads.moves import MAX_ANGLES, SCRIPTS, SENTENCES, Move, spelled
from avatarbench.openheads.names import EXPRESSIONS, INDEX, MIRROR, sides
from avatarbench.openheads.tracks import Array, Draw, Key, bump, keyed, step, united

_EYE_REACH = {"In": 27.0, "Out": 27.0, "Up": 14.0, "Down": 23.0}
"""Degrees that Anny's eyes turn under a whole action."""
_FOLLOW = 0.6  # of a turn of the head is taken back by the eyes, which stay with what they look at
_FADE = 0.45  # seconds between two passages
_MIXED = tuple(name for name in SCRIPTS if name not in ("EXP-1-head", "EXP-6-tongue-1", "EXP-7-tongue-2"))


class Passage(NamedTuple):
    """``expression`` (T, 52) in [0, 1]; ``angles`` (T, 3) degrees yaw, pitch, roll."""

    expression: Array
    angles: Array


@dataclass(frozen=True)
class Pace:
    """How a person moves: ``tempo`` scales every speed, ``rest`` is the seconds between blinks on average."""

    tempo: float
    rest: float


def scripted(
    times: Array, moves: Sequence[Move], pace: Pace, draw: Draw, midst: int | None = None, under: Array | None = None
) -> Passage:
    """``moves`` over and over, each time with other amplitudes and another asymmetry, beginning at rest.

    ``midst``: begin in the midst of it instead, with this move already made. ``under`` (T, 3): a head pose that is
    added to the moves' own.
    """
    order, strength = _around(midst or 0, len(moves)), draw.child("moves")
    last = np.zeros(len(EXPRESSIONS) + 5) if midst is None else _value(moves[next(order)], strength)

    def follow(now: float) -> Key:
        nonlocal last
        value = _value(moves[next(order)], strength)
        turn = float(np.abs(value[-5:-2] - last[-5:-2]).max())
        reach = strength.between(0.28, 0.5) * (1 + turn / 30) / pace.tempo
        start = now + strength.between(0.1, 0.45) / pace.tempo
        last = value
        return Key(start, start + reach, value)

    values = keyed(times, last, _end(times), follow)
    expression, angles, gaze = np.split(values, [len(EXPRESSIONS), len(EXPRESSIONS) + 3], axis=1)
    return _with_eyes(times, expression, angles if under is None else angles + under, gaze, pace, draw)


def spoken(times: Array, sentence: str, pace: Pace, draw: Draw) -> Passage:
    """The letters of ``sentence`` as mouth shapes, nine or so a second, with nods and the brows going along."""
    moves, strength = spelled(sentence), draw.child("letters")
    order = _around(0, len(moves))

    def follow(now: float) -> Key:
        at = next(order)
        pause = strength.between(0.4, 0.8) if at == 0 and now > 0 else 0.0
        value = _value(moves[at], strength)
        value[INDEX["browInnerUp"]] = strength.between(0, 0.25)
        return Key(now + pause, now + pause + strength.between(0.085, 0.13) / pace.tempo, value[:-5])

    expression = keyed(times, np.zeros(len(EXPRESSIONS)), _end(times), follow)
    angles = head(times, (8.0, 6.0, 4.0), pace, draw)
    return _with_eyes(times, expression, angles, np.zeros((len(times), 2)), pace, draw)


def recorded(times: Array, draw: Draw) -> Passage:
    """The driving clip from a drawn moment on, for at most its own length, in a mirror half of the time."""
    clip = recording()
    offset = draw.between(0, max(clip.seconds - _end(times), 0.0))
    expression, angles = clip.at(times + offset)
    if draw.index(2):
        expression, angles = expression[:, list(MIRROR)], angles * np.array([-1, 1, -1])
    return Passage(expression, angles)


def free(times: Array, pace: Pace, draw: Draw) -> Passage:
    """Recorded, scripted and spoken passages in a drawn mixture; the head of the scripted ones goes its own way."""

    def one(local: Array, stream: Draw) -> Passage:
        kind = stream.index(10)
        if kind < 3:
            return recorded(local, stream)
        if kind == 3:
            return spoken(local, SENTENCES[stream.index(len(SENTENCES))], pace, stream)
        moves = SCRIPTS[_MIXED[stream.index(len(_MIXED))]]
        angles = head(local, (34.0, 16.0, 12.0), pace, stream)
        return scripted(local, moves, pace, stream, stream.index(len(moves)), angles)

    return joined(times, draw, one, (1.2, 2.4))


def joined(times: Array, draw: Draw, make: Callable[[Array, Draw], Passage], seconds: tuple[float, float]) -> Passage:
    """Passages of ``seconds`` (least, most), one fading into the next, each from a stream of its own."""
    found = Passage(np.zeros((len(times), len(EXPRESSIONS))), np.zeros((len(times), 3)))
    begin, number, lengths = -_FADE, 0, draw.child("lengths")
    while begin < _end(times):
        length = lengths.between(*seconds)
        here = (times >= begin) & (times <= begin + length + _FADE)
        local = times[here] - begin
        if len(local):
            # The whole passage, so that its draws do not depend on how much of it is asked for.
            grid = np.concatenate([local, [length + _FADE]])
            part = make(grid, draw.child("passage", number))
            weight = (step(local, 0, _FADE) - step(local, length, length + _FADE))[:, None]
            for whole, piece in zip(found, part, strict=True):
                whole[here] += weight * piece[:-1]
        begin, number = begin + length, number + 1
    return found


def portrait(times: Array, draw: Draw) -> Passage:
    """Nearly neutral: a slight smile, eyes open and to the front, the head turned by a few degrees, held."""
    expression = np.zeros(len(EXPRESSIONS))
    smile = draw.between(0.08, 0.3)
    for name, least, most in (("mouthSmile", smile * 0.85, smile), ("mouthDimple", 0, 0.1), ("browOuterUp", 0, 0.1)):
        for action in sides(name):
            expression[INDEX[action]] = draw.between(least, most)
    expression[INDEX["browInnerUp"]] = draw.between(0, 0.12)
    angles = np.array([draw.between(-limit, limit) for limit in (6, 3, 2.5)])
    gaze = np.array([[draw.between(-2, 2) - _FOLLOW * angles[0], draw.between(-1, 1) + _FOLLOW * angles[1]]])
    eyes = _looking(gaze)[0]
    return Passage(*(np.repeat(one[None], len(times), axis=0) for one in (united(expression, eyes), angles)))


def head(times: Array, reach: tuple[float, float, float], pace: Pace, draw: Draw) -> Array:
    """(T, 3) degrees: drawn poses within ``reach``, all of them as likely."""
    stream, last = draw.child("head"), np.zeros(3)

    def pose() -> Array:
        return np.array([stream.between(-limit, limit) for limit in reach])

    def follow(now: float) -> Key:
        nonlocal last
        value = pose()
        turn = float(np.abs(value - last).max())
        start = now + stream.between(0.05, 0.4) / pace.tempo
        last = value
        return Key(start, start + (0.35 + turn / 60) / pace.tempo, value)

    last = pose()
    return keyed(times, last, _end(times), follow)


def _around(start: int, count: int) -> Iterator[int]:
    """``start``, ``start + 1``, ... modulo ``count``, without end."""
    return (at % count for at in itertools.count(start))


def _end(times: Array) -> float:
    return float(times[-1]) if len(times) else 0.0


def _value(move: Move, draw: Draw) -> Array:
    """(57,): actions, angles and gaze of a move, at 75 to 100 % and one side up to 20 % weaker than the other."""
    strength, lean = draw.between(0.75, 1.0), draw.between(-0.2, 0.2)
    value = np.zeros(len(EXPRESSIONS) + 5)
    for name, amplitude in move.actions.items():
        for action in sides(name):
            weaker = max(lean, 0) if action.endswith("Left") else max(-lean, 0)
            paired = action.endswith(("Left", "Right"))
            value[INDEX[action]] = amplitude * strength * (1 - weaker if paired else 1)
    value[-5:-2] = np.clip(move.angles, [-a for a in MAX_ANGLES], MAX_ANGLES) * strength
    if move.gaze is not None:
        value[-2:] = move.gaze
    return value


def _with_eyes(times: Array, expression: Array, angles: Array, gaze: Array, pace: Pace, draw: Draw) -> Passage:
    """Adds what eyes do by themselves: they jump about, take back a part of the head's turn, and blink."""
    following = np.stack([-_FOLLOW * angles[:, 0], _FOLLOW * angles[:, 1]], axis=1)
    looking = _looking(gaze + following + _jumps(times, draw.child("jumps")))
    return Passage(united(united(expression, looking), _blinks(times, pace, draw.child("blinks"))), angles)


def _jumps(times: Array, draw: Draw) -> Array:
    """(T, 2) degrees: saccades of up to 7 degrees, 50 ms long, one or two a second."""

    def follow(now: float) -> Key:
        start = now + draw.between(0.3, 1.2)
        return Key(start, start + 0.05, np.array([draw.between(-7, 7), draw.between(-4, 4)]))

    return keyed(times, np.zeros(2), _end(times), follow)


def _blinks(times: Array, pace: Pace, draw: Draw) -> Array:
    """(T, 52): both lids, 0.24 seconds a blink."""
    closed, now = np.zeros(len(times)), draw.between(0.2, pace.rest)
    while now < _end(times):
        closed = np.maximum(closed, draw.between(0.85, 1.0) * bump(times, now, 0.09, 0.15))
        now += 0.3 + draw.between(0.4, 1.6) * pace.rest
    found = np.zeros((len(times), len(EXPRESSIONS)))
    for action in sides("eyeBlink"):
        found[:, INDEX[action]] = closed
    return found


def _looking(gaze: Array) -> Array:
    """(T, 52): the eyes' actions for ``gaze`` (T, 2), degrees to the subject's left and up."""
    found = np.zeros((len(gaze), len(EXPRESSIONS)))
    for side, outward in (("Left", 1), ("Right", -1)):
        for way, degrees in (
            ("Out", outward * gaze[:, 0]),
            ("In", -outward * gaze[:, 0]),
            ("Up", gaze[:, 1]),
            ("Down", -gaze[:, 1]),
        ):
            above = np.maximum(degrees, 0)
            wanted = above**2 / (above + 1) / _EYE_REACH[way]  # no kink where the eye passes the middle
            found[:, INDEX[f"eyeLook{way}{side}"]] = wanted / (1 + wanted**4) ** 0.25
    return found
