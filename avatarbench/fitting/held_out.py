"""How well a fit shows what it did not learn from: PSNR and LPIPS of held-out views, and a strip of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from avatarbench import registry
from avatarbench.files import writing
from avatarbench.fitting.fit import Fit
from avatarbench.fitting.subject import View
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.scorer import Item, LazyImage, Scorer

METRICS = ("psnr", "lpips-alex")
ASSETS = ("lpips-alexnet",)
"""What :func:`judge` needs beside a fit."""
BATCH = 8
STRIP = 4
"""Views at most in the strip."""
GAIN = 4
"""By so much the strip's differences are amplified."""
MARGIN = 18


@dataclass(frozen=True)
class Judged:
    """One view: ``kind`` says why the fit had not seen it; ``scores`` by metric, None with the reason in ``reasons``
    where there is none."""

    view: View
    kind: str
    scores: dict[str, float | None]
    reasons: dict[str, str]


def kind_of(view: View, cameras: Sequence[str], takes: Sequence[str]) -> str | None:
    """Why a view is held out; None for one that is not."""
    reasons = [
        *(["camera"] if view.camera in cameras else []),
        *(["sequence"] if view.take in takes else []),
    ]
    return " and ".join(reasons) or ("division" if view.held else None)


def judge(fit: Fit, views: Sequence[tuple[int, View, str]], device: str) -> list[Judged]:
    """Scores of ``views`` (the subject's index, the view, its kind) with the metrics that runs use, on the 8-bit
    pictures. Raises AssetError without LPIPS' weights, DataError for a picture that cannot be read."""
    items = []
    for index, view, _ in views:
        prediction = LazyImage(f"fit/{index}", partial(_shown, fit, index))
        target = LazyImage(f"data/{index}", partial(_true, fit, index))
        items.append(Item(str(view), "fit", prediction, {"target": target}))
    found = []
    metrics = [registry.metric(name) for name in METRICS]
    with closing(Scorer(metrics, FeatureCache(None), device, BATCH)) as scorer:
        for (_, view, kind), scores in zip(views, scorer.score([item] for item in items), strict=True):
            values = {s.metric: None if math.isnan(s.value) else round(s.value, 5) for s in scores}
            found.append(Judged(view, kind, values, {s.metric: s.reason for s in scores if s.reason}))
    return found


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """For the record: the means of every kind of held-out view, and each view's own values."""
    kinds: dict[str, Any] = {}
    for kind in dict.fromkeys(j.kind for j in judged):
        own = [j for j in judged if j.kind == kind]
        kinds[kind] = {"views": len(own), **{metric: _mean([j.scores[metric] for j in own]) for metric in METRICS}}
    each = [
        {"sequence": j.view.take, "step": j.view.step, "camera": j.view.camera, "kind": j.kind, **j.scores}
        | ({"reasons": j.reasons} if j.reasons else {})
        for j in judged
    ]
    return {"means": kinds, "views": each}


def strip(fit: Fit, views: Sequence[tuple[int, str]], path: Path) -> None:
    """A JPEG of up to four views, one a row: truth, render, and how they differ (white is equal, amplified).
    ``views``: the subject's index, and a title. Raises OSError."""
    rows = []
    for index, title in views[:STRIP]:
        truth, render = _true(fit, index), _shown(fit, index)
        difference = np.abs(truth.astype(np.int16) - render).max(axis=2, keepdims=True)
        shown = np.repeat(255 - np.minimum(255, GAIN * difference), 3, axis=2).astype(np.uint8)
        rows.append((title, np.concatenate([truth, render, shown], axis=1)))
    width = max(row.shape[1] for _, row in rows)
    sheet = np.full((sum(MARGIN + len(row) for _, row in rows), width, 3), 255, np.uint8)
    at = 0
    canvas = Image.fromarray(sheet)
    draw = ImageDraw.Draw(canvas)
    for title, row in rows:
        draw.text((4, at + 3), f"{title}: truth, render, difference x{GAIN}", fill=(0, 0, 0))
        canvas.paste(Image.fromarray(row), (0, at + MARGIN))
        at += MARGIN + len(row)
    with writing(path) as temporary, temporary.open("wb") as stream:
        canvas.save(stream, "JPEG", quality=92)


def pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) in [0, 1] as the nearest of 8 bits."""
    return np.asarray(np.rint(np.clip(image, 0, 1) * 255), np.uint8)


def _shown(fit: Fit, index: int) -> NDArray[np.uint8]:
    return pixels(fit.picture(index).numpy())


def _true(fit: Fit, index: int) -> NDArray[np.uint8]:
    return pixels(fit.subject.image(index).numpy())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 5) if known else None
