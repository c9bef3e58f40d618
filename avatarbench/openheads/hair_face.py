"""Brows, lashes and beard."""

from __future__ import annotations

from avatarbench.openheads.hair_head import Head
from avatarbench.openheads.hair_scalp import Hair
from avatarbench.openheads.hair_style import HairStyle


def face_hair(style: HairStyle, head: Head, seed: int) -> list[Hair]:
    return []
