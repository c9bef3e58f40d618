"""The rows of the paper's Table 2 beside the full method: the same code with decoders that read less."""

from __future__ import annotations

from typing import ClassVar

from avatarbench.methods.pointillist.decoder.config import Variant
from avatarbench.methods.pointillist.method import Pointillist


class FlamePosition(Pointillist):
    """Points are the rig's vertices; stage one says only how a portrait is prepared."""

    variant: ClassVar[Variant] = "flame-position"
    shipped: ClassVar[str] = "mini-flame-position"


class ArFeature(Pointillist):
    """The decoder reads stage one's states, and no positions."""

    variant: ClassVar[Variant] = "ar-feature"
    shipped: ClassVar[str] = "mini-ar-feature"


class ArPosition(Pointillist):
    """The decoder reads the generated positions, and no states."""

    variant: ClassVar[Variant] = "ar-position"
    shipped: ClassVar[str] = "mini-ar-position"
