"""From a driver's frame to the state of Anny's head and the camera that sees it: what methods on that rig share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarbench.errors import DataError, Unscorable
from avatarbench.method import Camera, FaceTrack, Motion
from avatarbench.tracking.anny_fit import AnnyFit, fit_motion, fit_portrait
from avatarbench.tracking.face_model import HEAD, face_model

SHAPES = {"landmarks": (478, 3), "arkit": (52,), "head": (4, 4)}
FACE = np.array([0.0, -0.1, 0.03])
"""Middle of the face in Anny's axes, metres from the head joint."""


def fitted(face: FaceTrack | None, size: tuple[int, int], camera: Camera | None) -> AnnyFit:
    """The rig on the portrait of ``size`` (width, height). Raises Unscorable where there is no face to fit."""
    found = checked(face, "portrait")
    try:
        return fit_portrait(found, size, camera)
    except DataError as error:
        raise Unscorable(f"the portrait: {error}") from error


def followed(motion: Motion, portrait: AnnyFit) -> AnnyFit:
    """The portrait's head as the driver moves it, under the camera that the avatar is to be seen by.

    Expression and pose are fitted to the driver's landmarks with the portrait's shape, each frame by itself. Without a
    calibrated camera the head goes where the driver's is, at its size. With one, its distance is the portrait's: how
    far a head is and how large cannot be told apart by one picture, and a driver's larger head must not come nearer.
    Raises Unscorable where the driver has no face.
    """
    face = checked(motion.face, "driver")
    size = portrait.camera.width, portrait.camera.height
    scale = np.array(size) / (motion.image.shape[1], motion.image.shape[0])
    landmarks = face.landmarks * np.append(scale, scale.mean())
    camera = portrait.camera if motion.camera is None else resized(motion.camera, size)
    try:
        found = fit_motion(replace(face, landmarks=landmarks), replace(portrait, camera=camera))
    except DataError as error:
        raise Unscorable(f"the driver: {error}") from error
    if motion.camera is None:
        return found
    return replace(found, translation=at_distance(found, portrait.translation))


def at_distance(fit: AnnyFit, place: NDArray[np.floating]) -> NDArray[np.float32]:
    """(3,): ``fit``'s translation moved along the ray through the middle of its face, until the head joint is as far
    along the camera's axis as one at ``place`` (3,)."""
    pose = fit.camera.world_to_camera
    turn = Rotation.from_rotvec(fit.joints[face_model().rig.joint_names.index(HEAD)])
    middle = fit.translation + turn.apply(FACE)
    eye = -pose[:3, :3].T @ pose[:3, 3]
    further = float(pose[2, :3] @ (place - fit.translation))
    depth = float(pose[2, :3] @ middle + pose[2, 3])
    return np.asarray(fit.translation + further / depth * (middle - eye), np.float32)


def resized(camera: Camera, size: tuple[int, int]) -> Camera:
    """``camera`` for the same picture in another ``size`` (width, height), pixels."""
    scale = np.diag([size[0] / camera.width, size[1] / camera.height, 1.0])
    return Camera(scale @ camera.K, camera.world_to_camera, *size)


def checked(face: FaceTrack | None, of: str) -> FaceTrack:
    """The face itself. Raises Unscorable where there is none, or one that cannot be fitted; ``of``: whose it is."""
    if face is None:
        raise Unscorable(f"no face found in the {of}")
    for name, shape in SHAPES.items():
        value = getattr(face, name)
        if value.shape != shape:
            raise Unscorable(f"the {of}'s face has '{name}' of {value.shape}, not {shape}")
        if not np.isfinite(value).all():
            raise Unscorable(f"the {of}'s face has '{name}' that are not finite")
    return face
