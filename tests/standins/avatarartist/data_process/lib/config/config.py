"""Stand-in for tests, not AvatarArtist: weights are looked for from this file's own place, links resolved."""

import argparse
from pathlib import Path

project_root = Path(__file__).resolve().parent.parent.parent.parent

parser = argparse.ArgumentParser()
parser.add_argument("--input_dir", default="")
parser.add_argument("--save_dir", default="")
for flag in ("is_video", "is_img", "no_extract_frames", "no_align", "already_align"):
    parser.add_argument("--" + flag, action="store_true")
cfg = parser.parse_args()
cfg.weights = project_root / "pretrained_model" / "DiT.pth"
