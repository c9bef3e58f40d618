"""The environment of GAGAvatar, after the environment.yml of its repository."""

from avatarbench.isolation.recipe import Recipe, Weight

_PIP = ("python", "-m", "pip", "install", "--no-build-isolation")

RECIPE = Recipe(
    method="gagavatar",
    backend="venv",
    python="3.12",
    packages=(
        "torch==2.4.1+cu121",
        "torchvision==0.19.1+cu121",
        "torchaudio==2.4.1+cu121",
        "numpy==1.26.4",
        "pip==24.2",
        "setuptools==75.1.0",
        "wheel==0.44.0",
        "ninja==1.11.1.1",
        "av==13.0.0",
        "colored==2.2.4",
        "face-alignment==1.4.1",
        "faiss-cpu==1.8.0.post1",
        "fvcore==0.1.5.post20221221",
        "huggingface-hub==0.25.1",
        "iopath==0.1.10",
        "lightning==2.4.0",
        "lmdb==1.5.1",
        "numba==0.60.0",
        "omegaconf==2.3.0",
        "onnx==1.16.2",
        "onnx2torch==1.5.15",
        "opencv-python==4.10.0.84",
        "pillow==10.4.0",
        "pyyaml==6.0.1",
        "rich==13.8.1",
        "scikit-image==0.24.0",
        "scipy==1.14.1",
        "tqdm==4.66.5",
        "transformers==4.45.1",
        "yacs==0.1.8",
    ),
    image="nvidia/cuda:12.1.1-cudnn8-devel-ubuntu22.04",
    build=(
        (*_PIP, "git+https://github.com/facebookresearch/pytorch3d.git@v0.7.8"),
        (*_PIP, "git+https://github.com/xg-chu/diff-gaussian-rasterization.git"),
    ),
    repository="https://github.com/xg-chu/GAGAvatar",
    commit="b7686857dbe8c58cd4d3acba9d11bd4286e05271",
    weights=(
        Weight(
            name="GAGAvatar",
            path="GAGAvatar.pt",
            size=747_434_426,
            sha256="75d449fd1d67dd7bbc613cef17f0196b1c84766935adc75d5231bc89e33950f8",
            source="build_resources.sh of github.com/xg-chu/GAGAvatar, which puts it into assets/",
        ),
    ),
    gpu=True,
)
