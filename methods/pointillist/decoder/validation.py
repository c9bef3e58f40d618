"""How the decoder fares on people it is not trained on: the terms of its loss, and a sheet of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from avatarbench.errors import UsageError
from avatarbench.files import writing
from avatarbench.fitting.held_out import pixels
from avatarbench.fitting.run import evenly
from avatarbench.fitting.subject import resized
from avatarbench.methods.pointillist.decoder.batches import Batches
from avatarbench.methods.pointillist.decoder.gaussians import cloud_of
from avatarbench.methods.pointillist.decoder.loss import Perceptual, Terms, terms, weighted
from avatarbench.methods.pointillist.decoder.model import Decoder
from avatarbench.methods.pointillist.decoder.trainer import decoded, pictures
from avatarbench.methods.pointillist.training.evaluation import Marked, Named, seen_before

FOLDER = "validation"
VIEWS = 4
"""Pictures of each person that are judged, evenly chosen, and of which the first half are shown."""
SHOWN = 4
"""People on the sheet, evenly chosen."""


class Judged(NamedTuple):
    """One person's: the terms, and (V, H, W, 3) renderings beside their targets."""

    terms: Terms
    images: Tensor
    targets: Tensor


class Validation:
    """Of the first portrait with a finished cloud of every person in ``held``, whose clouds and frames ``batches`` has.

    A call on all processes, which share the people, returns the same on each: means over people of the loss and of its
    terms without their weights. ``before``: whom stage one was trained on, where that is known. Raises UsageError for
    people that are trained on, also by stage one alone: its clouds of them are no stranger's.
    """

    def __init__(
        self, held: Marked, trained: Marked, batches: Batches, before: Named | None = None, views: int = VIEWS
    ) -> None:
        both = seen_before(held, trained)
        if both:
            raise UsageError(f"{', '.join(both)} are trained on too: evaluate on other people.")
        both = [] if before is None else seen_before(held, before)
        if both:
            raise UsageError(
                f"{', '.join(both)}: stage one was trained on them, so that its clouds of them are no stranger's. "
                "Evaluate on other people."
            )
        self.held, self.batches = held, batches
        self._chosen = {person: evenly(range(batches.frames.count(person)), views) for person in batches.people}
        self.shown = evenly(batches.people, SHOWN)

    def __call__(
        self, model: Decoder, perceptual: Perceptual | None, accelerator: Accelerator, sheet: Path | None = None
    ) -> dict[str, Any]:
        """``sheet``: the PNG file that the main process writes: a row for each shown person, the source, then
        renderings, each with its target on the right. Raises OSError."""
        people, config = self.batches.people, model.config
        totals = torch.zeros(1 + len(Terms._fields), dtype=torch.float64, device=accelerator.device)
        was = model.training
        model.eval()
        for person in people[accelerator.process_index :: accelerator.num_processes]:
            found = self._judged(model, person, perceptual).terms
            totals += torch.stack([weighted(found, config), *found]).double()
        whole = accelerator.reduce(totals, "sum") / len(people)
        if sheet is not None and accelerator.is_main_process:
            self._draw(model, sheet)
        model.train(was)
        named = dict(zip(("loss", *Terms._fields), whole.tolist(), strict=True))
        return {"loss": named.pop("loss"), "terms": named, "people": len(people)}

    @torch.no_grad()
    def _judged(self, model: Decoder, person: str, perceptual: Perceptual | None, most: int | None = None) -> Judged:
        subject = self.batches.subject(person, self._portrait(person))
        frames = self.batches.seen(person, subject, self._chosen[person][:most])
        attributes = decoded(model, subject)
        posed = subject.skeleton.posed(cloud_of(subject.points, attributes), [frame.pose for frame in frames])
        seen = pictures(posed, [frame.camera for frame in frames])
        wanted = torch.stack([frame.image for frame in frames]).to(seen)
        bound = model.config.limits.offset
        return Judged(terms(seen, wanted, attributes.offsets, perceptual, bound), seen, wanted)

    def _portrait(self, person: str) -> int:
        return self.batches.clouds.portraits[person][0]

    def _draw(self, model: Decoder, path: Path) -> None:
        rows = []
        for person in self.shown:
            judged = self._judged(model, person, None, max(1, VIEWS // 2))
            height = judged.images.shape[1]
            source = self.held.portraits(person)[self._portrait(person)].image
            width = max(1, round(source.shape[1] * height / source.shape[0]))
            cells = [resized(source, width, height)]
            for image, target in zip(judged.images, judged.targets, strict=True):
                cells += [pixels(part.clamp(0, 1).cpu().numpy()) for part in (image, target)]
            rows.append(np.concatenate(cells, 1))
        widest = max(row.shape[1] for row in rows)
        sheet = np.concatenate([_widened(row, widest) for row in rows])
        with writing(path) as temporary:
            Image.fromarray(sheet).save(temporary, format="PNG")


def _widened(row: np.ndarray, width: int) -> np.ndarray:
    return np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255)
