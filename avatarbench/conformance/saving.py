"""Avatars that can be saved: one file, whole, and nothing beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avatarbench.conformance.checklist import Row
from avatarbench.errors import AvatarbenchError, reason_of
from avatarbench.run.render import METHOD_ERRORS


def saving_rows(avatar: Any) -> Iterator[Row]:
    """``avatar``: as ``build`` returned it."""
    if not hasattr(avatar, "save"):
        yield Row("files", "save", "n/a", "avatars of this method cannot be saved")
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kept" / "avatar.part"  # a run names no ending either
        target.parent.mkdir()
        row = _save(avatar, target)
        yield row
        if row.outcome == "pass":
            yield _load(target)


def _save(avatar: Any, target: Path) -> Row:
    before = set(os.listdir())
    try:
        avatar.save(target)
    except METHOD_ERRORS as error:
        todo = "write the avatar as one file at the path given, whatever that ends in"
        return Row("files", "save", "fail", f"raised {reason_of(error)}", todo)
    beside = sorted({p.name for p in target.parent.iterdir()} - {target.name} | set(os.listdir()) - before)
    if not target.is_file():
        todo = "write to the very path given: numpy's savez and others add an ending of their own"
        return Row("files", "save", "fail", f"no file at the path given{_named(beside)}", todo)
    if not target.stat().st_size:
        return Row("files", "save", "fail", "the file is empty", "write the avatar before save() returns")
    if beside:
        return Row(
            "files", "save", "fail", f"it also wrote {', '.join(beside)}", "an avatar is one file: pack the rest in"
        )
    return Row("files", "save", "pass", f"one file of {target.stat().st_size:,} bytes")


def _named(names: list[str]) -> str:
    return f", but {', '.join(names)}" if names else ""


def _load(path: Path) -> Row:
    from avatarbench.gaussians.head import load_head

    try:
        head = load_head(path)
    except AvatarbenchError as error:
        return Row(
            "files", "load", "n/a", f"no avatar of 'avatarbench view' and 'animate': {error}".replace(str(path), "it")
        )
    return Row("files", "load", "pass", f"'avatarbench view' and 'animate' drive it: {len(head.cloud)} Gaussians")
