"""FastAvatar behind the contract: what is checked of a checkout of it, and how its shim is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.fastavatar.recipe import RECIPE

HERE = Path(__file__).parent


class FastAvatar(OfficialMethod):
    """``minutes``: how long one run of FastAvatar, over all frames of one portrait, may take."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = (*TOOLS, HERE / "lossless.py", HERE.parent / "lam" / "centred.py")
    expected = ("FastAvatar/launch.py", "FastAvatar/runners/infer/fastavatar.py", "configs/inference/infer.yaml")
    own_options: ClassVar[Mapping[str, Any]] = {"minutes": 60}
    announce_timeout = 600.0  # a frame: of few frames, tracking the portrait takes nearly all
    frame_timeout = 3600.0  # of a frame that was not announced, a whole run
