"""What a generated cloud has to beat: clouds of other people, and the surface that the model is conditioned on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.images import ImageEncoder
from avatarbench.methods.pointillist.measures import Indexed, chamfer
from avatarbench.methods.pointillist.surface import sample_surface
from avatarbench.methods.pointillist.tokenizer import Tokenizer
from avatarbench.methods.pointillist.tracked_size import cloud_on
from avatarbench.methods.pointillist.training_set import TrainingSet

Watch = Callable[[int, int], None]
"""Told how many of how many comparisons are done."""


class Reference(NamedTuple):
    """The training people: ``clouds`` (N, 3) each, metres; ``features`` (P, W) of their portraits; ``medoid``: the
    place of the one with the least mean Chamfer distance to the others."""

    people: tuple[str, ...]
    clouds: list[Indexed]
    features: Tensor
    medoid: int


class Distances(NamedTuple):
    """Chamfer distances to one person's true cloud, metres. ``medoid`` and ``nearest``: of those training clouds;
    ``chosen``: whom nearest took; ``mean``: of a training person drawn blindly; ``best``: of the training cloud that
    is nearest to the truth, which only who knows the truth can choose; ``surface`` and ``surface_true``: of as many
    samples of the tracked head as were generated (NaN where none were), and as the true cloud has; ``tokens``: of the
    true cloud through the tokenizer, the least that any sequence can reach."""

    medoid: float
    nearest: float
    chosen: str
    mean: float
    best: float
    surface: float
    surface_true: float
    tokens: float


def medoid(clouds: Sequence[Tensor | Indexed], watch: Watch | None = None) -> int:
    """The place of the cloud with the least mean Chamfer distance to all others; the first of several. Raises DataError
    where there is none."""
    if not clouds:
        raise DataError("there is no training cloud to take the medoid of.")
    clouds = [cloud if isinstance(cloud, Indexed) else Indexed(cloud) for cloud in clouds]  # a tree each, built once
    between = np.zeros((len(clouds), len(clouds)))
    total, done = len(clouds) * (len(clouds) - 1) // 2, 0
    for i in range(len(clouds)):
        for j in range(i):
            between[i, j] = between[j, i] = chamfer(clouds[i], clouds[j])
            done += 1
            if watch:
                watch(done, total)
    return int(between.sum(1).argmin())


def pooled(encoder: ImageEncoder, image: NDArray[np.uint8]) -> Tensor:
    """(W,): the mean of the frozen encoder's tokens of (H, W, 3) uint8, what people are likened by."""
    return encoder.tokens(torch.from_numpy(np.ascontiguousarray(image))[None])[0].mean(0).cpu()


def nearest(feature: Tensor, features: Tensor) -> int:
    """The row of ``features`` (P, W) that is most like ``feature`` (W,) by cosine; the first of several."""
    return int(cosine_similarity(features.double(), feature.double()[None]).argmax())


def reference(data: TrainingSet, encoder: ImageEncoder, watch: Watch | None = None) -> Reference:
    """Of every training person the cloud, on the head tracked in the first portrait, and that portrait's feature."""
    clouds = [Indexed(cloud_on(data, person).positions) for person in data.people]
    features = torch.stack([pooled(encoder, data.portraits(person)[0].image) for person in data.people])
    return Reference(data.people, clouds, features, medoid(clouds, watch))


def distances(
    known: Reference,
    true: Tensor,
    feature: Tensor,
    mesh: tuple[Tensor, Tensor],
    tokenizer: Tokenizer,
    generated: int,
    seed: int = 0,
) -> Distances:
    """Of every baseline to ``true`` (N, 3), metres. The portrait has ``feature`` (W,), its tracked head is ``mesh``,
    (V, 3) and (F, 3); ``generated``: how many points the model made of it. Each surface is sampled under ``seed``
    anew, so that none depends on how many samples another has."""
    indexed = Indexed(true)
    of_training = [chamfer(cloud, indexed) for cloud in known.clouds]
    chosen = nearest(feature, known.features)
    levels, _ = tokenizer.quantise(true)

    def sampled(count: int) -> float:
        if not count:
            return math.nan
        return chamfer(sample_surface(*mesh, count, torch.Generator().manual_seed(seed))[:, :3], indexed)

    return Distances(
        medoid=of_training[known.medoid],
        nearest=of_training[chosen],
        chosen=known.people[chosen],
        mean=float(np.mean(of_training)),
        best=min(of_training),
        surface=sampled(generated),
        surface_true=sampled(len(true)),
        tokens=chamfer(tokenizer.dequantise(levels), indexed),
    )
