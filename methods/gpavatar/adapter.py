"""GPAvatar behind the contract: what is checked of a checkout of it, and how its shim is run."""

from __future__ import annotations

from pathlib import Path

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.gpavatar.recipe import RECIPE

HERE = Path(__file__).parent


class GpAvatar(OfficialMethod):
    """Its tracker lies in its repository, with weights that its ``build_resources.sh`` puts there."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = TOOLS
    expected = ("inference.py", "core/model", "core/libs/lightning_track", "core/utils/registry.py")
    frame_timeout = 600.0  # of a frame that was not announced, its tracking
