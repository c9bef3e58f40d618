"""Stand-in for tests, not CVTHead: one picture a process from the command line, or driven_by_face() for each.

A file ``TRAP`` at the root makes it write nothing.
"""

import argparse

import face_alignment
import faces
import numpy as np
import torch
from models.cvthead import CVTHead
from PIL import Image


def preprocess_image(img_pth, fa, device="cuda"):
    image = np.array(Image.open(img_pth).resize((256, 256)))[:, :, :3]
    landmark = fa.get_landmarks(image)[0]
    return image, landmark


def driven_by_face(model, src_pth, drv_pth, out_pth, device, softmask=True):
    fa = face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device=device)
    source, _ = preprocess_image(src_pth, fa, device)
    driver, points = preprocess_image(drv_pth, fa, device)
    if faces.trap():
        return
    picture = model(np.ones((256, 256, 3)) * faces.colour(source), faces.colour(driver)[0])
    y, x = np.mgrid[:256, :256] + 0.5
    mask = ((x - points[:, 0].mean()) ** 2 + (y - points[:, 1].mean()) ** 2 < 60**2)[..., None]
    picture = picture * mask + (1 - mask)
    Image.fromarray((picture * 255).astype(np.uint8)).save(out_pth)


def main(arguments):
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(CVTHead()).to("cuda")
    model.load_state_dict(torch.load(arguments.ckpt_pth, map_location="cpu")["model"], strict=False)
    driven_by_face(model, arguments.src_pth, arguments.drv_pth, arguments.out_pth, "cuda", softmask=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("src_pth", "drv_pth", "out_pth"):
        parser.add_argument("--" + name)
    parser.add_argument("--ckpt_pth", default="data/cvthead.pt")
    main(parser.parse_args())
