"""``avatarbench fit`` from a folder of data to a folder of results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from avatarbench import assets
from avatarbench.errors import DataError, UsageError
from avatarbench.files import writing
from avatarbench.fitting.config import FitConfig
from avatarbench.fitting.fit import CHECKPOINT, Fit, Progress
from avatarbench.fitting.held_out import ASSETS, judge, kind_of, strip, summary
from avatarbench.fitting.subject import Person, View
from avatarbench.fitting.turntable import turntable
from avatarbench.gaussians.files import write_npz, write_ply

RECORD, VIDEO, HEAD, STRIP = "fit.json", "turntable.mp4", "head.avatar", "views.jpg"
MOST_JUDGED = 400
"""Held-out views that are scored, evenly chosen where there are more."""

T = TypeVar("T")


def evenly(values: Sequence[T], most: int | None) -> list[T]:
    """At most ``most`` of ``values``, the first always among them, evenly spread."""
    if most is None or most >= len(values):
        return list(values)
    return [values[round(i * len(values) / most)] for i in range(most)]


def training_views(
    subject: Person, config: FitConfig, held_cameras: Sequence[str], held_takes: Sequence[str]
) -> list[int]:
    """Views of the chosen cameras and time steps, without those held out."""
    open_ = [(n, v) for n, v in enumerate(subject.views) if kind_of(v, held_cameras, held_takes) is None]
    cameras = sorted({v.camera for _, v in open_})
    steps = sorted({(v.take, v.step) for _, v in open_})
    chosen_cameras, chosen_steps = set(evenly(cameras, config.cameras)), set(evenly(steps, config.frames))
    return [n for n, v in open_ if v.camera in chosen_cameras and (v.take, v.step) in chosen_steps]


def open_subject(
    root: Path,
    person: str,
    config: FitConfig,
    tracking: Path | None = None,
    device: torch.device | None = None,
) -> Person:
    """One person of a folder, on the rig that its tracking is for: OpenHeads' truth moves Anny, a VHAP export FLAME.

    ``tracking``: the export's folder; without it ``root`` is OpenHeads, or an export itself. Raises DataError for data
    that cannot be fitted, AssetError for FLAME that was not imported.
    """
    if not person or Path(person).name != person:
        raise DataError(f"'{person}' is no person's name: it is a folder's or a tracker's, such as 017.")
    if not root.is_dir():
        raise DataError(f"{root} {'is not a folder' if root.exists() else 'does not exist'}: name a folder of data.")
    if tracking is None and any((root / f"transforms{d}.json").exists() for d in ("", "_train")):
        tracking = root
    if tracking is not None:
        from avatarbench.fitting.nersemble import VhapSubject

        return VhapSubject(root, person, tracking, config.faces, config.size, config.refine, device)
    known = root / person
    if (known / "sequences").is_dir() and not any((known / "sequences").glob("*/truth.npz")):
        raise DataError(
            f"{known} has no truth.npz in its sequences, so it is no OpenHeads person: name a VHAP export of its "
            "tracking with --tracking."
        )
    from avatarbench.fitting.openheads import OpenHeadsSubject

    return OpenHeadsSubject(root, person, config.faces, config.size)


def fit_person(
    root: Path,
    person: str,
    out: Path,
    config: FitConfig,
    watch: Callable[[Progress], None] = lambda progress: None,
    held_cameras: Sequence[str] = (),
    held_takes: Sequence[str] = (),
    video: bool = True,
    tracking: Path | None = None,
) -> Fit:
    """Fit one person and write ``cloud.ply``, ``cloud.npz`` (canonical, Eq. 1), ``local.npz``, ``head.avatar``,
    ``views.jpg``, ``turntable.mp4`` and, last, ``fit.json``.

    A checkpoint in ``out`` is continued; a fit that is finished writes nothing. ``watch`` is called after every step
    and may raise :class:`avatarbench.fitting.fit.Stop`. Raises DataError for data that cannot be fitted, a checkpoint
    of other pictures, tracking or configuration, and an ``out`` that cannot be written; UsageError for a camera or
    sequence that is not there, and for a device; AssetError for FLAME or, where views are held out, LPIPS' weights.
    """
    device = device_of(config)
    subject = open_subject(root, person, config, tracking, device)
    _check_held(subject, held_cameras, held_takes)
    views = training_views(subject, config, held_cameras, held_takes)
    if not views:
        raise DataError(f"nothing of person '{person}' in {root} is left to learn from: all views are held out.")
    held = _held_views(subject, held_cameras, held_takes)
    for name in ASSETS if held else ():
        assets.pull(name)
    fit = Fit(subject, views, config, device, _origin(subject, person, views, held_cameras, held_takes))
    with _written(out):
        if (out / CHECKPOINT).exists():
            fit.load(out / CHECKPOINT)
        else:
            fit.save(out / CHECKPOINT)  # a folder that cannot be written is found before the work
        if is_finished(out, video) and fit.step == config.steps:
            return fit
        (out / RECORD).unlink(missing_ok=True)
        fit.run(watch, out)
        fit.save(out / CHECKPOINT)
        _write(fit, subject, out, held, video)
        record = _record(fit, subject, root, person, held_cameras, held_takes)
        record["held_out"] |= summary(judge(fit, held, device.type)) if held else {}
        with writing(out / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return fit


def is_finished(out: Path, video: bool = True) -> bool:
    """Whether a fit wrote all of its results to ``out``: the record comes last."""
    return (out / RECORD).exists() and (not video or (out / VIDEO).exists())


def device_of(config: FitConfig) -> torch.device:
    """Where a fit runs. Raises UsageError for a device that is not here, or that no renderer is for."""
    name = config.device
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device={name} is no device: give auto, cpu, cuda or cuda:N.") from error
    if found.type not in ("cpu", "cuda"):
        raise UsageError(f"device={name}: Gaussians are rendered on cpu or cuda.")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise UsageError(
            f"device={name} was asked for and torch sees {seen or 'no'} CUDA device{'s' * (seen != 1)}. "
            "See: avatarbench doctor"
        )
    return found


def _check_held(subject: Person, cameras: Sequence[str], takes: Sequence[str]) -> None:
    for what, given, known in (
        ("camera", cameras, sorted({v.camera for v in subject.views})),
        ("sequence", takes, sorted({v.take for v in subject.views})),
    ):
        for name in given:
            if name not in known:
                raise UsageError(f"there is no {what} '{name}' to hold out; there are {', '.join(known)}.")


def _held_views(subject: Person, cameras: Sequence[str], takes: Sequence[str]) -> list[tuple[int, View, str]]:
    kinds = [(n, v, kind_of(v, cameras, takes)) for n, v in enumerate(subject.views)]
    return evenly([(n, v, kind) for n, v, kind in kinds if kind is not None], MOST_JUDGED)


def _origin(
    subject: Person, person: str, views: Sequence[int], cameras: Sequence[str], takes: Sequence[str]
) -> dict[str, str]:
    names = "\n".join(str(subject.views[n]) for n in views)
    return {
        "person": person,
        "rig": subject.rig,
        "held-out cameras": ", ".join(sorted(cameras)),
        "held-out sequences": ", ".join(sorted(takes)),
        "views": f"{len(views)} ({hashlib.sha256(names.encode()).hexdigest()[:8]})",
        **{what: found[:16] for what, found in subject.sources(views).items()},
    }


def _write(fit: Fit, subject: Person, out: Path, held: Sequence[tuple[int, View, str]], video: bool) -> None:
    """Everything but the record."""
    head = fit.head()
    write_ply(head.cloud, out / "cloud.ply")
    write_npz(head.cloud, out / "cloud.npz")
    write_npz(fit.local(), out / "local.npz")
    head.save(out / HEAD)
    shown = [(n, f"{view}, held out by {kind}") for n, view, kind in held]
    strip(fit, evenly(shown or [(n, f"{subject.views[n]}, trained on") for n in fit.views], 4), out / STRIP)
    if video:
        turntable(head, out / VIDEO)


def _record(
    fit: Fit, subject: Person, root: Path, person: str, cameras: Sequence[str], takes: Sequence[str]
) -> dict[str, Any]:
    bindings = fit.gaussians.bindings.cpu()
    return {
        "data": root.resolve().name,
        "person": person,
        "rig": subject.rig,
        "faces": len(subject.faces),
        "points": len(bindings),
        "steps": fit.step,
        "faces_with_n_points": torch.bincount(torch.bincount(bindings, minlength=len(subject.faces))).tolist(),
        "psnr": round(fit.psnr(), 3),
        "seconds": round(fit.seconds, 3),
        "device": str(fit.device),
        "views": len(fit.views),
        "held_out": {"cameras": list(cameras), "sequences": list(takes)},
        "config": json.loads(fit.config.model_dump_json()),
    }


@contextmanager
def _written(out: Path) -> Iterator[None]:
    """Says of an OSError what can be done about it."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or out} cannot be written ({error.strerror or error}): free some space or choose another "
            "--out. The same command goes on from the last checkpoint."
        ) from error
