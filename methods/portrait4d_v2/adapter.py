"""Portrait4D-v2 behind the method contract; its authors' code runs in an environment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from avatarbench.isolation.official import TOOLS, OfficialMethod

from .placed import missing
from .recipe import RECIPE

HERE = Path(__file__).parent
ASSETS = "data_preprocess/assets"
FILES = (
    "portrait4d/models/FLAME/geometry",
    "portrait4d/models/FLAME/mask",
    "portrait4d/models/pdfgc/weights/motion_model.pth",
    f"{ASSETS}/facedetect/retinaface/Resnet50_Final.pth",
    f"{ASSETS}/facerecon/deep3d_2023/epoch_20.pth",
    f"{ASSETS}/facerecon/bfm/BFM_model_front.mat",
    f"{ASSETS}/hrnet_w18_wflw/h3r/model.pth",
    f"{ASSETS}/landmark3d/3DFAN4-4a694010b9.zip",
    f"{ASSETS}/landmark3d/depth-6c4283c0e0.zip",
)
"""What its README has one download into the checkout."""


class Portrait4Dv2(OfficialMethod):
    """``timeout``: seconds that one of its three steps may take."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = (*TOOLS, HERE / "keep.py", HERE / "aligned.py")
    expected = (
        "data_preprocess/preprocess_dir.py",
        "data_preprocess/bfm2flame_simplified.py",
        "portrait4d/gen_images_portrait4d.py",
    )
    cuda_only = True
    own_options: ClassVar[dict[str, Any]] = {"timeout": 7200.0}
    build_timeout = 900.0
    frame_timeout = 900.0
    announce_timeout = 300.0

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        page = RECIPE.weights[0].source
        return [*super().lacks(**options), *missing(options, FILES, page)]
