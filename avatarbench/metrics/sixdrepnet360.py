"""Head rotation by 6DRepNet360, the judge of ``apd-6drepnet360``.

Network, checkpoint names and transforms: thohemp/6DRepNet360, sixdrepnet360/test.py and utils.py. That repository has
no demo; the face box is widened as in thohemp/6DRepNet, sixdrepnet/demo.py.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models.resnet import Bottleneck, ResNet

from avatarbench.errors import AssetError
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.metrics.networks import Weights, fingerprint, float32_inference, versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARGIN = 0.2
_PREPARATION = "box of the landmarks, margin 0.2 of the other side, resize 256, centre 224, ImageNet"

_prepare = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
)


class Network(ResNet):
    """ResNet-50 with six outputs in place of classes: (N, 3, 224, 224) float32 to (N, 3, 3) rotations."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        del self.fc
        self.linear_reg = nn.Linear(512 * Bottleneck.expansion, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return gram_schmidt(self.linear_reg(self.avgpool(x).flatten(1)))


def gram_schmidt(six: Tensor) -> Tensor:
    """(N, 6) to (N, 3, 3): the first three numbers give the first column's direction, the rest the second's plane."""
    x = nn.functional.normalize(six[:, :3], dim=1, eps=1e-8)
    z = nn.functional.normalize(torch.linalg.cross(x, six[:, 3:], dim=1), dim=1, eps=1e-8)
    return torch.stack((x, torch.linalg.cross(z, x, dim=1), z), dim=2)


def load_network(checkpoint: Path, device: str) -> Network:
    """The network with a published checkpoint's weights, in evaluation mode. Raises AssetError if they do not fit."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        state = state.get("model_state_dict", state)
        with torch.device(
            "meta"
        ):  # no weights are drawn only to be overwritten, and the global generator stays as it was
            network = Network()
        network.load_state_dict(state, strict=True, assign=True)
    except (OSError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise AssetError(
            f"{checkpoint} is not a 6DRepNet360 checkpoint: {error}. Check the file with: avatarbench assets verify"
        ) from error
    return network.float().to(device).eval().requires_grad_(False)


def face_crop(image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8] | Missing:
    """The landmarks' box, wider by 0.2 of its height and taller by 0.2 of its width on every side, cut at the image."""
    height, width = image.shape[:2]
    left, top = (int(v) for v in landmarks[:, :2].min(axis=0))
    right, bottom = (int(v) for v in landmarks[:, :2].max(axis=0))
    dx, dy = int(MARGIN * (bottom - top)), int(MARGIN * (right - left))
    left, top, right, bottom = max(0, left - dx), max(0, top - dy), min(width, right + dx), min(height, bottom + dy)
    if right <= left or bottom <= top:
        return Missing("the face lies outside the image")
    return image[top:bottom, left:right]


class SixDRepNet360:
    """``rotation`` (3, 3) float32, head to camera as the network gives it. One frame at a time: equal in any batch."""

    id: ClassVar[str] = "6drepnet360"
    requires: ClassVar[tuple[str, ...]] = ("face",)
    kept: ClassVar[tuple[str, ...]] = ("rotation",)
    activations: ClassVar[tuple[str, ...]] = ()

    def __init__(self, device: str = "cpu", checkpoint: Path | None = None) -> None:
        self._weights = Weights("6drepnet360", checkpoint)
        self._device = device
        self._network: Network | None = None

    @property
    def fingerprint(self) -> str:
        computed_by = versions("torchvision", "pillow")
        return fingerprint(self.id, 1, self._weights.sha256, {**computed_by, "preparation": _PREPARATION})

    def extract(self, frames: Sequence[Frame], activations: bool = False) -> list[Features | Missing]:
        """The rotation of each frame's face, or why there is none. Raises AssetError for a wrong checkpoint."""
        return [self._read(frame) for frame in frames]

    def close(self) -> None:
        self._network = None

    def _read(self, frame: Frame) -> Features | Missing:
        face = frame.get("face")
        if face is None or isinstance(face, Missing):
            return face or Missing("no face features")
        crop = face_crop(frame.image, face["landmarks"])
        if isinstance(crop, Missing):
            return crop
        if self._network is None:
            self._network = load_network(self._weights.path, self._device)
        batch = _prepare(Image.fromarray(np.ascontiguousarray(crop)))[None].to(self._device)
        with float32_inference():
            return {"rotation": self._network(batch)[0].cpu().numpy()}
