"""``anny.npz``: Anny's head over the frames of one track, one identity and one camera."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.metrics.rotations import euler_degrees, nearest_rotation
from avatarbench.tracking.anny_fit import AnnyFit, fit_motion, fit_portrait
from avatarbench.tracking.face_model import face_model
from avatarbench.tracking.track_file import Track

_CLOSED_OR_OPEN = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight")


@dataclass(frozen=True)
class AnnyTrack:
    """``fits``: one a frame, None where there was no face; all have the shape and the camera of ``fits[portrait]``."""

    fits: Sequence[AnnyFit | None]
    portrait: int

    def save(self, path: Path) -> None:
        """Write the whole file or nothing; the arrays of ``truth.npz`` under its names. Raises OSError.

        ``expression`` (T, 52), ``joints`` (T, 8, 3), ``translation`` (T, 3), ``frames`` (T,), ``expression_names``,
        ``joint_names``; and ``shape`` (S,), ``shape_names``, ``K``, ``world_to_camera``, ``size``, ``portrait``,
        ``landmarks`` (N,), ``errors`` (T, N) pixels, ``rms_pixels`` (T,), ``rms_percent`` (T,). NaN without a face.
        """
        first = self.fits[self.portrait]
        assert first is not None
        rig = face_model().rig
        with writing(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                expression=self._rows(lambda fit: fit.expression, (52,)),
                joints=self._rows(lambda fit: fit.joints, first.joints.shape),
                translation=self._rows(lambda fit: fit.translation, (3,)),
                frames=np.arange(len(self.fits)),
                expression_names=np.array(rig.expression_names, np.str_),
                joint_names=np.array(rig.joint_names, np.str_),
                shape=first.shape,
                shape_names=np.array(rig.shape_names, np.str_),
                K=first.camera.K,
                world_to_camera=first.camera.world_to_camera,
                size=np.array([first.camera.width, first.camera.height]),
                portrait=np.int64(self.portrait),
                landmarks=first.landmarks,
                errors=self._rows(lambda fit: fit.errors, first.errors.shape),
                rms_pixels=self.rms_pixels,
                rms_percent=self.rms_percent,
            )

    @property
    def rms_pixels(self) -> NDArray[np.float32]:
        """(T,) reprojection error."""
        return self._rows(lambda fit: np.float32(fit.rms_pixels), ())

    @property
    def rms_percent(self) -> NDArray[np.float32]:
        """(T,) reprojection error in per cent of the distance of the outer eye corners."""
        return self._rows(lambda fit: np.float32(fit.rms_percent), ())

    def _rows(self, of: Callable[[AnnyFit], object], shape: tuple[int, ...]) -> NDArray[np.float32]:
        blank = np.full(shape, np.nan, np.float32)
        return np.stack([blank if fit is None else np.asarray(of(fit), np.float32) for fit in self.fits])


def fit_track(track: Track, on_frame: Callable[[int], None] | None = None) -> AnnyTrack:
    """Identity and camera from the frame of :func:`portrait_frame`; expression and pose of every frame with a face.

    Each frame is fitted by itself. ``on_frame`` is told the number of frames done. Raises DataError without any face.
    """
    number = portrait_frame(track)
    face = track.face(number)
    assert face is not None
    portrait = fit_portrait(face, track.size)
    fits: list[AnnyFit | None] = []
    for index in range(len(track)):
        here = track.face(index)
        if index == number:
            fits.append(portrait)
        else:
            fits.append(None if here is None else fit_motion(here, portrait))
        if on_frame is not None:
            on_frame(index + 1)
    return AnnyTrack(fits, number)


def portrait_frame(track: Track) -> int:
    """The frame that shows the identity best: the head turned least, mouth and eyes neither open nor shut.

    The least sum of |pitch| and |yaw| in degrees and 20 times the coefficients of jawOpen and of both blinks; the first
    of equals. Raises DataError without any face.
    """
    found = np.flatnonzero(track.found)
    if not len(found):
        raise DataError(f"no face was found in any of the {len(track)} frames, so there is nothing to fit.")
    columns = [ARKIT_NAMES.index(name) for name in _CLOSED_OR_OPEN]
    costs = []
    for index in found:
        pitch, yaw, _ = euler_degrees(nearest_rotation(track.head[index, :3, :3]))
        costs.append(abs(pitch) + abs(yaw) + 20 * float(track.arkit[index, columns].sum()))
    return int(found[int(np.argmin(costs))])
