"""LAM behind the contract: what is checked of a checkout of it, and how its shim is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.lam.recipe import RECIPE

HERE = Path(__file__).parent


class Lam(OfficialMethod):
    """``minutes``: how long one run of LAM, over all frames of one portrait, may take."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = (*TOOLS, HERE / "centred.py")
    expected = ("lam/launch.py", "lam/runners/infer/lam.py", "configs/inference/lam-20k-8gpu.yaml", "model_zoo")
    own_options: ClassVar[Mapping[str, Any]] = {"minutes": 60}
    announce_timeout = 600.0  # a frame: of few frames, tracking the portrait takes nearly all
    frame_timeout = 3600.0  # of a frame that was not announced, a whole run
