"""An avatar under a driver, as a video or pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from avatarbench.animation.driver import Driver, Frame, Pose
from avatarbench.datasets.images import write_png
from avatarbench.errors import DataError, UsageError
from avatarbench.fitting.turntable import orbit
from avatarbench.gaussians.head import GaussianHead
from avatarbench.gaussians.render import render
from avatarbench.method import Camera
from avatarbench.tracking.driving import resized
from avatarbench.tracking.overlay import write_video

View = Literal["front", "driver"]
Picture = NDArray[np.uint8]
STILLS_FPS = 25.0
"""Of drivers that do not say."""
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Look:
    """``size``: height of the picture, pixels. ``view``: ``front`` holds the head in the middle of a square, ``driver``
    looks as the driver's camera does. ``background``: RGB in [0, 1]. ``beside``: the driver's picture stands to the
    left."""

    size: int = 512
    view: View = "front"
    background: tuple[float, float, float] = WHITE
    beside: bool = False


@dataclass
class Filmed:
    """``frames`` that were written; ``held``: those of them without a face, in which the pose before stays; ``reason``:
    why the first of these has none. ``seconds`` of posing and rendering, a frame each."""

    frames: int = 0
    held: int = 0
    reason: str = ""
    seconds: list[float] = field(default_factory=list)


def film(
    head: GaussianHead,
    driver: Driver,
    out: Path,
    look: Look,
    fps: float | None = None,
    limit: int | None = None,
    watch: Callable[[int], None] | None = None,
) -> Filmed:
    """Write ``out``, .mp4 or, for a driver of one frame, .png: whole or not at all.

    A frame without a face keeps the pose before, or rests where there was none. ``watch`` is told the number of frames
    done. Raises UsageError for a view or pictures that the driver does not have, DataError where no frame has a face,
    and OSError.
    """
    count = driver.count if limit is None else min(limit, driver.count)
    if look.view == "driver" and driver.size is None:
        raise UsageError("this driver has no camera: leave --camera at front.")
    if look.beside and not driver.pictures:
        raise UsageError("this driver has no pictures to stand beside the avatar: leave --side-by-side out.")
    if out.suffix.lower() == ".png" and count != 1:
        raise UsageError(f"--out {out} is one picture, and the driver has {count} frames: name an .mp4, or --limit 1.")
    done = Filmed()
    size = driver.size if look.view == "driver" else None
    pictures = _pictures(head, islice(driver.frames(), count), look, size or (1, 1), done, count)
    if out.suffix.lower() == ".png":
        (picture,) = pictures
        write_png(out, picture)
    else:
        write_video(out, pictures, fps or driver.fps or STILLS_FPS, watch)
    return done


def _pictures(
    head: GaussianHead, frames: Iterator[Frame], look: Look, shape: tuple[int, int], done: Filmed, count: int
) -> Iterator[Picture]:
    """Each frame's picture, as wide to its height as ``shape``. Before the first face the head rests, seen from the
    front."""
    size = (max(2, round(shape[0] * look.size / shape[1] / 2) * 2), look.size)  # even, for a video
    pose: Pose | None = None
    for frame in frames:
        begun = time.perf_counter()
        if frame.pose is not None:
            pose = frame.pose
        else:
            done.held += 1
            done.reason = done.reason or frame.reason
        done.frames += 1
        if done.held == count:
            raise DataError(
                f"no frame of the driver has a face ({count} frames; the first: {done.reason}): the face should be "
                "upright, unobstructed, and a tenth of the picture or more."
            )
        picture = shown(head, pose or Pose(*head.neutral()), size, look)
        done.seconds.append(time.perf_counter() - begun)
        yield picture if not look.beside else _beside(frame.picture, picture)


def shown(head: GaussianHead, pose: Pose, size: tuple[int, int], look: Look) -> Picture:
    """(H, W, 3) uint8, ``size`` being (W, H), of the head under a pose; from the front where there is no camera."""
    translation = pose.translation
    if look.view == "driver" and pose.camera is not None:
        camera = resized(pose.camera, size)
    else:
        camera, translation = _front(size, head.rig.name != "anny"), torch.zeros_like(translation)
    with torch.no_grad():
        cloud = head.posed(pose.expression, pose.joints, translation)
        image = render(cloud, [camera], background=torch.tensor(look.background)).image[0]
    return np.asarray((image.clamp(0, 1) * 255).round().byte().numpy())


def _front(size: tuple[int, int], y_up: bool) -> Camera:
    """In front of a head at rest, which is in the middle."""
    camera = orbit(0.0, size[1], y_up=y_up)
    k = camera.K.copy()
    k[0, 2] = size[0] / 2
    return Camera(k, camera.world_to_camera, *size)


def _beside(driver: Picture | None, avatar: Picture) -> Picture:
    assert driver is not None  # of a driver that has pictures
    height = len(avatar)
    width = max(2, round(driver.shape[1] * height / driver.shape[0] / 2) * 2)
    small = cv2.resize(driver, (width, height), interpolation=cv2.INTER_AREA)
    return np.concatenate([np.asarray(small, np.uint8), avatar], axis=1)
