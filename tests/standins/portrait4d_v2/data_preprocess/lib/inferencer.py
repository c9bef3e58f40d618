"""Stand-in for tests, not Portrait4D: returns, and the script ends with 0, at the first picture without a face."""

import os
import sys

import numpy as np
from cropping.crop_images_portrait_model import align_img_bfm
from PIL import Image

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
import faces

FOLDERS = ("align_images", "bfm_params", "bfm_vis", "2dldmks_align", "3dldmks_align")
TRAP = faces.trap()


class Tester:
    target_size, rescale_factor = 512.0, 180

    def inference(self, input_dir, save_dir, video=True):
        folders = [os.path.join(save_dir, name) for name in FOLDERS]
        for folder in folders:
            os.makedirs(folder, exist_ok=True)
        names = sorted(n for n in os.listdir(input_dir) if n.endswith((".png", ".jpg")))
        for index, name in enumerate(names):
            image = faces.read(os.path.join(input_dir, name))
            try:
                if TRAP == "no detector":
                    raise RuntimeError("CUDA error: no kernel image is available")
                points, _ = (faces.face(image),) * 2 if faces.face(image) is not None else None
            except Exception as error:
                print(error)
                print("1")
                return
            flipped = points * [1, -1] + [0, image.shape[0]]
            _, crop, _, ldmk, ldmk_3d = align_img_bfm(
                Image.fromarray(image), flipped, flipped, flipped, target_size=self.target_size,
                rescale_factor=self.rescale_factor, index=index, use_smooth=False,
            )  # fmt: skip
            red, green, blue = faces.colour(image)
            bfm = {"exp": np.full((1, 64), red), "angle": np.full((1, 3), green), "id": np.full((1, 80), blue)}
            stem = name.replace(".png", ".npy").replace(".jpg", ".npy")
            crop.save(os.path.join(folders[0], name), quality=95)
            crop.save(os.path.join(folders[2], name), quality=95)
            np.save(os.path.join(folders[1], stem), bfm)
            for folder, points in ((folders[3], ldmk), (folders[4], ldmk_3d)):
                np.save(os.path.join(folder, stem), points * [1, -1] + [0, self.target_size])
