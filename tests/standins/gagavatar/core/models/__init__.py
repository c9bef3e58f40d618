"""Stand-in for tests, not GAGAvatar: the left half is the avatar's mean colour, the right half what drives it.

Upper right: expcode[0], posecode[3], transform_matrix[2, 3]; lower right: the source's shapecode[0]. The avatar is kept
from the first frame on, whoever comes later, as the original keeps it. Of FLAME's vertices, three are spots where the
camera sees them.
"""

import numpy as np
from flame_lbs import blobs
from torch import Tensor


def build_model(model_cfg):
    assert model_cfg.NAME.startswith("GAGAvatar")
    return GAGAvatar()


class GAGAvatar:
    def load_state_dict(self, state):
        assert state == {}

    def to(self, device):
        return self

    def forward_expression(self, batch):
        assert batch["f_image"].shape == (1, 3, 518, 518)
        assert batch["f_planes"]["plane_points"].dim() == 3
        if not hasattr(self, "_gs_params"):
            self._gs_params = {"colors": batch["f_image"].array.reshape(3, -1).mean(1)}
        points, transform = batch["t_points"].array, batch["t_transform"].array
        assert transform.shape == (1, 3, 4)
        if points.shape[1] > 3:
            spots = Tensor(blobs(points[0], transform[0], 12.0)[None])
            return {"t_image": batch["t_image"], "gen_image": spots, "sr_gen_image": spots}
        picture = np.zeros((1, 3, 512, 512), np.float32)
        picture[0, :, :, :256] = self._gs_params["colors"][:, None, None]
        driven = np.array([points[0, 1, 0] / 5, points[0, 2, 0] / 5, transform[0, 2, 3]])
        picture[0, :, :256, 256:] = driven[:, None, None]
        picture[0, :, 256:, 256:] = points[0, 0, 0] / 5
        picture[0, :, :8, :8] = 1.25  # the original's network has no end at 1
        return {"t_image": batch["t_image"], "gen_image": Tensor(picture * 0), "sr_gen_image": Tensor(picture)}
