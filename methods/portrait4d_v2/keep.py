"""Runs a script of Portrait4D as it is, and keeps what it throws away: ``python keep.py FOLDER SCRIPT ARGUMENTS``.

``crops.jsonl`` in FOLDER gets a line a picture with the square that preprocess_dir.py cut from it, which that stores
nowhere and without which no result can be put back into the driver's picture. Every JPEG also becomes a PNG beside it:
gen_images_portrait4d.py knows JPEG only, which would count against the method in every metric.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from typing import Any


def keep_crops(path: str) -> None:
    """Write down what ``align_img_bfm`` returns first: width, height, scale and middle, by the picture's place."""
    import cropping.crop_images_portrait_model as crops  # type: ignore[import-not-found]

    align = crops.align_img_bfm

    def kept(*arguments: Any, **named: Any) -> Any:
        found = align(*arguments, **named)
        with open(path, "a") as file:
            values = [float(value) for value in found[0]]
            file.write(json.dumps({"index": int(named["index"]), "crop": values}) + "\n")
        return found

    crops.align_img_bfm = kept


def keep_pixels() -> None:
    """Write every picture that is saved as JPEG as PNG, too."""
    from PIL import Image

    save = Image.Image.save

    def both(self: Any, path: Any, *arguments: Any, **named: Any) -> None:
        save(self, path, *arguments, **named)
        if str(path).lower().endswith(".jpg"):
            save(self, str(path)[:-4] + ".png")

    Image.Image.save = both  # type: ignore[assignment,method-assign,unused-ignore]


def main() -> None:
    folder, script = sys.argv[1:3]
    sys.argv = sys.argv[2:]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    if os.path.basename(script) == "preprocess_dir.py":
        keep_crops(os.path.join(folder, "crops.jsonl"))
    else:
        keep_pixels()
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
