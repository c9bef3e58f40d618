"""Real3D-Portrait behind the method contract; its authors' code runs in an environment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.portrait4d_v2 import placed

from .recipe import RECIPE

HERE = Path(__file__).parent
BFM = "deep_3drecon/BFM"
FILES = tuple(
    f"{BFM}/{name}" for name in ("01_MorphableModel.mat", "BFM_model_front.mat", "Exp_Pca.bin", "std_exp.txt")
)


class Real3DPortrait(OfficialMethod):
    """``seed``, whose default in its own code is the time of day; ``timeout``: seconds that one of its videos takes."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = (*TOOLS, HERE / "keep.py")
    expected = ("inference/real3d_infer.py", "data_gen/utils", "modules/real3d")
    cuda_only = True
    own_options: ClassVar[dict[str, Any]] = {"seed": 0, "timeout": 7200.0}
    frame_timeout = 1800.0
    announce_timeout = 300.0

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        page = "the shared folder of the 3DMM that its README links to"
        return [*super().lacks(**options), *placed.missing(options, FILES, page)]
