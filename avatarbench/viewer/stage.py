"""Where a cloud stands in the page's scene, and the page's camera as ours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from avatarbench.gaussians.cloud import Cloud
from avatarbench.heads import quaternions as quaternion
from avatarbench.method import Camera

Up = Literal["x", "y", "z", "-x", "-y", "-z"]
UPS: tuple[Up, ...] = ("x", "y", "z", "-x", "-y", "-z")

RADIUS = 10.0
"""Of what is shown, in units of the scene. The page keeps covariances in half precision, whose smallest exact number is
the square of a length of 0.008: with metres there, a millimetre would be noise."""
LARGEST = 200.0
"""Standard deviation in units of the scene: the square of a larger one is infinite in half precision."""
FIELD = math.radians(30)
"""The first camera's vertical field of view: a portrait lens."""


class Splats(NamedTuple):
    """As viser takes them: (N, 3), (N, 3, 3), (N, 3) in [0, 1] and (N, 1) in [0, 1]; units of the scene."""

    centers: NDArray[np.float32]
    covariances: NDArray[np.float32]
    rgbs: NDArray[np.float32]
    opacities: NDArray[np.float32]


@dataclass(frozen=True)
class Stage:
    """``scale``: units of the scene a metre; ``centre`` (3,) metres, which the camera looks at and turns about."""

    up: Up
    scale: float
    centre: NDArray[np.float64]

    @classmethod
    def around(cls, cloud: Cloud, up: Up, mesh: Tensor | None = None) -> Stage:
        """Nine in ten of the Gaussians, or of the vertices of the ``mesh`` (V, 3) that carries them, lie in the middle
        ball of :data:`RADIUS`: strays do not make a head small."""
        means = (cloud.means if mesh is None else mesh).double().numpy()
        centre = (np.quantile(means, 0.05, axis=0) + np.quantile(means, 0.95, axis=0)) / 2
        radius = np.quantile(np.linalg.norm(means - centre, axis=1), 0.9)
        alone = float(cloud.scales.amax(1).median()) * 3  # one Gaussian has no extent but its own
        return cls(up, RADIUS / max(float(radius), alone), centre)

    @property
    def upward(self) -> NDArray[np.float64]:
        """(3,) the upward axis."""
        return np.eye(3)["xyz".index(self.up[-1])] * (-1 if self.up[0] == "-" else 1)

    @property
    def forward(self) -> NDArray[np.float64]:
        """(3,) where a face looks: -y for Anny (z up), +z for FLAME (y up), -z for a camera's axes (y down)."""
        if self.up[-1] == "y":
            return np.array([0.0, 0.0, -1.0 if self.up[0] == "-" else 1.0])
        return np.array([0.0, -1.0, 0.0])

    def first_camera(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position and target (3,) in units of the scene: in front of the face, which fills two thirds of the page."""
        target = self.centre * self.scale
        return target + self.forward * RADIUS * 1.5 / math.tan(FIELD / 2), target

    def splats(self, cloud: Cloud) -> Splats:
        """A cloud in the scene; of spherical harmonics what does not depend on the view."""
        cloud = cloud.detach()
        turns = quaternion.to_matrix(cloud.quaternions)
        axes = turns * (cloud.scales[:, None] * self.scale).clamp_max(LARGEST)
        parts = (
            cloud.means * self.scale,
            axes @ axes.transpose(1, 2),
            cloud.rgb().clamp(0, 1),
            cloud.opacities[:, None],
        )
        return Splats(*(part.float().numpy() for part in parts))

    def camera(
        self, wxyz: NDArray[np.float64], position: NDArray[np.float64], fov: float, width: int, height: int
    ) -> Camera:
        """The page's camera (OpenCV axes, to the scene, ``fov`` vertical, radians) as one of metres that sees
        ``width`` x ``height`` pixels."""
        turn = Rotation.from_quat(np.roll(wxyz, -1)).as_matrix().T
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3], world_to_camera[:3, 3] = turn, -turn @ (np.asarray(position) / self.scale)
        focal = height / 2 / math.tan(fov / 2)
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        return Camera(K, world_to_camera, width, height)
