"""Manifests of data that cannot ship: resolved once where the data is, sealed, and read again by every run.

A run takes the pairs from ``ROOT/avatarbench-manifests/PROTOCOL.json``, where ``ROOT`` is a folder that ``avatarbench
data prepare`` filled, or from where ``--manifest`` says; without either it resolves the rule itself, to the same pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from avatarbench.dataset import Dataset
from avatarbench.errors import DataError, UsageError
from avatarbench.files import writing
from avatarbench.protocol import FrameRef, ImageContract, Manifest, Pair, ProtocolSpec
from avatarbench.run.config import RunConfig
from avatarbench.run.pinned import summary, to_text
from avatarbench.run.plan import image_contract, share
from avatarbench.run.resolve import Resolved, resolve, without_masks
from avatarbench.run.sources import Judge

FOLDER = "avatarbench-manifests"
FORMAT = 1
SEAL = "sha256 of the rest"


@dataclass(frozen=True)
class Planned:
    """A run's pairs on licensed data. ``altered``: sequences whose files are not those that the manifest names."""

    manifest: Manifest
    notes: tuple[str, ...]
    altered: tuple[str, ...] = ()


def write_local(
    spec: ProtocolSpec,
    dataset: Dataset,
    folder: Path,
    data: str | None = None,
    judge: Judge | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Path:
    """Resolve ``spec`` and write ``folder/PROTOCOL.json``, whole or not at all. ``data``: the folder's own mark.

    Raises DataError and AssetError as :func:`avatarbench.run.resolve.resolve` does, OSError where it cannot be written.
    """
    found = resolve(spec, dataset, judge, advance)
    content = _header(spec) | {"data": data, "notes": list(found.notes)} | summary(found.manifest)
    content["image"] = asdict(found.manifest.image)
    path = folder / f"{spec.id}.json"
    with writing(path) as temporary:
        temporary.write_text(to_text(content | {SEAL: _seal(content)}), encoding="utf-8")
    return path


def read_local(spec: ProtocolSpec, path: Path) -> Resolved:
    """The manifest that :func:`write_local` wrote. Raises DataError for one that was edited or damaged, and for one of
    another protocol, version or rule."""
    again = "Write it anew with: avatarbench data prepare"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seal = content.pop(SEAL)
        if seal != _seal(content):
            raise DataError(f"{path} was changed after it was written: its hash is not the one in it. {again}")
        for key, ours in _header(spec).items():
            if content[key] != ours:
                raise DataError(f"{path} has {key} {_brief(content[key])}, '{spec.id}' has {_brief(ours)}. {again}")
        manifest = _manifest(spec, content)
        notes = tuple(str(note) for note in content["notes"])
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is no manifest ({type(error).__name__}: {error}). {again}") from error
    if manifest.digest() != content["manifest"]:
        raise DataError(f"{path} does not give the pairs that its hash is of: it is another program's. {again}")
    return Resolved(manifest, notes)


def plan(spec: ProtocolSpec, config: RunConfig, dataset: Dataset, root: Path, advance: Callable[[], None]) -> Planned:
    """The pairs of a run: read or resolved, held against the data, and cut to the run's limits.

    Raises DataError and AssetError as above, UsageError for options that the rule leaves no room for.
    """
    if config.frames.sequences:
        raise UsageError(
            f"'{spec.id}' draws its drivers by a rule: choose who takes part with sources.sequences=[...] instead of "
            "frames.sequences."
        )
    path = _find(spec, config, root)
    altered: tuple[str, ...] = ()
    if path is None:
        chosen = spec
        if names := config.sources.sequences:
            chosen = replace(spec, sources=replace(spec.sources, sequences=tuple(names)))
        found = resolve(chosen, dataset, advance=advance)
    else:
        read = read_local(spec, path)
        manifest, altered = _held_against(read.manifest, dataset, path)
        _check_masks(manifest, dataset, path)
        found = Resolved(manifest, read.notes)
        for _ in {pair.source for pair in manifest.pairs}:
            advance()
    return Planned(_cut(spec, found.manifest, config), found.notes, altered)


def _find(spec: ProtocolSpec, config: RunConfig, root: Path) -> Path | None:
    given = Path(config.manifest) if config.manifest else None
    if config.sources.sequences:
        if given is not None:
            raise UsageError("a manifest says who takes part: give either --manifest or sources.sequences.")
        return None
    if given is None:
        path = root / FOLDER / f"{spec.id}.json"
        inside = path.is_file() and path.resolve().is_relative_to(root.resolve())
        return path if inside else None
    path = given / f"{spec.id}.json" if given.is_dir() else given
    if not path.is_file():
        raise UsageError(f"there is no manifest {path}: avatarbench data prepare writes it, or leave --manifest out.")
    return path


def _held_against(manifest: Manifest, dataset: Dataset, path: Path) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest with the hashes of the files that are there, and the sequences where these are others."""
    here = set(dataset.sequences())
    named = {ref.sequence: ref.digest for pair in manifest.pairs for ref in (pair.source, pair.driver)}
    if gone := sorted(named.keys() - here):
        raise DataError(
            f"{path} names {len(gone)} sequence{'s' * (len(gone) != 1)} that the data lacks ({', '.join(gone[:3])}"
            f"{', ...' if len(gone) > 3 else ''}): see avatarbench data check, or resolve anew with data prepare."
        )
    now = {sequence: dataset.digest(sequence) for sequence in sorted(named)}
    altered = tuple(sequence for sequence, digest in now.items() if digest != named[sequence])
    if not altered:
        return manifest, ()
    furthest: dict[str, int] = {}
    for pair in manifest.pairs:
        for ref in (pair.source, pair.driver):
            furthest[ref.sequence] = max(furthest.get(ref.sequence, 0), ref.index)
    for sequence in altered:
        if (count := dataset.length(sequence)) <= furthest[sequence]:
            raise DataError(
                f"{path} takes frame {furthest[sequence]} of '{sequence}', which has {count} frames now: get the data "
                "again, or resolve anew with data prepare."
            )

    def renewed(ref: FrameRef) -> FrameRef:
        return replace(ref, digest=now[ref.sequence])

    pairs = tuple(
        replace(p, source=renewed(p.source), driver=renewed(p.driver), target=p.target and renewed(p.target))
        for p in manifest.pairs
    )
    return replace(manifest, pairs=pairs), altered


def _check_masks(manifest: Manifest, dataset: Dataset, path: Path) -> None:
    """A manifest that was resolved where masks are is not run where they are not, under the name of its contract.

    Prepared frames have their background already, and are held against the contract as they are read.
    """
    behind = manifest.image.background
    if behind == "kept" or hasattr(dataset, "square"):
        return
    without, count = without_masks(dataset, manifest.pairs)
    if without:
        raise DataError(
            f"{path} puts {behind} behind people, and {len(without)} of {count} sequences have no masks here (the "
            f"first: {without[0]}): name the folder that was prepared with mattes as --data-root, or leave the "
            "manifest out."
        )


def _cut(spec: ProtocolSpec, manifest: Manifest, config: RunConfig) -> Manifest:
    """What the run's limits leave: ``start`` and ``stride`` count the frames that were drawn of a sequence."""
    start, stride = config.frames.start or 0, config.frames.stride or 1
    sources = list(dict.fromkeys(pair.source for pair in manifest.pairs))[: config.sources.limit]
    kept: list[Pair] = []
    for source in sources:
        mine = [pair for pair in manifest.pairs if pair.source == source]
        thinned = [
            pair
            for _, take in groupby(mine, key=lambda pair: pair.driver.sequence)
            for pair in list(take)[start::stride]
        ]
        left = set(share([pair.driver for pair in thinned], None, config.frames.limit))
        kept += [pair for pair in thinned if pair.driver in left]
    if not kept:
        raise DataError(f"'{spec.id}' has no pairs left with start {start}, stride {stride}: use smaller ones.")
    contract = replace(image_contract(spec, config), background=manifest.image.background)
    return Manifest(spec.id, spec.version, contract, tuple(kept))


def _manifest(spec: ProtocolSpec, content: dict[str, Any]) -> Manifest:
    files = content["files"]

    def ref(sequence: str, index: int) -> FrameRef:
        return FrameRef(spec.sources.dataset, sequence, int(index), files[f"{spec.sources.dataset}/{sequence}"])

    pairs = []
    for row in content["who_drives_whom"]:
        sequence, _, index = row["source"].rpartition("/")
        source = ref(sequence, int(index))
        for frame in row["frames"]:
            driver = ref(row["driver"], frame)
            target = ref(row["target"], frame) if "target" in row else None
            pairs.append(Pair(f"{source.name}/{driver.sequence}/{driver.index:06d}", source, driver, target))
    return Manifest(content["protocol"], content["version"], ImageContract(**content["image"]), tuple(pairs))


def _header(spec: ProtocolSpec) -> dict[str, Any]:
    """What has to be the same for a manifest to be this protocol's, as JSON gives it back."""
    rule = {
        "sources": asdict(spec.sources),
        "drivers": asdict(spec.drivers),
        "split": spec.split and asdict(spec.split),
    }
    return json.loads(
        json.dumps({"format": FORMAT, "protocol": spec.id, "version": spec.version, "task": spec.task, "rule": rule})
    )


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else "another one"
