"""GAGAvatar driven by FLAME that was tracked elsewhere: codes of its own FLAME, handed over as a tracked folder.

Beside the shim, in GAGAvatar's environment. The folder is what its ``DriverData`` reads of a tracked video:
``smoothed.pkl``, the codes by a frame's key, and ``img_lmdb``, the frames by the same key.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import flame_fit
import numpy as np
import shim_tools
import worker

SHAPES, EXPRESSIONS = 300, 100
SCALE = 5.0
"""Units of its world in a metre."""


class ByFlame:
    """``focal``: of its camera, in halves of the picture; ``size``: pixels; ``limits``: mm and px that a frame may be
    off. Raises FitError for a FLAME that is not what is known of its."""

    def __init__(self, torch: Any, job: str, focal: float, size: int, limits: Sequence[float]) -> None:
        from core.libs.flame_model import FLAMEModel
        from core.libs.utils_lmdb import LMDBEngine

        self.torch, self.lmdb, self.job = torch, LMDBEngine, job
        self.model = FLAMEModel(n_shape=SHAPES, n_exp=EXPRESSIONS, scale=SCALE, no_lmks=True)
        flame = flame_fit.Flame.of(self.model, SHAPES)
        self.converter = flame_fit.Converter(flame, self.vertices, SCALE, focal, size, *limits)

    def vertices(self, codes: flame_fit.Codes) -> np.ndarray:
        """(5023, 3), as its reader of drivers has its FLAME make them."""
        values = {name: self.torch.from_numpy(array)[None] for name, array in arrays_of(codes).items()}
        with self.torch.no_grad():
            made = self.model(
                shape_params=values["shapecode"],
                pose_params=values["posecode"],
                expression_params=values["expcode"],
                eye_pose_params=values["eyecode"],
            )
        return np.asarray(made[0].detach().cpu().numpy())

    def record(self, frame: Mapping[str, Any], kind: str) -> tuple[dict[str, np.ndarray], flame_fit.Codes]:
        """The codes of a portrait or driver by its tracker's names, and what the fit left. Raises Unscorable."""
        try:
            codes = flame_fit.reported(self.converter, self.job, frame, kind)
        except flame_fit.FitError as error:
            raise worker.Unscorable(f"GAGAvatar's FLAME cannot be driven by the tracked {kind}: {error}") from error
        return arrays_of(codes), codes

    def tracked(self, records: Sequence[Mapping[str, np.ndarray]]) -> str:
        """The folder of a tracked video whose frames are ``records``. ``smoothed.pkl`` is read in the order of its keys
        and as it is; of ``optim.pkl``, sixty frames would be drawn by the clock."""
        names = shim_tools.unique_names(len(records))
        folder = os.path.join(self.job, "tracked", names[0].rpartition("_")[0])
        os.makedirs(folder)
        with open(os.path.join(folder, "smoothed.pkl"), "wb") as file:
            pickle.dump({name: dict(record) for name, record in zip(names, records)}, file)  # noqa: B905
        frames = self.lmdb(os.path.join(folder, "img_lmdb"), write=True)
        # The model hands the driver's picture back and does nothing else with it: one pixel stands for each.
        pixel = self.torch.from_numpy(np.full((3, 1, 1), 128.0, np.float32))
        for name in names:
            frames.dump(name, pixel, type="image", encode_jpeg=False)
        frames.close()  # what was not committed is not there
        return folder


def arrays_of(codes: flame_fit.Codes) -> dict[str, np.ndarray]:
    """By its tracker's names. Its pose is root and jaw, and its root is left to the camera."""
    found = {
        "shapecode": codes.shape,
        "expcode": codes.expression,
        "posecode": np.concatenate([np.zeros(3), codes.jaw]),
        "eyecode": codes.eyes,
        "transform_matrix": codes.transform,
    }
    return {name: np.ascontiguousarray(values, np.float32) for name, values in found.items()}
