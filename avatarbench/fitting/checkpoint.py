"""The file that an interrupted fit goes on from."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.fitting.config import FitConfig

FORMAT = 2
"""Raised when a fit can no longer go on from what an earlier one wrote."""

KEYS = (
    "step", "seconds", "origin", "rest", "gaussians", "gradients", "draw", "order", "recent", "config", "refined",
    "refiner",
)  # fmt: skip


def write(path: Path, state: Mapping[str, Any]) -> None:
    """``state``: all of :data:`KEYS`, of tensors and plain values. Raises OSError."""
    content = io.BytesIO()  # torch's own file writer hides a full disk behind a RuntimeError
    torch.save({"format": FORMAT, **state}, content)
    with writing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read(path: Path, device: torch.device) -> tuple[dict[str, Any], FitConfig]:
    """What was written, its tensors on ``device``, and the configuration among it. Raises DataError for a file that is
    not there, is damaged, or was written by something else or by another version."""
    remedy = "Remove it and fit again."
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: there is no fit to resume.") from error
    except (OSError, EOFError, TypeError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise DataError(f"{path} is no checkpoint of a fit: {error}. {remedy}") from error
    if not isinstance(state, dict) or "config" not in state:
        raise DataError(f"{path} is no checkpoint of a fit. {remedy}")
    if state.get("format") != FORMAT:
        raise DataError(
            f"{path} was written by another version of avatarbench (format {state.get('format', 'unknown')}, and this "
            f"one reads {FORMAT}). {remedy}"
        )
    try:
        missing = [key for key in KEYS if key not in state]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return state, FitConfig.model_validate_json(state["config"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} is no checkpoint of a fit: {error}. {remedy}") from error
