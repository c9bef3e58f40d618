"""Drivers that are faces in pictures: Anny's head, with the avatar's shape, is fitted to the landmarks of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avatarbench.animation.driver import Driver, Frame, Pose
from avatarbench.datasets.folder import FolderDataset
from avatarbench.errors import DataError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.method import FaceTrack
from avatarbench.metrics.face import FaceLandmarker, to_track
from avatarbench.metrics.features import Frame as Pixels
from avatarbench.metrics.features import Missing
from avatarbench.tracking.anny_fit import FOCAL_PRIOR, fit_pose, front_camera
from avatarbench.tracking.face_model import known_face
from avatarbench.tracking.pipeline import frame_rate, only_sequence
from avatarbench.tracking.track_file import Track

Follow = Callable[[FaceTrack], Frame]


def of_pictures(path: Path, head: GaussianHead) -> Driver:
    """A video, a folder of frames or one picture.

    Frames are read, tracked and forgotten one by one. Raises DataError for what cannot be read, UsageError for a folder
    of several sequences; the frames raise DataError where one has another size than the first.
    """
    data = FolderDataset(path, loose="frames")
    name = only_sequence(data)
    count = data.length(name)
    height, width = data.read(name, 0).shape[:2]
    size, notes = (width, height), list[str]()

    def frames() -> Iterator[Frame]:
        landmarker, follow = FaceLandmarker(), following(head, size)
        try:
            for index in range(count):
                picture = data.read(name, index)
                here = (picture.shape[1], picture.shape[0])
                if here != size:
                    raise DataError(
                        f"frame {index} of {path} is {here[0]} x {here[1]} pixels and the first is {size[0]} x "
                        f"{size[1]}: frames of one driver must have one size. Scale them, or drive by each alone."
                    )
                yield _read(picture, landmarker, follow)
        finally:
            landmarker.close()
            notes.extend(note for note in data.notes(name) if note not in notes)
            data.close()

    return Driver(count, frame_rate(path), frames, size, pictures=True, notes=notes)


def of_track(track: Track, head: GaussianHead) -> Driver:
    """What ``avatarbench track`` wrote of a driver: no landmarker is needed again."""

    def frames() -> Iterator[Frame]:
        follow = following(head, track.size)
        for index in range(len(track)):
            face = track.face(index)
            yield Frame(None, None, track.reasons[index]) if face is None else follow(face)

    return Driver(len(track), track.fps, frames, track.size)


def following(head: GaussianHead, size: tuple[int, int]) -> Follow:
    """From a face in a picture of ``size`` (width, height) to the avatar's pose, each by itself.

    The shape is the avatar's, never the driver's; the camera is a plain one of the tracker's usual focal length, since
    a driver's is not known, and the head stands where the driver's is seen.
    """
    camera, model = front_camera(size, FOCAL_PRIOR * max(size)), known_face(head.shape.numpy())

    def follow(face: FaceTrack) -> Frame:
        try:
            fit = fit_pose(face, model, camera)
        except DataError as error:  # landmarks that are not finite: a frame like one without a face
            return Frame(None, None, str(error))
        expression, joints, place = map(torch.from_numpy, (fit.expression, fit.joints, fit.translation))
        return Frame(Pose(expression, joints, place, fit.camera))

    return follow


def _read(picture: NDArray[np.uint8], landmarker: FaceLandmarker, follow: Follow) -> Frame:
    (seen,) = landmarker.extract([Pixels(picture)])
    if isinstance(seen, Missing):
        return Frame(None, picture, seen.reason)
    return follow(to_track(seen))._replace(picture=picture)
