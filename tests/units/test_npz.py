"""Whatever stands where an .npz of arrays is expected is an error for people, under every reader of one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarbench.errors import DataError
from avatarbench.gaussians.files import read_npz as read_cloud
from avatarbench.heads.flame_file import read_flame
from avatarbench.npz import read_npz
from avatarbench.tracking.track_file import load_track
from avatarbench.tracking.truth import read_truth
from tests.units.test_vhap import VhapExport, export


def read_vhap(path: Path) -> Any:
    folder = export(path.parent / "export")
    (folder / "flame_param" / "00000.npz").write_bytes(path.read_bytes())
    return VhapExport(folder)[0]


READERS = [load_track, read_truth, read_vhap, read_flame, read_cloud]


def test_arrays_come_back_and_others_are_left_alone(tmp_path: Path) -> None:
    given = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "y"])}
    np.savez(tmp_path / "good.npz", **given, c=np.array([{}], object))
    found = read_npz(tmp_path / "good.npz", "go on", only=("a", "b", "d"))
    assert sorted(found) == ["a", "b"]
    for key, value in given.items():
        np.testing.assert_array_equal(found[key], value)
    with pytest.raises(DataError, match=r"good\.npz cannot be read.*allow_pickle.*: go on\.$"):
        read_npz(tmp_path / "good.npz", "go on")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_damaged_byte_escapes_as_another_error(tmp_path: Path, save: Callable[..., None]) -> None:
    path = tmp_path / "damaged.npz"
    save(path, a=np.arange(8), b=np.float64(2))
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= (0x01, 0x80, 0xFF)[place % 3]
        path.write_bytes(damaged)
        with suppress(DataError):  # some bytes mean nothing
            read_npz(path, "go on")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["a single array", "nothing", "a cut file", "a header that does not end"])
def test_every_reader_names_a_file_that_is_none(tmp_path: Path, read: Callable[[Path], Any], kind: str) -> None:
    path = tmp_path / "bad.npz"
    if kind == "a single array":
        with path.open("wb") as stream:
            np.save(stream, np.arange(3))
    else:
        np.savez(path, found=np.arange(3), frames=np.arange(3), shape=np.arange(3), v_template=np.arange(3))
        whole = path.read_bytes()
        content = {"nothing": b"", "a cut file": whole[:-40]}.get(kind, whole.replace(b"{'descr'", b"{'''scr'"))
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"\.npz (cannot be read|holds a single array)"):
        read(path)


@pytest.mark.parametrize("read", [load_track, read_truth])
def test_a_number_where_a_row_a_frame_is_expected_is_named(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    np.savez(tmp_path / "one.npz", found=np.array(3), frames=np.array(3))
    with pytest.raises(DataError, match=r"one\.npz"):
        read(tmp_path / "one.npz")
