"""``configs/pointillist/*.yaml`` as configurations."""

from __future__ import annotations

from collections.abc import Sequence

from avatarbench import presets
from avatarbench.methods.pointillist.config import Config


def load_preset(name: str, overrides: Sequence[str] = ()) -> Config:
    """``configs/pointillist/<name>.yaml`` with ``key=value`` changes. Raises UsageError naming the key and what it
    accepts."""
    return presets.load("avatarbench.configs.pointillist", name, overrides, Config, "the training's configuration")
