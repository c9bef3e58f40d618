"""The fitted avatars that ship with the test split: ``python -m avatarbench.openheads.fits VIEWS FOLDER [PERSON ...]``.

Learnt from :data:`~avatarbench.openheads.views.MOMENTS` seen by :data:`~avatarbench.openheads.views.CAMERAS` and
nothing else: no protocol takes a driver or a true frame from there.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from avatarbench.assets.store import cache_root
from avatarbench.datasets.nersemble import AVATAR, NersembleDataset
from avatarbench.errors import AvatarbenchError, DataError, UsageError
from avatarbench.files import writing
from avatarbench.fitting.config import FitConfig, load_preset
from avatarbench.fitting.fit import Progress
from avatarbench.fitting.run import RECORD, fit_person
from avatarbench.openheads.split import NUMBERS
from avatarbench.openheads.views import CAMERAS, MOMENTS

OF_THIS_MACHINE = ("seconds", "data")
"""Entries of a fit's record that another machine would fill in otherwise."""


def make_fit(
    views: Path, person: str, out: Path, config: FitConfig, watch: Callable[[Progress], None] = lambda progress: None
) -> bool:
    """Fit one person of the folder of ``views`` into ``out/<person>/fit``: ``head.avatar``, and ``fit.json``, which
    says what it was made of. False where both are there already, made of the same.

    Equal pictures and configuration give equal files, on a CPU. A fit that was interrupted goes on. Raises DataError
    where the folder lacks a picture.
    """
    data = NersembleDataset(views)
    made_of = _made_of(data, person, config)
    avatar = out / person / AVATAR
    record = avatar.with_name(RECORD)
    if avatar.is_file() and _read(record).get("made_of") == made_of:
        return False
    work = cache_root() / "fits" / f"test-{person}-{made_of[:16]}"
    fit = fit_person(views, person, work, config, watch, *held_out(data, person), video=False)
    described = {k: v for k, v in _read(work / RECORD).items() if k not in OF_THIS_MACHINE}
    avatar.parent.mkdir(parents=True, exist_ok=True)
    fit.head().save(avatar)
    with writing(record) as temporary:
        text = json.dumps(described | {"learnt_from": _learnt(), "made_of": made_of}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    return True


def _learnt() -> dict[str, Any]:
    return {"moments": {take: list(frames) for take, frames in MOMENTS.items()}, "cameras": list(CAMERAS)}


def _made_of(data: NersembleDataset, person: str, config: FitConfig) -> str:
    """sha256 over the configuration and every picture that is learnt from. Raises DataError where one is missing."""
    known, digests = set(data.sequences()), {}
    for take, frames in MOMENTS.items():
        for camera in CAMERAS:
            name = f"{person}_{take}_{camera}"
            have = {data.frame_number(name, i) for i in range(data.length(name))} if name in known else set()
            if have != set(frames):
                raise DataError(
                    f"{data.root} has frames {sorted(have)} of '{name}', and a fit learns from {sorted(frames)}: make "
                    f"or finish it with 'avatarbench data openheads-test --views --out {data.root}'."
                )
            digests[name] = data.digest(name)
    text = json.dumps({"pictures": digests, "config": json.loads(config.model_dump_json())}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def held_out(data: NersembleDataset, person: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cameras and recordings of a person that are not learnt from."""
    mine = [s.removeprefix(f"{person}_").rpartition("_") for s in data.sequences() if data.identity(s) == person]
    return tuple(sorted({m[2] for m in mine} - set(CAMERAS))), tuple(sorted({m[0] for m in mine} - set(MOMENTS)))


def _read(path: Path) -> dict[str, Any]:
    """A record; nothing where there is none or half of one: it is then made anew."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def main(arguments: Sequence[str]) -> None:
    """Fit everybody, or the people named. Raises UsageError, DataError."""
    if len(arguments) < 2 or not all(folder and Path(folder).is_dir() for folder in arguments[:2]):
        raise UsageError(
            "name the folder of views and the split's folder:\n"
            "  python -m avatarbench.openheads.fits VIEWS avatarbench/openheads/test\n"
            "Views are made with 'avatarbench data openheads-test --views --out VIEWS'."
        )
    from avatarbench.run.progress import progress_bar

    views, out = Path(arguments[0]), Path(arguments[1])
    config = load_preset("mini", ["device=cpu"])  # a GPU adds up in any order
    with progress_bar() as bar:
        for person in arguments[2:] or [str(number) for number in NUMBERS]:
            task = bar.add_task(f"fit {person}", total=config.steps)
            made = make_fit(views, person, out, config, lambda p, task=task: bar.update(task, completed=p.step))  # type: ignore[misc]
            bar.update(task, completed=config.steps)
            size = (out / person / AVATAR).stat().st_size
            bar.console.print(f"{person}: {'fitted' if made else 'was there'}, {size / 1e3:.0f} kB", highlight=False)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except AvatarbenchError as error:
        sys.exit(f"avatarbench: {error}")
