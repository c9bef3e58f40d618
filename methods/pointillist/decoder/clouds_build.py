"""Clouds for the decoder to learn from: stage one, frozen, generates one for several portraits of every person."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from avatarbench.errors import DataError, UsageError
from avatarbench.files import leftovers, writing
from avatarbench.fitting.sources import sha256
from avatarbench.heads.rig import faces_digest
from avatarbench.methods.pointillist.build_person import write_json
from avatarbench.methods.pointillist.build_request import alone
from avatarbench.methods.pointillist.checkpoint import Loaded
from avatarbench.methods.pointillist.conditioning import mesh_condition
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.decoder.clouds import FORMAT, MANIFEST, SETTINGS, STAGE_ONE, as_now
from avatarbench.methods.pointillist.draw import draw
from avatarbench.methods.pointillist.engine import Engine, Generated, Progress
from avatarbench.methods.pointillist.images import ImageEncoder
from avatarbench.methods.pointillist.measures import fault
from avatarbench.methods.pointillist.tokenizer import SLOTS
from avatarbench.methods.pointillist.training.seeds import seed_of
from avatarbench.methods.pointillist.training.state import flat
from avatarbench.methods.pointillist.training_set import TrainingSet

HALF_MOST = torch.finfo(torch.float16).max
BATCH = 4
"""Clouds that are generated together; what an interruption costs at most."""
PORTRAITS = "portraits"
"""In the settings: of a person, at most."""
REASON = "reason"
"""Of a cloud file's header: how its generation ended."""


class Told(NamedTuple):
    """``done`` of ``total`` clouds are there; of those in progress there are so many ``points``, at ``rate`` a
    second."""

    done: int
    total: int
    points: int
    rate: float


class Built(NamedTuple):
    """``clouds`` in all, of which so many were ``made`` now; ``left``: those that are not learnt from, by reason;
    ``points`` of each of the others."""

    clouds: int
    made: int
    left: dict[str, int]
    points: list[int]


class _Job(NamedTuple):
    person: str
    portrait: int
    file: str


def build_clouds(
    subjects: TrainingSet,
    loaded: Loaded,
    encoder: ImageEncoder,
    out: Path,
    portraits: int = 4,
    options: Generate | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    watch: Callable[[Told], None] = lambda told: None,
) -> Built:
    """Generate whichever clouds are missing in ``out``, and write its manifest.

    Of each person at most ``portraits`` portraits, as :func:`spread` chooses. Every cloud is drawn under a seed of
    (``seed``, person, portrait); on a CPU equal arguments give equal files, whatever the number of interruptions.
    Raises DataError for a checkpoint of another set's vocabulary or rig and for an ``out`` that cannot be written,
    UsageError for an ``out`` of something else, of other settings or of more portraits.
    """
    options = options or loaded.config.generate
    check_origin(subjects, loaded, encoder)
    settings = {
        "data": subjects.digest,
        "checkpoint": loaded.fingerprint,
        "tokenizer": subjects.tokenizer.to_json(),
        "rig": faces_digest(subjects.faces),
        "image_tokens": [encoder.count, encoder.width],
        "encoder": encoder.fingerprint,
        "width": loaded.config.transformer.width,
        "generate": options.model_dump(mode="json"),
        "seed": seed,
        "precision": str(dtype).removeprefix("torch."),
        PORTRAITS: portraits,
        STAGE_ONE: {"data": loaded.extra.get("data"), "people": loaded.marks},
    }
    settings |= _check_out(out, settings)
    jobs = [job for person in subjects.people for job in _jobs(person, len(subjects.portraits(person)), portraits)]
    with alone(out):
        for path in (partial for job in jobs for partial in leftovers(out / job.file)):
            path.unlink()
        if not _says(out / SETTINGS, {"format": FORMAT} | settings):  # none yet, or fewer portraits
            write_json(out / SETTINGS, {"format": FORMAT} | settings)
        there = {job for job in jobs if _reason(out / job.file) is not None}
        missing = [job for job in jobs if job not in there]
        if missing:
            (out / MANIFEST).unlink(missing_ok=True)
            _generate(subjects, loaded, encoder, out, missing, options, seed, dtype, len(jobs), watch)
        people: dict[str, list[dict[str, Any]]] = {}
        for job in jobs:
            people.setdefault(job.person, []).append(_entry(out, job))
        manifest = {"format": FORMAT, "settings": settings, "people": people}
        if not _says(out / MANIFEST, manifest):
            write_json(out / MANIFEST, manifest)
    entries = [entry for found in people.values() for entry in found]
    left = [entry[REASON] for entry in entries if entry[REASON] != "ended"]
    points = [entry["points"] for entry in entries if entry[REASON] == "ended"]
    return Built(len(jobs), len(missing), {why: left.count(why) for why in sorted(set(left))}, points)


def check_origin(subjects: TrainingSet, loaded: Loaded, encoder: ImageEncoder) -> None:
    """Raises DataError for a checkpoint that was trained with another vocabulary, cube, rig or encoder."""
    rig = faces_digest(subjects.faces)
    wrong = {
        "tokenizer": loaded.tokenizer != subjects.tokenizer,
        "rig": loaded.rig is not None and loaded.rig != rig,
        "image encoder": loaded.misfit(encoder) is not None,
    }
    names = [name for name, found in wrong.items() if found]
    if names:
        raise DataError(
            f"the checkpoint ({loaded.fingerprint[:12]}) is of another {' and '.join(names)} than {subjects.root}: "
            "name the checkpoint that was trained on this set, or a set that was built with 'train pointillist data "
            "--tokenizer' of the one it was trained on."
        )


def _check_out(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of ``settings`` that ``out`` says in other words, as it says them: its files stay what they are."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder with --out.")
    path = out / SETTINGS
    if not path.exists():
        if out.is_dir() and any(not found.name.startswith(".") for found in out.iterdir()):
            raise UsageError(f"{out} is not empty and holds no clouds: choose another --out.")
        return {}
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}): choose another --out.") from error
    theirs, ours = flat(as_now(before)), flat({"format": FORMAT} | settings)
    lines = [
        f"{key} is {theirs.get(key, 'missing')!r} there and {ours.get(key, 'missing')!r} here"
        for key in sorted(theirs.keys() | ours.keys())
        # Who stage one has learnt from follows from its fingerprint, and is a long list.
        if theirs.get(key) != ours.get(key) and not key.startswith(f"{STAGE_ONE}.") and key != PORTRAITS
    ]
    made = before.get(PORTRAITS)
    if not lines and isinstance(made, int) and made > settings[PORTRAITS]:
        raise UsageError(
            f"{out} was made with --portraits {made}, and {settings[PORTRAITS]} would leave finished clouds out: give "
            f"{made} or more, or choose another --out."
        )
    if lines:
        raise UsageError(f"{out} was begun with other settings:\n  " + "\n  ".join(lines) + "\nChoose another --out.")
    return {"generate": before["generate"]}


def _jobs(person: str, there: int, most: int) -> list[_Job]:
    numbers = sorted(spread(there, most))
    return [_Job(person, number, f"{person}/cloud-{number:02d}.safetensors") for number in numbers]


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of 0 to ``count`` - 1, spread over all: after 0 always the number that is farthest from those
    before, the first of equals. What a smaller ``most`` chooses, a larger one does too."""
    found = [0]
    while len(found) < min(count, most):
        found.append(max(range(count), key=lambda n: (min(abs(n - other) for other in found), -n)))
    return found


def _generate(
    subjects: TrainingSet,
    loaded: Loaded,
    encoder: ImageEncoder,
    out: Path,
    jobs: Sequence[_Job],
    options: Generate,
    seed: int,
    dtype: torch.dtype,
    total: int,
    watch: Callable[[Told], None],
) -> None:
    engine, done = Engine(loaded.model, dtype), total - len(jobs)
    begun = time.monotonic()
    whole, drawn = 0, [0]  # points of clouds that are written, and of those in progress: of all draws of a consensus
    for start in range(0, len(jobs), BATCH):
        group = jobs[start : start + BATCH]
        seeds = [seed_of(seed, "cloud", job.person, job.portrait) for job in group]
        made, images = [], []
        for job, own in zip(group, seeds, strict=True):
            portrait = subjects.portraits(job.person)[job.portrait]
            condition = mesh_condition(
                portrait.image, portrait.vertices, subjects.faces, loaded.config, subjects.tokenizer, encoder, own
            )
            images.append(condition.image_tokens)
            with torch.inference_mode():
                made.append(loaded.model.condition(condition.image_tokens[None], condition.samples[None]))

        def told(progress: Progress, done: int = done, whole: int = whole) -> None:
            points = drawn[0] = sum(progress.points)
            watch(Told(done, total, points, (whole + points) / max(time.monotonic() - begun, 1e-9)))

        found = draw(loaded, engine, torch.cat(made), options, seeds, told)
        for job, one, image in zip(group, found, images, strict=True):
            _write(subjects, out / job.file, job, one, image)
        done += len(group)
        whole += drawn[0]
        watch(Told(done, total, 0, whole / max(time.monotonic() - begun, 1e-9)))


def _write(subjects: TrainingSet, path: Path, job: _Job, made: Generated, image: Tensor) -> None:
    """Raises DataError for states that half precision does not hold, and OSError."""
    tracked = subjects.tracking(job.person)
    if "shape" not in tracked:
        raise DataError(
            f"{subjects.root} does not hold the tracked shape of {job.person}: build the set anew, in another folder."
        )
    wrong = fault(made.tokens, subjects.tokenizer.vocabulary)
    tensors = {
        "tokens": made.tokens.int(),
        "states": _half(made.states, path),
        "image": _half(image, path),
        "vertices": tracked["vertices"][job.portrait].float(),
        "shape": tracked["shape"][job.portrait].float(),
    }
    about = {REASON: made.reason if wrong is None else wrong}
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, about)
    with writing(path) as temporary:
        temporary.write_bytes(content)


def _half(values: Tensor, path: Path) -> Tensor:
    if not bool((values.abs() <= HALF_MOST).all()):  # NaN too
        raise DataError(f"{path}: features that are not finite or too large for half precision: is the model trained?")
    return values.half()


def _reason(path: Path) -> str | None:
    """How the generation of a cloud file ended; None where there is none. Raises DataError for another file."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            return str((file.metadata() or {})[REASON])
    except (SafetensorError, KeyError, OSError) as error:
        raise DataError(f"{path} is damaged ({error}): remove it, and the same command makes it anew.") from error


def _entry(out: Path, job: _Job) -> dict[str, Any]:
    path = out / job.file
    with safe_open(path, "pt") as file:
        points = (file.get_slice("tokens").get_shape()[0] - 2 * SLOTS) // SLOTS
    return {
        "portrait": job.portrait,
        "file": job.file,
        "points": points,
        REASON: _reason(path),
        "sha256": sha256(path),
    }


def _says(path: Path, values: dict[str, Any]) -> bool:
    """Whether a file says so already; one that cannot be read is written anew."""
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(values)))
    except (OSError, ValueError):
        return False
