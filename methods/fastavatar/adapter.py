"""FastAvatar behind the contract: what is checked of a checkout of it, and how its shim is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.fastavatar.recipe import RECIPE
from avatarbench.methods.unpacked import not_unpacked

HERE = Path(__file__).parent
MODELS = ("model_zoo/human_parametric_models", "model_zoo/flame_tracking_models")
HOW = "unpack assets.tar and model_zoo.tar of the model page TyrionWuY/FastAvatar-assets there, as its README says"


class FastAvatar(OfficialMethod):
    """``minutes``: how long one run of FastAvatar, over all frames of one portrait, may take."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = (*TOOLS, HERE / "lossless.py", HERE.parent / "lam" / "centred.py")
    expected = ("FastAvatar/launch.py", "FastAvatar/runners/infer/fastavatar.py", "configs/inference/infer.yaml")
    cuda_only = True
    own_options: ClassVar[Mapping[str, Any]] = {"minutes": 60}
    announce_timeout = 600.0  # a frame: of few frames, tracking the portrait takes nearly all
    frame_timeout = 3600.0  # of a frame that was not announced, a whole run

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        """What the user has yet to bring, a line each, the models in the checkout among it."""
        return super().lacks(**options) + not_unpacked(options.get("repo"), MODELS, HOW)
