"""``avatarbench fit`` from a folder of data to a folder of results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.fitting.config import FitConfig
from avatarbench.fitting.fit import CHECKPOINT, Fit, Progress
from avatarbench.fitting.openheads import OpenHeadsSubject
from avatarbench.fitting.turntable import turntable
from avatarbench.gaussians.files import write_npz, write_ply

RECORD = "fit.json"


def evenly(values: Sequence[Any], most: int | None) -> list[Any]:
    """At most ``most`` of ``values``, the first always among them, evenly spread."""
    if most is None or most >= len(values):
        return list(values)
    return [values[round(i * len(values) / most)] for i in range(most)]


def training_views(
    subject: OpenHeadsSubject, config: FitConfig, held_cameras: Sequence[str], held_takes: Sequence[str]
) -> list[int]:
    """Views of the chosen cameras and time steps, without those held out."""
    cameras = sorted({v.camera for v in subject.views} - set(held_cameras))
    steps = sorted({(v.take, v.step) for v in subject.views if v.take not in held_takes})
    chosen_cameras, chosen_steps = set(evenly(cameras, config.cameras)), set(evenly(steps, config.frames))
    return [n for n, v in enumerate(subject.views) if v.camera in chosen_cameras and (v.take, v.step) in chosen_steps]


def fit_person(
    root: Path,
    person: str,
    out: Path,
    config: FitConfig,
    watch: Callable[[Progress], None] = lambda progress: None,
    held_cameras: Sequence[str] = (),
    held_takes: Sequence[str] = (),
    video: bool = True,
) -> Fit:
    """Fit one person and write ``cloud.ply``, ``cloud.npz`` (canonical, Eq. 1), ``local.npz``, ``fit.json`` and
    ``turntable.mp4``.

    A checkpoint in ``out`` is continued. Raises DataError for data that cannot be fitted or a checkpoint of another
    configuration.
    """
    subject = OpenHeadsSubject(root, person, config.faces, config.size)
    views = training_views(subject, config, held_cameras, held_takes)
    if not views:
        raise DataError(f"nothing of person '{person}' in {root} is left to learn from: all views are held out.")
    name = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    fit = Fit(subject, views, config, torch.device(name))
    if (out / CHECKPOINT).exists():
        fit.load(out / CHECKPOINT)
    begun = time.perf_counter()
    cloud = fit.run(watch, out)
    seconds = time.perf_counter() - begun
    fit.save(out / CHECKPOINT)
    write_ply(cloud, out / "cloud.ply")
    write_npz(cloud, out / "cloud.npz")
    write_npz(fit.local(), out / "local.npz")
    counts = torch.bincount(torch.bincount(cloud.bindings)) if cloud.bindings is not None else torch.zeros(1)
    record = {
        "data": root.name,
        "person": person,
        "rig": "anny",
        "faces": len(subject.faces),
        "points": len(cloud),
        "faces_with_n_points": counts.tolist(),
        "psnr": fit.psnr(),
        "seconds": seconds,
        "views": len(views),
        "held_out": {"cameras": list(held_cameras), "sequences": list(held_takes)},
        "config": json.loads(config.model_dump_json()),
    }
    with writing(out / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if video:
        turntable(cloud, out / "turntable.mp4")
    return fit
