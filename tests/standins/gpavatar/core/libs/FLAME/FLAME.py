"""Stand-in for tests, not GPAvatar: its FLAME, whose numbers a test puts into its assets. No eyes turn."""

import os

import numpy as np
from flame_lbs import Model
from torch import Tensor

PATH = "core/libs/FLAME/assets/generic_model.npz"


class FLAME(Model):
    def __init__(self, n_shape, n_exp):
        super().__init__(PATH, n_shape, n_exp)

    def __call__(self, shape_params=None, expression_params=None, pose_params=None, eye_pose_params=None):
        assert eye_pose_params is None
        assert [c.shape for c in (shape_params, expression_params, pose_params)] == [(1, 100), (1, 50), (1, 6)]
        codes = [c.array[0] for c in (shape_params, expression_params, pose_params)]
        return Tensor(self.posed(*codes, np.zeros(6))[None]), None, None


def there():
    return os.path.exists(PATH)
