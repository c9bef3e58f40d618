"""Set, clouds, pictures and rig of one training, opened and found to belong together."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from avatarbench.errors import DataError
from avatarbench.heads.rig import faces_digest
from avatarbench.methods.pointillist.decoder.batches import Batches
from avatarbench.methods.pointillist.decoder.clouds import Clouds, as_now
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.decoder.frames import Recordings
from avatarbench.methods.pointillist.decoder.motion import movable_of
from avatarbench.methods.pointillist.decoder.run import Origin
from avatarbench.methods.pointillist.decoder.validation import Validation
from avatarbench.methods.pointillist.training.evaluation import Remembered
from avatarbench.methods.pointillist.training.state import flat
from avatarbench.methods.pointillist.training_set import TrainingSet


class Opened(NamedTuple):
    """All that one side, training or evaluation, learns from or is judged on."""

    subjects: TrainingSet
    clouds: Clouds
    batches: Batches
    origin: Origin


def opened(
    data: Path,
    clouds: Path,
    views: Path,
    tracking: Path | None,
    config: DecoderConfig,
    device: torch.device,
    trained: Opened | None = None,
) -> Opened:
    """``trained``: the training side, where this is to judge what is learnt of it. Raises
    DataError for folders that do not belong together, naming the digests, and as :class:`TrainingSet`,
    :class:`Clouds`, :class:`Recordings` and :class:`Batches` do."""
    subjects, drawn = TrainingSet(data), Clouds(clouds)
    people = set(drawn.people)
    if drawn.data != subjects.digest or drawn.tokenizer != subjects.tokenizer or not people <= set(subjects.people):
        raise DataError(
            f"{drawn.root} holds clouds of another training set than {subjects.root} (digests {drawn.data[:12]} and "
            f"{subjects.digest[:12]}): name the set that they were generated for, or generate others."
        )
    if trained is not None:
        _check_pair(subjects, drawn, trained)
    rig = str(subjects.config.get("rig", "unknown"))
    frames = Recordings(views, {p: subjects.marks(p) for p in drawn.people}, rig, config.train.size, tracking)
    movable = movable_of(subjects, device) if trained is None else trained.batches.movable
    batches = Batches(drawn, subjects, frames, movable, config, device)
    digest = faces_digest(subjects.faces)
    return Opened(
        subjects,
        drawn,
        batches,
        Origin(subjects.digest, drawn.digest, frames.digest, drawn.fingerprint, digest, drawn.sampling),
    )


def _check_pair(subjects: TrainingSet, drawn: Clouds, trained: Opened) -> None:
    if subjects.tokenizer != trained.subjects.tokenizer or not torch.equal(subjects.faces, trained.subjects.faces):
        raise DataError(
            f"{subjects.root} has another tokenizer or rig than {trained.subjects.root}: build it with 'train "
            "pointillist data --tokenizer' of that set."
        )
    if drawn.fingerprint != trained.clouds.fingerprint:
        raise DataError(
            f"{drawn.root} holds clouds of the stage one {drawn.fingerprint[:12]}, and {trained.clouds.root} those of "
            f"{trained.clouds.fingerprint[:12]}: generate both with one checkpoint."
        )
    theirs, ours = flat(as_now(trained.clouds.sampling)), flat(as_now(drawn.sampling))
    lines = [f"{key} is {theirs.get(key)!r} there and {ours.get(key)!r} here" for key in ours | theirs]
    unlike = [line for line, key in zip(lines, ours | theirs, strict=True) if theirs.get(key) != ours.get(key)]
    if unlike:
        raise DataError(
            f"{drawn.root} was not drawn as {trained.clouds.root}:\n  " + "\n  ".join(unlike) + "\nGenerate both with "
            "the same options."
        )


def validation_of(held: Opened, learnt: Opened) -> Validation:
    """Raises UsageError for people that either stage is trained on."""
    known = held.clouds.known
    return Validation(held.subjects, learnt.subjects, held.batches, None if known is None else Remembered(known))
