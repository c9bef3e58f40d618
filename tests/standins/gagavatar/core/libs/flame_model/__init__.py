"""Stand-in for tests, not GAGAvatar: its FLAME, whose numbers a test puts beside FLAME_with_eye.pt."""

import numpy as np
from flame_lbs import Model
from torch import Tensor


class FLAMEModel(Model):
    def __init__(self, n_shape, n_exp, scale=1.0, no_lmks=False):
        super().__init__("assets/FLAME_with_eye.npz", n_shape, n_exp)
        assert no_lmks
        self.scale = scale

    def __call__(self, shape_params=None, expression_params=None, pose_params=None, eye_pose_params=None):
        codes = [shape_params, expression_params, pose_params, eye_pose_params]
        assert [c.shape[1] for c in codes[2:]] == [6, 6]
        assert all(c.dtype == np.float32 for c in codes)
        rows = zip(*(c.array for c in codes), strict=True)
        return Tensor(np.stack([self.posed(*row) for row in rows]) * self.scale)
