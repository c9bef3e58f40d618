"""The environment of Real3D-Portrait, as docs/prepare_env/install_guide.md asks for it."""

from avatarbench.isolation.recipe import Recipe, Weight

_PIP = ("python", "-m", "pip", "install", "--no-build-isolation")
_SOURCE = "the shared folder that the README of github.com/yerfor/Real3DPortrait links to"
_RELEASE = "240210_real3dportrait_orig"

RECIPE = Recipe(
    method="real3dportrait",
    backend="conda",
    python="3.9",
    conda_packages=("conda-forge::ffmpeg=6.1",),
    packages=(
        "torch==2.0.1+cu117",
        "torchvision==0.15.2+cu117",
        "torchaudio==2.0.2+cu117",
        "pip==23.3.2",
        "setuptools==69.5.1",
        "wheel==0.44.0",
        "ninja==1.11.1.1",
        "cython==3.0.10",
        "openmim==0.3.9",
        "imageio==2.34.2",
        "imageio-ffmpeg==0.5.1",
    ),
    image="nvidia/cuda:11.7.1-cudnn8-devel-ubuntu22.04",
    build=(
        (*_PIP, "git+https://github.com/facebookresearch/pytorch3d.git@v0.7.7"),
        ("python", "-m", "mim", "install", "mmcv==2.1.0"),
        (*_PIP, "-r", "{repo}/docs/prepare_env/requirements.txt"),
    ),
    repository="https://github.com/yerfor/Real3DPortrait",
    commit="a2a961199398ebf26f4953c6294b662c42e58a2e",
    weights=(
        Weight(
            "secc2plane with torso", f"{_RELEASE}/secc2plane_torso_orig/model_ckpt_steps_100000.ckpt", source=_SOURCE
        ),
        Weight("its configuration", f"{_RELEASE}/secc2plane_torso_orig/config.yaml", source=_SOURCE),
        Weight("audio to motion", f"{_RELEASE}/audio2secc_vae/model_ckpt_steps_400000.ckpt", source=_SOURCE),
        Weight("its configuration (audio)", f"{_RELEASE}/audio2secc_vae/config.yaml", source=_SOURCE),
        Weight("SegFormer", "pretrained_ckpts/mit_b0.pth", source=_SOURCE),
    ),
    gpu=True,
)
