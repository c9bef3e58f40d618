"""GAGAvatar behind the contract: what is checked of a checkout of it, and how its shim is run."""

from __future__ import annotations

from pathlib import Path

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.gagavatar.recipe import RECIPE

HERE = Path(__file__).parent


class GagAvatar(OfficialMethod):
    """Its tracker is a submodule of its repository, with weights of its own that lie in the checkout."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = TOOLS
    expected = ("inference.py", "core/models", "core/data", "core/libs/GAGAvatar_track/engines")
    frame_timeout = 600.0  # of a frame that was not announced, its tracking
