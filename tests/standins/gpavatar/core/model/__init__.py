"""Stand-in for tests, not GPAvatar: the left half is the avatar's mean colour, the right half what drives it.

Upper right: emoca_expression[0], emoca_pose[3], transform_matrix[2, 3]; lower right: the source's mica_shape[0]. The
avatar is kept from the first frame on, whoever comes later, as the original keeps it. Where FLAME's numbers are there,
three of its vertices are spots where the camera sees them.
"""

import numpy as np
from flame_lbs import blobs
from torch import Tensor

from core.libs.FLAME.FLAME import FLAME, there
from core.utils.registry import MODEL_REGISTRY


@MODEL_REGISTRY.register()
class OneModel:
    def __init__(self, config_dict, data_meta_info):
        self.scale = data_meta_info["flame_scale"]

    def eval(self):
        return self

    def load_state_dict(self, state, strict):
        assert strict
        assert state == {}

    def to(self, device):
        return self

    def get_point_cloud(self, poses, expressions, shapes, refine=False):
        assert (poses.shape, expressions.shape, shapes.shape) == ((1, 6), (1, 50), (1, 100))
        if there():
            return FLAME(100, 50)(shapes, expressions, poses)[0] * self.scale
        points = np.stack([shapes.array[0, :3], expressions.array[0, :3], poses.array[0, 3:]])[None]
        return Tensor(points * self.scale)

    def forward_inference(self, f_images, d_points, d_transforms, infos, **rest):
        assert f_images.shape == (1, 1, 3, 512, 512)
        assert d_transforms.shape == (1, 3, 4)
        if not hasattr(self, "texture_planes"):
            self.texture_planes = f_images.array.reshape(3, -1).mean(1)
            self.points_features = True
        if d_points.shape[1] > 3:
            spots = Tensor(blobs(d_points.array[0], d_transforms.array[0], 12.0)[None])
            return {"f_images": f_images, "gen_fine": spots, "gen_sr": spots}
        points = d_points.array[0] / self.scale
        picture = np.zeros((1, 3, 512, 512), np.float32)
        picture[0, :, :, :256] = self.texture_planes[:, None, None]
        driven = np.array([points[1, 0], points[2, 0], d_transforms.array[0, 2, 3]])
        picture[0, :, :256, 256:] = driven[:, None, None]
        picture[0, :, 256:, 256:] = points[0, 0]
        picture[0, :, :8, :8] = 1.25  # the original's network has no end at 1
        return {"f_images": f_images, "gen_fine": Tensor(picture[:, :, ::4, ::4]), "gen_sr": Tensor(picture)}
