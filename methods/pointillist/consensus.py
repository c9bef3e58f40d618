"""One cloud for several draws of the same person: what they agree on, in the measure that clouds are judged by.

A draw carries chance in every point. Among draws, the cloud with the least mean distance to all of them is what a
model expects best (minimum Bayes risk, Kumar and Byrne 2004, with the Chamfer distance for the loss); here it is not
chosen from the draws but made, by moving the points of the one that is nearest to the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.measures import Indexed, chamfer
from avatarbench.methods.pointillist.tokenizer import Points

ROUNDS = 20
"""Of moving; what the last one moves by is some hundredths of the distance between points."""
STILL = 1e-6
"""Metres: where no point moves farther, the rounds end."""
CLOSE = 0.5
"""Of the median distance between neighbours: how near a match counts by its square, as in Huber's loss."""


def central(clouds: Sequence[Points]) -> int:
    """Which cloud has the least mean Chamfer distance to the others; the first of equals."""
    indexed = [Indexed(cloud.positions) for cloud in clouds]
    total = np.zeros(len(clouds))
    for one, a in enumerate(indexed):
        for other in range(one + 1, len(indexed)):
            total[[one, other]] += chamfer(a, indexed[other])
    return int(total.argmin())


def agreed(clouds: Sequence[Points]) -> Points:
    """The points of the central cloud, with their bindings, moved to where their mean Chamfer distance to all
    ``clouds`` is least near by: by matches and weighted means in turn (iteratively reweighted least squares), of which
    no round makes it worse, but for matches nearer than :data:`CLOSE`, whose squares count: of two clouds, between
    which every place is as good, these alone decide, and the mean distance to the two may become larger.

    Raises DataError for no clouds, and for one without points or with a coordinate that is not finite.
    """
    if not clouds:
        raise DataError("no clouds were given, and there is nothing that they agree on.")
    start = clouds[central(clouds)]
    if len(clouds) == 1 or len(start.positions) < 2:
        return start
    others = [Indexed(cloud.positions) for cloud in clouds]
    places = start.positions.double().numpy()
    close = max(CLOSE * float(np.median(cKDTree(places).query(places, 2)[0][:, 1])), STILL)
    for _ in range(ROUNDS):
        moved = _moved(places, others, close)
        farthest = float(np.abs(moved - places).max())
        places = moved
        if farthest < STILL:
            break
    return Points(torch.from_numpy(places).to(start.positions.dtype), start.bindings)


def _moved(places: NDArray[np.float64], others: Sequence[Indexed], close: float) -> NDArray[np.float64]:
    """``places`` (N, 3), each at the weighted mean of its matches in both directions: the nearest point of every other
    cloud, and all points that it is the nearest to."""
    count = len(places)
    sums, weights = np.zeros((count, 3)), np.zeros(count)
    own = cKDTree(places)
    for other in others:
        distance, match = other.tree.query(places)
        weight = 1 / np.maximum(distance, close) / count
        sums += weight[:, None] * other.points[match]
        weights += weight
        distance, match = own.query(other.points)
        weight = 1 / np.maximum(distance, close) / len(other.points)
        weights += np.bincount(match, weight, count)
        for axis in range(3):
            sums[:, axis] += np.bincount(match, weight * other.points[:, axis], count)
    return sums / weights[:, None]
