"""A head before a camera that goes round it, then making faces, as a video."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from avatarbench.files import writing
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead
from avatarbench.gaussians.render import render
from avatarbench.heads.rig import Rig
from avatarbench.method import Camera

FRAMES, FPS = 72, 24
BEAT = 16
"""Frames that a face takes, from neutral and back."""
DISTANCE = 1.0  # metres
FIELD = 0.40  # metres across at that distance

FROM_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""From FLAME's axes (y up, the face looks along +z) to Anny's (z up, along -y)."""

FACES: dict[str, tuple[tuple[dict[str, float], dict[str, tuple[float, float, float]]], ...]] = {
    "anny": (
        ({"jawOpen": 0.8}, {}),
        ({"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5}, {}),
        ({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, {}),
        ({"browInnerUp": 0.9, "mouthPucker": 0.9}, {}),
    ),
    "flame": (
        ({}, {"jaw": (0.35, 0.0, 0.0)}),
        ({"expression0": 2.0}, {}),
        ({"expression1": 2.0}, {}),
        ({}, {"eye.L": (0.0, 0.3, 0.0), "eye.R": (0.0, 0.3, 0.0)}),
    ),
}
"""By rig, the faces of the video: coefficients, and joints in radians."""


def orbit(angle: float, size: int, height: float = 0.02, y_up: bool = False) -> Camera:
    """A camera ``angle`` radians round the head, zero in front of the face, ``height`` metres above the origin; Anny's
    axes, or FLAME's with ``y_up``."""
    position = np.array([DISTANCE * math.sin(angle), -DISTANCE * math.cos(angle), height])
    forward = np.array([0.0, 0.0, height]) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(forward, right), forward])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3], world_to_camera[:3, 3] = turn, -turn @ position
    if y_up:
        world_to_camera = world_to_camera @ FROM_Y_UP
    focal = size * DISTANCE / FIELD
    k = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return Camera(k, world_to_camera, size, size)


def turntable(head: GaussianHead, path: Path, size: int = 256, frames: int = FRAMES, beat: int = BEAT) -> None:
    """One turn round the neutral head, then faces from the front, over white, H.264. Raises OSError."""
    y_up = head.rig.name != "anny"
    with writing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "18"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # x264's output depends on it
        for cloud, angle in _shots(head, frames, beat):
            with torch.no_grad():
                image = render(cloud, [orbit(angle, size, y_up=y_up)], background=torch.ones(3)).image[0]
            picture = (image.clamp(0, 1) * 255).round().byte().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _shots(head: GaussianHead, frames: int, beat: int) -> Iterator[tuple[Cloud, float]]:
    for frame in range(frames):
        yield head.cloud, 2 * math.pi * frame / frames
    for coefficients, joints in FACES["anny" if head.rig.name == "anny" else "flame"]:
        expression, turns = pose(head.rig, coefficients, joints)
        for frame in range(beat):
            part = math.sin(math.pi * frame / beat) ** 2
            yield head.posed(part * expression, part * turns, head.neutral()[2]), 0.0


def pose(
    rig: Rig, coefficients: dict[str, float], joints: dict[str, tuple[float, float, float]]
) -> tuple[Tensor, Tensor]:
    """Expression (E,) and joints (J, 3) by name, zero where not named."""
    expression, turns = torch.zeros(len(rig.expression_names)), torch.zeros(len(rig.joint_names), 3)
    for name, value in coefficients.items():
        expression[rig.expression_names.index(name)] = value
    for name, vector in joints.items():
        turns[rig.joint_names.index(name)] = torch.tensor(vector)
    return expression, turns
