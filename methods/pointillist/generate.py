"""Portraits to point clouds on disk: ``avatarbench generate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from avatarbench.errors import AssetError, DataError, Unscorable, UsageError
from avatarbench.files import writing
from avatarbench.gaussians.files import write_ply
from avatarbench.generator import Made, Request, Watch
from avatarbench.methods.pointillist.checkpoint import Loaded, load_checkpoint, shipped
from avatarbench.methods.pointillist.conditioning import PortraitCondition, binding_rig, portrait_condition
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.engine import Engine, Generated, Progress
from avatarbench.methods.pointillist.images import load_encoder
from avatarbench.methods.pointillist.pictures import dots, face_colours


def generate(request: Request, watch: Watch) -> list[Made]:
    """One :class:`Made` a portrait. A portrait that cannot be read or has no face is a failure of its own; the others
    go on, all in one batch, and each cloud is what it would be alone. Raises AssetError without a checkpoint,
    DataError for one that cannot be used, UsageError for sampling out of range."""
    loaded = load_checkpoint(request.checkpoint or shipped(), device_of(request.device))
    options = options_of(loaded.config.generate, request.temperature, request.top_k, request.top_p, request.points)
    encoder = load_encoder(loaded.config.image, next(loaded.model.parameters()).device)
    if (encoder.count, encoder.width) != loaded.image_tokens:
        raise AssetError(
            f"the image encoder '{loaded.config.image.encoder}' gives {encoder.count} x {encoder.width} tokens, and "
            f"the checkpoint was trained with {loaded.image_tokens[0]} x {loaded.image_tokens[1]}: they are of two "
            "networks. Pull the assets again."
        )
    conditions: dict[int, PortraitCondition] = {}
    failures: dict[int, str] = {}
    for number, portrait in enumerate(request.portraits):
        watch("portraits", number, len(request.portraits), "")
        try:
            conditions[number] = portrait_condition(
                portrait, loaded.config, loaded.tokenizer, encoder, seed=request.seed
            )
        except (DataError, Unscorable) as error:
            failures[number] = str(error)
    watch("portraits", len(request.portraits), len(request.portraits), "")
    drawn = _drawn(loaded, list(conditions.values()), options, request.seed, watch)
    made = {number: Made(request.portraits[number], failure=why) for number, why in failures.items()}
    if conditions:
        faces = binding_rig(loaded.config).faces
        for (number, condition), one in zip(conditions.items(), drawn, strict=True):
            colours = face_colours(condition.vertices, faces)
            made[number] = _written(loaded, condition, one, colours, number, request)
    return [made[number] for number in range(len(request.portraits))]


def options_of(
    own: Generate,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    points: int | None = None,
) -> Generate:
    """A checkpoint's sampling with what is not None changed; a ``top_k`` of 0 takes all. Raises UsageError for a value
    out of range."""
    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "points": points}
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
    loaded: Loaded, conditions: Sequence[PortraitCondition], options: Generate, seed: int, watch: Watch
) -> list[Generated]:
    if not conditions:
        return []
    device = next(loaded.model.parameters()).device
    with torch.inference_mode():
        context = torch.cat(
            [loaded.model.condition(c.image_tokens[None].to(device), c.samples[None].to(device)) for c in conditions]
        )

    def told(progress: Progress) -> None:
        left = "" if progress.left is None else f", at most {_clock(progress.left)} left"
        total = progress.bound * len(progress.points)
        watch("points", sum(progress.points), total, f"{progress.rate:.0f} points/s{left}")

    return Engine(loaded.model).generate(context, options, [seed] * len(conditions), told)


def _written(
    loaded: Loaded, condition: PortraitCondition, drawn: Generated, colours: Tensor, number: int, request: Request
) -> Made:
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
    ended = drawn.reason == "ended"
    return Made(request.portraits[number], tuple(files), len(points.positions), drawn.seconds, ended, condition.notes)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
