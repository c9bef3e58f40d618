"""AvatarArtist behind the method contract; its authors' code runs in an environment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.portrait4d_v2 import placed

from .recipe import RECIPE

HERE = Path(__file__).parent
FILES = ("data_process/lib/FaceVerse/v3",)
"""The FaceVerse model, which its tracker reads from the checkout."""


class AvatarArtist(OfficialMethod):
    """``seed`` of the diffusion that makes the head; ``timeout``: seconds that one of its commands may take."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = (*TOOLS, Path(placed.__file__).with_name("aligned.py"))
    expected = ("inference.py", "data_process/input_img_align_extract_ldm.py", "configs/infer_config.py")
    cuda_only = True
    own_options: ClassVar[dict[str, Any]] = {"seed": 0, "timeout": 14400.0}
    build_timeout = 3600.0
    frame_timeout = 3600.0
    announce_timeout = 600.0

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        page = RECIPE.weights[0].source
        return [*super().lacks(**options), *placed.missing(options, FILES, page)]
