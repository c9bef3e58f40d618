"""One person of a training set: the fit, the portraits, and the files that hold them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from avatarbench.datasets.images import write_png
from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.fitting.config import FitConfig
from avatarbench.fitting.fit import Fit, Progress
from avatarbench.fitting.nersemble import VhapSubject
from avatarbench.fitting.run import RECORD as FITTED
from avatarbench.fitting.run import Person, device_of, fit_person, open_subject, training_views
from avatarbench.fitting.sources import sha256
from avatarbench.methods.pointillist import build_flame, build_portraits
from avatarbench.methods.pointillist.build_portraits import Found
from avatarbench.methods.pointillist.tokenizer import Points
from avatarbench.methods.pointillist.training_set import CLOUD, IDENTITY, RECORD, RIG, TRACKING
from avatarbench.metrics.face import FaceLandmarker

WORK = ".work"
"""Folder of a set where fits in progress lie."""
TIMING = "timing.json"
"""Of a person, and of this machine: no part of the set."""


@dataclass(frozen=True)
class Job:
    """What is to be made of one person. ``tracking``: the person's VHAP export; ``monocular``: the folder of
    Pixel3DMM's tracking of portraits; ``portraits``: the folder to take PORTRAIT from; ``most``: portraits of a person,
    and ``points`` of a cloud, at most."""

    root: Path
    person: str
    out: Path
    fit: FitConfig
    tracking: Path | None
    monocular: Path | None
    portraits: Path | None
    most: int
    points: int

    @property
    def folder(self) -> Path:
        return self.out / self.person


def build_person(job: Job, watch: Callable[[Progress], None] = lambda progress: None) -> dict[str, Any]:
    """Fit a person, track the portraits, write all of it to the person's folder, and the record last; the record.

    A person who is finished costs no more than reading the sources; a fit in progress goes on. ``watch`` as
    :func:`avatarbench.fitting.run.fit_person`'s. Raises DataError for data that cannot be used, for a person without a
    portrait, for a cloud that is too large, and where the person was made of other data.
    """
    begun = time.perf_counter()
    config = job.fit
    subject = open_subject(job.root, job.person, config, job.tracking, device_of(config))
    sources = dict(subject.sources(training_views(subject, config, (), ()))) | _identity(job)
    before = _finished(job.folder)
    if before is not None:
        recorded = before["sources"]
        now = sources | _named(_portrait_sources(subject, job))
        # A record of before identities were kept says nothing of them.
        kept = {*recorded, *now} - ({IDENTITY} - recorded.keys())
        changed = sorted(what for what in kept if recorded.get(what) != now.get(what))
        if changed:
            raise DataError(
                f"{job.folder} was made of other data ({', '.join(changed)} of {job.person} in {job.root} changed): "
                "remove that folder to fit the person anew, or choose another --out."
            )
        shutil.rmtree(job.out / WORK / job.person, ignore_errors=True)
        return before
    shutil.rmtree(job.folder, ignore_errors=True)  # half a person, whose record was still to come
    work = job.out / WORK / job.person
    fit = fit_person(job.root, job.person, work, config, watch, video=False, tracking=job.tracking)
    points = _cloud(fit, job)
    found = _portraits(fit, job)
    if not found.tracked:
        reasons = "; ".join(f"{one.place}: {one.reason}" for one in found.left) or "there is no frontal picture"
        raise DataError(f"no portrait of {job.person} can be used ({reasons}).")
    record = _record(fit, points, found, sources | _named(found.sources))
    fitted = json.loads((work / FITTED).read_text(encoding="utf-8"))
    write_json(job.folder / TIMING, {"fit": fitted["seconds"], "sitting": round(time.perf_counter() - begun, 1)})
    record = _write(job.folder, points, fit.subject.rest(), found, record)
    shutil.rmtree(work, ignore_errors=True)  # what remains of it does no harm
    return record


def check_cloud(points: Points, faces: int, most: int, person: str) -> None:
    """Raises DataError for a cloud that cannot be learnt: more points than the model may generate, a binding that is no
    face of the rig, a position that is not finite."""
    count = len(points.positions)
    if count > most:
        raise DataError(
            f"the cloud of {person} has {count:,} points and a model of this configuration generates at most {most:,}: "
            f"give fit.points={most}, or generate.points={count} or more."
        )
    low, high = (int(v) for v in points.bindings.aminmax()) if count else (0, -1)
    if low < 0 or high >= faces or not count:
        raise DataError(
            f"the cloud of {person} has {count} points with bindings from {low} to {high}, and the rig has faces 0 to "
            f"{faces - 1}: it was fitted on another rig, or to nothing."
        )
    if not bool(torch.isfinite(points.positions).all()):
        raise DataError(f"the cloud of {person} has positions that are not finite: fit it anew.")


def _finished(folder: Path) -> dict[str, Any] | None:
    """The record of a person whose files are what they were when it was written, None where there is no record. Raises
    DataError for damage."""
    path = folder / RECORD
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        changed = [name for name, digest in found["files"].items() if sha256(folder / name) != digest]
        if changed or not isinstance(found["sources"], dict):
            raise ValueError(f"{', '.join(changed) or 'the record'} changed since it was written")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise DataError(f"{folder} is damaged ({error}): remove it to make the person anew.") from error
    return found


def _cloud(fit: Fit, job: Job) -> Points:
    cloud = fit.canonical()
    assert cloud.bindings is not None  # a fit's Gaussians always have one
    points = Points(cloud.means.float().contiguous(), cloud.bindings.long())
    faces = fit.subject.faces.cpu()
    rig = read_tensors(job.out / RIG)["faces"]
    if not torch.equal(rig, faces):
        raise DataError(
            f"{job.person} was fitted on a rig of {len(faces)} faces that are not those of {job.out / RIG}: were "
            "anny or fast-simplification updated since the set was begun? Choose another --out."
        )
    check_cloud(points, len(faces), job.points, job.person)
    return points


def _portraits(fit: Fit, job: Job) -> Found:
    head = fit.head()
    if isinstance(fit.subject, VhapSubject):
        export = job.tracking or job.root
        return build_flame.of_vhap(fit.subject, head, job.root, job.person, export, job.monocular, job.most)
    return build_portraits.of_openheads(job.root, job.person, job.portraits, job.most, head.small, landmarker())


def _portrait_sources(subject: Person, job: Job) -> dict[str, str]:
    """What :func:`_portraits` would record, without tracking anything."""
    if isinstance(subject, VhapSubject):
        return build_flame.sources_of(subject, job.person, job.monocular, job.most)
    return build_portraits.sources_of(job.root, job.person, job.portraits, job.most)


def _named(portraits: dict[str, str]) -> dict[str, str]:
    return {f"portrait {name}": digest for name, digest in portraits.items()}


def _identity(job: Job) -> dict[str, str]:
    """Who an OpenHeads person is, whatever the number; nothing for other people, whose name says it."""
    path = job.root / job.person / "identity.json"
    return {IDENTITY: sha256(path)} if job.tracking is None and path.is_file() else {}


@cache
def landmarker() -> FaceLandmarker:
    """One a process: it takes a second to load."""
    return FaceLandmarker()


def _record(fit: Fit, points: Points, found: Found, sources: dict[str, str]) -> dict[str, Any]:
    return {
        "points": len(points.positions),
        "faces_occupied": len(points.bindings.unique()),
        "psnr": round(fit.psnr(), 3),
        "portraits": [{"file": _name(n), "of": str(one.place)} for n, one in enumerate(found.tracked)],
        "left_out": [{"of": str(one.place), "reason": one.reason} for one in found.left],
        "notes": found.notes,
        "sources": sources,
    }


def _name(number: int) -> str:
    return f"portrait-{number:02d}.png"


def _write(folder: Path, points: Points, rest: Tensor, found: Found, record: dict[str, Any]) -> dict[str, Any]:
    """The record that was written, with the digests of all other files."""
    cloud = {"positions": points.positions, "bindings": points.bindings, "rest": rest.float()}
    write_tensors(folder / CLOUD, cloud)
    tracked = {key: torch.stack([one.values[key] for one in found.tracked]) for key in found.tracked[0].values}
    vertices = torch.stack([one.vertices.float() for one in found.tracked])
    write_tensors(folder / TRACKING, {"vertices": vertices} | tracked)
    for number, one in enumerate(found.tracked):
        write_png(folder / _name(number), one.image)
    names = (CLOUD, TRACKING, *map(_name, range(len(found.tracked))))
    record = record | {"files": {name: sha256(folder / name) for name in names}}
    write_json(folder / RECORD, record)
    return record


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Raises DataError for a file that is missing, or holds no tensors."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): remove it, and what lies beside it, to make it anew."
        ) from error


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    with writing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, values: dict[str, Any]) -> None:
    with writing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
