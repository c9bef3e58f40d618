"""Stand-in for tests, not GAGAvatar: drivers from a dict in order, or from a folder by the clock, sixty of them.

A folder with smoothed.pkl is a video, in the order of its keys; of that, the points are FLAME's vertices.
"""

import os
import pickle
import random
import time

import numpy as np
from torch import Tensor, from_numpy

from core.libs.flame_model import FLAMEModel
from core.libs.utils_lmdb import LMDBEngine


class DriverData:
    def __init__(self, driver_path, feature_data=None, point_plane_size=296):
        self._folder, self._images, self._flame = None, None, None
        if isinstance(driver_path, str):
            self._folder = driver_path
            video = os.path.exists(os.path.join(driver_path, "smoothed.pkl"))
            with open(os.path.join(driver_path, "smoothed.pkl" if video else "optim.pkl"), "rb") as file:
                self._data = pickle.load(file)
            self._frames = sorted(self._data, key=lambda key: int(key.split("_")[-1]))
            if not video:
                random.seed(time.time())
                random.shuffle(self._frames)
                self._frames = self._frames[:60]
            else:
                self._flame = FLAMEModel(n_shape=300, n_exp=100, scale=5.0, no_lmks=True)
        else:
            self._data, self._frames = driver_path, list(driver_path)
            self._images = {key: self._data[key]["image"] * 255.0 for key in self._frames}
        pick = np.arange(518) * 512 // 518
        self.f_image = Tensor(feature_data["image"].cpu().array[:, pick][:, :, pick])
        self.f_shape = feature_data["shapecode"].float()
        points = np.zeros((point_plane_size**2, 3), np.float32) + feature_data["transform_matrix"].float().array[2, 3]
        self.f_planes = {"plane_points": Tensor(points), "plane_dirs": Tensor(np.array([0, 0, 1.0], np.float32))}

    def __len__(self):
        return len(self._frames)

    def __getitem__(self, index):
        key = self._frames[index]
        record = {k: from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in self._data[key].items()}
        if self._images is None:
            self._images = LMDBEngine(os.path.join(self._folder, "img_lmdb"), write=False)
        points = np.stack([self.f_shape.array[:3], record["expcode"].array[:3], record["posecode"].array[3:]]) * 5.0
        if self._flame is not None:
            codes = (self.f_shape, record["expcode"], record["posecode"], record["eyecode"])
            points = self._flame(*(Tensor(code.array[None]) for code in codes)).array[0]
        return {
            "f_image": self.f_image.clone(),
            "f_planes": dict(self.f_planes),
            "t_image": self._images[key].float() / 255.0,
            "t_points": Tensor(points),
            "t_transform": record["transform_matrix"],
            "infos": {"t_key": key},
        }
