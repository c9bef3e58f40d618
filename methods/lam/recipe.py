"""The environment of LAM, as its README and scripts/install/install_cu118.sh ask for it."""

from avatarbench.isolation.recipe import Recipe, Weight

_PIP = ("python", "-m", "pip", "install", "--no-build-isolation")

RECIPE = Recipe(
    method="lam",
    backend="venv",
    python="3.10",
    packages=(
        "torch==2.3.0+cu118",
        "torchvision==0.18.0+cu118",
        "torchaudio==2.3.0+cu118",
        "xformers==0.0.26.post1+cu118",
        "numpy==1.23.0",
        "pip==24.2",
        "setuptools==74.0.0",
        "wheel==0.44.0",
        "ninja==1.11.1.1",
        "Cython==3.0.11",
    ),
    image="nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04",
    build=(
        (*_PIP, "-r", "{repo}/requirements.txt"),
        ("env", "--chdir={repo}/external/landmark_detection/FaceBoxesV2/utils", "sh", "make.sh"),
        (*_PIP, "git+https://github.com/facebookresearch/pytorch3d.git@v0.7.8"),
        (*_PIP, "git+https://github.com/ashawkey/diff-gaussian-rasterization"),
        (*_PIP, "git+https://github.com/camenduru/simple-knn"),
        (*_PIP, "git+https://github.com/NVlabs/nvdiffrast.git@v0.3.3"),
    ),
    repository="https://github.com/aigc3d/LAM",
    commit="44a7ddbc002b0e898946789024a8620ef61c3a18",
    weights=(
        Weight(
            name="LAM-20K (VFHQ and NeRSemble)",
            path="model.safetensors",
            size=2_356_556_212,
            sha256="f527e6e78fd9743aad95cb15b221b864d8b6d356c1d174c0ffad5d74b9a95925",
            source="the model page 3DAIGC/LAM-20K that the README of github.com/aigc3d/LAM links to",
        ),
    ),
    gpu=True,
    variables={"PYOPENGL_PLATFORM": "egl"},
)
