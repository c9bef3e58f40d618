"""What a generated folder holds, in hashes, so that whoever continues it can tell whether it is the same data."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avatarbench.errors import DataError, UsageError
from avatarbench.openheads.identity import VERSION as IDENTITY_VERSION
from avatarbench.openheads.identity import Identity
from avatarbench.openheads.layout import MANIFEST, read_manifest, write_json
from avatarbench.openheads.sequences import digest
from avatarbench.openheads.state import HeadState

VERSION = 1
"""Of the data: a change of sequences, cameras or rendering that makes other pictures of a seed gets a new number."""

_GROWS = ("scenes", "scene_sha256")


def describe(
    split: str, seed: int, size: int, samples: int, fps: float, rig: str, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """All that must be the same for a folder to be continued. ``rig``: digest of the cameras."""
    return {
        "dataset": "OpenHeads",
        "version": f"{VERSION}.{IDENTITY_VERSION}",
        "split": split,
        "seed": seed,
        "size": size,
        "samples": samples,
        "fps": fps,
        **extra,
        "cameras_sha256": rig,
        "renderer": f"mitsuba {version('mitsuba')}, anny {version('anny')}",
    }


def scene(identity: Identity, takes: Mapping[str, Sequence[HeadState]]) -> dict[str, Any]:
    """The hashes of one person: who they are, and what they do in each sequence."""
    return {
        "identity": hash_json(identity.to_json()),
        "sequences": {name: digest(states) for name, states in takes.items()},
    }


def hash_json(values: Any) -> str:
    """sha256 of values as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def settle(root: Path, fixed: Mapping[str, Any], scenes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Write the folder's manifest: ``fixed`` and the scenes, those that it already has and those to come.

    Raises UsageError, naming every difference, where the folder holds other data; DataError where its manifest is
    damaged.
    """
    known = read_manifest(root)
    if known is not None and not _are_scenes(known.get("scenes")):
        raise DataError(f"{root / MANIFEST}: its list of scenes is damaged. Name another folder with --out.")
    merged = {key: {**value, "sequences": dict(value["sequences"])} for key, value in scenes.items()}
    if known is not None:
        differences = _differences(known, fixed, scenes)
        if differences:
            raise UsageError(
                f"{root} holds other data than this command would make: {'; '.join(differences)}. Name another folder "
                "with --out, or repeat the command that made this one."
            )
        for key, value in known["scenes"].items():
            mine = merged.setdefault(key, {"identity": value["identity"], "sequences": {}})
            mine["sequences"] = {**value["sequences"], **mine["sequences"]}
    elif root.is_dir() and any(not entry.name.startswith(".") for entry in root.iterdir()):
        raise UsageError(f"{root} is not empty and has no {MANIFEST}. Name a new folder with --out.")
    merged = {
        key: {"identity": merged[key]["identity"], "sequences": dict(sorted(merged[key]["sequences"].items()))}
        for key in sorted(merged, key=int)
    }
    parameters = {key: value for key, value in fixed.items() if key != "renderer"}
    found = {**fixed, "scene_sha256": hash_json([parameters, merged]), "scenes": merged}
    if found != known:
        write_json(root / MANIFEST, found)
    return found


def _differences(known: Mapping[str, Any], fixed: Mapping[str, Any], scenes: Mapping[str, Any]) -> list[str]:
    found = [
        f"{key} is {_short(known.get(key))} there and {_short(fixed.get(key))} here"
        for key in sorted({*known, *fixed} - set(_GROWS))
        if known.get(key) != fixed.get(key)
    ]
    theirs = known["scenes"]
    for key in scenes:
        if key in theirs and theirs[key]["identity"] != scenes[key]["identity"]:
            found.append(f"person {key} is somebody else there")
        for name, sha in scenes[key]["sequences"].items():
            if key in theirs and theirs[key]["sequences"].get(name, sha) != sha:
                found.append(f"sequence {name} of person {key} moves otherwise there")
    return found if len(found) <= 6 else [*found[:5], f"and {len(found) - 5} more"]


def _are_scenes(scenes: Any) -> bool:
    """Whether it is a list of people, by number."""
    return isinstance(scenes, dict) and all(
        re.fullmatch("[0-9]{3,9}", number)
        and isinstance(scene, dict)
        and isinstance(scene.get("identity"), str)
        and isinstance(scene.get("sequences"), dict)
        for number, scene in scenes.items()
    )


def _short(value: Any) -> str:
    text = "missing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
