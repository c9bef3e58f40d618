"""Runs GAGAvatar's model and its tracker in this process, a frame at a time.

In GAGAvatar's environment, with its checkout as the working directory; nothing is written there. Its ``inference.py``
is not used: that marks and tiles what it shows, keeps trackings by the name of a picture, and draws its drivers by the
clock. What it calls, and with what, is called here: ``build_model``, ``CoreEngine``, ``DriverData``,
``forward_expression``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
import shim_tools
import worker

SIZE = 512
WEIGHTS = "GAGAvatar.pt"
FOCAL = 12.0
"""The focal length, in halves of the picture, that its model and its tracker agree on."""


class Shim:
    """``options``: ``repo``, ``weight_files`` with GAGAvatar.pt, ``device``; ``limit_mm`` and ``limit_px`` where FLAME
    that was tracked elsewhere drives it."""

    def __init__(self, options: dict[str, Any], job: str) -> None:
        shim_tools.enter(options["repo"])
        import torch
        from core.data import DriverData
        from core.libs.GAGAvatar_track.engines import CoreEngine
        from core.libs.utils import ConfigDict
        from core.models import build_model

        weights = options["weight_files"][WEIGHTS]
        self.torch, self.dataset = torch, DriverData
        self.device = options["device"]
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        worker.say("GAGAvatar: loading the model")
        torch.set_float32_matmul_precision("high")
        checkpoint = torch.load(weights, map_location="cpu", weights_only=False)  # it holds settings, too
        self.config = ConfigDict(init_dict=checkpoint["meta_cfg"])
        self.model = build_model(model_cfg=self.config.MODEL)
        self.model.load_state_dict(checkpoint["model"])
        self.model = self.model.to(self.device)
        self.tracker = CoreEngine(focal_length=FOCAL, device=self.device)
        self.plane = int(self.config.DATASET.POINT_PLANE_SIZE)
        self.source: dict[str, Any] = {}
        self.drivers: dict[str, Any] = {}  # motion -> dataset and index there, or why there is none
        self.job = job
        self.by_flame: Any = None
        if "limit_mm" in options:
            from by_flame import ByFlame

            self.by_flame = ByFlame(torch, job, FOCAL, SIZE, (options["limit_mm"], options["limit_px"]))

    def build(self, portrait: dict[str, Any]) -> dict[str, float]:
        """Track the portrait; its Gaussians are made with the first frame."""
        self.drivers = {}
        shutil.rmtree(os.path.join(self.job, "tracked"), ignore_errors=True)  # an earlier portrait's drivers
        self.forget()
        info = {"gaussians": 5023.0 + 2 * self.plane**2}
        if self.by_flame is not None and portrait.get("mesh") is not None:
            record, codes = self.by_flame.record(portrait, "portrait")
            self.source = {name: self.torch.from_numpy(values) for name, values in record.items()}
            self.source["image"] = self.matted(portrait["image"]) / 255.0
            return dict(info, identity_mm=codes.identity_mm, motion_mm=codes.motion_mm, pixels=codes.pixels)
        found = self.track([portrait["image"]])[0]
        if found is None:
            raise worker.Unscorable("GAGAvatar's tracker finds no face in the portrait")
        self.source = found
        return info

    def forget(self) -> None:
        """The model keeps the first avatar that it makes in an attribute, and renders that whatever comes later."""
        if hasattr(self.model, "_gs_params"):
            del self.model._gs_params

    def announce(self, motions: Sequence[dict[str, Any]]) -> None:
        """Track all drivers at once, which its tracker does far faster than one by one; or convert what was tracked."""
        if self.by_flame is not None:
            self.convert(motions)
            return
        worker.say(f"GAGAvatar: tracking {len(motions)} drivers")
        tracked = self.track([motion["image"] for motion in motions])
        found = {motion["id"]: tracked[index] for index, motion in enumerate(motions)}
        # The model hands the driver's picture back and does nothing else with it: one pixel stands for each.
        pixel = self.torch.from_numpy(np.zeros((3, 1, 1), np.float32))
        faces = {name: dict(driver, image=pixel) for name, driver in found.items() if driver is not None}
        # A dict is taken in its order; of a folder, sixty frames would be drawn by the clock.
        data = self.dataset(faces, self.source, self.plane) if faces else None
        places = {name: (data, index) for index, name in enumerate(faces)}
        self.drivers.update(
            {name: places.get(name, "GAGAvatar's tracker finds no face in the driver") for name in found}
        )

    def convert(self, motions: Sequence[dict[str, Any]]) -> None:
        """Its codes of what was tracked elsewhere, read back from a tracked folder by its own reader."""
        worker.say(f"GAGAvatar: converting the tracking of {len(motions)} drivers")
        records: dict[str, Any] = {}
        for motion in motions:
            try:
                records[motion["id"]] = self.by_flame.record(motion, "driver")[0]
            except worker.Unscorable as error:
                self.drivers[motion["id"]] = str(error)
        if records:
            data = self.dataset(self.by_flame.tracked(list(records.values())), self.source, self.plane)
            self.drivers.update({name: (data, index) for index, name in enumerate(records)})

    def render(self, motion: dict[str, Any]) -> np.ndarray:
        """``sr_gen_image``, (512, 512, 3) float32 in [0, 1]: no mark, no tiles."""
        if motion["id"] not in self.drivers:
            self.announce([motion])
        driver = self.drivers[motion["id"]]
        if isinstance(driver, str):
            raise worker.Unscorable(driver)
        data, index = driver
        with self.torch.no_grad():
            shown = self.model.forward_expression(self.batch(data[index]))["sr_gen_image"]
        return np.ascontiguousarray(shown.clamp(0, 1)[0].detach().cpu().numpy().transpose(1, 2, 0))

    def batch(self, value: Any) -> Any:
        """One record of a dataset as a batch of one on the device."""
        if isinstance(value, dict):
            return {key: self.batch(entry) for key, entry in value.items()}
        return value[None].to(self.device) if isinstance(value, self.torch.Tensor) else [value]

    def matted(self, image: np.ndarray) -> Any:
        """A framed picture, (512, 512, 3) uint8, before black, as its tracker mattes it: (3, 512, 512) up to 255."""
        if image.shape != (SIZE, SIZE, 3):
            raise shim_tools.ShimError(f"GAGAvatar's pictures are 512x512, this one is of shape {image.shape}")
        picture = self.torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
        cut = self.tracker.matting_engine.forward(picture / 255.0, return_type="matting", background_rgb=0.0)
        return (cut.clamp(0.0, 1.0) * 255.0).cpu()

    def track(self, images: Sequence[np.ndarray]) -> list[dict[str, Any] | None]:
        """Its tracker on pictures that are already framed, (512, 512, 3) uint8: tensors by its names, or None.

        As ``track_image`` does it, less the crop: that would bring every picture into a frame of its own, and a
        picture without a face would end it (it mattes a crop that is None).
        """
        names = shim_tools.unique_names(len(images))
        matted = {name: self.matted(image) for name, image in zip(names, images)}  # noqa: B905  (Python 3.8)
        base = self.tracker.track_base(matted, None)
        found = self.tracker.track_optim(base, None, None, share_id=False) if base else {}
        result: list[dict[str, Any] | None] = []
        for name in names:
            if name not in found:
                result.append(None)
                continue
            record = {
                key: self.torch.from_numpy(value) if isinstance(value, np.ndarray) else value
                for key, value in found[name].items()
            }
            result.append(dict(record, image=matted[name] / 255.0))
        return result
