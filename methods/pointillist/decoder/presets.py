"""``configs/pointillist_decoder/*.yaml`` as configurations."""

from __future__ import annotations

from collections.abc import Sequence

from avatarbench import presets
from avatarbench.methods.pointillist.decoder.config import DecoderConfig


def load_decoder_preset(name: str, overrides: Sequence[str] = ()) -> DecoderConfig:
    """``configs/pointillist_decoder/<name>.yaml`` with ``key=value`` changes. Raises UsageError naming the key and what
    it accepts."""
    package = "avatarbench.configs.pointillist_decoder"
    return presets.load(package, name, overrides, DecoderConfig, "the decoder's configuration")
