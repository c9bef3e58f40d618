"""Messages to and from a worker: what goes in comes out, and what is none is named before anything is allocated."""

from __future__ import annotations

import ast
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarbench.isolation import wire

HERE = Path(wire.__file__).parent


def read(data: bytes) -> dict[str, Any]:
    left = memoryview(data)

    def fill(view: memoryview) -> None:
        nonlocal left
        if len(view) > len(left):
            raise EOFError
        view[:], left = left[: len(view)], left[len(view) :]

    found = wire.decode(fill)
    assert not left
    return found


def sent(message: dict[str, Any]) -> bytes:
    return b"".join(bytes(buffer) for buffer in wire.encode(message))


def framed(header: Any) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">I", len(text)) + text


@pytest.mark.parametrize("dtype", list(wire.DTYPES))
def test_arrays_of_each_dtype_come_back_as_they_were(dtype: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    for given in (
        array,
        array[:, ::2],
        array[:0],
        array[0, 0, 0:1].reshape(()),
        array.astype(array.dtype.newbyteorder()),
    ):
        found = read(sent({"type": "x", "array": given}))["array"]
        assert found.dtype == np.dtype(dtype)
        assert found.shape == given.shape
        assert np.array_equal(found, given)
        assert wire.DTYPES[dtype] == found.itemsize


def test_nested_values_come_back_with_their_arrays_in_place() -> None:
    message = {"type": "x", "a": {"b": [np.eye(2), None, "c", {"d": np.zeros((0, 3))}], "e": 1.5}, "f": float("inf")}
    found = read(sent({**message, "path": Path("/a/b"), "n": np.float32(2)}))
    assert found["a"]["b"][1:3] == [None, "c"]
    assert np.array_equal(found["a"]["b"][0], np.eye(2))
    assert found["a"]["b"][3]["d"].shape == (0, 3)
    assert (found["a"]["e"], found["f"], found["path"], found["n"]) == (1.5, float("inf"), "/a/b", 2.0)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.array([None]), "dtype object"),
        (np.zeros(3, complex), "dtype complex128"),
        (object(), "type object"),
        ({1: 2}, "keys are not all names"),
        ({"$array": 0}, "keys are not all names"),
        ("x" * wire.HEADER_LIMIT, "a header of"),
        (np.broadcast_to(np.float64(0), (1 << 14, 1 << 13)), "arrays of more than"),
    ],
    ids=["object", "complex", "any", "numbers", "reserved", "long", "large"],
)
def test_what_cannot_be_sent_is_said(value: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ARRAYS_LIMIT", 1 << 20)
    monkeypatch.setattr(np, "ascontiguousarray", lambda array, dtype: array)  # the limit is looked at without a copy
    with pytest.raises(wire.WireError, match=why):
        wire.encode({"type": "x", "value": value})


FORM = {"message": {"type": "done"}, "arrays": []}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"Loading checkpoint shards", "a header of 1282367844 bytes (it begins b'Load')"),
        (struct.pack(">I", 0), "a header of 0 bytes"),
        (framed(b"{not json"), "a malformed header (JSONDecodeError"),
        (framed(b"\xff\xfe"), "a malformed header (UnicodeDecodeError"),
        (framed([1, 2]), "a malformed header (TypeError"),
        (framed({"message": {"type": "done"}}), "a malformed header (KeyError: 'arrays')"),
        (framed({"message": {}, "arrays": []}), "a malformed header (KeyError: 'type')"),
        (framed(b"[" * 200_000), "a malformed header (RecursionError"),
        (framed({**FORM, "arrays": [{"dtype": "object", "shape": [1]}]}), "an array of dtype 'object'"),
        (framed({**FORM, "arrays": [{"dtype": ["uint8"], "shape": [1]}]}), "an array of dtype ['uint8']"),
        (framed({**FORM, "arrays": [{"dtype": "uint8", "shape": [-1]}]}), "an array of shape [-1]"),
        (framed({**FORM, "arrays": [{"dtype": "uint8", "shape": [True]}]}), "an array of shape [True]"),
        (framed({**FORM, "arrays": [{"dtype": "uint8", "shape": [10**4000] * 8}]}), "an array of shape [1000"),
        (
            framed({**FORM, "arrays": [{"dtype": "float64", "shape": [1 << 30] * 3}]}),
            "announces arrays of 9903520314283042",
        ),
        (
            framed({**FORM, "arrays": [{"dtype": "uint8", "shape": [0, 1 << 62]}]}),
            "announces arrays of 4611686018427387904",
        ),
        (framed({"message": {"type": "x", "a": {"$array": 3}}, "arrays": []}), "array 3 of 0"),
    ],
)
def test_what_is_no_message_is_named(data: bytes, why: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        read(data)
    assert why in str(caught.value)


@pytest.mark.parametrize("name", ["worker.py", "wire.py", "descendants.py"])
def test_what_goes_into_foreign_environments_is_python_3_8_and_imports_nothing_of_ours(name: str) -> None:
    tree = ast.parse((HERE / name).read_text(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [module for module in imported if module.startswith("avatarbench")]
    assert {"pickle", "shelve", "marshal", "torch"}.isdisjoint(imported)
