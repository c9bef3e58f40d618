"""The feature cache: round trip, sharing, and what damage costs."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.features import Missing

FEATURES = {"landmarks": np.arange(12, dtype=np.float32).reshape(4, 3), "faces": np.array(2, np.int32)}


def fill(path: Path, writer: int) -> None:
    with FeatureCache(path) as cache:
        for n in range(40):
            cache.put_many("e", [(f"{writer}-{n}", {"x": np.full(8, writer, np.float32)})])


@pytest.mark.parametrize("on_disk", [True, False])
def test_arrays_and_reasons_come_back_as_they_were(tmp_path: Path, on_disk: bool) -> None:
    with FeatureCache(tmp_path / "f.sqlite3" if on_disk else None) as cache:
        cache.put_many("e", [("a", FEATURES), ("b", Missing("no face found"))])
        found = cache.get_many("e", ["a", "b", "c", "a"])
        assert found.keys() == {"a", "b"}
        assert found["b"] == Missing("no face found")
        assert not isinstance(found["a"], Missing)
        for name, array in FEATURES.items():
            np.testing.assert_array_equal(found["a"][name], array)
            assert found["a"][name].dtype == array.dtype
        assert cache.get_many("another fingerprint", ["a"]) == {}


def test_a_second_object_reads_what_the_first_wrote(tmp_path: Path) -> None:
    with (
        FeatureCache(tmp_path / "deep" / "f.sqlite3") as first,
        FeatureCache(tmp_path / "deep" / "f.sqlite3") as second,
    ):
        first.put_many("e", [("a", FEATURES)])
        assert "a" in second.get_many("e", ["a"])


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "f.sqlite3"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=fill, args=(path, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    with FeatureCache(path) as cache:
        assert len(cache.get_many("e", [f"{w}-{n}" for w in range(3) for n in range(40)])) == 120


def test_a_damaged_entry_is_computed_again_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "f.sqlite3"
    with FeatureCache(path) as cache:
        cache.put_many("e", [("a", FEATURES), ("b", FEATURES)])
    with sqlite3.connect(path) as database:
        (blob,) = database.execute("SELECT arrays FROM features WHERE frame = 'a'").fetchone()
        database.execute("UPDATE features SET arrays = ? WHERE frame = 'a'", (blob[:-1] + b"\x55",))
    database.close()
    with FeatureCache(path) as cache:
        with pytest.warns(RuntimeWarning, match="damaged"):
            assert cache.get_many("e", ["a", "b"]).keys() == {"b"}
        cache.put_many("e", [("a", FEATURES)])
        assert cache.get_many("e", ["a", "b"]).keys() == {"a", "b"}


def test_a_file_that_is_no_database_is_replaced_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "f.sqlite3"
    path.write_bytes(b"not a database" * 500)
    with pytest.warns(RuntimeWarning, match="damaged"):
        cache = FeatureCache(path)
    cache.put_many("e", [("a", FEATURES)])
    cache.close()
    with FeatureCache(path) as again:
        assert "a" in again.get_many("e", ["a"])


def test_a_place_that_cannot_be_written_costs_the_caching_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="kept in memory"):
        cache = FeatureCache(tmp_path / "file" / "f.sqlite3")
    cache.put_many("e", [("a", FEATURES)])
    assert "a" in cache.get_many("e", ["a"])


def test_the_environment_names_the_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARBENCH_FEATURES", str(tmp_path / "mine.sqlite3"))
    assert FeatureCache.default().path == tmp_path / "mine.sqlite3"
    monkeypatch.delenv("AVATARBENCH_FEATURES")
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path / "root"))
    assert FeatureCache.default().path.parent == tmp_path / "root"  # type: ignore[union-attr]
