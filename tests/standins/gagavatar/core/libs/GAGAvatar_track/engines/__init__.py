"""Stand-in for tests, not GAGAvatar_track: codes that are a picture's mean colour; one grey is no face."""

import numpy as np


class Matting:
    def forward(self, image, return_type, background_rgb):
        assert return_type == "matting"
        assert image.array.max() <= 1.001
        return image * 1.0


class CoreEngine:
    def __init__(self, focal_length, device="cuda"):
        assert focal_length == 12.0
        self.matting_engine = Matting()

    def crop_image(self, image):
        return image if image.array.std() > 1 else None

    def track_image(self, inp_images, inp_keys, if_matting=True):
        engine = {}
        for key, image in zip(inp_keys, inp_images, strict=True):
            cropped = self.crop_image(image)
            engine[key] = self.matting_engine.forward(cropped / 255.0, "matting", 0.0) * 255.0  # None / 255: the trap
        base = self.track_base(engine, None)
        found = self.track_optim(base, None, None, share_id=False)
        for key in found:
            found[key]["image"] = engine[key].numpy() / 255.0
        return found

    def track_base(self, lmdb_engine, output_path):
        base = {}
        for key in list(lmdb_engine.keys()):
            image = lmdb_engine[key].array
            assert image.shape == (3, 512, 512)
            assert image.max() > 1 or not image.any()
            if image.std() > 1:
                base[key] = image.reshape(3, -1).mean(1) / 255
        return base

    def track_optim(self, base_result, output_path, lmdb_engine=None, share_id=False):
        found = {}
        for key in sorted(base_result, key=lambda key: int(key.split("_")[-1])):
            red, green, blue = base_result[key]
            record = {"shapecode": np.zeros(300), "expcode": np.zeros(100), "posecode": np.zeros(6)}
            record.update(eyecode=np.zeros(6), transform_matrix=np.eye(4)[:3], bbox=np.array([0.1, 0.1, 0.9, 0.9]))
            record["shapecode"][0] = record["expcode"][0] = red
            record["posecode"][3], record["transform_matrix"][2, 3] = green, blue
            found[key] = {name: values.astype(np.float32) for name, values in record.items()}
        return found
