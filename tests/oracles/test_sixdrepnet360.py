"""6DRepNet360 beside torchvision's resnet50 with a six-number head, the same random weights, prepared independently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from torchvision.models import resnet50

from avatarbench import assets
from avatarbench.metrics.apd import NetworkEuler, NetworkGeodesic, NetworkSquared
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Frame
from avatarbench.metrics.sixdrepnet360 import SixDRepNet360

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """resnet50 with ``fc`` of six outputs; batch norms with statistics of their own, so that they count."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        made = resnet50(weights=None)
        made.fc = torch.nn.Linear(2048, 6)
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return made.eval()


@pytest.fixture(scope="module")
def checkpoint(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights under the published checkpoint's names."""
    path = tmp_path_factory.mktemp("6d") / "random.pth"
    torch.save({name.replace("fc.", "linear_reg."): value for name, value in network.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def frames(checkpoint: Path) -> list[Frame]:
    assets.pull("face-landmarker")
    image = Image.fromarray(astronaut())
    crops = [image, image.rotate(12, Image.Resampling.BICUBIC, center=(224, 110)), image.crop((100, 0, 420, 240))]
    made = [Frame(np.asarray(crop)) for crop in crops]
    for extractor in (FaceLandmarker(), SixDRepNet360(checkpoint=checkpoint)):
        for frame, features in zip(made, extractor.extract(made, activations=False), strict=True):
            frame.put(extractor.id, features)
        extractor.close()
    return made


def expected_rotation(network: torch.nn.Module, frame: Frame) -> np.ndarray:
    """(3, 3) float64: crop, Pillow resize of the shorter side to 256, centre 224, and Gram-Schmidt by QR."""
    points = frame["face"]["landmarks"][:, :2]
    (x0, y0), (x1, y1) = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
    dx, dy = int(0.2 * (y1 - y0)), int(0.2 * (x1 - x0))
    height, width = frame.image.shape[:2]
    crop = Image.fromarray(frame.image).crop(
        (max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy))
    )
    scale = 256 / min(crop.size)
    crop = crop.resize((int(crop.width * scale), int(crop.height * scale)), Image.Resampling.BILINEAR)
    left, top = round((crop.width - 224) / 2), round((crop.height - 224) / 2)
    pixels = np.asarray(crop.crop((left, top, left + 224, top + 224)), np.float64) / 255
    batch = torch.from_numpy(((pixels - MEAN) / DEVIATION).transpose(2, 0, 1)[None]).float()
    with torch.no_grad():
        six = network(batch)[0].double().numpy()
    q, r = np.linalg.qr(np.column_stack([six[:3], six[3:]]))
    q = q * np.sign(np.diag(r))
    return np.column_stack([q, np.cross(q[:, 0], q[:, 1])])


def test_rotations_agree_with_the_independent_network(network: torch.nn.Module, frames: list[Frame]) -> None:
    for frame in frames:
        rotation = frame["6drepnet360"]["rotation"]
        assert np.abs(rotation - expected_rotation(network, frame)).max() < 1e-4
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-5)


def test_the_three_distances_agree_with_the_repositorys_euler_angles(frames: list[Frame]) -> None:
    def euler(rotation: np.ndarray) -> np.ndarray:
        """Pitch, yaw, roll in degrees as 6DRepNet360's sixdrepnet360/utils.py defines them, away from gimbal lock."""
        r = rotation.astype(np.float64)
        sy = np.sqrt(r[0, 0] ** 2 + r[1, 0] ** 2)
        return np.degrees([np.arctan2(r[2, 1], r[2, 2]), np.arctan2(-r[2, 0], sy), np.arctan2(r[1, 0], r[0, 0])])

    for other in frames[1:]:
        a, b = frames[0]["6drepnet360"]["rotation"], other["6drepnet360"]["rotation"]
        d = np.abs(euler(a) - euler(b))
        d = np.minimum(d, 360 - d)
        assert NetworkEuler()(frames[0], other) == pytest.approx(d.mean(), abs=1e-4)
        assert NetworkSquared()(frames[0], other) == pytest.approx((d**2).mean(), rel=1e-4, abs=1e-6)
        cosine = (np.trace(a.astype(np.float64).T @ b) - 1) / 2
        assert NetworkGeodesic()(frames[0], other) == pytest.approx(np.degrees(np.arccos(min(1, cosine))), abs=0.05)
