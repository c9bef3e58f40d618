"""``clip``: cosine of OpenAI's CLIP image embeddings, source against prediction."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from avatarbench import assets
from avatarbench.errors import AssetError
from avatarbench.metric import MetricSpec
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.metrics.networks import Weights, batches, fingerprint, float32_inference, read_state_dict, versions

if TYPE_CHECKING:
    from open_clip import CLIP
    from torch import Tensor

MODEL = "ViT-B-32-quickgelu"
TAG = "openai"
SIDE = 224
_NOT_PARAMETERS = ("input_resolution", "context_length", "vocab_size")  # numbers beside the tensors in the release

SPEC = MetricSpec(
    id="clip",
    name="CLIP",
    version=1,
    kind="pair",
    better="higher",
    unit="",
    range=(-1.0, 1.0),
    against="source",
    definition=(
        f"Cosine of the image embeddings of prediction and source portrait under open_clip's {MODEL}, weights tag "
        f"'{TAG}' (512 numbers, float32), with open_clip's own preprocessing: shorter side to 224 by antialiased "
        "bicubic resize, centre crop, CLIP mean and deviation."
    ),
    citation=(
        "Radford et al., Learning transferable visual models from natural language supervision, ICML 2021; Ilharco et "
        "al., OpenCLIP, 2021"
    ),
    factory="avatarbench.metrics.clip:Clip",
    extractors=("clip",),
    assets=("open-clip",),
)


class Clip:
    """Cosine of two embeddings."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        a, b = (np.asarray(f["clip"]["embedding"], np.float64) for f in (prediction, reference))
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


class ClipEmbedding:
    """``embedding`` (512,) float32 of the image tower, not normalised."""

    id: ClassVar[str] = "clip"
    requires: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, ...]] = ("embedding",)
    activations: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1

    def __init__(self, device: str = "cpu", weights: Path | None = None) -> None:
        self.device = device
        self.weights = Weights("open-clip", weights)

    @cached_property
    def fingerprint(self) -> str:
        computed_by = versions("open-clip-torch", "torchvision", "pillow")
        return fingerprint(self.id, self.version, self.weights.sha256, {**computed_by, "model": MODEL, "side": SIDE})

    @cached_property
    def _model(self) -> CLIP:
        from open_clip import CLIP, get_model_config

        configuration = get_model_config(MODEL)
        if configuration is None:
            raise AssetError(f"the installed open_clip does not know {MODEL}: install open-clip-torch>=3.")
        model = CLIP(**configuration)
        state = {k: v for k, v in _state_dict(self.weights).items() if k not in _NOT_PARAMETERS}
        try:
            model.load_state_dict(state)  # the release holds half-precision tensors; the network computes in float32
        except RuntimeError as error:
            raise AssetError(f"{self.weights.path} does not fit {MODEL}: {error}") from error
        return model.eval().requires_grad_(False).to(self.device)

    def extract(self, frames: Sequence[Frame], activations: bool) -> list[Features | Missing]:
        import torch

        found: list[Features | Missing] = [Missing("not extracted")] * len(frames)
        with float32_inference():
            for indices in batches(frames, self.device):
                pixels = torch.stack([preprocess(frames[i]) for i in indices]).to(self.device)
                embeddings = self._model.encode_image(pixels).cpu().numpy()
                for index, embedding in zip(indices, embeddings, strict=True):
                    found[index] = {"embedding": embedding.copy()}
        return found

    def close(self) -> None:
        self.__dict__.pop("_model", None)


def preprocess(frame: Frame) -> Tensor:
    """(3, 224, 224) float32: open_clip's evaluation transform of this model."""
    from open_clip import image_transform
    from PIL import Image

    return image_transform(SIDE, is_train=False)(Image.fromarray(frame.image))


def _state_dict(weights: Weights) -> dict[str, Tensor]:
    """OpenAI's release is a TorchScript archive, which can run code: it is opened only as the pinned asset, once all
    its bytes have been hashed. A file of the caller's own must be a state dict (safetensors or a plain torch file)."""
    import torch

    path = weights.path
    if not _is_torchscript(path):
        return read_state_dict(path)
    if weights.given:
        raise AssetError(f"refused the weights {path}: TorchScript can run code. Give its state dict instead.")
    verified = assets.verify(weights.asset)  # `path` may go by size and time: too little for a file that can run code
    return dict(torch.jit.load(verified, map_location="cpu").state_dict())


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
