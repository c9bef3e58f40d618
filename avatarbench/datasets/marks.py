"""What a data folder says of itself: generated stand-in data is marked, so that no table takes it for the real set."""

from __future__ import annotations

import json
from pathlib import Path

from avatarbench.errors import DataError
from avatarbench.files import writing

MARK = "avatarbench-data.json"


def data_mark(root: Path | str, home: Path | None = None) -> str | None:
    """What the data in ``root`` really is, e.g. ``"openheads"``; None for a folder without a mark, as real data is.

    ``home``: the folder below ``root`` in which a reader found the data; a mark there, or between the two, counts too.
    Raises DataError for a mark that cannot be read: data of unknown origin is not taken for the real set.
    """
    root = Path(root).expanduser()
    below = [] if home is None else [at for at in (home, *home.parents) if at.is_relative_to(root)]
    return next((mark for at in dict.fromkeys((root, *below)) if (mark := _read(at / MARK)) is not None), None)


def _read(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        mark = found["data"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not say what the data is ({error}): write the folder again.") from error
    if not isinstance(mark, str) or not mark:
        raise DataError(f"{path} has 'data': {mark!r}, where a name is expected: write the folder again.")
    return mark


def write_mark(root: Path, data: str) -> None:
    """Mark ``root``, there whole or not at all. Raises OSError."""
    with writing(root / MARK) as temporary:
        temporary.write_text(json.dumps({"data": data}) + "\n", encoding="utf-8")
