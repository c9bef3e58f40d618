"""Messages between the harness and a worker: 4 bytes with the length of a JSON header, big-endian, that header, and
the raw arrays that it names by dtype and shape, little-endian, in their order. Nothing is ever unpickled.

Copied into foreign environments beside worker.py: any Python from 3.8, standard library and numpy.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# numpy is imported inside functions: what it prints as it loads must not reach the pipe, which is not moved by then.

if TYPE_CHECKING:  # Python 3.8 cannot subscript it
    Message = dict[str, Any]

VERSION = 1
HEADER_LIMIT = 1 << 20
"""Bytes of a header: a frame's has some hundred."""
ARRAYS_LIMIT = 1 << 29
"""Bytes of all arrays of a message; nothing is allocated for more."""
DTYPES = {
    "bool": 1, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "float16": 2, "float32": 4, "float64": 8,
}  # fmt: skip
"""The dtypes that are sent, with their bytes."""
LOG = "worker.log"
LOG_DONE = "worker.log.done"
LOG_LIMIT = 4 << 20
"""Bytes after which the log is moved to ``worker.log.1``, in place of the one there: twice this is all it takes."""


class WireError(Exception):
    """A message that is not one of this protocol, or that cannot be made one."""


def encode(message: Message) -> list[Any]:
    """A message as buffers to be written one after the other. Raises WireError for what cannot be sent."""
    import numpy as np

    arrays: list[Any] = []
    plain = _plain(message, arrays)
    form = []
    for number, array in enumerate(arrays):
        if array.dtype.name not in DTYPES:
            raise WireError(f"an array of dtype {array.dtype} cannot be sent")
        form.append({"dtype": array.dtype.name, "shape": list(array.shape)})
        arrays[number] = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    if sum(array.nbytes for array in arrays) > ARRAYS_LIMIT:
        shapes = ", ".join(f"{one['dtype']} {tuple(one['shape'])}" for one in form)
        raise WireError(f"arrays of more than {ARRAYS_LIMIT} bytes cannot be sent ({shapes[:200]})")
    header = json.dumps({"message": plain, "arrays": form}).encode()
    if len(header) > HEADER_LIMIT:
        raise WireError(f"a header of {len(header)} bytes cannot be sent: the limit is {HEADER_LIMIT}")
    return [struct.pack(">I", len(header)) + header] + [a.reshape(-1).view(np.uint8).data for a in arrays if a.size]


def _plain(value: Any, arrays: list[Any]) -> Any:
    """``value`` for JSON, its arrays moved to ``arrays`` and named by their place."""
    import numpy as np

    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"$array": len(arrays) - 1}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        if "$array" in value or not all(isinstance(key, str) for key in value):
            raise WireError(f"a mapping whose keys are not all names cannot be sent ({list(value)[:5]})")
        return {key: _plain(entry, arrays) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, arrays) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise WireError(f"a value of type {type(value).__name__} cannot be sent")


def decode(read: Callable[[Any], None]) -> Message:
    """The next message; ``read`` fills the buffer that it is given. Raises WireError, and what ``read`` raises."""
    import numpy as np

    prefix = bytearray(4)
    read(memoryview(prefix))
    (length,) = struct.unpack(">I", prefix)
    if not 0 < length <= HEADER_LIMIT:
        raise WireError(
            f"a header of {length} bytes (it begins {bytes(prefix)!r}), where 1 to {HEADER_LIMIT} are allowed"
        )
    text = bytearray(length)
    read(memoryview(text))
    message, forms = _header(bytes(text))
    arrays = [np.empty(shape, np.dtype(dtype).newbyteorder("<")) for dtype, shape in forms]
    for array in arrays:
        if array.size:
            read(array.reshape(-1).view(np.uint8).data)
    whole: Message = _whole(message, arrays)
    return whole


def _header(text: bytes) -> tuple[Message, list[tuple[str, list[int]]]]:
    """The message, and the dtypes and shapes of its arrays, checked before anything is allocated."""
    try:
        header = json.loads(text.decode())
        message = header["message"]
        if not isinstance(message, dict) or not isinstance(message["type"], str):
            raise TypeError("its message has no type")
        forms = [(form["dtype"], form["shape"]) for form in header["arrays"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WireError(f"a malformed header ({type(error).__name__}: {error}): {text[:80]!r}") from error
    total = 0
    for dtype, shape in forms:
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise WireError(f"a malformed header: an array of dtype {dtype!r}")
        if not isinstance(shape, list) or len(shape) > 8 or not all(_is_side(side) for side in shape):
            raise WireError(f"a malformed header: an array of shape {str(shape)[:200]}")
        size = DTYPES[dtype]
        for side in shape:
            size *= max(side, 1)  # numpy has limits for arrays without elements too
        total += size
    if total > ARRAYS_LIMIT:
        raise WireError(f"a header that announces arrays of {total} bytes, where {ARRAYS_LIMIT} are allowed")
    return message, forms


def _is_side(side: Any) -> bool:
    """Bounded each, or the product could be too long a number to be written in an error."""
    return type(side) is int and 0 <= side < 1 << 63


def _whole(value: Any, arrays: list[Any]) -> Any:
    if isinstance(value, dict):
        if "$array" in value:
            place = value["$array"]
            if len(value) != 1 or type(place) is not int or not 0 <= place < len(arrays):
                raise WireError(f"a malformed header: array {place!r} of {len(arrays)}")
            return arrays[place]
        return {key: _whole(entry, arrays) for key, entry in value.items()}
    return [_whole(entry, arrays) for entry in value] if isinstance(value, list) else value
