"""The manifest that ships beside a protocol: who drives whom, readable, with the hashes that a run has to meet.

``python -m avatarbench.run.pinned protocols/manifests`` writes those of every protocol that ships one, from the data
that is part of the package; run it after that data or a protocol changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Container
from importlib.resources import files
from pathlib import Path
from typing import Any

from avatarbench import registry
from avatarbench.errors import AvatarbenchError, DataError, UsageError
from avatarbench.files import writing
from avatarbench.protocol import FrameRef, Manifest, ProtocolSpec
from avatarbench.run.config import RunConfig
from avatarbench.run.plan import Datasets, make_manifest


def read_pinned(spec: ProtocolSpec) -> dict[str, Any]:
    """The shipped manifest of ``spec``, as :func:`summary` made it. Raises DataError where the package lacks it."""
    package, _, path = spec.manifest.partition(":")
    try:
        return json.loads(files(package).joinpath(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"the manifest of '{spec.id}' ({spec.manifest}) cannot be read: {error}") from error


def altered(spec: ProtocolSpec, manifest: Manifest, own: Container[str]) -> list[str]:
    """Sequences of a run on the data that ships, whose files are not those of the shipped manifest.

    ``own``: datasets for which the user named a folder of theirs; they answer to no manifest of ours. Raises DataError
    where the shipped manifest is missing.
    """
    refs = {r for p in manifest.pairs for r in (p.source, p.driver, p.target) if r is not None and r.dataset not in own}
    if not spec.manifest or not refs:
        return []
    pinned = read_pinned(spec)["files"]
    named = {f"{r.dataset}/{r.sequence}": r.digest for r in refs}
    return sorted(name for name, digest in named.items() if pinned.get(name, digest) != digest)


def summary(manifest: Manifest) -> dict[str, Any]:
    """The manifest as it ships: its hash, its files, and one line a source and driver sequence."""
    refs = {r for p in manifest.pairs for r in (p.source, p.driver, p.target) if r is not None}
    rows: dict[tuple[str, ...], list[int]] = {}
    for pair in manifest.pairs:
        target = pair.target.sequence if pair.target else ""
        rows.setdefault((_frame(pair.source), pair.driver.sequence, target), []).append(pair.driver.index)
    return {
        "protocol": manifest.protocol,
        "version": manifest.version,
        "manifest": manifest.digest(),
        "size": manifest.image.size,
        "pairs": len(manifest.pairs),
        "sources": len({p.source for p in manifest.pairs}),
        "who_drives_whom": [
            {"source": source, "driver": driver, "frames": frames, **({"target": target} if target else {})}
            for (source, driver, target), frames in rows.items()
        ],
        "files": {f"{r.dataset}/{r.sequence}": r.digest for r in sorted(refs, key=lambda r: (r.dataset, r.sequence))},
    }


def resolve_default(spec: ProtocolSpec, datasets: Datasets | None = None) -> Manifest:
    """The manifest of a run without flags, by default on the data that ships. Raises DataError, AssetError."""
    if datasets is None:
        datasets = {name: registry.load(registry.dataset(name).factory)(None) for name in spec.datasets}
    return make_manifest(spec, RunConfig(methods=["any"], protocol=spec.id), datasets)


def write_pinned(spec: ProtocolSpec, folder: Path, datasets: Datasets | None = None) -> Path:
    """Resolve ``spec`` and write its summary under the file name that the spec gives. Raises DataError."""
    path = folder / Path(spec.manifest.partition(":")[2]).name
    with writing(path) as temporary:
        temporary.write_text(to_text(summary(resolve_default(spec, datasets))), encoding="utf-8")
    return path


def to_text(content: dict[str, Any]) -> str:
    """A summary as JSON for people, with a line for each row of who drives whom."""
    rows = [json.dumps(row) for row in content["who_drives_whom"]]
    listed = "[\n  " + ",\n  ".join(rows) + "\n ]"  # json's own indentation would tear the rows apart
    rest = {key: value for key, value in content.items() if key != "who_drives_whom"}
    return json.dumps(rest | {"who_drives_whom": "@"}, indent=1).replace('"@"', listed) + "\n"


def _frame(ref: FrameRef) -> str:
    return f"{ref.sequence}/{ref.index}"


def main(arguments: list[str]) -> None:
    """Write every shipped manifest into the folder named. Raises UsageError, DataError."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        raise UsageError("name the folder to write to: python -m avatarbench.run.pinned protocols/manifests")
    for name in registry.names("protocols"):
        spec = registry.protocol(name)
        if spec.manifest and registry.owner("protocols", name) == "avatarbench":
            path = write_pinned(spec, Path(arguments[0]))
            print(f"{path}: {json.loads(path.read_text(encoding='utf-8'))['manifest']}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except AvatarbenchError as error:
        sys.exit(f"avatarbench: {error}")
