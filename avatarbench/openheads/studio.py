"""The studio: one identity under any state, camera and noise seed, as a picture on pure white with its mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from avatarbench.errors import UsageError
from avatarbench.heads.anny import AnnyRig, load_anny
from avatarbench.heads.rig import Posed, rotation_matrix
from avatarbench.method import Camera
from avatarbench.openheads.hair import Strands, follow, grow
from avatarbench.openheads.identity import Identity
from avatarbench.openheads.lights import environment
from avatarbench.openheads.scene import Curves, Placed, Scene
from avatarbench.openheads.state import HeadState
from avatarbench.openheads.studio_film import develop
from avatarbench.openheads.studio_head import HeadModel

SCALE = 2  # what studio_film expects
"""Pictures are rendered at this many times their size; a picture's samples a pixel are spread over it."""


@dataclass(frozen=True)
class Picture:
    """``rgb``: (H, W, 3) uint8 sRGB over pure white; ``mask``: (H, W) float32, 1 is foreground."""

    rgb: NDArray[np.uint8]
    mask: NDArray[np.float32]


@cache
def _rig() -> AnnyRig:
    return load_anny()


class Studio:
    """An identity made ready once (shape, skin, eyes, teeth, hair, light), then rendered under any state."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.rig = _rig()
        self.shape = self.rig.shape(identity.phenotypes, identity.local_changes)
        """(1, S): the shape coefficients."""
        self._neutral = self.pose(HeadState.neutral())
        rest = self._neutral.rest[0].numpy()
        self._head = HeadModel(self.rig, identity, rest, self._neutral.joints[0].numpy())
        self._hair = grow(identity.hair, self.rig, rest, identity.noise)
        placed = self.placed(HeadState.neutral())
        curves = [_curves(group) for group in self._hair]
        self._scene = Scene(self._head.meshes, placed, curves, environment(identity.lighting))
        self._placed: bytes | None = None  # the state that the scene is in

    def pose(self, state: HeadState) -> Posed:
        """The rig under ``state``: the exact truth of a frame, a batch of one."""
        if state.expression.shape != (52,) or state.joints.shape != (8, 3) or state.translation.shape != (3,):
            shapes = (state.expression.shape, state.joints.shape, state.translation.shape)
            raise UsageError(f"a head's state holds {shapes}, where (52,), (8, 3) and (3,) are expected.")
        rotations = rotation_matrix(torch.as_tensor(state.joints, dtype=torch.float32))[None]
        expression = torch.as_tensor(state.expression, dtype=torch.float32)[None]
        translation = torch.as_tensor(state.translation, dtype=torch.float32)[None]
        with torch.no_grad():
            posed: Posed = self.rig(self.shape, expression, rotations, translation)
        return posed

    def render(self, state: HeadState, camera: Camera, samples: int = 32, seed: int = 0) -> Picture:
        """The head under ``state`` as ``camera`` sees it, ``samples`` paths a pixel, rounded down to a multiple of 4.

        The same arguments give the same picture, with any number of threads. Raises UsageError for a state of other
        shapes, fewer samples, or a camera whose pixels are not square.
        """
        if samples < SCALE * SCALE:
            raise UsageError(f"{samples} samples a pixel are too few: at least {SCALE * SCALE}.")
        wanted = b"".join(part.tobytes() for part in (state.expression, state.joints, state.translation))
        if self._placed != wanted:
            self._place(state)
            self._placed = wanted
        film = self._scene.render(camera, SCALE, samples // (SCALE * SCALE), seed)
        return Picture(*develop(film))

    def placed(self, state: HeadState) -> Placed:
        """Positions and normals of every mesh under ``state``: skin, chest, cloth, left and right eye, upper and lower
        teeth."""
        posed = self.pose(state)
        return self._head.place(posed.vertices[0].numpy(), posed.transforms[0].numpy())

    def _place(self, state: HeadState) -> None:
        posed = self.pose(state)
        vertices, transforms = posed.vertices[0].numpy(), posed.transforms[0].numpy()
        hair = follow(self._hair, vertices, self._neutral.rest[0].numpy(), transforms)
        self._scene.place(self.placed(state), [_curves(group) for group in hair])


def _curves(group: Strands) -> Curves:
    return Curves(group.points, group.radii, group.colour)
