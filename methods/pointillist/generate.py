"""Portraits to point clouds on disk: ``avatarbench generate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from avatarbench.errors import AssetError, DataError, Unscorable, UsageError
from avatarbench.files import writing
from avatarbench.gaussians.files import write_ply
from avatarbench.generator import SEEDS, Made, Request, Watch
from avatarbench.methods.pointillist.checkpoint import Loaded, load_checkpoint, shipped
from avatarbench.methods.pointillist.conditioning import PortraitCondition, binding_rig, portrait_condition
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.draw import draw, few
from avatarbench.methods.pointillist.engine import Engine, Generated, Progress
from avatarbench.methods.pointillist.engine.window import ROWS
from avatarbench.methods.pointillist.images import load_encoder
from avatarbench.methods.pointillist.measures import fault
from avatarbench.methods.pointillist.pictures import dots, face_colours

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Of the engine, by precision. float32 unless asked for: figures are then the same on every device but for rounding."""


def generate(request: Request, watch: Watch) -> list[Made]:
    """One :class:`Made` a portrait. A portrait that cannot be read or has no face is a failure of its own; the others
    go on, in batches that are written as they end, and each cloud is what it would be alone. Raises AssetError without
    a checkpoint, DataError for one that cannot be used, UsageError for sampling or a seed out of range, and for a
    precision that the device has not."""
    if not 0 <= request.seed < SEEDS:
        raise UsageError(f"the seed {request.seed} is not from 0 to 2**63 - 1.")
    if request.precision != "fp32" and device_of(request.device).type == "cpu":
        raise UsageError(f"--precision {request.precision}: the engine steps in float32 on a CPU: leave it out.")
    loaded = load_checkpoint(request.checkpoint or shipped(), device_of(request.device))
    r = request
    asked = (r.temperature, r.top_k, r.top_p, r.points, r.guidance, r.spacing, r.consensus)
    options = options_of(loaded.config.generate, *asked)
    encoder = load_encoder(loaded.config.image, next(loaded.model.parameters()).device)
    unlike = loaded.misfit(encoder)
    if unlike is not None:
        raise AssetError(f"{unlike}: they are of two networks. Pull the assets again.")
    conditions: dict[int, PortraitCondition] = {}
    failures: dict[int, str] = {}
    for number, portrait in enumerate(request.portraits):
        watch("portraits", number, len(request.portraits), "")
        try:
            conditions[number] = portrait_condition(
                portrait, loaded.config, loaded.tokenizer, encoder, seed=request.seed, rig=loaded.rig
            )
        except (DataError, Unscorable) as error:
            failures[number] = str(error)
    watch("portraits", len(request.portraits), len(request.portraits), "")
    made = {number: Made(request.portraits[number], failure=why) for number, why in failures.items()}
    if conditions:
        faces = binding_rig(loaded.config, loaded.rig).faces
        for number, one in _drawn(loaded, conditions, options, request, watch):
            colours = face_colours(conditions[number].vertices, faces)
            made[number] = _written(loaded, conditions[number], one, colours, number, request)
    return [made[number] for number in range(len(request.portraits))]


def options_of(
    own: Generate,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    points: int | None = None,
    guidance: float | None = None,
    spacing: float | None = None,
    consensus: int | None = None,
) -> Generate:
    """A checkpoint's sampling with what is not None changed; a ``top_k`` of 0 takes all. Raises UsageError for a value
    out of range."""
    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "points": points}
    given |= {"guidance": guidance, "spacing": spacing, "consensus": consensus}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if changes.get("top_k") == 0:
        changes["top_k"] = None
    try:
        return Generate.model_validate(own.model_dump() | changes)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        raise UsageError(f"sampling cannot be so: {faults}.") from error


def device_of(name: str) -> torch.device:
    """Raises UsageError for a device that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"'{name}' is no device: give auto, cpu, cuda or cuda:N.") from error
    if found.type not in ("cpu", "cuda") or (found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count()):
        raise UsageError(f"the device '{name}' is not here: give auto or cpu. See: avatarbench doctor")
    return found


def _drawn(
    loaded: Loaded, conditions: Mapping[int, PortraitCondition], options: Generate, request: Request, watch: Watch
) -> Iterator[tuple[int, Generated]]:
    """By number, in batches as large as the engine steps at once: what is done by then is not lost with the rest."""
    device = next(loaded.model.parameters()).device
    engine, numbers = Engine(loaded.model, DTYPES[request.precision]), list(conditions)
    most = options.points * options.consensus
    done, total, reached = 0, most * len(numbers), [0]
    for start in range(0, len(numbers), ROWS):
        group, later = numbers[start : start + ROWS], most * max(0, len(numbers) - start - ROWS)
        with torch.inference_mode():
            inputs = [
                (conditions[n].image_tokens[None].to(device), conditions[n].samples[None].to(device)) for n in group
            ]
            context = torch.cat([loaded.model.condition(*one) for one in inputs])

        def told(progress: Progress, done: int = done, later: int = later) -> None:
            left = ""
            if progress.left is not None:
                left = f", at most {_clock(progress.left + later / max(progress.rate, 1e-9))} left"
            reached[0] = done + sum(progress.points)
            watch("points", reached[0], total, f"{progress.rate:.0f} points/s{left}")

        found = draw(loaded, engine, context, options, [request.seed] * len(group), told, request.states)
        done = reached[0]
        yield from zip(group, found, strict=True)


def _written(
    loaded: Loaded, condition: PortraitCondition, drawn: Generated, colours: Tensor, number: int, request: Request
) -> Made:
    portrait, out = request.portraits[number], request.outs[number]
    wrong = fault(drawn.tokens, loaded.tokenizer.vocabulary)
    if wrong is not None:
        return Made(
            portrait,
            failure=f"what was generated is no cloud: {wrong}. The checkpoint samples without the grammar's masks "
            "(grammar.sampling=false): try another --seed.",
        )
    try:
        return _saved(loaded, condition, drawn, colours, number, request)
    except OSError as error:
        return Made(portrait, failure=f"{error.filename or out} cannot be written: {error.strerror or error}.")


def _saved(
    loaded: Loaded, condition: PortraitCondition, drawn: Generated, colours: Tensor, number: int, request: Request
) -> Made:
    """Raises OSError."""
    points, out = loaded.tokenizer.decode(drawn.tokens), request.outs[number]
    files = [out]
    if request.states:  # before the cloud, which is what others wait for
        files.append(out.with_suffix(".npz"))
        arrays: dict[str, Any] = {
            "tokens": drawn.tokens.cpu().numpy(),
            "positions": points.positions.numpy(),
            "bindings": points.bindings.numpy(),
            "states": drawn.states.float().cpu().numpy(),
            "vertices": condition.vertices.numpy(),
            "seed": np.array(request.seed),
            "fingerprint": np.array(loaded.fingerprint),
        }
        with writing(files[1]) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)
    write_ply(dots(points, colours), out)
    ended, count, notes = drawn.reason == "ended", len(points.positions), condition.notes
    if drawn.left_out:
        notes += (f"{drawn.left_out} draws came to no end, or were too small, and are not in the consensus.",)
    if ended and count < loaded.least:
        notes += (f"{few(count, loaded)}: try another --seed.",)
    return Made(request.portraits[number], tuple(files), count, drawn.seconds, ended, notes)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
