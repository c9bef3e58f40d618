"""Runs GPAvatar's model and its tracker in this process, a frame at a time.

In GPAvatar's environment, with its checkout as the working directory; nothing is written there. Its ``inference.py`` is
not used: that marks and tiles what it shows, draws thirty drivers at random, and keeps a tracking beside the pictures.
What it calls, and with what, is called here: ``MODEL_REGISTRY``, ``TrackEngine``, ``perspective_input``,
``get_point_cloud``, ``forward_inference``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shim_tools
import worker

SIZE = 512
WEIGHTS = "one_model.ckpt"
CACHES = ("texture_planes", "points_features")
"""Where the model keeps the first avatar that it makes, and renders that whatever comes later."""


class Shim:
    """``options``: ``repo``, ``weight_files`` with one_model.ckpt, ``device``; ``limit_mm`` and ``limit_px`` where
    FLAME that was tracked elsewhere drives it."""

    def __init__(self, options: dict[str, Any], job: str) -> None:
        shim_tools.enter(options["repo"])
        import torch
        from core.data.tools import perspective_input
        from core.libs.lightning_track import TrackEngine
        from core.utils.registry import MODEL_REGISTRY

        weights = options["weight_files"][WEIGHTS]
        self.torch, self.perspective = torch, perspective_input
        self.device = options["device"]
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        worker.say("GPAvatar: loading the model")
        checkpoint = torch.load(weights, map_location="cpu")
        self.meta = checkpoint["data_meta_info"]
        settings = checkpoint["config_dict"]
        # The registry is filled by ``core``, which the imports above have loaded.
        model = MODEL_REGISTRY.get(settings["MODEL"]["MODEL_NAME"])(settings, self.meta).eval()
        model.load_state_dict(checkpoint["state_dict"], strict=True)
        self.model = model.to(self.device)
        self.tracker = TrackEngine(focal_length=self.meta["focal_length"], device=self.device)
        self.feature: Any = None
        self.shape: Any = None
        self.drivers: dict[str, Any] = {}  # motion -> tracking, or why there is none
        self.by_flame: Any = None
        if "limit_mm" in options:
            from by_flame import ByFlame

            self.by_flame = ByFlame(torch, job, self.meta, SIZE, (options["limit_mm"], options["limit_px"]))

    def build(self, portrait: dict[str, Any]) -> dict[str, float]:
        """Track the portrait and bring it into the model's plane; the planes are made with the first frame."""
        self.drivers = {}
        for name in CACHES:
            if hasattr(self.model, name):
                delattr(self.model, name)
        info: dict[str, float] = {}
        found: dict[str, Any] | None
        if self.by_flame is not None and portrait.get("mesh") is not None:
            found, codes = self.by_flame.record(portrait, "portrait")
            found["image"] = self.matted(portrait["image"])
            info = {"identity_mm": codes.identity_mm, "motion_mm": codes.motion_mm, "pixels": codes.pixels}
        else:
            found = self.track([portrait["image"]])[0]
        if found is None:
            raise worker.Unscorable("GPAvatar's tracker finds no face in the portrait")
        transform = found["transform_matrix"][None].to(self.device)
        plane = self.perspective(found["image"][None].to(self.device), transform, self.meta, fill=0.0)
        self.feature = plane[None]  # a batch of one person of one picture
        self.shape = found["mica_shape"][None].to(self.device)
        return info

    def announce(self, motions: Sequence[dict[str, Any]]) -> None:
        """Track all drivers at once, which its tracker does far faster than one by one; or convert what was tracked."""
        if self.by_flame is not None:
            worker.say(f"GPAvatar: converting the tracking of {len(motions)} drivers")
            for motion in motions:
                try:
                    self.drivers[motion["id"]] = self.by_flame.record(motion, "driver")[0]
                except worker.Unscorable as error:
                    self.drivers[motion["id"]] = str(error)
            return
        worker.say(f"GPAvatar: tracking {len(motions)} drivers")
        tracked = self.track([motion["image"] for motion in motions])
        for index, motion in enumerate(motions):
            self.drivers[motion["id"]] = tracked[index] or "GPAvatar's tracker finds no face in the driver"

    def render(self, motion: dict[str, Any]) -> np.ndarray:
        """``gen_sr``, (512, 512, 3) float32 in [0, 1]: no mark, no tiles."""
        if motion["id"] not in self.drivers:
            self.announce([motion])
        driver = self.drivers[motion["id"]]
        if isinstance(driver, str):
            raise worker.Unscorable(driver)
        with self.torch.no_grad():
            points = self.model.get_point_cloud(
                driver["emoca_pose"][None].to(self.device), driver["emoca_expression"][None].to(self.device), self.shape
            )
            shown = self.model.forward_inference(
                f_images=self.feature,
                d_points=points,
                d_transforms=driver["transform_matrix"][None].to(self.device),
                infos={"frame_key": [motion["id"]]},
            )["gen_sr"]
        return np.ascontiguousarray(shown.clamp(0, 1)[0].detach().cpu().numpy().transpose(1, 2, 0))

    def matted(self, image: np.ndarray) -> Any:
        """A framed picture, (512, 512, 3) uint8, before black, as its tracker mattes it: (3, 512, 512) in [0, 1]."""
        if image.shape != (SIZE, SIZE, 3):
            raise shim_tools.ShimError(f"GPAvatar's pictures are 512x512, this one is of shape {image.shape}")
        picture = self.torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255.0
        return self.tracker.matting_engine(picture, return_type="matting", background_rgb=0.0).cpu()

    def track(self, images: Sequence[np.ndarray]) -> list[dict[str, Any] | None]:
        """Its tracker on framed pictures, (512, 512, 3) uint8: tensors by its names, or None.

        As ``track_images`` does it, less its picture of the result: that fails without a path, and pairs pictures and
        faces wrongly as soon as one picture has none.
        """
        names = shim_tools.unique_names(len(images))
        matted, base = {}, {}
        for name, image in zip(names, images):  # noqa: B905  (Python 3.8)
            matted[name] = self.matted(image)
            base[name] = self.tracker.track_base(matted[name].clone() * 255.0)
        faces = {name: found for name, found in base.items() if found is not None}
        found = self.tracker.track_lightning(faces, batch_frames=None, vis_path=None) if faces else {}
        result: list[dict[str, Any] | None] = []
        for name in names:
            if name not in found:
                result.append(None)
                continue
            record = {
                key: self.torch.from_numpy(value).float() if isinstance(value, np.ndarray) else value
                for key, value in found[name].items()
            }
            result.append(dict(record, image=matted[name]))
        return result
