from pathlib import Path

import pytest

from avatarbench.files import leftovers, writing


def test_the_file_appears_whole_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.json"
    with writing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["b.json"]


def fail_half_way(target: Path, error: type[BaseException]) -> None:
    with writing(target) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "b.json"
    target.write_text("old")
    with pytest.raises(error):
        fail_half_way(target, error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_nothing_is_an_error_not_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path / "b.json"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_is_a_folder_is_an_error_without_leftovers(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError, match="b"), writing(tmp_path / "b") as temporary:
        temporary.write_text("new")
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "b"
    with writing(target) as first, writing(target) as second:
        first.write_text("first")
        second.write_text("second")
        assert set(leftovers(target)) == {first, second}
    assert target.read_text() == "first"
    assert leftovers(target) == []
    assert leftovers(tmp_path / "nowhere" / "b") == []
