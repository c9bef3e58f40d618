"""What the face landmarker reads off OpenHeads against what is true there: detection, head angles, ARKit actions.

    python benchmarks/tracking.py [FOLDER] [--fit] [--limit N]

FOLDER is an OpenHeads folder; without one, the test split of the package. Nothing is calibrated: the landmarker's head
matrix is compared as it is. Angles are degrees of R = Rz(roll) Ry(yaw) Rx(pitch), from the rest pose to the camera, x
right, y up, z to the viewer: pitch is positive where the face looks down, yaw where it looks to the picture's right,
roll where the head's top leans to the picture's left. The truth is the head joint's rotation seen by the camera; its
zero is Anny's rest pose, the landmarker's that of its canonical face: a difference between the two shows up as bias.
``--fit`` also fits Anny's head to every frame by itself, its camera unknown.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.errors import DataError  # noqa: E402
from avatarbench.method import Camera, FaceTrack  # noqa: E402
from avatarbench.metrics.face import ARKIT_NAMES, FaceLandmarker, to_track  # noqa: E402
from avatarbench.metrics.features import Frame, Missing  # noqa: E402
from avatarbench.metrics.rotations import euler_degrees, nearest_rotation, wrap_degrees  # noqa: E402
from avatarbench.tracking.anny_fit import fit_portrait  # noqa: E402
from avatarbench.tracking.truth import Truth, head_in_camera, read_truth  # noqa: E402

YAW_EDGES = (-180, -60, -45, -30, -15, 0, 15, 30, 45, 60, 180)
STRONGEST = 12
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """N frames. ``angles`` (N, 3) and ``expression`` (N, 52), in the order of ``expression_names``, are the truth;
    ``found`` (N,); ``read_angles`` (N, 3) ``arkit`` (N, 52),
    ``fit_angles`` (N, 3) and ``fit_percent`` (N,), the reprojection error, are NaN where no face was found."""

    angles: Array
    expression: Array
    expression_names: tuple[str, ...]
    found: NDArray[np.bool_]
    read_angles: Array
    arkit: Array
    fit_angles: Array
    fit_percent: Array


def measure(folder: Path, limit: int | None = None, fit: bool = False) -> Readings:
    """Run the landmarker over the pictures of a folder that have truth, the first ``limit`` of them if given."""
    from avatarbench.datasets.nersemble import NersembleDataset

    data, landmarker = NersembleDataset(folder), FaceLandmarker()
    rows: list[tuple[Array, Array, bool, Array, Array, Array, float]] = []
    names: tuple[str, ...] = ()
    try:
        for sequence, index, truth, row in _frames(data, folder):
            if limit is not None and len(rows) == limit:
                break
            camera = data.camera(sequence)
            if camera is None:
                raise DataError(f"{folder}: {sequence} has no camera, so its true angles are unknown.")
            if names and truth.expression_names != names:
                raise DataError(f"{folder}: {sequence} orders its expressions in another way than those before it.")
            names = truth.expression_names
            true = euler_degrees(head_in_camera(truth.joints[row], camera))
            seen = landmarker.extract([Frame(data.read(sequence, index))])[0]
            if isinstance(seen, Missing):
                read, arkit = np.full(3, np.nan), np.full(52, np.nan)
                fitted, percent = np.full(3, np.nan), np.nan
            else:
                read = euler_degrees(nearest_rotation(seen["head"][:3, :3]))
                arkit = seen["arkit"].astype(np.float64)
                fitted, percent = _fitted(to_track(seen), camera) if fit else (np.full(3, np.nan), np.nan)
            expression, there = truth.expression[row].astype(np.float64), not isinstance(seen, Missing)
            rows.append((true, expression, there, read, arkit, fitted, percent))
    finally:
        landmarker.close()
        data.close()
    if not rows:
        raise DataError(f"{folder} holds no sequence with a truth.npz: name an OpenHeads folder.")
    angles, expressions, *others = (np.array(column) for column in zip(*rows, strict=True))
    return Readings(angles, expressions, names, *others)


def _fitted(face: FaceTrack, camera: Camera) -> tuple[Array, float]:
    """Angles (3,) of Anny's head fitted without knowing the camera, and its reprojection error in per cent."""
    found = fit_portrait(face, (camera.width, camera.height))
    return euler_degrees(head_in_camera(found.joints, found.camera)), found.rms_percent


def _frames(data: object, folder: Path) -> Iterator[tuple[str, int, Truth, int]]:
    """Sequence, frame index, truth and its row, of every frame that has truth."""
    from avatarbench.datasets.nersemble import NersembleDataset

    assert isinstance(data, NersembleDataset)
    for sequence in data.sequences():
        identity, _, rest = sequence.partition("_")
        path = folder / identity / "sequences" / rest.rpartition("_")[0] / "truth.npz"
        if not path.is_file():
            continue
        truth = read_truth(path)
        for index in range(data.length(sequence)):
            yield sequence, index, truth, truth.row(data.frame_number(sequence, index))


def detection(yaw: Array, found: NDArray[np.bool_], edges: Sequence[float] = YAW_EDGES) -> list[tuple[str, int, int]]:
    """Label, frames found and frames in all of each bin of true yaw that has any; a bin holds its lower edge."""
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = (yaw >= low) & (yaw < high)
        if inside.any():
            rows.append((f"{low:+g} to {high:+g}", int(found[inside].sum()), int(inside.sum())))
    return rows


def angle_errors(true: Array, read: Array) -> tuple[Array, Array]:
    """Mean absolute error (3,) and bias (3,), read minus true, over the frames (N, 3) that were read; NaN for none."""
    apart = wrap_degrees(read - true)
    apart = apart[np.isfinite(apart).all(axis=1)]
    if not len(apart):
        return np.full(3, np.nan), np.full(3, np.nan)
    return np.abs(apart).mean(axis=0), apart.mean(axis=0)


def correlations(
    expression: Array, names: Sequence[str], arkit: Array, count: int = STRONGEST
) -> list[tuple[str, float, float]]:
    """Name, true standard deviation, and Pearson correlation of truth and reading, of the ``count`` actions whose truth
    varies most among those that the landmarker reads; over the frames that were read. NaN where either is constant."""
    read = np.isfinite(arkit).all(axis=1)
    deviations = expression[read].std(axis=0) if read.any() else np.zeros(len(names))
    order = [n for n in np.argsort(-deviations, kind="stable") if names[n] in ARKIT_NAMES][:count]
    found = []
    for n in order:
        truth, reading = expression[read, n], arkit[read, ARKIT_NAMES.index(names[n])]
        varies = len(truth) > 1 and truth.std() > 1e-9 and reading.std() > 1e-9
        found.append((names[n], float(deviations[n]), float(np.corrcoef(truth, reading)[0, 1]) if varies else np.nan))
    return found


def report(readings: Readings) -> str:
    """What :func:`main` prints."""
    total, seen = len(readings.found), int(readings.found.sum())
    lines = [
        f"frames: {total}, face found in {seen} ({100 * seen / total:.1f} %)",
        "",
        "detection by true yaw, degrees",
    ]
    lines += [f"  {label:<12} {n:>5} of {of:<5} {100 * n / of:6.1f} %" for label, n, of in _bins(readings)]
    error, bias = angle_errors(readings.angles, readings.read_angles)
    lines += ["", "head angles, degrees: mean absolute error, bias (read minus true)"]
    lines += [f"  {n:<6} {e:6.2f} {b:+7.2f}" for n, e, b in zip(("pitch", "yaw", "roll"), error, bias, strict=True)]
    if np.isfinite(readings.fit_percent).any():
        error, bias = angle_errors(readings.angles, readings.fit_angles)
        lines += ["", f"Anny fit, reprojection error {np.nanmean(readings.fit_percent):.2f} % of the eye distance"]
        lines += [f"  {n:<6} {e:6.2f} {b:+7.2f}" for n, e, b in zip(("pitch", "yaw", "roll"), error, bias, strict=True)]
    lines += ["", f"the {STRONGEST} ARKit actions of largest true variance: deviation, correlation with the reading"]
    found = correlations(readings.expression, readings.expression_names, readings.arkit)
    lines += [f"  {name:<20} {deviation:6.3f} {r:+7.3f}" for name, deviation, r in found]
    return "\n".join(lines)


def _bins(readings: Readings) -> list[tuple[str, int, int]]:
    return detection(readings.angles[:, 1], readings.found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="an OpenHeads folder; default: the package's test split")
    parser.add_argument("--fit", action="store_true", help="fit Anny's head to every frame too")
    parser.add_argument("--limit", type=int, help="look at so many frames only")
    given = parser.parse_args()
    folder = given.folder
    try:
        if folder is None:
            from avatarbench.datasets.openheads import embedded_split

            folder = embedded_split()
        print(report(measure(folder, given.limit, given.fit)))
    except DataError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
