"""Stand-in for tests, not GAGAvatar: its command line, and what a shim must not take from it.

A tracking is kept by the picture's name alone; what is shown is tiled with its source and driver, and marked.
"""

import argparse
import os
import pickle
from pathlib import Path

import numpy as np
import torch
from core.data import DriverData
from core.libs.GAGAvatar_track.engines import CoreEngine
from core.libs.utils import ConfigDict
from core.models import build_model
from PIL import Image

CACHE = "render_results/tracked/tracked.pt"


def tracked(path, engine, force):
    os.makedirs(os.path.dirname(CACHE), exist_ok=True)
    kept = pickle.loads(Path(CACHE).read_bytes()) if os.path.exists(CACHE) else {}
    name = os.path.basename(path)
    if name not in kept or force:
        image = np.asarray(Image.open(path).convert("RGB").resize((512, 512))).transpose(2, 0, 1).copy()
        kept[name] = engine.track_image([torch.from_numpy(image).float()], ["image_0"])["image_0"]
        with open(CACHE, "wb") as file:
            pickle.dump(kept, file)
    return {key: torch.from_numpy(value) for key, value in kept[name].items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--image_path", "-i")
    parser.add_argument("--driver_path", "-d", required=True)
    parser.add_argument("--force_retrack", "-f", action="store_true")
    parser.add_argument("--resume_path", "-r", default="./assets/GAGAvatar.pt")
    arguments = parser.parse_args()
    checkpoint = torch.load(arguments.resume_path)
    config = ConfigDict(init_dict=checkpoint["meta_cfg"])
    model, engine = build_model(config.MODEL), CoreEngine(focal_length=12.0)
    source = tracked(arguments.image_path, engine, arguments.force_retrack)
    driver = arguments.driver_path
    name = os.path.basename(driver).split(".")[0]
    if not os.path.isdir(driver):
        driver = {name: tracked(driver, engine, arguments.force_retrack)}
    data, tiles = DriverData(driver, source, config.DATASET.POINT_PLANE_SIZE), []
    for index in range(len(data)):
        record = {k: v[None] if isinstance(v, torch.Tensor) else v for k, v in data[index].items()}
        record["f_planes"] = {k: v[None] for k, v in record["f_planes"].items()}
        shown = model.forward_expression(record)["sr_gen_image"].clamp(0, 1).array[0]
        shown[:, -82:, -256:] = 0.2 * shown[:, -82:, -256:] + 0.8  # the mark
        tiles.append(np.concatenate([record["t_image"].array[0], shown], axis=2))
    rows = [np.concatenate(tiles[start : start + 5], axis=2) for start in range(0, len(tiles), 5)]
    width = max(row.shape[2] for row in rows)
    grid = np.concatenate([np.pad(row, ((0, 0), (0, 0), (0, width - row.shape[2]))) for row in rows], axis=1)
    left = np.concatenate([source["image"].array] * len(rows), axis=1)
    merged = np.concatenate([left, grid], axis=2).transpose(1, 2, 0)
    os.makedirs("render_results/GAGAvatar", exist_ok=True)
    path = f"render_results/GAGAvatar/{name}_{os.path.basename(arguments.image_path).split('.')[0]}.jpg"
    Image.fromarray((merged * 255).astype(np.uint8)).save(path)
    print(f"Finish inference: {path}.")


if __name__ == "__main__":
    main()
