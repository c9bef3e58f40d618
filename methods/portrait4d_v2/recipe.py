"""The environment of Portrait4D-v2, as its README and requirements.txt ask for it."""

from avatarbench.isolation.recipe import Recipe, Weight

_PIP = ("python", "-m", "pip", "install", "--no-build-isolation")

RECIPE = Recipe(
    method="portrait4dv2",
    backend="venv",
    python="3.8",
    packages=(
        "torch==1.11.0+cu113",
        "torchvision==0.12.0+cu113",
        "numpy==1.23.5",
        "pip==23.3.2",
        "setuptools==65.5.1",
        "wheel==0.42.0",
        "ninja==1.11.1",
        "fvcore==0.1.5.post20221221",
        "iopath==0.1.9",
        "imageio==2.31.1",
    ),
    image="nvidia/cuda:11.3.1-cudnn8-devel-ubuntu20.04",
    build=(
        (*_PIP, "-r", "{repo}/requirements.txt"),
        (*_PIP, "git+https://github.com/facebookresearch/pytorch3d.git@v0.6.2"),
    ),
    repository="https://github.com/YuDeng/Portrait-4D",
    commit="9e8af99c38f597a5bfcfb56d3b9a183612bd2173",
    weights=(
        Weight(
            name="Portrait4D-v2 (VFHQ, 512)",
            path="portrait4d-v2-vfhq512.pkl",
            source="the model page bEijuuu/Portrait4D that the README of github.com/YuDeng/Portrait-4D links to",
        ),
    ),
    gpu=True,
)
