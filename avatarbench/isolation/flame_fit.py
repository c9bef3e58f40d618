"""The codes and the camera with which somebody else's FLAME shows the head that ours was tracked as. For shims.

Releases of FLAME share their vertices and joints, and differ in their bases of shape and expression: coefficients mean
nothing to another one, vertices do. Theirs is fitted to ours by least squares, in its own environment and with its own
arrays. Copied beside a shim with :mod:`flame_camera` and :mod:`shim_rig`: Python 3.8 and numpy.

What is fitted is a ``mesh``: ``neutral`` (V, 3), the person without expression; ``vertices`` (V, 3), the same under
expression, jaw and eyes, both metres and with root and neck at rest, since these codes leave both to the camera;
``head_to_world`` (4, 4), where root and neck put the head; ``jaw`` (3,) and ``eyes`` (6,), axis-angle radians;
``bend_mm``, how far a bent neck is from that rigid motion, over the head.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flame_camera import FitError, about_there, cross, fit_camera, project, rotations
from shim_rig import pytorch3d_pose

SIGMA = 2e-4
"""Metres that a vertex may be off in each coordinate, against coefficients of deviation one: what no basis reaches is
not chased with coefficients that nobody has."""
TURN_SIGMA = 0.3
"""Radians that jaw and eyes may differ from what was tracked, where the vertices say nothing of it."""
FAR = 2e-3
"""Metres beyond which a vertex counts less for the identity: VHAP's offsets put hair where FLAME has skin."""
SAME = 1e-4
"""Metres within which their code, in float32 or less, and their arrays agree."""
SETTLED = 1e-6
"""Metres: a step that moves no vertex farther is the last one."""
ROUNDS = 12
STEP = 1e-4
REPORT = "flame_fit.jsonl"
"""In the job folder: a line a frame, of what a fit left."""


@dataclass
class Codes:
    """``shape`` (S,), ``expression`` (E,), ``jaw`` (3,), ``eyes`` (6,), ``transform`` (3, 4): PyTorch3D's R and T, of
    vertices in their scale. What is left, mean over vertices: ``identity_mm``, of the person; ``motion_mm``, of what
    moved; ``pixels``, of their projection against ours; ``bend_mm`` as the mesh has it."""

    shape: np.ndarray
    expression: np.ndarray
    jaw: np.ndarray
    eyes: np.ndarray
    transform: np.ndarray
    identity_mm: float
    motion_mm: float
    pixels: float
    bend_mm: float


@dataclass
class Identity:
    """``shape`` (S,); ``base`` (V, 3), their person at rest; ``turn`` (3, 3) and ``shift`` (3,), from our axes to
    theirs; ``weights`` (V,), less where their person is far from ours; ``mm``."""

    shape: np.ndarray
    base: np.ndarray
    turn: np.ndarray
    shift: np.ndarray
    weights: np.ndarray
    mm: float


class Flame:
    """Their FLAME with root and neck at rest. ``template`` (V, 3) metres; ``shapes`` (V, 3, S); ``expressions``
    (V, 3, E); ``correctives`` (36, 3 V); ``regressor`` (5, V); ``skinning`` (V, 5): root, neck, jaw, two eyes."""

    def __init__(
        self,
        template: np.ndarray,
        shapes: np.ndarray,
        expressions: np.ndarray,
        correctives: np.ndarray,
        regressor: np.ndarray,
        skinning: np.ndarray,
    ) -> None:
        """Raises FitError for arrays that do not belong together."""
        count = len(template)
        found = {"template": template, "shapes": shapes, "expressions": expressions, "posedirs": correctives}
        found.update(J_regressor=regressor, lbs_weights=skinning)
        wanted = [(count, 3), (count, 3, shapes.shape[-1]), (count, 3, expressions.shape[-1]), (36, 3 * count)]
        wanted += [(5, count), (count, 5)]
        for (name, array), shape in zip(found.items(), wanted):  # noqa: B905  (Python 3.8)
            if array.shape != shape:
                raise FitError(f"its FLAME's {name} is {array.shape}, where {shape} is expected")
        self.template, self.shapes, self.expressions = template, shapes, expressions
        self.correctives, self.regressor, self.weights = correctives[9:], regressor[2:], skinning[:, 2:]
        self.head = 1 - skinning[:, 0]

    @classmethod
    def of(cls, module: Any, shapes: int) -> Flame:
        """From a module of their code, by the names of its buffers; ``shapes``: how many of its directions those are.
        Raises FitError where it lacks one."""
        found = {}
        for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "lbs_weights"):
            if not hasattr(module, name):
                raise FitError(f"its FLAME has no '{name}': the code is not what this was written for")
            found[name] = np.asarray(getattr(module, name).detach().cpu().numpy(), np.float64)
        directions = found["shapedirs"]
        if directions.ndim != 3 or directions.shape[2] <= shapes:
            raise FitError(f"its FLAME's shapedirs is {directions.shape}: more than {shapes} directions are expected")
        return cls(
            found["v_template"],
            directions[..., :shapes],
            directions[..., shapes:],
            found["posedirs"],
            found["J_regressor"],
            found["lbs_weights"],
        )

    def posed(self, rest: np.ndarray, turns: np.ndarray) -> np.ndarray:
        """``rest`` (V, 3) under ``turns`` (3, 3): axis-angle radians of jaw and eyes."""
        turned = rotations(turns) - np.eye(3)
        corrected = rest + (turned.reshape(27) @ self.correctives).reshape(-1, 3)
        joints = self.regressor @ rest
        moved = corrected.copy()
        for joint in range(3):
            moved += self.weights[:, joint, None] * ((corrected - joints[joint]) @ turned[joint].T)
        return moved

    def slopes(self, turns: np.ndarray) -> np.ndarray:
        """(3 V, E): how the posed vertices move with each coefficient of expression."""
        turned = rotations(turns) - np.eye(3)
        blended = np.eye(3) + np.einsum("vj,jab->vab", self.weights, turned)
        found = blended @ self.expressions
        joints = np.einsum("jv,vce->jce", self.regressor, self.expressions)
        found -= np.einsum("vj,jae->vae", self.weights, turned @ joints)
        return found.reshape(-1, found.shape[-1])


def mean_mm(difference: np.ndarray) -> float:
    return float(np.linalg.norm(difference, axis=1).mean() * 1000)


def fit_identity(flame: Flame, neutral: np.ndarray) -> Identity:
    """The person ``neutral`` (V, 3) as their shape, up to a rigid motion. A vertex that is far off counts less."""
    count, size = len(flame.template), flame.shapes.shape[-1]
    turn, shift, weights = np.eye(3), np.zeros(3), np.ones(count)
    prior = np.concatenate([np.full(size, SIGMA**2), np.zeros(6)])
    before = np.full_like(neutral, np.inf)
    for _ in range(ROUNDS):
        ours = neutral @ turn.T + shift
        still = np.broadcast_to(-np.eye(3), (count, 3, 3))
        columns = np.concatenate([flame.shapes, -cross(ours), still], 2).reshape(3 * count, -1)
        weighed = columns * np.repeat(weights, 3)[:, None]
        found = np.linalg.solve(weighed.T @ columns + np.diag(prior), weighed.T @ (ours - flame.template).reshape(-1))
        small = rotations(found[None, size : size + 3])[0]
        turn, shift = small @ turn, small @ shift + found[size + 3 :]
        base = flame.template + flame.shapes @ found[:size]
        left = neutral @ turn.T + shift - base
        weights = np.minimum(1.0, FAR / np.maximum(np.linalg.norm(left, axis=1), 1e-12))
        if np.abs(left - before).max() < SETTLED:
            break
        before = left
    return Identity(found[:size], base, turn, shift, weights, mean_mm(left))


def fit_motion(
    flame: Flame, person: Identity, mesh: Mapping[str, Any], eyes: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """Expression (E,), turns (3, 3) of jaw and eyes, and what is left in mm, for what moved from ``neutral`` to
    ``vertices``. Without ``eyes`` their model cannot turn them, and the mesh has them at rest."""
    neutral, vertices = (np.asarray(mesh[name], np.float64) for name in ("neutral", "vertices"))
    target = person.base + (vertices - neutral) @ person.turn.T
    start = np.concatenate([mesh["jaw"], mesh["eyes"]]).astype(np.float64).reshape(3, 3) @ person.turn.T
    joints = 3 if eyes else 1
    start[joints:] = 0
    size = flame.expressions.shape[-1]
    prior = np.concatenate([np.full(size, SIGMA**2), np.full(3 * joints, (SIGMA / TURN_SIGMA) ** 2)])
    expression, turns = np.zeros(size), start.copy()
    before = np.full_like(target, np.inf)
    for _ in range(ROUNDS):
        rest = person.base + flame.expressions @ expression
        now = flame.posed(rest, turns)
        if np.abs(now - before).max() < SETTLED:
            break
        before = now
        columns = np.concatenate([flame.slopes(turns), _turning(flame, rest, turns, joints)], 1)
        off = np.concatenate([expression, (turns - start)[:joints].reshape(-1)])
        step = np.linalg.solve(
            columns.T @ columns + np.diag(prior), columns.T @ (target - now).reshape(-1) - prior * off
        )
        expression = expression + step[:size]
        turns[:joints] += step[size:].reshape(-1, 3)
    left = target - flame.posed(person.base + flame.expressions @ expression, turns)
    return expression, turns, mean_mm(left)


def _turning(flame: Flame, rest: np.ndarray, turns: np.ndarray, joints: int) -> np.ndarray:
    """(3 V, 3 joints): how the vertices move with each component of the turns, by central differences."""
    found = []
    for place in range(3 * joints):
        step = np.zeros(9)
        step[place] = STEP
        difference = flame.posed(rest, turns + step.reshape(3, 3)) - flame.posed(rest, turns - step.reshape(3, 3))
        found.append(difference.reshape(-1) / (2 * STEP))
    return np.stack(found, 1)


class Converter:
    """From what a motion or a portrait brings (``mesh`` and ``camera``) to :class:`Codes`.

    ``forward``: their code, from :class:`Codes` to vertices (V, 3) in their scale, ``scale`` units a metre; ``focal``:
    theirs, in halves of the picture; ``size``: pixels. ``eyes``: whether their model turns them.
    """

    def __init__(
        self,
        flame: Flame,
        forward: Callable[[Codes], np.ndarray],
        scale: float,
        focal: float,
        size: int,
        limit_mm: float,
        limit_px: float,
        eyes: bool = True,
    ) -> None:
        self.flame, self.forward, self.scale, self.eyes = flame, forward, scale, eyes
        self.size, self.limit_mm, self.limit_px = size, limit_mm, limit_px
        self.K = np.array([[focal * size / 2, 0, size / 2], [0, focal * size / 2, size / 2], [0, 0, 1.0]])
        self._people: dict[str, Identity] = {}

    def convert(self, frame: Mapping[str, Any]) -> Codes:
        """Raises FitError where it has no mesh, where their model leaves more than the limits, and for a mesh or a
        FLAME that is not what it should be."""
        mesh, camera = frame.get("mesh"), frame.get("camera")
        if mesh is None or camera is None:
            raise FitError("it has no FLAME tracking")
        count = len(self.flame.template)
        if len(mesh["vertices"]) != count or len(mesh["neutral"]) != count:
            raise FitError(f"the tracked head has {len(mesh['vertices'])} vertices, its FLAME has {count}")
        if (camera["width"], camera["height"]) != (self.size, self.size):
            raise FitError(f"the camera is of {camera['width']}x{camera['height']}, not {self.size}x{self.size}")
        numbers = [*mesh.values(), camera["K"], camera["world_to_camera"]]
        if not all(np.isfinite(np.asarray(values)).all() for values in numbers):
            raise FitError("the tracked head or its camera holds NaN or infinite values")
        person = self._person(np.asarray(mesh["neutral"], np.float64))
        expression, turns, left = fit_motion(self.flame, person, mesh, self.eyes)
        codes = Codes(
            *(person.shape, expression, turns[0], turns[1:].reshape(-1), np.eye(4)[:3]),
            *(person.mm, left, 0.0, float(mesh["bend_mm"])),
        )
        theirs = np.asarray(self.forward(codes), np.float64)
        known = self.flame.posed(person.base + self.flame.expressions @ expression, turns) * self.scale
        if theirs.shape != known.shape or np.abs(theirs - known).max() > SAME * self.scale:
            raise FitError("its FLAME code gives other vertices than its arrays: it is not what this was written for")
        self._see(codes, theirs, person, mesh, camera)
        if not codes.motion_mm <= self.limit_mm or not codes.pixels <= self.limit_px:
            raise FitError(
                f"its FLAME shows the tracked head {codes.motion_mm:.2f} mm and {codes.pixels:.2f} px off (mean; at "
                f"most {self.limit_mm:g} mm and {self.limit_px:g} px: the options limit_mm and limit_px)"
            )
        return codes

    def _person(self, neutral: np.ndarray) -> Identity:
        """Fitted once for each person, whose frames share the neutral head."""
        key = hashlib.sha256(neutral.tobytes()).hexdigest()
        if key not in self._people:
            self._people[key] = fit_identity(self.flame, neutral)
        return self._people[key]

    def _see(
        self,
        codes: Codes,
        theirs: np.ndarray,
        person: Identity,
        mesh: Mapping[str, Any],
        camera: Mapping[str, Any],
    ) -> None:
        """Their camera: one of another focal length cannot show the same from the same place, so that it stands where
        the projected vertices of the head agree best."""
        ours = np.asarray(camera["world_to_camera"], np.float64) @ np.asarray(mesh["head_to_world"], np.float64)
        K = np.asarray(camera["K"], np.float64)
        pixels = project(K, ours, np.asarray(mesh["vertices"], np.float64))
        back = np.eye(4)  # from their axes to ours
        back[:3, :3], back[:3, 3] = person.turn.T, -person.turn.T @ person.shift
        middle = theirs.mean(0) / self.scale
        start = about_there(self.K, ours @ back, K, middle, self.scale)
        pose, codes.pixels = fit_camera(self.K, theirs, pixels, self.flame.head * person.weights, start)
        R, T = pytorch3d_pose(pose)
        codes.transform = np.concatenate([R, T[:, None]], 1)


def reported(converter: Converter, job: str, frame: Mapping[str, Any], kind: str) -> Codes:
    """The codes of ``frame``, a ``kind`` (portrait or driver). A line of the job folder's :data:`REPORT` says what
    became of it, fitted or not. Raises FitError."""
    line: dict[str, Any] = {"frame": frame["id"], "kind": kind, "reason": ""}
    try:
        codes = converter.convert(frame)
    except FitError as error:
        _append(os.path.join(job, REPORT), dict(line, reason=str(error)))
        raise
    for name in ("identity_mm", "motion_mm", "pixels", "bend_mm"):
        line[name] = round(float(getattr(codes, name)), 4)
    _append(os.path.join(job, REPORT), line)
    return codes


def _append(path: str, line: Mapping[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
