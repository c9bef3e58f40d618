"""GPAvatar driven by FLAME that was tracked elsewhere: the codes of its own FLAME, as its tracker gives them.

Beside the shim, in GPAvatar's environment. Its reader of tracked drivers shuffles or smooths them, and is not used:
what it hands on, the tracker's records, goes to the model directly, as the shim does with the tracker's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flame_fit
import numpy as np
import worker

SHAPES, EXPRESSIONS = 100, 50


class ByFlame:
    """``meta``: the checkpoint's, with ``focal_length`` in halves of the picture and ``flame_scale`` in units a metre;
    ``size``: pixels; ``limits``: mm and px that a frame may be off. Raises FitError for a FLAME that is not what is
    known of its."""

    def __init__(self, torch: Any, job: str, meta: Mapping[str, Any], size: int, limits: Sequence[float]) -> None:
        from core.libs.FLAME.FLAME import FLAME

        if any(float(value) for value in meta["principal_point"]):
            raise flame_fit.FitError(f"its camera's principal point is {meta['principal_point']}, where 0, 0 is known")
        self.torch, self.job, self.scale = torch, job, float(meta["flame_scale"])
        self.model = FLAME(SHAPES, EXPRESSIONS)
        flame = flame_fit.Flame.of(self.model, SHAPES)
        self.converter = flame_fit.Converter(
            flame, self.vertices, self.scale, float(meta["focal_length"]), size, *limits, eyes=False
        )

    def vertices(self, codes: flame_fit.Codes) -> np.ndarray:
        """(5023, 3), as its model has its FLAME make the points."""
        values = {name: self.torch.from_numpy(array)[None] for name, array in arrays_of(codes).items()}
        with self.torch.no_grad():
            made = self.model(
                shape_params=values["mica_shape"],
                expression_params=values["emoca_expression"],
                pose_params=values["emoca_pose"],
            )[0]
        return np.asarray(made[0].detach().cpu().numpy()) * self.scale

    def record(self, frame: Mapping[str, Any], kind: str) -> tuple[dict[str, Any], flame_fit.Codes]:
        """Tensors of a portrait or driver by its tracker's names, and what the fit left. Raises Unscorable."""
        try:
            codes = flame_fit.reported(self.converter, self.job, frame, kind)
        except flame_fit.FitError as error:
            raise worker.Unscorable(f"GPAvatar's FLAME cannot be driven by the tracked {kind}: {error}") from error
        return {name: self.torch.from_numpy(values) for name, values in arrays_of(codes).items()}, codes


def arrays_of(codes: flame_fit.Codes) -> dict[str, np.ndarray]:
    """By its tracker's names. Its pose is root and jaw, and its root is left to the camera; it turns no eyes."""
    found = {
        "mica_shape": codes.shape,
        "emoca_expression": codes.expression,
        "emoca_pose": np.concatenate([np.zeros(3), codes.jaw]),
        "transform_matrix": codes.transform,
    }
    return {name: np.ascontiguousarray(values, np.float32) for name, values in found.items()}
