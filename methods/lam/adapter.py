"""LAM behind the contract: what is checked of a checkout of it, and how its shim is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.lam.recipe import RECIPE
from avatarbench.methods.unpacked import not_unpacked

HERE = Path(__file__).parent
MODELS = ("model_zoo/human_parametric_models", "model_zoo/flame_tracking_models|pretrain_model")
HOW = "unpack LAM_assets.tar and thirdparty_models.tar of the model page 3DAIGC/LAM-assets there, as its README says"


class Lam(OfficialMethod):
    """``minutes``: how long one run of LAM, over all frames of one portrait, may take."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = (*TOOLS, HERE / "centred.py")
    expected = ("lam/launch.py", "lam/runners/infer/lam.py", "configs/inference/lam-20k-8gpu.yaml")
    cuda_only = True
    own_options: ClassVar[Mapping[str, Any]] = {"minutes": 60}
    announce_timeout = 600.0  # a frame: of few frames, tracking the portrait takes nearly all
    frame_timeout = 3600.0  # of a frame that was not announced, a whole run

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        """What the user has yet to bring, a line each, the models in the checkout among it."""
        return super().lacks(**options) + not_unpacked(options.get("repo"), MODELS, HOW)
