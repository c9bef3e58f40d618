"""The environment of FastAvatar, as its README and scripts/install/install_cu124.sh ask for it."""

from avatarbench.isolation.recipe import Recipe, Weight

_PIP = ("python", "-m", "pip", "install", "--no-build-isolation")

RECIPE = Recipe(
    method="fastavatar",
    backend="venv",
    python="3.10",
    packages=(
        "torch==2.5.1+cu124",
        "torchvision==0.20.1+cu124",
        "torchaudio==2.5.1+cu124",
        "xformers==0.0.29",
        "numpy==1.23.0",
        "pip==24.2",
        "setuptools==74.0.0",
        "wheel==0.44.0",
        "ninja==1.11.1.1",
        "Cython==3.0.11",
    ),
    image="nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04",
    build=(
        (*_PIP, "-r", "{repo}/requirements.txt"),
        (*_PIP, "git+https://github.com/facebookresearch/pytorch3d.git@v0.7.8"),
        (*_PIP, "git+https://github.com/ashawkey/diff-gaussian-rasterization"),
        (*_PIP, "git+https://github.com/camenduru/simple-knn"),
        (*_PIP, "git+https://github.com/NVlabs/nvdiffrast.git@v0.3.3"),
        ("env", "--chdir={repo}/external/landmark_detection/FaceBoxesV2/utils", "sh", "make.sh"),
    ),
    repository="https://github.com/TyrionWuYue/FastAvatar",
    commit="0b35ec5b2a0ed70cec8c6e5196da4ce38cd1b197",
    weights=(
        Weight(
            name="FastAvatar",
            path="model.safetensors",
            source="the model page TyrionWuY/FastAvatar that the README of github.com/TyrionWuYue/FastAvatar names",
        ),
    ),
    gpu=True,
    variables={"PYOPENGL_PLATFORM": "egl"},
)
