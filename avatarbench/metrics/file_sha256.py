"""The hash of the weights that were really loaded, for an extractor's fingerprint."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal; also of a file that no catalogue pins."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
