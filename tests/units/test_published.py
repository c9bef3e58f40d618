from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from avatarbench.errors import DataError, UnknownNameError
from avatarbench.tables.layouts import referred
from avatarbench.tables.published import COLUMNS, load

ROW = "avatarpointillist,1,nersemble,self,lam,LPIPS,lower,0.24,net not stated"


def written(folder: Path, *rows: str, header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "published.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_every_shipped_number_loads_with_its_type() -> None:
    values = load()
    assert len(values) == 346
    tables = Counter((v.paper, v.table) for v in values)
    assert len(tables) == 8
    assert tables["avatarpointillist", "1"] == 40
    assert {v.task for v in values} == {"self", "cross"}
    first = values[0]
    assert (first.method, first.metric, first.better) == ("portrait4dv2", "LPIPS", "lower")
    assert first.text == "0.20"
    assert first.value == 0.2


def test_a_metric_has_one_direction_throughout() -> None:
    directions = {(v.metric, v.better) for v in load()}
    assert len(directions) == len({metric for metric, _ in directions})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW.replace(",self,", ",both,"), "task is 'both', expected self or cross"),
        (ROW.replace("lower", "down"), "better is 'down', expected lower or higher"),
        (ROW.replace("0.24", "about 0.2"), "value is 'about 0.2', expected a finite number"),
        (ROW.replace("0.24", "nan"), "value is 'nan'"),
        (ROW.replace(",lam,", ",,"), "method is ''"),
        (ROW.replace(",lam,", ", lam,"), "method is ' lam'"),
        (ROW + ",more", "10 fields, expected 9"),
        (ROW.replace("lam", "gagavatar"), "was given before, in line 3"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    path = written(tmp_path, ROW, ROW.replace("lam", "gagavatar"), row)
    with pytest.raises(DataError, match="line 4") as error:
        load(path)
    assert message in str(error.value)


def test_wrong_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: the columns are paper, value"):
        load(written(tmp_path, header="paper,value"))


def test_an_unknown_paper_table_names_the_near_misses() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*'splitavatar:3'"):
        referred("splitavatr:3")
