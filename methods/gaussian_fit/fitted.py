"""Avatars fitted where a run first needs them, kept in the user's cache and found again by what they were made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from avatarbench.assets.store import cache_root
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import DataError
from avatarbench.fitting.config import FitConfig
from avatarbench.fitting.fit import CHECKPOINT, Fit
from avatarbench.fitting.openheads import AS_ANOTHER, OpenHeadsSubject
from avatarbench.fitting.run import device_of, training_views
from avatarbench.fitting.sources import digest, of_openheads
from avatarbench.gaussians.head import GaussianHead, load_head
from avatarbench.method import Views
from avatarbench.run.progress import console

VERSION = 1
"""Raised when equal pictures and configuration no longer give the avatar that they gave."""


def fitted(views: Views, config: FitConfig) -> GaussianHead:
    """The head of a person, from the cache or fitted now; no picture of ``views.held_out`` is looked at.

    An interrupted fit goes on where it stopped. Raises DataError, saying what is left, where that is fewer than two
    cameras, and for data that cannot be fitted; UsageError for a device that is not here.
    """
    learnt = _takes(views, NersembleDataset(views.root))
    folder = cache_root() / "fits" / f"{views.person}-{_key(views, learnt, config)[:16]}"
    avatar = folder / "head.avatar"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if avatar.is_file():
            return load_head(avatar)
        cameras = {name.rpartition("_")[2] for names in learnt.values() for name in names}
        console.print(
            f"gaussian-fit: fitting person '{views.person}' on {', '.join(learnt)} from {len(cameras)} cameras, "
            f"{config.steps} steps; kept in {folder}",
            highlight=False,
        )
        fit = _fit(views, config, folder)
        head = fit.head()
        head.save(avatar)
        console.print(
            f"gaussian-fit: person '{views.person}' has {len(head.cloud)} Gaussians, {fit.psnr():.1f} dB on the "
            "pictures that it learnt from",
            highlight=False,
        )
        return head


def unfit(people: Sequence[Views]) -> list[str]:
    """Why :func:`fitted` could not fit these people, a line each, from what lies in their folders."""
    readers = {root: NersembleDataset(root) for root in {views.root for views in people}}
    found = []
    for views in people:
        try:
            learnt = _takes(views, readers[views.root])
        except DataError as error:
            found.append(str(error))
            continue
        person = views.root / views.person
        files = [person / "identity.json", *(person / "sequences" / take / "truth.npz" for take in learnt)]
        if lacks := [path for path in files if not path.is_file()]:
            found.append(f"{lacks[0]} is not there, and a fit learns from it: copy the person's whole folder")
    return found


def _fit(views: Views, config: FitConfig, folder: Path) -> Fit:
    """To its end, with a checkpoint in ``folder`` now and then. The folder's name says what of."""
    subject = OpenHeadsSubject(views.root, views.person, config.faces, config.size)
    chosen = training_views(subject, config, (), views.held_out)
    fit = Fit(subject, chosen, config, device_of(config), {"avatar": folder.name})
    if (folder / CHECKPOINT).exists():
        fit.load(folder / CHECKPOINT)
    fit.run(lambda progress: None, folder)
    return fit


def _takes(views: Views, data: NersembleDataset) -> dict[str, list[str]]:
    """The recordings that may be learnt from, each with the names of its cameras' sequences."""
    found: dict[str, list[str]] = {}
    for name in data.sequences():
        take = name.removeprefix(f"{views.person}_").rpartition("_")[0]
        if data.identity(name) == views.person and take not in views.held_out and AS_ANOTHER not in take:
            found.setdefault(take, []).append(name)
    cameras = {name.rpartition("_")[2] for names in found.values() for name in names}
    if len(cameras) < 2:
        left = f"{', '.join(found)} from {len(cameras)} camera" if found else "nothing"
        raise DataError(
            f"person '{views.person}' of {views.root} cannot be fitted: without {', '.join(views.held_out)}, which "
            f"this run is about, {left} is left, and a fit needs two cameras at least. Add sequences to the folder, "
            "e.g. avatarbench data openheads --sequences EXP-1-head,EMO-1-shout+laugh --cameras 8."
        )
    return found


def _key(views: Views, learnt: dict[str, list[str]], config: FitConfig) -> str:
    """sha256 of all that decides on the avatar: pictures, cameras, truth, shape and configuration."""
    data = NersembleDataset(views.root)
    names = [name for cameras in learnt.values() for name in cameras]
    made_of = {"version": VERSION, "config": json.loads(config.model_dump_json())}
    return digest(made_of | of_openheads(data, views.person, names))
