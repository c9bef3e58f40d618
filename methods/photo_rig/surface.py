"""The head's surface as Gaussians coloured from the photograph."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from torch import Tensor

from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.rigged import face_frames, to_local, to_world
from avatarbench.method import Camera
from avatarbench.tracking.anny_fit import AnnyFit

from .anatomy import SKIN, Anatomy
from .discs import Cells, cut, discs
from .foreground import Layers
from .inpaint import pull_push, spread
from .projection import drawn, project, sample

Floats = NDArray[np.float32]

FINE, COARSE = 1.25, 3.5
"""Spacing of the discs in pixels of the portrait, where it sees the surface and where it does not."""
MOST = 60_000
OPACITY = 0.99
GRAZING, FACING = 0.22, 0.5
"""Cosines to the camera below which a colour is not believed, and above which it is."""
SEEN, CLEAR = 0.35, 0.75
"""Shares of a disc that must be seen for its colour to be believed at all, and wholly."""
NEAR = 0.15
"""Of the picture's height: how far hair beside the head speaks for the scalp behind it."""
SYMMETRIC = 0.004  # metres: how far a mirrored place may lie from its partner


@dataclass(frozen=True)
class Surface:
    """Discs on the posed head. ``cells``: where on the mesh; ``cloud``: in the portrait's pose, coloured, with
    bindings; ``trust`` (N,): from 0, invented, to 1, read off the photograph."""

    cells: Cells
    cloud: Cloud
    trust: Tensor


def discs_of(fit: AnnyFit, anatomy: Anatomy) -> Surface:
    """The posed head's discs, black and not trusted.

    They have the size and shape that covers the face at rest: what a smile has pressed together would else tear open
    when it ends.
    """
    vertices, faces, shape = torch.from_numpy(fit.vertices()), anatomy.rig.faces, torch.from_numpy(fit.shape)
    rest = anatomy.rig.rest(shape[None], shape.new_zeros(1, 0))[0][0]
    cells = cut(_parts(vertices[faces], fit.camera))
    means, quaternions, scales = discs(cells.triangles(rest, faces))
    opacities, black = torch.full((len(means),), OPACITY), torch.zeros(len(means), 3)
    calm = Cloud(means, quaternions, scales, opacities, black, cells.faces)
    local = to_local(calm, face_frames(rest, faces).of(cells.faces))
    posed = to_world(local, face_frames(vertices, faces), cells.faces)
    return Surface(cells, replace(posed, means=cells.points(vertices, faces)), torch.zeros(len(means)))


def coloured(bare: Surface, fit: AnnyFit, anatomy: Anatomy, layers: Layers, alpha: Floats) -> Surface:
    """The discs with the portrait's colours, without those that stand out over the person's outline. ``alpha``
    (H, W): what the discs cover."""
    cells, cloud, faces = bare.cells, bare.cloud, anatomy.rig.faces
    pixels, _ = project(cloud.means, fit.camera)
    weight, _ = drawn(cloud, fit.camera, torch.zeros(*alpha.shape, 0))
    size, cosine = _seen_size(cells.triangles(torch.from_numpy(fit.vertices()), faces), fit.camera)
    trust = _ramp(weight / size.clamp_min(1e-3), SEEN, CLEAR) * _ramp(cosine, GRAZING, FACING)
    trust = trust * _inside(pixels, fit.camera)
    kept = torch.ones(len(cloud), dtype=torch.bool)
    beside = (alpha < 0.5).astype(np.float32)
    if layers.share is not None and layers.sure is not None:
        share = torch.from_numpy(sample(layers.share, pixels))
        trust = trust * torch.from_numpy(sample(layers.sure, pixels))
        kept = share > 0.5
        beside = beside * layers.share
    scalp = cells.points(anatomy.scalp[:, None], faces)[:, 0]
    far = distance_transform_edt(beside < 0.5).astype(np.float32) / (NEAR * len(alpha))
    away = _ramp(-cosine, -0.1, 0.4) * scalp * torch.from_numpy(sample(np.exp(-far), pixels))
    behind = torch.from_numpy(sample(pull_push(layers.person, beside), pixels))
    colours = _completed(torch.from_numpy(sample(layers.person, pixels)), trust, behind, away, cells, anatomy)
    return Surface(
        Cells(cells.faces[kept], cells.corners[kept]), replace(cloud, colours=colours).select(kept), trust[kept]
    )


def _parts(triangles: Tensor, camera: Camera) -> NDArray[np.int64]:
    """(F,) parts an edge: fine where the triangle faces the camera, coarse elsewhere, at most :data:`MOST` in all."""
    size, cosine = _seen_size(triangles, camera)
    whole = size / cosine.abs().clamp_min(1e-3)  # pixels that it would cover if it faced the camera
    spacing = torch.where(cosine > 0.05, FINE, COARSE)
    wanted = (whole / spacing**2).numpy()
    while True:
        parts = np.clip(np.rint(np.sqrt(wanted)), 1, 64).astype(np.int64)
        if (parts**2).sum() <= MOST or parts.max() == 1:
            return parts
        wanted = wanted * 0.8


def _seen_size(triangles: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Pixels (N,) that triangles (N, 3, 3) cover, and the cosines (N,) of their normals to the ray from the camera."""
    pixels, _ = project(triangles.reshape(-1, 3), camera)
    a, b, c = pixels.reshape(-1, 3, 2).unbind(1)
    size = 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs()
    x, y, z = triangles.unbind(1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(y - x, z - x), dim=1, eps=1e-20)
    pose = torch.as_tensor(camera.world_to_camera, dtype=triangles.dtype)
    eye = -pose[:3, :3].T @ pose[:3, 3]
    return size, (normal * torch.nn.functional.normalize(eye - x, dim=1)).sum(1)


def _inside(pixels: Tensor, camera: Camera) -> Tensor:
    limit = torch.tensor([camera.width, camera.height], dtype=pixels.dtype)
    return ((pixels >= 0.5) & (pixels <= limit - 0.5)).all(1).to(pixels.dtype)


def _ramp(value: Tensor, low: float, high: float) -> Tensor:
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _completed(colours: Tensor, trust: Tensor, behind: Tensor, away: Tensor, cells: Cells, anatomy: Anatomy) -> Tensor:
    """(N, 3): own colours as far as they are trusted, then the mirror partner's, then for what faces ``away`` (N,) that
    of hair and shoulders beside the head, ``behind`` (N, 3), then the neighbourhood's."""
    faces, template = anatomy.rig.faces, anatomy.rig.template
    place = cells.points(template, faces).numpy()
    distance, partner = cKDTree(place).query(place * np.array([-1, 1, 1], np.float32))
    partner_trust = trust[partner] * torch.from_numpy((distance < SYMMETRIC).astype(np.float32))
    partner_trust = partner_trust * (anatomy.part[faces[cells.faces, 0]] == SKIN)  # eyes are not mirrored: they look
    known = trust + (1 - trust) * partner_trust
    mixed = trust[:, None] * colours + ((1 - trust) * partner_trust)[:, None] * colours[partner]
    mixed = mixed + ((1 - known) * away)[:, None] * behind
    known = known + (1 - known) * away
    around = spread(mixed / known.clamp_min(1e-6)[:, None], known, cells, anatomy)
    return mixed + (1 - known)[:, None] * around
