import os
from pathlib import Path

import pytest

from avatarbench.cli.runs import find_run
from avatarbench.errors import UsageError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for age, name in enumerate(("20260101-clip", "20260102-clip")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        record = tmp_path / "runs" / name / "run.json"
        record.write_text("{}")
        os.utime(record, (1000 - age, 1000 - age))
    (tmp_path / "runs" / "no-record").mkdir()
    return tmp_path / "runs"


def test_a_run_is_its_folder_its_id_or_the_one_written_last(runs: Path) -> None:
    first = runs / "20260101-clip"
    assert find_run(first) == find_run("20260101-clip", runs) == find_run(Path("20260101-clip"), runs) == first
    assert find_run("last", runs) == first


def test_a_wrong_name_is_a_usage_error_with_near_misses(runs: Path) -> None:
    with pytest.raises(UsageError, match="did you mean '20260101-clip'"):
        find_run("20260101-clp", runs)
    with pytest.raises(UsageError, match=r"run\.json"):
        find_run(runs / "no-record", runs)
    with pytest.raises(UsageError, match="there are no runs under"):
        find_run("last", runs / "no-record")
