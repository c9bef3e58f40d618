"""CVTHead in its own environment: its own ``driven_by_face``, with the network and the detector loaded once."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import shim_tools
import worker

SIDE = 256


class Shim:
    """``options``: ``repo``, ``weight_files``, ``device``. inference.py makes one picture a process, and loads
    all its networks for it; what it calls then is called here."""

    def __init__(self, options: dict[str, Any], job: str) -> None:
        self._device, self._job = "cuda", job
        if options["device"].startswith("cuda:"):  # DECA knows the first device only
            os.environ["CUDA_VISIBLE_DEVICES"] = options["device"][len("cuda:") :]
        links = {"data/" + name: path for name, path in options["weight_files"].items()}
        shim_tools.enter(shim_tools.workspace(options["repo"], os.path.join(job, "checkout"), links=links))
        import face_alignment  # type: ignore[import-not-found]

        # One detector for all pictures: driven_by_face makes one each time.
        face_alignment.FaceAlignment = functools.lru_cache(maxsize=None)(face_alignment.FaceAlignment)
        import inference  # type: ignore[import-not-found]
        import torch  # type: ignore[import-not-found,unused-ignore]

        self._inference = inference
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(inference.CVTHead()).to(self._device)
        # Not strict, as in its own main: the file may lack what comes from the other files, which were checked for.
        model.load_state_dict(torch.load("data/cvthead.pt", map_location="cpu")["model"], strict=False)
        # main() leaves the network in training mode: evaluation mode would be another network's picture.
        self._model = model
        self._source = ""

    def build(self, portrait: dict[str, Any]) -> dict[str, float]:
        """Keeps the source as a file. It is encoded anew for every frame, as the original does."""
        self._source = os.path.join(self._job, "source.png")
        shim_tools.write_image(self._source, portrait["image"])
        self._face(self._source)
        return {}

    def render(self, motion: dict[str, Any]) -> np.ndarray:
        """(256, 256, 3) uint8 on white."""
        driver, out = (os.path.join(self._job, name) for name in ("driver.png", "out.png"))
        shim_tools.write_image(driver, motion["image"])
        self._face(driver)
        if os.path.exists(out):
            os.remove(out)
        self._inference.driven_by_face(self._model, self._source, driver, out, self._device, softmask=True)
        found = shim_tools.harvest(self._job, "out.png", 1, size=(SIDE, SIDE))
        return shim_tools.read_image(found[0])

    def _face(self, path: str) -> None:
        """Raises Unscorable for a picture in which its detector finds no face: its own code subscripts the None."""
        detector = self._inference.face_alignment.FaceAlignment(
            self._inference.face_alignment.LandmarksType.TWO_D, device=self._device
        )
        if not detector.get_landmarks(shim_tools.read_image(path)):
            raise worker.Unscorable("its own face detector found no face")
