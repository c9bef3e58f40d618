"""Stand-in for tests, not GPAvatar: codes that are a picture's mean colour; a picture of one grey has no face."""

import numpy as np
from PIL import Image


class TrackEngine:
    def __init__(self, focal_length=12.0, device="cuda"):
        assert focal_length == 12.0

    def matting_engine(self, image, return_type, background_rgb):
        assert return_type == "matting"
        assert image.shape == (3, 512, 512)
        assert image.array.max() <= 1.001
        return image * 1.0

    def track_images(self, images, matting=True, background=0.0, vis_path=None):
        images = [self.matting_engine(image, "matting", background) for image in images]
        base = {str(index): self.track_base(image.clone() * 255.0) for index, image in enumerate(images)}
        return images, self.track_lightning(base, batch_frames=images, vis_path=vis_path)

    def track_base(self, image):
        array = image.array
        assert array.shape == (3, 512, 512)
        assert array.max() > 1 or not array.any()
        return {"colour": array.reshape(3, -1).mean(1) / 255} if array.std() > 1 else None

    def track_lightning(self, base_result, batch_frames=None, vis_path=None):
        base_result = {key: found for key, found in base_result.items() if found is not None}
        found = {}
        for key, base in base_result.items():
            red, green, blue = base["colour"]
            record = {"mica_shape": np.zeros(100), "emoca_expression": np.zeros(50), "emoca_pose": np.zeros(6)}
            record["transform_matrix"] = np.eye(4)[:3]
            record["mica_shape"][0] = record["emoca_expression"][0] = red
            record["emoca_pose"][3], record["transform_matrix"][2, 3] = green, blue
            found[key] = {name: values.astype(np.float32) for name, values in record.items()}
        if batch_frames is not None:  # the trap: a picture of the tracking is saved, wherever that is
            Image.fromarray((batch_frames[0].array.transpose(1, 2, 0) * 255).astype(np.uint8)).save(vis_path)
        return found
