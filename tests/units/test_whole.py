"""A download that was cut short, or a page in a file's place, is seen in the file itself."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from avatarbench.isolation import weights
from avatarbench.isolation.recipe import Weight
from avatarbench.isolation.whole import damage

ARRAY = np.arange(600, dtype=np.float32)


def torch_file(path: Path) -> None:
    torch.save({"w": torch.arange(600.0)}, path)


def pickle_file(path: Path) -> None:
    path.write_bytes(pickle.dumps({"w": list(range(600))}))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("w.pt", torch_file),
        ("w.ckpt", torch_file),
        ("w.safetensors", lambda path: save_file({"w": ARRAY}, path, metadata={"a": "b"})),
        ("w.npy", lambda path: np.save(path, ARRAY)),
        ("w.pkl", pickle_file),
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_whole_file_passes_and_one_cut_short_does_not(
    tmp_path: Path, name: str, write: Callable[[Path], None], share: float
) -> None:
    path = tmp_path / name
    write(path)
    assert damage(path) is None
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    found = damage(path)
    assert found is not None
    assert any(word in found for word in ("cut short", "empty", "header tells", "not in the form"))


def test_what_torch_saved_before_its_zip_files_passes(tmp_path: Path) -> None:
    for name in ("w.pth", "w.pkl"):  # which ends with the tensors, and not as a pickle
        torch.save({"w": torch.arange(600.0)}, tmp_path / name, _use_new_zipfile_serialization=False)
        assert damage(tmp_path / name) is None


def test_an_array_of_objects_is_left_to_who_loads_it(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.array([{"a": 1}], dtype=object))
    assert damage(tmp_path / "w.npy") is None


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
def test_arrays_that_numpy_loads_pass(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    np.save(path, np.zeros(3, np.dtype([("\u4e2d", np.float32)])))
    assert path.read_bytes()[6] == 3, "the header is of another version"
    assert damage(path) is None
    with path.open("wb") as stream:  # one after another, as np.load reads them from an open file
        np.save(stream, np.asfortranarray(np.zeros((3, 4), ">f4")))
        np.save(stream, ARRAY)
    assert damage(path) is None
    path.write_bytes(pickle.dumps(ARRAY))
    assert damage(path) is None


@pytest.mark.parametrize(
    ("part", "other"), [(b"(600,), }", b"(600,    "), (b"'<f4'", b"',f4'"), (b"'shape'", b"'shade'")]
)
def test_a_header_of_numpy_that_is_none_is_no_crash(tmp_path: Path, part: bytes, other: bytes) -> None:
    np.save(tmp_path / "w.npy", ARRAY)
    data = (tmp_path / "w.npy").read_bytes()
    (tmp_path / "w.npy").write_bytes(data.replace(part, other, 1))
    assert damage(tmp_path / "w.npy") == "is not in the form of numpy's files, or cut short"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"\n <!DOCTYPE HTML><html>sign in</html>", "a page of HTML"),
        (b"<html lang=en>", "a page of HTML"),
        (b"", "an empty file"),
    ],
)
def test_what_stands_in_a_files_place_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    assert told in str(damage(tmp_path / "w.safetensors"))


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"w": 3}',
        b'{"w": {"data_offsets": []}}',
        b'{"w": {"data_offsets": [0, "x"]}}',
        b'{"w": {"data_offsets": [0, Infinity]}}',
        b"\xff{}",
        b"[" * 20_000,
    ],
    ids=lambda header: str(header[:40]),
)
def test_a_header_that_is_none_is_no_crash(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert damage(tmp_path / "w.safetensors") == "is not in the form of safetensors"
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 64)
    assert damage(tmp_path / "w.safetensors") == "is not in the form of safetensors"


def test_safetensors_may_not_have_bytes_left_over(tmp_path: Path) -> None:
    save_file({"w": ARRAY}, tmp_path / "w.safetensors")
    size = (tmp_path / "w.safetensors").stat().st_size
    with (tmp_path / "w.safetensors").open("ab") as stream:
        stream.write(b"more")
    assert damage(tmp_path / "w.safetensors") == f"has {size + 4:,} bytes, and its header tells of {size:,}"
    (tmp_path / "none.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert damage(tmp_path / "none.safetensors") is None


def test_of_a_folder_the_first_damaged_file_is_named(tmp_path: Path) -> None:
    assert damage(tmp_path) == "holds no file"
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "deep").mkdir()
    buffer = io.BytesIO()
    np.save(buffer, ARRAY)
    (tmp_path / "deep" / "w.npy").write_bytes(buffer.getvalue())
    assert damage(tmp_path) is None
    (tmp_path / "deep" / "w.npy").write_bytes(buffer.getvalue()[:-1])
    assert str(damage(tmp_path)).endswith("(deep/w.npy)")


def test_what_lies_beside_the_weights_of_a_folder_is_no_damage(tmp_path: Path) -> None:
    (blobs := tmp_path / "blobs").mkdir()
    (folder := tmp_path / "snapshot").mkdir()
    save_file({"w": ARRAY}, blobs / "0a1b")
    (folder / "model.safetensors").symlink_to(blobs / "0a1b")
    beside = {
        "__init__.py": b"",
        "index.html": b"<!doctype html>",
        "tf_model.h5": b"version https://git-lfs.github.com/spec/v1\n",
        ".gitkeep": b"",
        "._model.safetensors": b"\0\5\x16\7",
        ".cache/download/model.safetensors.lock": b"",
        ".git/lfs/tmp/w.bin": b"",
    }
    whole = weights.digest(folder)
    for name, content in beside.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        assert damage(folder) is None, name
        assert (weights.digest(folder) == whole) is name.startswith("."), name
        if not name.startswith("."):
            (folder / name).unlink()
    held = Weight("w", "snapshot", about=(blobs / "0a1b").stat().st_size)
    assert weights.problems([held], tmp_path) == []
    (folder / "pytorch_model.bin").write_bytes(bytes(9_000))  # the same in a second form
    assert weights.problems([held], tmp_path) == []
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "pruned")
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert "about" in weights.problems([held], tmp_path)[0]
    assert str(damage(folder)) == "is an empty file (pytorch_model.bin)"
