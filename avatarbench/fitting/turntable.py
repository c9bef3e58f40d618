"""A cloud turning before the camera, as a video."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from avatarbench.files import writing
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.render import render
from avatarbench.method import Camera

FRAMES, FPS = 72, 24
DISTANCE = 1.0  # metres
FIELD = 0.40  # metres across at that distance


def orbit(angle: float, size: int, height: float = 0.02) -> Camera:
    """A camera ``angle`` radians round the head, z up, zero in front of the face (which looks along -y)."""
    position = np.array([DISTANCE * math.sin(angle), -DISTANCE * math.cos(angle), height])
    forward = np.array([0.0, 0.0, height]) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(forward, right), forward])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3], world_to_camera[:3, 3] = turn, -turn @ position
    focal = size * DISTANCE / FIELD
    k = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return Camera(k, world_to_camera, size, size)


def turntable(cloud: Cloud, path: Path, size: int = 256, frames: int = FRAMES) -> None:
    """One turn round ``cloud``, over white, H.264. Raises OSError."""
    with writing(path) as temporary:
        container = av.open(str(temporary), "w", format="mp4")
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "18"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for frame in range(frames):
            camera = orbit(2 * math.pi * frame / frames, size)
            with torch.no_grad():
                image = render(cloud, [camera], background=torch.ones(3)).image[0]
            picture = (image.clamp(0, 1) * 255).round().byte().numpy()
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
        container.close()
