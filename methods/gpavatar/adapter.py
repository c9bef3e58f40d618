"""GPAvatar behind the contract: what is checked of a checkout of it, and how its shim is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.methods.flame_driven import FlameDriven
from avatarbench.methods.gpavatar.recipe import RECIPE
from avatarbench.methods.unpacked import not_unpacked

HERE = Path(__file__).parent
MODELS = ("core/libs/FLAME/assets", "core/libs/lightning_track/engines/FLAME/assets")
HOW = "run build_resources.sh there, as its README says"


class GpAvatar(OfficialMethod):
    """Its tracker lies in its repository, with weights that its ``build_resources.sh`` puts there."""

    recipe = RECIPE
    shim = HERE / "shim.py"
    files = TOOLS
    expected: ClassVar[tuple[str, ...]] = (
        "inference.py",
        "core/model",
        "core/libs/lightning_track",
        "core/utils/registry.py",
    )
    frame_timeout = 600.0  # of a frame that was not announced, its tracking

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        """What the user has yet to bring, a line each, the models in the checkout among it."""
        return super().lacks(**options) + not_unpacked(options.get("repo"), MODELS, HOW)


class GpAvatarByFlame(FlameDriven, GpAvatar):
    """Driven by FLAME that was tracked elsewhere; its own tracker sees portraits alone, and those without tracking."""

    files = (*FlameDriven.files, HERE / "by_flame.py")
    eyes = False  # its points are made without a pose of theirs
    expected = (*GpAvatar.expected, "core/libs/FLAME/FLAME.py")
