"""The environment of CVTHead, as its README and requirements.txt ask for it."""

from avatarbench.isolation.recipe import Recipe, Weight

_PIP = ("python", "-m", "pip", "install", "--no-build-isolation")
_FETCH = "data/fetch_data.sh of github.com/HowieMa/CVTHead, or the page that its data/README.md names"

RECIPE = Recipe(
    method="cvthead",
    backend="venv",
    python="3.9",
    packages=(
        "torch==2.0.0",
        "torchvision==0.15.1",
        "numpy==1.23.1",
        "pip==23.3.2",
        "setuptools==63.4.1",
        "wheel==0.42.0",
        "ninja==1.11.1",
    ),
    image="nvidia/cuda:11.7.1-cudnn8-devel-ubuntu22.04",
    build=((*_PIP, "-r", "{repo}/requirements.txt"),),
    repository="https://github.com/HowieMa/CVTHead",
    commit="4e2981e775ceaac3ecaf2898db1f723788375349",
    weights=(
        Weight("CVTHead", "cvthead.pt", source="the folder that the README of github.com/HowieMa/CVTHead links to"),
        Weight(
            "face parsing",
            "79999_iter.pth",
            size=53_289_463,
            sha256="468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
            source=_FETCH,
        ),
        Weight("ROME's hair and shoulders", "linear_hair.pth", source=_FETCH),
        Weight("ROME's encoder", "rome.pth", about=288_000_000, source=_FETCH),
        Weight(
            "DECA",
            "deca_model.tar",
            size=434_142_943,
            sha256="e714ed293054cba5eea9c96bd3b6b57880074cd84b3fd00d606cbaf0bee7c5c2",
            source=f"{_FETCH}; the script names it .deca_model.tar, which nothing reads",
        ),
        Weight(
            "FLAME 2020",
            "generic_model.pkl",
            size=53_023_716,
            sha256="efcd14cc4a69f3a3d9af8ded80146b5b6b50df3bd74cf69108213b144eba725b",
            source="flame.is.tue.mpg.de, with an account there",
        ),
    ),
    gpu=True,
)
