"""Stand-in for tests, not GPAvatar. Importing any part of it fills the registry of models, as in the original."""

from core.model import OneModel

__all__ = ["OneModel"]
