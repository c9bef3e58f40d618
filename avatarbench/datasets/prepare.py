"""Prepare: resolve a data set's protocols, then cache crops, masks, cameras and tracking of the frames they draw."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from avatarbench import registry
from avatarbench.dataset import Dataset
from avatarbench.datasets.marks import data_mark, write_mark
from avatarbench.datasets.prepare_crew import release, weighted, work
from avatarbench.datasets.prepare_sequence import Job, Origin, Outcome
from avatarbench.datasets.prepared import ABOUT, FORMAT, read_json
from avatarbench.errors import DataError, UsageError
from avatarbench.files import writing
from avatarbench.generator import probe
from avatarbench.protocol import FrameRef, ImageContract, Manifest, ProtocolSpec
from avatarbench.run.local import FOLDER, read_local, write_local

Advance = Callable[[str, int, int], None]
"""Told of a stage, what is done of it, and how much there is of it (0: not known yet)."""


@dataclass(frozen=True)
class Prepared:
    """``manifests``: by protocol, the file; ``unresolved``: by protocol, why there is none; ``notes`` on what was
    resolved."""

    manifests: dict[str, Path]
    unresolved: dict[str, str]
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]

    @property
    def failures(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.failure is not None]


def protocols_of(name: str) -> list[ProtocolSpec]:
    """Protocols that draw their pairs from the data set ``name`` by a rule. Raises UsageError where there are none."""
    known = [p for p in registry.everything("protocols") if not isinstance(p, registry.Broken) and p.split is not None]
    found = [protocol for protocol in known if protocol.datasets == (name,)]
    if not found:
        names = sorted({d for p in known for d in p.datasets})
        raise UsageError(f"no protocol draws from '{name}' by a rule{registry.suggest(name, names)}")
    return found


def prepare(
    origin: Origin, out: Path, workers: int = 1, advance: Advance = lambda stage, done, total: None
) -> Prepared:
    """Fill the folder ``out``; what is there already, of the same data and in the same way, is left.

    The bytes do not depend on ``workers``, nor on how often it was interrupted. Raises UsageError for a name, an
    ``out`` that cannot be written or lies in the data; DataError for data that cannot be read and for an ``out`` of
    other data.
    """
    specs = protocols_of(origin.name)
    if out.resolve().is_relative_to(origin.root.resolve()):
        raise UsageError(f"--out {out} lies in the data's own folder {origin.root}: name another.")
    probe(out, "--out")
    data = origin.open()
    mark = data_mark(origin.root, getattr(data, "home", None))
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".resolving-", dir=out) as aside:
        found = _resolve(specs, data, Path(aside), mark, advance)
        contract, wanted, notes = _wanted(found.manifests)
        _settle(origin, out, contract, mark)  # before a manifest of a folder that holds something else is replaced
        files = {spec.id: _place(path, out / FOLDER) for spec, path in found.files.items()}
    jobs = [
        Job(origin, sequence, tuple(sorted(indices)), digest, contract, out)
        for (sequence, digest), indices in sorted(wanted.items())
    ]
    outcomes, done, total = [], 0, weighted(jobs)
    try:
        for outcome in work(jobs, workers):
            outcomes.append(outcome)
            done += outcome.frames
            advance("preparing", done, total)
    finally:
        release()
    outcomes.sort(key=lambda outcome: outcome.sequence)
    return Prepared(files, found.unresolved, tuple(outcomes), (*found.notes, *notes))


@dataclass(frozen=True)
class _Found:
    manifests: list[Manifest]
    files: dict[ProtocolSpec, Path]
    unresolved: dict[str, str]
    notes: list[str]


def _place(file: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return file.replace(folder / file.name)


def _resolve(specs: list[ProtocolSpec], data: Dataset, folder: Path, mark: str | None, advance: Advance) -> _Found:
    found = _Found([], {}, {}, [])
    for spec in specs:
        people = 0

        def another(spec: ProtocolSpec = spec) -> None:
            nonlocal people
            people += 1
            advance(f"resolving {spec.id}", people, 0)

        try:
            path = write_local(spec, data, folder, mark, advance=another)
        except DataError as error:
            found.unresolved[spec.id] = str(error)
            continue
        resolved = read_local(spec, path)
        found.manifests.append(resolved.manifest)
        found.files[spec] = path
        found.notes.extend(f"{spec.id}: {note}" for note in resolved.notes)
    if not found.files:
        raise DataError("\n".join(dict.fromkeys(found.unresolved.values())))
    return found


def _wanted(manifests: list[Manifest]) -> tuple[ImageContract, dict[tuple[str, str], set[int]], list[str]]:
    """The contract, the frames by sequence and its digest, and what is left out: one folder holds one contract."""
    contract = manifests[0].image
    wanted: dict[tuple[str, str], set[int]] = {}
    notes = []
    for manifest in manifests:
        if manifest.image != contract:
            notes.append(
                f"{manifest.protocol} has another image contract than {manifests[0].protocol}: its frames are not there"
            )
            continue
        refs: list[FrameRef | None] = [ref for p in manifest.pairs for ref in (p.source, p.driver, p.target)]
        for ref in refs:
            if ref is not None:
                wanted.setdefault((ref.sequence, ref.digest), set()).add(ref.index)
    return contract, wanted, notes


def _settle(origin: Origin, out: Path, contract: ImageContract, mark: str | None) -> None:
    """Write what the folder is of, or see that it is of that already."""
    about = {"format": FORMAT, "dataset": origin.name, "image": asdict(contract), "data": mark}
    path = out / ABOUT
    if path.is_file():
        before = read_json(path)
        if differ := sorted(key for key in about if before.get(key) != about[key]):
            raise DataError(
                f"{out} was prepared with another {', '.join(differ)}: name another --out, or remove the folder."
            )
        return
    if mark is not None:
        write_mark(out, mark)
    with writing(path) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
