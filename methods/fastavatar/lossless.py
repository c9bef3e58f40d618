"""FastAvatar's own launcher, with its frames kept as PNG in place of an H.264 video.

``python lossless.py FOLDER infer.fastavatar --config ... key=value``, in the checkout. Its runner only ever writes a
lossy video (``FastAvatarInferrer.save_imgs_2_video``); that one method is replaced, before the launcher runs, by one
that writes the same array to ``FOLDER/%06d.png``. Python 3.8, numpy.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

import numpy as np

sys.path.insert(0, os.getcwd())
import shim_tools


def main(folder: str, arguments: list[str]) -> None:
    from FastAvatar.runners.infer.fastavatar import FastAvatarInferrer

    def keep(self: Any, frames: Any, path: str, fps: float) -> None:
        """In the place of ``save_imgs_2_video``: ``frames`` (N, H, W, 3) of 0 to 255."""
        for index, frame in enumerate(frames):
            shim_tools.write_image(os.path.join(folder, f"{index:06d}.png"), np.asarray(frame).astype(np.uint8))

    FastAvatarInferrer.save_imgs_2_video = keep
    sys.argv = ["FastAvatar.launch", *arguments]
    runpy.run_module("FastAvatar.launch", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
