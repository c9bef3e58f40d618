"""Runs a script of Real3D-Portrait as it is, and keeps its frames: ``python keep.py FOLDER SCRIPT ARGUMENTS``.

Every picture that goes into a video is written to FOLDER as ``%06d.png``: the original has them only as H.264.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any


def keep_frames(folder: str) -> None:
    """Write what is appended to imageio's videos as PNGs, too."""
    import imageio  # type: ignore[import-not-found,unused-ignore]
    import numpy as np
    from PIL import Image

    os.makedirs(folder, exist_ok=True)
    get_writer = imageio.get_writer

    def kept(*arguments: Any, **named: Any) -> Any:
        writer = get_writer(*arguments, **named)
        append, count = writer.append_data, iter(range(1 << 30))

        def both(image: Any, *more: Any, **others: Any) -> Any:
            Image.fromarray(np.asarray(image)).save(os.path.join(folder, f"{next(count):06d}.png"))
            return append(image, *more, **others)

        writer.append_data = both  # type: ignore[assignment,method-assign,unused-ignore]
        return writer

    imageio.get_writer = kept


def main() -> None:
    folder, script = sys.argv[1:3]
    sys.argv = sys.argv[2:]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    keep_frames(folder)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
