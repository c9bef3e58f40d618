"""What a driver's path holds."""

from __future__ import annotations

from pathlib import Path

from avatarbench.animation.driver import Driver
from avatarbench.errors import DataError, UsageError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.npz import read_npz

EXPORT = "transforms.json"


def open_driver(path: Path, head: GaussianHead) -> Driver:
    """The frames under ``path`` for an avatar.

    A video, a picture or a folder of frames; an ARKit CSV; ``.npz``: ``track.npz``, ``anny.npz``, ``truth.npz``,
    ``arkit`` with head rotations, or FLAME's parameters; a folder of a VHAP export. Raises UsageError for a driver that
    does not move the avatar's rig, DataError for a file that cannot be read.
    """
    from avatarbench.animation import arkit, faces, parameters

    if not path.exists():
        raise DataError(f"{path} does not exist: check --driver.")
    suffix = path.suffix.lower()
    if path.is_dir() and (path / EXPORT).is_file():
        return parameters.of_export(path, _on(head, "flame", path, "FLAME's parameters"))
    if suffix == ".csv":
        return arkit.of_csv(path, _on(head, "anny", path, "ARKit coefficients"))
    if suffix != ".npz":
        return faces.of_pictures(path, _on(head, "anny", path, "a face in pictures"))
    arrays = read_npz(path, "write it again")
    if "landmarks" in arrays and "found" in arrays:
        from avatarbench.tracking.track_file import load_track

        return faces.of_track(load_track(path), _on(head, "anny", path, "a face in pictures"))
    if "expression" in arrays:
        return parameters.of_states(arrays, _on(head, "anny", path, "Anny's parameters"), path)
    if "arkit" in arrays:
        return arkit.of_arrays(arrays, _on(head, "anny", path, "ARKit coefficients"), path)
    if "expr" in arrays:
        return parameters.of_flame(arrays, _on(head, "flame", path, "FLAME's parameters"), path)
    raise DataError(
        f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}, and no motion: 'arkit', 'expression', or FLAME's "
        "'expr' are read. See docs/animate.md."
    )


def _on(head: GaussianHead, rig: str, path: Path, what: str) -> GaussianHead:
    """The head, if it is on that rig."""
    own = "flame" if head.rig.name.startswith("flame") else head.rig.name
    if own != rig:
        takes = "FLAME's parameters (.npz, or a VHAP export)" if own == "flame" else "a video, ARKit coefficients"
        raise UsageError(
            f"{path} holds {what}, which move the rig '{rig}', and this avatar is bound to '{head.rig.name}': drive it "
            f"by {takes}."
        )
    return head
