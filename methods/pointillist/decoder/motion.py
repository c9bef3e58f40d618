"""Eq. 5 for training: one decoded cloud under several poses, with what does not change of a subject kept."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import load_rig
from avatarbench.heads.binding import Binding, animate, bind
from avatarbench.heads.decimate import Decimated, decimate
from avatarbench.heads.rig import Rig, rotation_matrix
from avatarbench.methods.pointillist.decoder.frames import Pose
from avatarbench.methods.pointillist.training_set import TrainingSet


class Movable:
    """A rig, and the mesh that bindings name: its own, or ``small``, on ``device``."""

    def __init__(self, rig: Rig, small: Decimated | None, device: torch.device) -> None:
        self.rig, self.small, self.device = rig, small, device
        # A copy, for others may hold the same rig where it is.
        self._there = rig if device.type == "cpu" else copy.deepcopy(rig).to(device)

    @property
    def faces(self) -> Tensor:
        return self.rig.faces if self.small is None else self.small.faces

    @torch.no_grad()
    def skeleton(self, vertices: Tensor, shape: Tensor) -> Skeleton:
        """Of a head that was tracked: ``vertices`` (V, 3) metres, at rest, and its coefficients ``shape`` (S,). Raises
        DataError for a mesh that is not the rig's."""
        count = len(self.rig.template) if self.small is None else len(self.small.corners)
        if len(vertices) != count or len(shape) > self.rig.shape_directions.shape[-1]:
            raise DataError(
                f"a tracked mesh has {len(vertices)} vertices and {len(shape)} coefficients, and the rig "
                f"'{self.rig.name}' {count} and {self.rig.shape_directions.shape[-1]}: it is of another rig."
            )
        rest, joints = self.rig.rest(shape[None], shape.new_zeros(1, 0))
        if self.small is None:
            # What the coefficients do not say of the mesh: a tracker's static offsets.
            return Skeleton(self._there, shape.to(self.device), (vertices - rest[0]).to(self.device))
        own = self.small.rig(self.rig, rest[0], joints[0])
        own.template.copy_(vertices)
        return Skeleton(own.to(self.device), None, None)


class Skeleton:
    """One subject's, to which clouds are bound; the same as
    :meth:`avatarbench.gaussians.head.GaussianHead.posed` in the form ``barycentric``."""

    def __init__(self, rig: Rig, shape: Tensor | None, offsets: Tensor | None) -> None:
        self.rig, self.shape, self.offsets = rig, shape, offsets

    def posed(self, cloud: Cloud, poses: Sequence[Pose]) -> list[Cloud]:
        """The canonical ``cloud`` under each of the poses; differentiable in all of it. Raises DataError for a binding
        or a pose that the rig does not have."""
        device = cloud.means.device
        expression, joints, translation = (torch.stack(part).to(device) for part in zip(*poses, strict=True))
        binding = self._bound(cloud)
        moved = animate(binding, expression, rotation_matrix(joints), translation, quaternions=cloud.quaternions)
        assert moved.quaternions is not None
        return [replace(cloud, means=a, quaternions=b) for a, b in zip(moved.points, moved.quaternions, strict=True)]

    def _bound(self, cloud: Cloud) -> Binding:
        if cloud.bindings is None:
            raise DataError("this cloud is bound to no faces, so that no rig can move it.")
        return bind(self.rig, cloud.means, cloud.bindings, self.shape, self.offsets)


def movable_of(subjects: TrainingSet, device: torch.device) -> Movable:
    """The rig that a set's bindings name. Raises DataError where this machine makes another one of the set's
    description, AssetError for FLAME that was not imported."""
    try:
        name, count = str(subjects.config["rig"]), subjects.config["fit_config"]["faces"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{subjects.root} does not say which rig its clouds are bound to: build it anew.") from error
    rig = load_rig(name)
    found = Movable(rig, None if count is None else decimate(rig, int(count)), device)
    if not torch.equal(found.faces.cpu(), subjects.faces):
        raise DataError(
            f"{subjects.root} was made on a rig of {len(subjects.faces)} faces that are not those that '{name}' with "
            f"{count} has here: was it made on another machine, or were anny or fast-simplification updated since? "
            "Install what it was made with, or build it anew."
        )
    return found
