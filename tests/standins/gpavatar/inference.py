"""Stand-in for tests, not GPAvatar: its command line, and what a shim must not take from it.

Thirty drivers are drawn at random; what is shown is tiled with its source, and marked.
"""

import argparse
import os
import pickle
import random

import numpy as np
import torch
from core.data.tools import perspective_input
from core.libs.lightning_track import TrackEngine
from core.utils.registry import MODEL_REGISTRY
from PIL import Image


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", required=True)
    parser.add_argument("--input")
    parser.add_argument("--resume", "-r", required=True)
    arguments = parser.parse_args()
    checkpoint = torch.load(arguments.resume)
    meta = checkpoint["data_meta_info"]
    model = MODEL_REGISTRY.get("OneModel")(checkpoint["config_dict"], meta).eval()
    with open(os.path.join(arguments.driver, "lightning.pkl"), "rb") as file:
        records = pickle.load(file)
    keys = sorted(records, key=lambda key: int(key.split("_")[-1]))
    random.shuffle(keys)
    name = next(n for n in sorted(os.listdir(arguments.input)) if n.endswith((".png", ".jpg")))
    image = np.asarray(Image.open(os.path.join(arguments.input, name)).convert("RGB").resize((512, 512)))
    engine = TrackEngine(focal_length=meta["focal_length"])
    pictures, found = engine.track_images(
        [torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255.0],
        vis_path=os.path.join(arguments.input, "tracked_visualization.jpg"),
    )
    source = {key: torch.from_numpy(value) for key, value in found["0"].items()}
    feature = perspective_input(pictures[0][None], source["transform_matrix"][None], meta, fill=0.0)[None]
    rows = []
    for key in keys[:30]:
        record = {name: torch.from_numpy(value) for name, value in records[key].items()}
        points = model.get_point_cloud(
            record["emoca_pose"][None], record["emoca_expression"][None], source["mica_shape"][None]
        )
        found = model.forward_inference(feature, points, record["transform_matrix"][None], {"frame_key": key})
        shown = found["gen_sr"].clamp(0, 1).array[0]
        shown[:, -80:, -320:] = 0.5 * shown[:, -80:, -320:] + 0.5  # the mark
        rows.append(np.concatenate([pictures[0].array, shown], axis=2))
    grid = np.concatenate(rows, axis=1).transpose(1, 2, 0)
    os.makedirs("results/standin", exist_ok=True)
    names = os.path.basename(arguments.input), os.path.basename(arguments.driver)
    Image.fromarray((grid * 255).astype(np.uint8)).save("results/standin/{}_{}.jpg".format(*names))


if __name__ == "__main__":
    main()
