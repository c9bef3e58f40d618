"""GAGAvatar behind the contract: what is checked of a checkout of it, and how its shim is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.flame_driven import FlameDriven
from avatarbench.methods.gagavatar.recipe import RECIPE
from avatarbench.methods.unpacked import not_unpacked

HERE = Path(__file__).parent
MODELS = ("assets/FLAME_with_eye.pt", "core/libs/GAGAvatar_track/assets")
HOW = "run build_resources.sh there and in core/libs/GAGAvatar_track, which ask for FLAME's licence"


class GagAvatar(OfficialMethod):
    """Its tracker is a submodule of its repository, with weights of its own that lie in the checkout."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = TOOLS
    expected: ClassVar[tuple[str, ...]] = (
        "inference.py",
        "core/models",
        "core/data",
        "core/libs/GAGAvatar_track/engines",
    )
    frame_timeout = 600.0  # of a frame that was not announced, its tracking

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        """What the user has yet to bring, a line each, the models in the checkout among it."""
        return super().lacks(**options) + not_unpacked(options.get("repo"), MODELS, HOW)


class GagAvatarByFlame(FlameDriven, GagAvatar):
    """Driven by FLAME that was tracked elsewhere; its own tracker sees portraits alone, and those without tracking."""

    files = (*FlameDriven.files, HERE / "by_flame.py")
    expected = (*GagAvatar.expected, "core/libs/flame_model", "core/libs/utils_lmdb.py")
