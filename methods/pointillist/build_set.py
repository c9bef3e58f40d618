"""A training set from a folder of people: who is fitted, and the manifest over all of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from avatarbench import assets
from avatarbench.errors import DataError
from avatarbench.fitting.sources import sha256
from avatarbench.methods.pointillist import build_crew
from avatarbench.methods.pointillist.build_crew import Built
from avatarbench.methods.pointillist.build_person import (
    TIMING,
    WORK,
    Job,
    check_cloud,
    read_tensors,
    write_json,
)
from avatarbench.methods.pointillist.build_request import (
    SETTINGS,
    UP,
    Mesh,
    Request,
    alone,
    check_begun,
    check_out,
    export_of,
    mesh_of,
    people_of,
    settings_of,
    settle,
)
from avatarbench.methods.pointillist.tokenizer import (
    Cube,
    Points,
    PointsWarning,
    Tokenizer,
    Up,
    Vocabulary,
    to_sequence,
)
from avatarbench.methods.pointillist.tracked_size import relative_scale
from avatarbench.methods.pointillist.training_set import (
    CLOUD,
    FORMAT,
    MANIFEST,
    RECORD,
    RIG,
    TRACKING,
    TrainingSet,
)

PACKAGES = ("avatarbench", "torch", "numpy", "mediapipe", "anny", "fast-simplification", "numba")


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


class Ready(NamedTuple):
    """A request in which nothing is wrong, as far as that shows before the work: the rig of the set, and the set whose
    cube is borrowed."""

    mesh: Mesh
    borrowed: TrainingSet | None


def check(request: Request, coming: Collection[str] = ()) -> Ready:
    """All that can be checked of a request without its pictures. ``coming``: people still to be rendered into the data.
    Writes nothing but downloads that are kept. Raises UsageError, DataError and AssetError."""
    people_of(request, coming)
    check_out(request)
    borrowed = None if request.tokenizer is None else TrainingSet(request.tokenizer)
    mesh = mesh_of(request, borrowed)
    check_begun(request, mesh)
    for name in ("face-landmarker",) if request.config.rig == "anny" else ():
        assets.pull(name)
    return Ready(mesh, borrowed)


def build_set(
    request: Request,
    workers: int = 2,
    progress: Callable[[int, int, int], None] = lambda steps, total, people: None,
    ready: Ready | None = None,
) -> list[Row]:
    """Fit whoever is missing, and write the manifest; a row for everybody.

    Equal data and configuration give equal files, on a CPU, whatever the number of workers and interruptions.
    ``progress``: steps done, steps in all, people done; ``ready``: of :func:`check`, where it was called before. Raises
    UsageError and DataError before the work for what is wrong with the request; DataError where ``out`` cannot be
    written, or nobody is left.
    """
    mesh, borrowed = ready or check(request)
    people = people_of(request)
    with alone(request.out):
        settle(request, mesh)
        jobs, rows = _jobs(request, people)
        steps, total = [0] * len(jobs), request.fit.steps * len(jobs)
        places = {job.person: number for number, job in enumerate(jobs)}

        def look(seen: list[int]) -> None:
            steps[:] = [max(pair) for pair in zip(steps, seen, strict=True)]
            progress(sum(steps), total, len(rows))

        def then(built: Built) -> None:
            steps[places[built.person]] = request.fit.steps
            rows[built.person] = _row(request.out, built)
            progress(sum(steps), total, len(rows))

        if jobs:
            build_crew.run(jobs, min(workers, len(jobs)), look, then)
        with suppress(OSError):  # somebody who was left out has a fit there that can go on
            (request.out / WORK).rmdir()
        ordered = [rows[person] for person in people]
        _finish(request, ordered, borrowed)
        return ordered


def _jobs(request: Request, people: Sequence[str]) -> tuple[list[Job], dict[str, Row]]:
    """The work, and a row for everybody who cannot be worked on."""
    jobs: list[Job] = []
    rows: dict[str, Row] = {}
    for person in people:
        try:
            jobs.append(_job(request, person))
        except DataError as error:
            rows[person] = Row(person, error=str(error))
    return jobs, rows


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
    cube = borrowed.tokenizer.cube if borrowed is not None else _cube(request, clouds, up)
    tokenizer = Tokenizer(Vocabulary(config.levels, config.faces), cube, up)
    people: dict[str, Any] = {}
    files = {name: sha256(out / name) for name in (RIG, SETTINGS)}
    for row in kept:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PointsWarning)  # the table and its end say it
            encoded = tokenizer.encode(*clouds[row.person])
        row.clamped, row.duplicates = encoded.clamped, encoded.duplicates
        record = json.loads((out / row.person / RECORD).read_text(encoding="utf-8"))
        files |= {f"{row.person}/{name}": digest for name, digest in record.pop("files").items()}
        files[f"{row.person}/{RECORD}"] = sha256(out / row.person / RECORD)
        people[row.person] = record | {"clamped": row.clamped, "duplicates": row.duplicates}
    write_json(
        out / MANIFEST,
        {
            "format": FORMAT,
            "config": settings_of(request),
            "tokenizer": tokenizer.to_json(),
            "tokenizer_of": borrowed.digest if borrowed is not None else None,
            "versions": {name: version(name) for name in PACKAGES},
            "people": people,
            "left_out": {row.person: row.error for row in rows if row.error},
            "files": files,
        },
    )


def _cloud(request: Request, person: str) -> Points:
    found = read_tensors(request.out / person / CLOUD)
    points = Points(found["positions"], found["bindings"])
    check_cloud(points, request.config.faces, request.config.generate.points, person)
    return points


def _cube(request: Request, clouds: Mapping[str, Points], up: Up) -> Cube:
    """About all clouds, in the size of every head that was tracked."""

    def sized() -> Iterator[Tensor]:
        for person, points in clouds.items():
            rest = read_tensors(request.out / person / CLOUD)["rest"]
            for tracked in read_tensors(request.out / person / TRACKING)["vertices"]:
                yield to_sequence(points.positions * relative_scale(tracked, rest), up)

    return Cube.around(sized())
