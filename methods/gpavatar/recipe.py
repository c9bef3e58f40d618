"""The environment of GPAvatar, after the environment.yml of its repository."""

from avatarbench.isolation.recipe import Recipe, Weight

_PIP = ("python", "-m", "pip", "install", "--no-build-isolation")

RECIPE = Recipe(
    method="gpavatar",
    backend="venv",
    python="3.9",
    packages=(
        "torch==2.0.1+cu118",
        "torchvision==0.15.2+cu118",
        "torchaudio==2.0.2+cu118",
        "numpy==1.26.2",
        "pip==23.3.1",
        "setuptools==68.0.0",
        "wheel==0.41.2",
        "ninja==1.11.1.1",
        "av==12.0.0",  # theirs is 11.0.0, of which the registry has lost the wheels
        "colored==2.2.3",
        "einops==0.7.0",
        "fvcore==0.1.5.post20221221",
        "huggingface-hub==0.19.4",
        "imageio==2.33.0",
        "iopath==0.1.9",
        "lmdb==1.4.1",
        "mediapipe==0.10.7",
        "onnx==1.15.0",
        "onnxruntime-gpu==1.16.3",
        "opencv-contrib-python==4.8.1.78",
        "opencv-python==4.8.1.78",
        "pillow==10.0.1",
        "protobuf==3.20.3",
        "pykalman==0.9.5",
        "pytorch-lightning==2.1.3",
        "pyyaml==6.0.1",
        "rich==13.7.0",
        "scikit-image==0.22.0",
        "scipy==1.11.4",
        "tqdm==4.66.1",
        "transformers==4.35.2",
        "yacs==0.1.8",
    ),
    image="nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04",
    build=(
        (*_PIP, "git+https://github.com/facebookresearch/pytorch3d.git@v0.7.5"),
        (*_PIP, "git+https://github.com/nerfstudio-project/nerfacc.git@v0.5.3"),
    ),
    repository="https://github.com/xg-chu/GPAvatar",
    commit="169034e3a954d31fc01aef9c3d3cf19f036ac152",
    weights=(
        Weight(
            name="GPAvatar",
            path="one_model.ckpt",
            md5="28bbec93d503562477d9468c50524978",
            source="the release v1.0.0 of github.com/xg-chu/GPAvatar",
        ),
    ),
    gpu=True,
)
