"""Anny's head under a camera, fitted to the landmarks of one face by least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from avatarbench.errors import DataError, Unscorable
from avatarbench.method import Camera, FaceTrack
from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.metrics.rotations import nearest_rotation
from avatarbench.openheads.state import HeadState
from avatarbench.tracking.face_model import HEAD, FaceModel, face_model

FRONT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""World to a camera that looks the head in the face: x right, y down, z forward (OpenCV), from Anny's z up."""

MEDIAPIPE = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""Anny's axes to those of MediaPipe's canonical face: x to the subject's left, y up, z out of the face."""

EYES = (33, 263)
"""The outer eye corners, whose distance is the unit of the error in per cent."""

FOCAL_PRIOR, FOCAL_DEVIATION = 2.0, 0.35  # focal length over the longer side, and of its logarithm
EXPRESSION_DEVIATION = 0.25
HEAD_DEVIATION = np.radians(4.0)  # how far the landmarker's head matrix is trusted, each axis
CORRELATED = 3.0  # neighbouring landmarks err together: as if each were that much less certain
_LEAST = 0.001  # metres: no landmark is more certain than that
_EVALUATIONS = 60
_EXPRESSIONS = 52
_CAMERA, _TURN, _PLACE, _EXPRESSION, _SHAPE = slice(0, 1), slice(1, 4), slice(4, 7), slice(7, 59), slice(59, None)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class AnnyFit:
    """Anny's head as it stands under a camera.

    ``shape`` (S,) of :class:`AnnyRig`; ``expression`` (52,) in its ``expression_names``; ``joints`` (8, 3) axis-angle
    radians, of which only ``head`` turns; ``translation`` (3,) metres; ``landmarks`` (N,): which of the 478 were used;
    ``errors`` (N,): their distances to the reprojection, pixels. ``rms_percent``: the root mean square of these in per
    cent of the distance of the outer eye corners in the picture.
    """

    shape: NDArray[np.float32]
    expression: NDArray[np.float32]
    joints: NDArray[np.float32]
    translation: NDArray[np.float32]
    camera: Camera
    landmarks: NDArray[np.int64]
    errors: NDArray[np.float32]
    rms_percent: float

    @property
    def rms_pixels(self) -> float:
        """Root mean square of the reprojection error."""
        return float(np.sqrt(np.mean(np.square(self.errors, dtype=np.float64))))

    @property
    def state(self) -> HeadState:
        """Expression, joints and translation in the form of OpenHeads' truth."""
        return HeadState(self.expression, self.joints, self.translation)

    def vertices(self) -> NDArray[np.float32]:
        """(V, 3) of the whole posed head, metres, in the camera's world."""
        import torch

        from avatarbench.heads.rig import rotation_matrix

        rig = face_model().rig
        rotations = rotation_matrix(torch.from_numpy(self.joints))[None]
        posed = rig(
            torch.from_numpy(self.shape)[None],
            torch.from_numpy(self.expression)[None],
            rotations,
            torch.from_numpy(self.translation)[None],
        )
        return np.asarray(posed.vertices[0].numpy(), np.float32)


def fit_portrait(face: FaceTrack, size: tuple[int, int], camera: Camera | None = None) -> AnnyFit:
    """Identity, expression, pose and camera from one face's landmarks; deterministic, about a second.

    ``size``: width and height of the picture. Without ``camera`` its focal length is fitted too (principal point in the
    middle, square pixels), the head stands at the world's origin and the camera holds the distance; with one, the head
    is placed in its world. The shape moves in 40 principal directions of drawn identities, each with a unit normal
    prior; the expression stays near the 52 coefficients that the landmarker read, within [0, 1].
    Raises DataError where landmarks or head matrix are not finite.
    """
    model = face_model()
    fixed = camera is not None
    camera = camera or front_camera(size, FOCAL_PRIOR * max(size))
    problem = _Problem(model, face, camera)
    start = problem.start()
    pose = problem.solve(start, _free(len(start), camera=False, shape=False, expression=False))
    found = problem.solve(pose, _free(len(start), camera=not fixed, shape=True, expression=True))
    fit = problem.fit(found)
    return fit if fixed else _centred(fit)


def fit_motion(face: FaceTrack, portrait: AnnyFit) -> AnnyFit:
    """Expression and pose of another frame of the same person under the same camera; identity and focal length stay.

    Raises DataError where landmarks or head matrix are not finite.
    """
    model = face_model()
    problem = _Problem(model, face, portrait.camera, portrait.shape.astype(np.float64))
    start = problem.start()
    pose = problem.solve(start, _free(len(start), camera=False, shape=False, expression=False))
    return problem.fit(problem.solve(pose, _free(len(start), camera=False, shape=False, expression=True)))


def fit_pose(face: FaceTrack, model: FaceModel, camera: Camera, fit_expression: bool = True) -> AnnyFit:
    """Expression and pose of a head whose shape and ``camera`` are known, e.g. that of an avatar under a driver's face.

    ``model``: :func:`avatarbench.tracking.face_model.known_face` of the shape. Without ``fit_expression`` the
    expression is the landmarker's reading as it is, and the pose alone moves. Raises DataError where landmarks or head
    matrix are not finite.
    """
    problem = _Problem(model, face, camera)
    start = problem.start()
    found = problem.solve(start, _free(len(start), camera=False, shape=False, expression=False))
    if fit_expression:
        found = problem.solve(found, _free(len(start), camera=False, shape=False, expression=True))
    return problem.fit(found)


def front_camera(size: tuple[int, int], focal: float) -> Camera:
    """A camera at the world's origin that looks along Anny's back: the head must be moved in front of it."""
    pose = np.eye(4)
    pose[:3, :3] = FRONT
    k = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1.0]])
    return Camera(k, pose, size[0], size[1])


def expression_of(arkit: NDArray[np.floating], names: tuple[str, ...]) -> Array:
    """The landmarker's 52 coefficients (52,) in another order of names; what it does not read (tongueOut) is zero."""
    read = dict(zip(ARKIT_NAMES, np.asarray(arkit, np.float64).tolist(), strict=True))
    return np.array([read.get(name, 0.0) for name in names])


def world_rotation(head: NDArray[np.floating], camera: Camera) -> Array:
    """(3, 3) rotation of Anny's head in the camera's world, from MediaPipe's head matrix (4, 4).

    Raises DataError for a matrix that holds no rotation.
    """
    try:
        seen = np.diag([1.0, -1.0, -1.0]) @ nearest_rotation(np.asarray(head)[:3, :3]) @ MEDIAPIPE
    except Unscorable as error:
        raise DataError(f"the face cannot be fitted: {error}.") from error
    return np.asarray(camera.world_to_camera[:3, :3].T @ seen, np.float64)


def _free(size: int, camera: bool, shape: bool, expression: bool) -> NDArray[np.bool_]:
    """Which unknowns move: the pose always."""
    free = np.zeros(size, bool)
    free[_CAMERA], free[_TURN], free[_PLACE], free[_EXPRESSION], free[_SHAPE] = camera, True, True, expression, shape
    return free


class _Problem:
    """Unknowns: logarithm of focal length over the given; head rotation vector; translation; 52 expressions; shape."""

    def __init__(self, model: FaceModel, face: FaceTrack, camera: Camera, shape: Array | None = None) -> None:
        if not np.isfinite(face.landmarks).all() or not np.isfinite(face.arkit).all():
            raise DataError("the face cannot be fitted: its landmarks or coefficients are not finite.")
        self.model, self.face, self.camera = model, face, camera
        self.observed = face.landmarks[model.landmarks, :2].astype(np.float64)
        names = model.rig.expression_names
        self.expression = np.clip(expression_of(face.arkit, names), 0, 1)
        self.identity = shape
        self.z: Array = np.zeros(model.basis.directions.shape[1])
        if shape is not None:
            self.z = np.asarray(np.linalg.lstsq(model.basis.directions, shape - model.basis.mean, rcond=None)[0])
        self.rotation = world_rotation(face.head, camera)
        self.turn = Rotation.from_matrix(self.rotation).as_rotvec()
        self.deviation = np.ones(len(self.observed))

    def start(self) -> Array:
        """Pose from the landmarker's head matrix, distance from the face's size, expression as it was read."""
        points = self.model.points(self.z, self.expression, np.zeros(3), np.zeros(3)) @ self.rotation.T
        outward = self.camera.world_to_camera[:3, :3]
        seen = points @ outward.T
        k = self.camera.K
        scale = np.sqrt(self.observed.var(axis=0).sum() / seen[:, :2].var(axis=0).sum())  # pixels a metre
        ray = np.linalg.solve(k, np.append(self.observed.mean(axis=0), 1.0))
        place = ray * k[0, 0] / scale - seen.mean(axis=0)
        translation = outward.T @ (place - self.camera.world_to_camera[:3, 3])
        spread = np.maximum(self.model.spread, _LEAST)
        self.deviation = CORRELATED * spread * scale
        return np.concatenate([[0.0], self.turn, translation, self.expression, self.z])

    def solve(self, start: Array, free: NDArray[np.bool_]) -> Array:
        """The start with its free unknowns moved to the least squares of reprojection and priors."""
        index = np.flatnonzero(free)

        def whole(x: Array) -> Array:
            unknown = start.copy()
            unknown[index] = x
            return unknown

        low, high = np.full(len(start), -np.inf), np.full(len(start), np.inf)
        low[_EXPRESSION], high[_EXPRESSION] = -1e-9, 1 + 1e-9
        found = least_squares(
            lambda x: self.residuals(whole(x)),
            start[free],
            jac=lambda x: self.jacobian(whole(x))[:, index],
            bounds=(low[free], high[free]),
            x_scale="jac",
            ftol=1e-6,
            xtol=1e-7,
            max_nfev=_EVALUATIONS,
        )
        return whole(found.x)

    def residuals(self, unknown: Array) -> Array:
        """Misses in deviations, x and y of every landmark, then the priors' rows."""
        misses = (self._project(unknown)[0] - self.observed) / self.deviation[:, None]
        turn = (unknown[_TURN] - self.turn) / HEAD_DEVIATION
        expression = (unknown[_EXPRESSION] - self.expression) / EXPRESSION_DEVIATION
        return np.concatenate([misses.ravel(), unknown[_CAMERA] / FOCAL_DEVIATION, turn, expression, unknown[_SHAPE]])

    def jacobian(self, unknown: Array) -> Array:
        """Derivatives of :meth:`residuals`, one column an unknown."""
        pixels, seen, focal = self._project(unknown)
        turned, moved = self.model.derivatives(unknown[_SHAPE], unknown[_EXPRESSION], unknown[_TURN])
        still = np.broadcast_to(np.eye(3), (len(seen), 3, 3))
        count = moved.shape[-1] - _EXPRESSIONS
        world = np.concatenate([turned, still, moved[..., count:], moved[..., :count]], axis=-1)
        camera = self.camera.world_to_camera[:3, :3] @ world
        depth = seen[:, 2, None, None]
        flat = (camera[:, :2] - seen[:, :2, None] / depth * camera[:, 2:]) / depth * focal[:, None]
        by_focal = (pixels - self.camera.K[:2, 2])[..., None]
        misses = np.concatenate([by_focal, flat], axis=-1) / self.deviation[:, None, None]
        priors = np.eye(len(unknown))
        priors[_CAMERA] /= FOCAL_DEVIATION
        priors[_TURN] /= HEAD_DEVIATION
        priors[_EXPRESSION] /= EXPRESSION_DEVIATION
        return np.concatenate([misses.reshape(-1, len(unknown)), np.delete(priors, np.r_[_PLACE], axis=0)])

    def _project(self, unknown: Array) -> tuple[Array, Array, Array]:
        """Pixels (N, 2), points in the camera (N, 3), focal lengths (2,)."""
        pose, k = self.camera.world_to_camera, self.camera.K
        world = self.model.points(unknown[_SHAPE], unknown[_EXPRESSION], unknown[_TURN], unknown[_PLACE])
        seen = world @ pose[:3, :3].T + pose[:3, 3]
        focal = k[[0, 1], [0, 1]] * np.exp(unknown[0])
        return seen[:, :2] / seen[:, 2:] * focal + k[:2, 2], seen, focal

    def fit(self, unknown: Array) -> AnnyFit:
        errors = np.linalg.norm(self._project(unknown)[0] - self.observed, axis=1)
        joints = np.zeros((len(self.model.rig.parents), 3), np.float32)
        joints[self.model.rig.joint_names.index(HEAD)] = unknown[_TURN]
        k = self.camera.K.astype(np.float64)
        k[[0, 1], [0, 1]] *= np.exp(unknown[0])
        basis = self.model.basis
        shape = basis.mean + basis.directions @ unknown[_SHAPE] if self.identity is None else self.identity
        eyes = float(np.linalg.norm(np.subtract(*self.face.landmarks[list(EYES), :2].astype(np.float64))))
        rms = float(np.sqrt(np.mean(errors**2)))
        return AnnyFit(
            shape=shape.astype(np.float32),
            expression=np.clip(unknown[_EXPRESSION], 0, 1).astype(np.float32),
            joints=joints,
            translation=unknown[_PLACE].astype(np.float32),
            camera=Camera(
                k, np.asarray(self.camera.world_to_camera, np.float64), self.camera.width, self.camera.height
            ),
            landmarks=self.model.landmarks,
            errors=errors.astype(np.float32),
            rms_percent=100 * rms / eyes if eyes > 0 else float("nan"),
        )


def _centred(fit: AnnyFit) -> AnnyFit:
    """The same picture with the head at the world's origin: the camera takes the distance."""
    pose = fit.camera.world_to_camera.copy()
    pose[:3, 3] += pose[:3, :3] @ fit.translation
    camera = Camera(fit.camera.K, pose, fit.camera.width, fit.camera.height)
    return AnnyFit(
        shape=fit.shape,
        expression=fit.expression,
        joints=fit.joints,
        translation=np.zeros(3, np.float32),
        camera=camera,
        landmarks=fit.landmarks,
        errors=fit.errors,
        rms_percent=fit.rms_percent,
    )
