"""Arrays out of an .npz file that may be anything."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import DataError


def read_npz(
    source: Path | IO[bytes], advice: str, only: Collection[str] | None = None, name: str | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name, all, or those of ``only`` that it has. Nothing in it is unpickled.

    Raises DataError for whatever else there is under ``source``, which messages call ``name`` where it is given;
    ``advice``: what to do then, as the message's end.
    """
    path = name or str(source)
    try:
        file = np.load(source, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{path} holds a single array, as .npy does, and no .npz: {advice}.")
        with file:
            return {key: file[key] for key in file.files if only is None or key in only}
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: check the path.") from error
    # Damaged bytes raise whatever zipfile, zlib, tokenize, struct or the allocator raises of them.
    except Exception as error:
        why = str(error).rstrip(".") or type(error).__name__
        raise DataError(f"{path} cannot be read as an .npz of arrays ({why}): {advice}.") from error
