"""A training set from a folder of people: who is fitted, with what, and the manifest over all of it."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file

from avatarbench import assets
from avatarbench.errors import DataError, UsageError
from avatarbench.files import leftovers
from avatarbench.fitting.config import FitConfig
from avatarbench.heads.decimate import decimate
from avatarbench.heads.rig import Rig
from avatarbench.methods.pointillist import build_crew
from avatarbench.methods.pointillist.build_crew import Built
from avatarbench.methods.pointillist.build_person import TIMING, WORK, Job, check_cloud, write_json, write_tensors
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.tokenizer import (
    Cube,
    Points,
    PointsWarning,
    Tokenizer,
    Up,
    Vocabulary,
    to_sequence,
)
from avatarbench.methods.pointillist.training_set import (
    CLOUD,
    FORMAT,
    MANIFEST,
    RECORD,
    RIG,
    TRACKING,
    TrainingSet,
    mirror_map,
)

SETTINGS = "settings.json"
UP: dict[str, Up] = {"anny": "z", "flame-teeth": "y"}
"""The axis that is up, by rig: which ones there are clouds for."""
MOST_PORTRAITS = 16
PACKAGES = ("avatarbench", "torch", "numpy", "mediapipe", "anny", "fast-simplification", "numba")
_NAME = re.compile(r"[^./\\][^/\\]*")


@dataclass(frozen=True)
class Request:
    """What to build. ``people``: all of ``data`` where None; ``tracking``: the folder of VHAP exports, for FLAME;
    ``monocular``: of Pixel3DMM's tracking of portraits; ``portraits``: a folder to take PORTRAIT from;
    ``tokenizer``: another set whose cube is used."""

    data: Path
    out: Path
    config: Config
    fit: FitConfig
    people: tuple[str, ...] | None = None
    tracking: Path | None = None
    monocular: Path | None = None
    portraits: Path | None = None
    tokenizer: Path | None = None
    most: int = MOST_PORTRAITS


@dataclass
class Row:
    """One person, for the table. ``seconds``: of the fit; ``clamped``: points that the cube moved; ``duplicates``:
    those equal to another one once quantised; ``error``: why the person was left out."""

    person: str
    points: int = 0
    faces: int = 0
    psnr: float = float("nan")
    portraits: int = 0
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None
    clamped: int = 0
    duplicates: int = 0
    error: str = ""


def build_set(
    request: Request, workers: int = 2, progress: Callable[[int, int, int], None] = lambda steps, total, people: None
) -> list[Row]:
    """Fit whoever is missing, and write the manifest; a row for everybody.

    Equal data and configuration give equal files, on a CPU, whatever the number of workers and interruptions.
    ``progress``: steps done, steps in all, people done. Raises UsageError and DataError before the work for what is
    wrong with the request; DataError where ``out`` cannot be written, or nobody is left.
    """
    people = people_of(request)
    for name in ("face-landmarker",) if request.config.rig == "anny" else ():
        assets.pull(name)
    borrowed = None if request.tokenizer is None else TrainingSet(request.tokenizer)
    with _alone(request.out):
        _settle(request, borrowed)
        jobs = [_job(request, person) for person in people]
        rows: dict[str, Row] = {}
        steps, total = [0] * len(jobs), request.fit.steps * len(jobs)
        places = {job.person: number for number, job in enumerate(jobs)}

        def look(seen: list[int]) -> None:
            steps[:] = [max(pair) for pair in zip(steps, seen, strict=True)]
            progress(sum(steps), total, len(rows))

        def then(built: Built) -> None:
            steps[places[built.person]] = request.fit.steps
            rows[built.person] = _row(request.out, built)
            progress(sum(steps), total, len(rows))

        build_crew.run(jobs, workers, look, then)
        with suppress(OSError):  # somebody who was left out has a fit there that can go on
            (request.out / WORK).rmdir()
        ordered = [rows[person] for person in people]
        _finish(request, ordered, borrowed)
        return ordered


def people_of(request: Request) -> list[str]:
    """Everybody asked for, sorted. Raises UsageError for a name that is not there, DataError for a folder without
    people."""
    if not request.data.is_dir():
        raise DataError(
            f"{request.data} {'is not a folder' if request.data.exists() else 'does not exist'}: name a folder of "
            "people, or let it be rendered with --openheads N."
        )
    here = sorted(
        p.name for p in request.data.iterdir() if p.is_dir() and (p / "sequences").is_dir() and _NAME.fullmatch(p.name)
    )
    if request.tracking is not None and not here:
        here = sorted({m[1] for p in request.tracking.iterdir() if (m := re.match(r"(\d{3,})_", p.name))})
    if not here:
        raise DataError(f"{request.data} holds no people: a person is a folder such as 001 with 'sequences' in it.")
    asked = here if request.people is None else sorted(set(request.people))
    unknown = [person for person in asked if person not in here]
    if unknown or not asked:
        shown = ", ".join(here[:20]) + (", ..." if len(here) > 20 else "")
        raise UsageError(f"--people: {request.data} has no '{', '.join(unknown)}'; it has {shown}.")
    return asked


def export_of(tracking: Path, person: str) -> Path:
    """The person's VHAP export in a folder of them: ``306``, or the one whose name begins with ``306_``. Raises
    DataError where there is none, or several."""
    if (tracking / person).is_dir():
        return tracking / person
    found = sorted(p for p in tracking.glob(f"{person}_*") if p.is_dir())
    if len(found) != 1:
        there = f"several: {', '.join(p.name for p in found)}" if found else "none"
        raise DataError(
            f"{tracking} is to have one export of person '{person}', a folder {person} or {person}_..., and has "
            f"{there}. Combine several with VHAP, and name the result after the person."
        )
    return found[0]


def _job(request: Request, person: str) -> Job:
    export = None if request.tracking is None else export_of(request.tracking, person)
    return Job(
        root=request.data,
        person=person,
        out=request.out,
        fit=request.fit,
        tracking=export,
        monocular=request.monocular,
        portraits=request.portraits,
        most=request.most,
        points=request.config.generate.points,
    )


def _rig(request: Request) -> Rig:
    """Raises AssetError for FLAME that was not imported."""
    name = request.config.rig
    if name not in UP or (name == "anny") == (request.tracking is not None):
        raise UsageError(
            f"rig={name} {'with' if request.tracking else 'without'} --tracking: OpenHeads' people are on 'anny', "
            "those with VHAP exports, which --tracking names, on 'flame-teeth'."
        )
    if name == "anny":
        from avatarbench.heads.anny import load_anny

        return load_anny()
    from avatarbench.heads.flame import load_flame

    return load_flame(teeth=True)


def _settings(request: Request) -> dict[str, Any]:
    """All that decides what the files of a person are, and the vocabulary."""
    c = request.config
    config = {"preset": c.preset, "rig": c.rig, "fit": c.fit, "levels": c.levels, "faces": c.faces}
    config |= {"points": c.generate.points, "portraits": request.most}
    config |= {"portraits_of": request.portraits.resolve().name if request.portraits is not None else None}
    config |= {"monocular": request.monocular is not None}
    fitted = json.loads(request.fit.model_dump_json(exclude={"device", "checkpoint_every"}))
    return config | {"fit_config": fitted}


def _settle(request: Request, borrowed: TrainingSet | None) -> None:
    """The settings and the rig of the set, written by the first call and compared by the others."""
    out, settings = request.out, _settings(request)
    path = out / SETTINGS
    if path.exists():
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} cannot be read ({error}): choose another --out.") from error
        changed = [f"{key} was {old} and is {new}" for key, old, new in _differences(before, settings)]
        if changed:
            raise DataError(f"{out} was begun with another configuration: {'; '.join(changed)}. Choose another --out.")
    elif any(not p.name.startswith(".") for p in out.iterdir()):
        raise UsageError(f"{out} is not empty and no training set: choose another --out.")
    rig = _rig(request)
    if request.fit.faces is None:
        faces = rig.faces.cpu()
        vertices = rig.template.cpu()
    else:
        small = decimate(rig, request.fit.faces)
        faces, vertices = small.faces, small.vertices(rig.template.cpu())
    if len(faces) != request.config.faces:
        raise UsageError(
            f"the rig '{request.config.rig}' at fit.faces={request.fit.faces} has {len(faces)} faces, and the "
            f"vocabulary is for faces={request.config.faces}: give faces={len(faces)}."
        )
    if borrowed is not None and not torch.equal(borrowed.faces, faces):
        raise DataError(f"{borrowed.root} is of another rig ({len(borrowed.faces)} faces), so its tokenizer is too.")
    if borrowed is not None and borrowed.tokenizer.vocabulary.levels != request.config.levels:
        have = borrowed.tokenizer.vocabulary.levels
        raise UsageError(f"{borrowed.root} has levels={have}, and levels={request.config.levels} was asked for.")
    if not path.exists():
        write_json(path, settings)
    if not (out / RIG).exists():
        write_tensors(out / RIG, {"faces": faces, "mirror": mirror_map(vertices, faces)})
    elif not torch.equal(load_file(out / RIG)["faces"], faces):
        raise DataError(f"{out / RIG} is of another rig: was a package updated meanwhile? Choose another --out.")


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object, object]]:
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _row(out: Path, built: Built) -> Row:
    if built.record is None:
        return Row(built.person, error=built.error)
    r = built.record
    try:
        seconds = json.loads((out / built.person / TIMING).read_text(encoding="utf-8"))["fit"]
    except (OSError, ValueError, KeyError):  # it is no part of the set
        seconds = None
    return Row(
        person=built.person,
        points=r["points"],
        faces=r["faces_occupied"],
        psnr=r["psnr"],
        portraits=len(r["portraits"]),
        left=[f"{one['of']}: {one['reason']}" for one in r["left_out"]],
        notes=r["notes"],
        seconds=seconds,
    )


def _finish(request: Request, rows: Sequence[Row], borrowed: TrainingSet | None) -> None:
    """The manifest, over everybody who is finished; fills in what the tokenizer says of each cloud."""
    out, config = request.out, request.config
    kept = [row for row in rows if not row.error]
    if not kept:
        why = "; ".join(f"{row.person}: {row.error}" for row in rows[:5])
        raise DataError(f"nobody of {len(rows)} can be trained on, so there is no set. {why}")
    clouds = {row.person: _cloud(request, row.person) for row in kept}
    up = UP[config.rig]
    cube = borrowed.tokenizer.cube if borrowed is not None else _cube(list(clouds.values()), up)
    tokenizer = Tokenizer(Vocabulary(config.levels, config.faces), cube, up)
    people: dict[str, Any] = {}
    files = {name: _sha256(out / name) for name in (RIG, SETTINGS)}
    for row in kept:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PointsWarning)  # the table and its end say it
            encoded = tokenizer.encode(*clouds[row.person])
        row.clamped, row.duplicates = encoded.clamped, encoded.duplicates
        record = json.loads((out / row.person / RECORD).read_text(encoding="utf-8"))
        names = (CLOUD, TRACKING, RECORD, *(one["file"] for one in record["portraits"]))
        files |= {f"{row.person}/{name}": _sha256(out / row.person / name) for name in names}
        people[row.person] = record | {"clamped": row.clamped, "duplicates": row.duplicates}
    write_json(
        out / MANIFEST,
        {
            "format": FORMAT,
            "config": _settings(request),
            "tokenizer": tokenizer.to_json(),
            "tokenizer_of": borrowed.digest if borrowed is not None else None,
            "versions": {name: version(name) for name in PACKAGES},
            "people": people,
            "left_out": {row.person: row.error for row in rows if row.error},
            "files": files,
        },
    )


def _cloud(request: Request, person: str) -> Points:
    found = load_file(request.out / person / CLOUD)
    points = Points(found["positions"], found["bindings"])
    check_cloud(points, request.config.faces, request.config.generate.points, person)
    return points


def _cube(clouds: Sequence[Points], up: Up) -> Cube:
    return Cube.around(to_sequence(points.positions, up) for points in clouds)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Nobody else builds ``out`` meanwhile. Raises UsageError where somebody does, or it is a file; DataError where it
    cannot be written."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder with --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another process is building {out}: wait for it, or choose another --out.") from None
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror or error}): choose another --out.") from error
    try:
        for partial in (p for name in (SETTINGS, RIG, MANIFEST) for p in leftovers(out / name)):
            partial.unlink()
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or out} cannot be written or read ({error.strerror or error}): free some space or choose "
            "another --out. The same command goes on from here."
        ) from error
    finally:
        lock.release()
