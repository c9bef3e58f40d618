"""Whether a run has the FLAME tracking that its methods need, told before any work."""

from __future__ import annotations

from avatarbench.capability import granted
from avatarbench.dataset import flame_of
from avatarbench.datasets.tracked import TrackedDataset, tracking_digest
from avatarbench.errors import DataError
from avatarbench.protocol import FrameRef, Manifest
from avatarbench.run.preflight import Preflight, first_of


def check_flame(found: Preflight, manifest: Manifest) -> None:
    """Either every driver sequence of the run has FLAME tracking, or no method gets any: one that needs it is left
    out, one that wants it does without. Single frames that were not tracked cost themselves alone, and sources may do
    without. What was tracked is noted with its hash."""
    if not any("flame" in granted(m, found.protocol).needs for m in found.runnable_methods):
        return
    drivers = dict.fromkeys(pair.driver for pair in manifest.pairs)
    frames = {**dict.fromkeys(pair.source for pair in manifest.pairs), **drivers}
    try:
        tracked = _tracked(found, frames)
    except DataError as error:
        lacking = [str(error)]
    else:
        seen = {(ref.dataset, ref.sequence) for ref, has in tracked.items() if has}
        without = dict.fromkeys(ref.sequence for ref in drivers if (ref.dataset, ref.sequence) not in seen)
        lacking = [f"'{sequence}' has no FLAME tracking" for sequence in without]
        if not lacking:
            if count := sum(not tracked[ref] for ref in drivers):
                found.notes.append(f"{count} of {len(drivers)} driver frames have no FLAME tracking")
            return
    found.absent["flame"] = first_of(lacking, "sequences")
    for method in found.runnable_methods:
        if "flame" in method.needs:
            found.optional.append(
                f"method '{method.id}' needs FLAME parameters: {found.absent['flame']}. Import them with --tracker "
                "vhap or pixel3dmm and --tracking DIR, or --tracker dataset for the NeRSemble benchmark's"
            )
            found.without_methods[method.id] = "no tracking"


def _tracked(found: Preflight, frames: dict[FrameRef, None]) -> dict[FrameRef, bool]:
    """Which frames were tracked; notes the hash of it all. Raises DataError."""
    by_sequence: dict[tuple[str, str], list[int]] = {}
    for ref in frames:
        by_sequence.setdefault((ref.dataset, ref.sequence), []).append(ref.index)
    for (dataset, sequence), indices in by_sequence.items():
        if isinstance(data := found.datasets[dataset], TrackedDataset):
            data.load(sequence, indices)
    flames = {ref: flame_of(found.datasets[ref.dataset], ref.sequence, ref.index) for ref in frames}
    if any(flame is not None for flame in flames.values()):
        found.notes.append(f"FLAME tracking of this run: sha256 {tracking_digest(flames.values())[:16]}")
    return {ref: flame is not None for ref, flame in flames.items()}
