"""Numeric arrays out of a pickle that may be hostile: nothing in it is imported or called.

Every name that a pickle may use becomes an inert stand-in, which only keeps what was handed to it; any other name ends
the reading. Arrays are then built from their bytes here, for plain number types alone. So numpy, scipy and chumpy
objects are read without their code (FLAME's files hold all three), and chumpy need not be installed.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import DataError

_NUMBER = re.compile(r"f[248]|[iu][1248]|b1")


class _Refused(Exception):
    """A pickle asks for something that no file of arrays needs."""


class _Sealed(type):
    """Classes that a pickle cannot change."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise _Refused("it changes a class")


class _Inert(metaclass=_Sealed):
    """Keeps its arguments and its state, and does nothing."""

    __slots__ = ("args", "state")
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> Any:
        made = object.__new__(cls)
        made.args, made.state = args, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Inert):
    """numpy.ndarray; its state is (version, shape, dtype, column-major, bytes)."""

    __slots__ = ()


class _Dtype(_Inert):
    """numpy.dtype; argument 0 names it, and item 1 of its state is the byte order."""

    __slots__ = ()


class _Sparse(_Inert):
    """A compressed sparse matrix of scipy, whose state is a dict."""

    __slots__ = ()


class _Columns(_Sparse):
    """scipy.sparse.csc_matrix."""

    __slots__ = ()


class _Chumpy(_Inert):
    """Any class of chumpy; ``x`` of its state is its value."""

    __slots__ = ()


class _Make(_Inert):
    """The functions of numpy and Python that make an empty object of a class: (class, ...)."""

    __slots__ = ()

    def __new__(cls, kind: Any = None, *_: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, _Inert)):
            raise _Refused(f"it makes a {kind!r}")
        return kind.__new__(kind)


class _FromBuffer(_Inert):
    """numpy's function of protocol 5: (bytes, dtype, shape, order)."""

    __slots__ = ()

    def __new__(cls, buffer: Any = None, dtype: Any = None, shape: Any = None, order: Any = "C") -> Any:
        made = _Array()
        made.state = (1, shape, dtype, order == "F", buffer)
        return made


class _Encode(_Inert):
    """_codecs.encode, with which Python 3 writes bytes for Python 2."""

    __slots__ = ()

    def __new__(cls, text: Any = "", codec: Any = None) -> Any:
        if not isinstance(text, str) or codec != "latin1":
            raise _Refused(f"it encodes a {type(text).__name__} as {codec!r}")
        return text.encode("latin1")


class _NoBytes(_Inert):
    """bytes(), as which Python 3 writes an empty array's for Python 2."""

    __slots__ = ()

    def __new__(cls, *args: Any) -> Any:
        if args:
            raise _Refused("it makes bytes of something")
        return b""


_NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encode,
    ("copy_reg", "_reconstructor"): _Make,
    ("copyreg", "_reconstructor"): _Make,
    ("__builtin__", "bytes"): _NoBytes,
    ("__builtin__", "object"): _Inert,
    ("builtins", "object"): _Inert,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
}
for _core in ("numpy.core", "numpy._core"):
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _Make
    _NAMES[f"{_core}.multiarray", "scalar"] = _Inert
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _FromBuffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        if module == "chumpy" or module.startswith("chumpy."):
            return _Chumpy
        if module == "scipy.sparse" or module.startswith("scipy.sparse."):
            if name in ("csr_matrix", "csr_array"):
                return _Sparse
            if name in ("csc_matrix", "csc_array"):
                return _Columns
        raise _Refused(f"it names {module}.{name}")


def read_pickle(path: Path) -> dict[str, Any]:
    """The dict of a pickle file, whose values :func:`array` turns into arrays one by one.

    Raises DataError for a pickle that names anything else than arrays, sparse matrices and chumpy values in plain
    containers (nothing of it is run), for a damaged one, and for one that holds no dict. Raises OSError.
    """
    with path.open("rb") as stream:
        try:
            found = _Unpickler(stream, encoding="latin1").load()
        except _Refused as error:
            raise DataError(
                f"{path} is not a file of arrays: {error}. Nothing of it was run; do not open it with other tools."
            ) from None
        except OSError:
            raise
        except Exception as error:  # a hostile or damaged pickle may raise anything from the unpickler's own stack
            raise DataError(f"{path} is not a readable pickle: {type(error).__name__}: {error}.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds a {type(found).__name__}, where a dict of arrays is expected.")
    return {key: value for key, value in found.items() if isinstance(key, str)}


def array(value: Any) -> NDArray[Any]:
    """The array behind a value of :func:`read_pickle`; a sparse matrix becomes dense. Raises ValueError otherwise."""
    for _ in range(4):  # chumpy wraps chumpy, and a hostile one itself
        if not isinstance(value, _Chumpy):
            break
        state = value.state if isinstance(value.state, dict) else {}
        value = state.get("x", state.get("_cached"))
    if isinstance(value, _Array):
        return _dense(value)
    if isinstance(value, _Sparse):
        return _filled(value)
    raise ValueError(f"it is a {type(value).__name__.strip('_').lower()}, not an array")


def _dense(value: _Array) -> NDArray[Any]:
    if not (isinstance(value.state, tuple) and len(value.state) == 5):
        raise ValueError("its array has no content")
    _, shape, dtype, columns, data = value.state
    if isinstance(data, str):  # the bytes of Python 2
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise ValueError("its array holds Python objects, not numbers")
    if not (isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)):
        raise ValueError(f"its array's shape is {shape!r}")
    if not (isinstance(dtype, _Dtype) and dtype.args and isinstance(dtype.args[0], str)):
        raise ValueError("its array has no number type")
    name = dtype.args[0].lstrip("<>|=")
    if not _NUMBER.fullmatch(name):
        raise ValueError(f"its array's type is {name!r}, not a plain number")
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else dtype.args[0][0]
    plain = np.dtype(f"{order}{name}" if order in ("<", ">") else name)
    flat = np.frombuffer(data, plain)
    if flat.size != int(np.prod(shape, dtype=object)):
        raise ValueError(f"its array of shape {shape} has {flat.size} values")
    return flat.reshape(shape, order="F" if columns else "C").astype(plain.newbyteorder("="))


def _filled(value: _Sparse) -> NDArray[Any]:
    state = value.state if isinstance(value.state, dict) else {}
    shape = state.get("_shape", state.get("shape"))
    if not (isinstance(shape, tuple) and len(shape) == 2 and all(isinstance(size, int) for size in shape)):
        raise ValueError(f"its sparse matrix's shape is {shape!r}")
    if min(shape) < 0 or shape[0] * shape[1] > 1 << 28:
        raise ValueError(f"its sparse matrix's shape {shape} is no model's")
    data, indices, ends = (array(state.get(key)) for key in ("data", "indices", "indptr"))
    if {data.ndim, indices.ndim, ends.ndim} != {1} or indices.dtype.kind not in "iu" or ends.dtype.kind not in "iu":
        raise ValueError("its sparse matrix is damaged")
    rows = shape[::-1] if isinstance(value, _Columns) else shape
    counts = ends[1:].astype(np.int64) - ends[:-1].astype(np.int64)
    sound = ends.shape == (rows[0] + 1,) and (counts >= 0).all() and counts.sum() == len(indices) == len(data)
    if not sound or (len(indices) and not 0 <= indices.min() <= indices.max() < rows[1]):
        raise ValueError("its sparse matrix is damaged")
    dense = np.zeros(rows, data.dtype)
    np.add.at(dense, (np.repeat(np.arange(rows[0]), counts), indices), data)
    return dense.T if isinstance(value, _Columns) else dense
