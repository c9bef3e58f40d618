"""Stand-in for tests, not GAGAvatar: drivers from a dict in order, or from a folder by the clock, sixty of them."""

import os
import pickle
import random
import time

import numpy as np
from torch import Tensor, from_numpy


class DriverData:
    def __init__(self, driver_path, feature_data=None, point_plane_size=296):
        if isinstance(driver_path, str):
            with open(os.path.join(driver_path, "optim.pkl"), "rb") as file:
                self._data = pickle.load(file)
            self._frames = sorted(self._data, key=lambda key: int(key.split("_")[-1]))
            random.seed(time.time())
            random.shuffle(self._frames)
            self._frames = self._frames[:60]
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
        points = np.stack([self.f_shape.array[:3], record["expcode"].array[:3], record["posecode"].array[3:]])
        return {
            "f_image": self.f_image.clone(),
            "f_planes": dict(self.f_planes),
            "t_image": self._images[key] / 255.0,
            "t_points": Tensor(points * 5.0),
            "t_transform": record["transform_matrix"],
            "infos": {"t_key": key},
        }
