"""Stand-in for tests, not FLAME: linear blend skinning with the outside of the original's module, on numpy.

Its numbers lie in an .npz of FLAME's keys that a test puts into the checkout. Whatever is asked for comes as batches.
"""

import numpy as np
from torch import Tensor


def turn(vector):
    angle = np.linalg.norm(vector)
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


class Model:
    def __init__(self, path, n_shape, n_exp):
        with np.load(path) as found:
            arrays = {name: found[name].astype(np.float32) for name in found}
        directions = arrays["shapedirs"]
        chosen = [directions[:, :, :n_shape], directions[:, :, 300 : 300 + n_exp]]
        posedirs = arrays["posedirs"]
        self.v_template, self.shapedirs = Tensor(arrays["v_template"]), Tensor(np.concatenate(chosen, 2))
        self.posedirs = Tensor(posedirs.reshape(-1, posedirs.shape[2]).T)
        self.J_regressor, self.lbs_weights = Tensor(arrays["J_regressor"]), Tensor(arrays["weights"])

    def posed(self, shape, expression, pose, eyes):
        """(V, 3) of one person; root, jaw and eyes turn, the neck is fixed."""
        betas = np.concatenate([shape, expression])
        assert betas.shape == (self.shapedirs.array.shape[2],)
        rest = self.v_template.array + self.shapedirs.array @ betas
        joints = self.J_regressor.array @ rest
        turns = [turn(v) for v in (pose[:3], np.zeros(3), pose[3:], eyes[:3], eyes[3:])]
        feature = np.concatenate([(matrix - np.eye(3)).reshape(-1) for matrix in turns[1:]])
        rest = rest + (feature @ self.posedirs.array).reshape(-1, 3)
        moves = []
        for joint, parent in enumerate((-1, 0, 1, 1, 1)):
            own = np.eye(4)
            own[:3, :3] = turns[joint]
            own[:3, 3] = joints[joint] - (0 if parent < 0 else joints[parent])
            moves.append(own if parent < 0 else moves[parent] @ own)
        found = np.zeros_like(rest)
        for joint, move in enumerate(moves):
            moved = (rest - joints[joint]) @ move[:3, :3].T + move[:3, 3]
            found = found + self.lbs_weights.array[:, joint, None] * moved
        return found.astype(np.float32)


def blobs(points, transform, focal, size=512):
    """(3, size, size): a soft spot of each channel where the camera sees one of three points; PyTorch3D's axes."""
    seen = points[[0, len(points) // 2, len(points) - 1]] @ transform[:, :3] + transform[:, 3]
    middles = size / 2 * (1 - focal * seen[:, :2] / seen[:, 2:])
    at = np.arange(size) + 0.5
    rows = [np.exp(-((at - y) ** 2) / 32) for y in middles[:, 1]]
    columns = [np.exp(-((at - x) ** 2) / 32) for x in middles[:, 0]]
    return np.stack([row[:, None] * column for row, column in zip(rows, columns)]).astype(np.float32)  # noqa: B905
