from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from avatarbench.errors import UnknownNameError, UsageError
from avatarbench.tables.build import build, load_run
from avatarbench.tables.grid import Grid, lay_out, turned
from avatarbench.tables.layouts import layout
from avatarbench.tables.paper import PaperTable, fill
from avatarbench.tables.paper_csv import render
from avatarbench.tables.paper_grid import lay_out as lay_out_paper
from avatarbench.tables.published import load, of_table
from tests.units.runs_fixture import method, metric, write_run

FULL, POSITION, FEATURE, FLAME = (
    "pointillist",
    "pointillist/ar-position",
    "pointillist/ar-feature",
    "pointillist/flame-position",
)
ROWS = (FLAME, FEATURE, POSITION, FULL)
"""As the paper prints them; in LPIPS its order is the reverse of that."""
FLAME_ROW, FEATURE_ROW, POSITION_ROW, FULL_ROW = (
    "Flame Position",
    "AR Feature",
    "AR Position",
    "Ours (AvatarPointillist)",
)
METHODS = [method(m, in_domain=True) for m in ROWS]
LPIPS = metric("lpips-vgg", name="LPIPS-V")
SETS = metric("fd-vgg", name="FD-VGG", kind="set", digits=2)
AKD = metric("akd-mediapipe", name="AKD", unit="px")
SELF = {"id": "openheads-self"}
FRAMES = 6


def column(mean: float, spread: float = 0.0) -> list[float]:
    """Six frames of three people, who lie ``spread`` apart."""
    return [mean + spread * (i % 3 - 1) for i in range(FRAMES)]


def one_run(folder: Path, lpips: dict[str, list[Any]], **changes: Any) -> Path:
    values: dict[Any, Any] = {(m, "lpips-vgg"): v for m, v in lpips.items()}
    changes = {"protocol": SELF, "pairs": FRAMES, "people": 3} | changes
    return write_run(folder, [m for m in METHODS if m.id in lpips], [LPIPS], values, **changes)


def table_of(*folders: Path, runs: Path = Path("none"), table: str = "2", **options: Any) -> PaperTable:
    return fill(layout("avatarpointillist", table), load(), folders, runs, **options)


def cells(grid: Grid, group: str) -> dict[str, dict[str, str]]:
    """Texts by column and row of the groups whose name begins with ``group``."""
    columns = [i for i, c in enumerate(grid.columns) if c.group.startswith(group)]
    return {grid.columns[i].text: {line.label.text: line.entries[i].text for line in grid.lines} for i in columns}


def notes(table: PaperTable) -> str:
    return "\n".join(lay_out_paper(table).notes)


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def test_the_papers_rows_stand_in_its_order_with_its_digits_and_ours_beside_them(tmp_path: Path) -> None:
    run = one_run(tmp_path / "r", {FULL: column(0.2), FLAME: column(0.3)})
    grid = lay_out_paper(table_of(run))
    assert [line.label.text for line in grid.lines] == [
        f"{FLAME_ROW} ‡",
        FEATURE_ROW,
        POSITION_ROW,
        f"{FULL_ROW} ‡",
    ]
    assert list(cells(grid, "published: NeRSemble, self")["FID ↓"].values()) == ["120.34", "110.93", "103.80", "95.18"]
    ours = cells(grid, "measured: openheads-self (N = 6)")
    assert list(ours["LPIPS-V ↓"].values()) == ["0.300", "n/a (not run)", "n/a (not run)", "0.200"]
    assert set(ours["AKD ↓ (px)"].values()) == {"n/a (not scored)"}
    said = "\n".join(grid.notes)
    assert f"n/a (not run): {FEATURE}, {POSITION}, in none of the runs taken." in said
    assert "n/a (not scored): AKD is not among the metrics of r." in said
    assert "Beside the paper's LPIPS: LPIPS-V (definition unknown), LPIPS-A (definition unknown)." in said
    assert "FD-VGG (not comparable: features of VGG16, not of Inception)." in said
    assert f"{FLAME_ROW} = {FLAME}; {FEATURE_ROW} = {FEATURE}" in said


def test_best_and_second_are_marked_within_each_side(tmp_path: Path) -> None:
    worse = {FULL: column(0.4), POSITION: column(0.1), FEATURE: column(0.2), FLAME: column(0.3)}
    grid = lay_out_paper(table_of(one_run(tmp_path / "r", worse)))
    marks = {c.text: [line.entries[i].mark for line in grid.lines] for i, c in enumerate(grid.columns)}
    assert marks["LPIPS ↓"] == [None, None, "second", "best"]
    assert marks["LPIPS-V ↓"] == [None, "second", "best", None]


def test_transposing_keeps_every_cell(tmp_path: Path) -> None:
    table = table_of(one_run(tmp_path / "r", {FULL: column(0.2), FLAME: column(0.3)}))
    upright = lay_out_paper(table)
    across = turned(upright)
    assert [line.label for line in across.lines] == list(upright.columns)
    swapped = list(zip(*(line.entries for line in across.lines), strict=True))
    assert swapped == [line.entries for line in upright.lines]
    assert turned(across, upright.corner) == upright


def test_an_order_that_holds_is_said_to_hold_with_its_gaps(tmp_path: Path) -> None:
    lpips = {FULL: column(0.1, 0.05), POSITION: column(0.2, 0.05), FEATURE: column(0.3, 0.05), FLAME: column(0.31)}
    said = notes(table_of(one_run(tmp_path / "r", lpips)))
    assert f"the paper's order, {FULL}, {POSITION}, {FEATURE}, {FLAME} (best first), holds." in said
    assert "in the 1 metric measured here: its best is best in 1 of 1, its whole order holds in 1 of 1." in said
    assert "Gaps paired over 3 identities [95%]:" in said
    assert f"{FULL} to {POSITION} 0.100 [0.100, 0.100];" in said
    assert f"{FEATURE} to {FLAME} 0.010 [-0.040, 0.060], within chance;" in said


def test_an_order_that_does_not_hold_is_told_with_ours(tmp_path: Path) -> None:
    lpips = {FULL: column(0.1), POSITION: column(0.4), FEATURE: column(0.3), FLAME: column(0.5)}
    said = notes(table_of(one_run(tmp_path / "a", lpips)))
    assert f"does not hold beyond its best; here: {FULL}, {FEATURE}, {POSITION}, {FLAME}." in said
    assert f"{POSITION} to {FEATURE} -0.100 [-0.100, -0.100]" in said
    said = notes(table_of(one_run(tmp_path / "b", lpips | {FULL: column(0.6)})))
    assert f"does not hold; here: {FEATURE}, {POSITION}, {FLAME}, {FULL}." in said
    assert "best is best in 0 of 1" in said


def test_of_equals_in_the_paper_each_is_compared_with_all_others(tmp_path: Path) -> None:
    """SplitAvatar's Table 4, SSIM: split-3x3 above split-1x1 and split-3x2, which are equal."""
    four = layout("splitavatar", "4")
    of_ssim = [row for row in of_table("splitavatar:4", load()) if (row.metric, row.task) == ("SSIM", "self")]
    paper = {row.method: row.value for row in of_ssim}
    ordered = sorted(paper, key=lambda m: -paper[m])
    ssim = metric("ssim", name="SSIM", better="higher")
    values: dict[Any, Any] = {(m, "ssim"): [1 - 0.1 * n] * 4 for n, m in enumerate(ordered)}
    equal = next(n for n, m in enumerate(ordered[1:]) if paper[m] == paper[ordered[n]])
    later = ordered[equal + 1]
    for value, said in ((values[later, "ssim"][0], "(best first), holds"), (1.05, "does not hold")):
        run = tmp_path / said[-4:].strip()
        rows = [method(m) for m in ordered]
        write_run(run, rows, [ssim], values | {(later, "ssim"): [value] * 4}, pairs=4, people=2, protocol=SELF)
        assert said in notes(fill(four, load(), (run,), Path("none")))


def test_a_method_that_cannot_be_ranked_is_left_out_of_the_order_and_named(tmp_path: Path) -> None:
    few = ["no face", "no face", *column(0.9)[2:]]
    run = one_run(tmp_path / "r", {FULL: column(0.1), POSITION: column(0.2), FLAME: few})
    grid = lay_out_paper(table_of(run))
    assert cells(grid, "measured")["LPIPS-V ↓"][f"{FLAME_ROW} ‡"] == "0.900§ (4/6)"
    said = "\n".join(grid.notes)
    assert f"the paper's order, {FULL}, {POSITION} (best first), holds." in said
    assert f"is without {FLAME}, {FEATURE}, which have no ranked value there." in said


def test_one_method_alone_has_no_order(tmp_path: Path) -> None:
    assert "order of rows cannot be looked at" in notes(table_of(one_run(tmp_path / "r", {FULL: column(0.1)})))


def test_a_set_metric_has_an_order_without_intervals(tmp_path: Path) -> None:
    sets = {(m, "fd-vgg"): (float(n), FRAMES) for n, m in enumerate(reversed(ROWS))}
    run = write_run(tmp_path / "r", METHODS, [SETS], {}, pairs=FRAMES, sets=sets, protocol=SELF)
    said = notes(table_of(run))
    assert "FD-VGG in openheads-self: the paper's order" in said
    assert f"Gaps (a set metric: one value, no interval): {FULL} to {POSITION} 1.00; " in said


def test_a_higher_value_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    methods = [method("pointillist"), method("lam")]
    clip = metric("csim-dlib", name="CSIM-dlib", better="higher")
    values: dict[Any, Any] = {("pointillist", "csim-dlib"): column(0.9), ("lam", "csim-dlib"): column(0.5)}
    protocol = {"id": "openheads-cross", "task": "cross"}
    run = write_run(tmp_path / "r", methods, [clip], values, pairs=FRAMES, people=3, protocol=protocol)
    said = notes(table_of(run, table="1"))
    assert "CSIM-dlib in openheads-cross: the paper's order, pointillist, lam (best first), holds." in said
    assert "pointillist to lam 0.400 [0.400, 0.400]" in said
    assert "n/a (no run), self: no run of self-reenactment was named." in said


def test_without_any_run_the_published_side_stands_with_the_command_that_fills_ours(tmp_path: Path) -> None:
    table = table_of(runs=tmp_path, table="1")
    grid = lay_out_paper(table)
    assert len(cells(grid, "published")) == 5  # of eight columns, three headings stand under both tasks
    assert {t for column in cells(grid, "measured").values() for t in column.values()} == {"n/a (no run)"}
    assert f"no finished run of nersemble-self or openheads-self under {tmp_path}" in "\n".join(grid.notes)
    assert table.ours is None


def test_the_newest_run_of_every_method_is_taken_from_those_over_the_same_frames(tmp_path: Path) -> None:
    one_run(tmp_path / "old", {FULL: column(0.9), FLAME: column(0.8)}, created=day(1))
    one_run(tmp_path / "new", {FULL: column(0.1)}, created=day(2))
    one_run(tmp_path / "trial", {FULL: column(0.5)[:3]}, created=day(3), pairs=3)
    one_run(tmp_path / "stopped", {FULL: column(0.6)}, created=day(4), status="interrupted")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{}")
    one_run(tmp_path / "elsewhere", {FULL: column(0.7)}, created=day(5), protocol={"id": "clip-self"})
    table = table_of(runs=tmp_path)
    ours = cells(lay_out_paper(table), "measured: openheads-self (N = 6)")["LPIPS-V ↓"]
    assert (ours[f"{FULL_ROW} ‡"], ours[f"{FLAME_ROW} ‡"]) == ("0.100", "0.800")
    said = notes(table)
    assert "Left out, since they ran on other frames of openheads-self: trial (N = 3)." in said
    assert "Left out: run stopped is interrupted" in said
    assert "damaged" in said


def test_a_run_where_a_method_could_not_run_gives_way_to_an_older_one(tmp_path: Path) -> None:
    one_run(tmp_path / "old", {FULL: column(0.9)}, created=day(1))
    lacking = [method(FULL, unavailable="needs anny"), method(FLAME)]
    values: dict[Any, Any] = {(FLAME, "lpips-vgg"): column(0.3)}
    write_run(tmp_path / "new", lacking, [LPIPS], values, pairs=FRAMES, people=3, protocol=SELF, created=day(2))
    ours = cells(lay_out_paper(table_of(runs=tmp_path)), "measured")["LPIPS-V ↓"]
    assert [v for v in ours.values() if "not run" not in v] == ["0.300", "0.900"]


def test_runs_that_have_no_place_in_the_table_are_refused_with_what_they_have(tmp_path: Path) -> None:
    values: dict[Any, Any] = {("lam", "lpips-vgg"): [0.1]}
    others = write_run(tmp_path / "others", [method("lam")], [LPIPS], values, pairs=1, protocol=SELF)
    with pytest.raises(UsageError, match=r"none of the methods of avatarpointillist:2: it has lam, .*flame-position"):
        table_of(others)
    psnr = metric("psnr")
    pixels = write_run(tmp_path / "p", [METHODS[0]], [psnr], {(FLAME, "psnr"): [9.0]}, pairs=1, protocol=SELF)
    with pytest.raises(UsageError, match=r"none of the metrics of avatarpointillist:2: it has psnr, .*lpips-vgg"):
        table_of(pixels)
    cross = one_run(tmp_path / "c", {FULL: column(0.1)}, protocol={"id": "openheads-cross", "task": "cross"})
    with pytest.raises(UsageError, match="is cross-reenactment, avatarpointillist:2 is self"):
        table_of(cross)
    with pytest.raises(UsageError, match=r"'psnr' stands beside no metric .*Known: lpips-vgg"):
        table_of(metrics=["psnr"])


def test_other_methods_of_a_named_run_are_named_and_take_no_part(tmp_path: Path) -> None:
    methods = [*METHODS, method("floor", name="Floor", role="bound")]
    values: dict[Any, Any] = {(m, "lpips-vgg"): column(0.2) for m in ROWS}
    values["floor", "lpips-vgg"] = ["no face", *column(0.1)[1:]]
    run = write_run(tmp_path / "r", methods, [LPIPS], values, pairs=FRAMES, protocol=SELF)
    table = table_of(run)
    assert "In these runs and not in the paper's table: floor (--also adds them)." in notes(table)
    assert table.ours is not None
    assert {c.result.n_common for c in table.ours.groups[0].cells.values()} == {FRAMES}


def test_unknown_papers_and_tables_name_the_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'avatarpointillist'"):
        layout("avatarpontillist", "2")
    with pytest.raises(UnknownNameError, match=r"no table '3' of avatarpointillist is kept here\. Known: 1, 2, S1\."):
        layout("avatarpointillist", "3")


def test_csv_has_both_sides_in_full(tmp_path: Path) -> None:
    run = one_run(tmp_path / "r", {FULL: column(0.1, 0.03), FLAME: column(0.3)})
    rows = list(csv.DictReader(io.StringIO(render(table_of(run, metrics=["lpips-vgg"])))))
    assert [r["side"] for r in rows] == ["published"] * 16 + ["measured"] * 4
    own = rows[-1]
    assert (own["method"], own["metric"], own["beside"], own["run"]) == (FULL, "lpips-vgg", "LPIPS", "r")
    assert float(own["value"]) == pytest.approx(0.1)
    assert (float(own["low"]), float(own["high"])) == pytest.approx((0.07, 0.13), abs=0.011)
    assert (own["identities"], own["n_valid"], own["n_total"], own["mark"]) == ("3", "6", "6", "best")
    assert (rows[-2]["value"], rows[-2]["reason"]) == ("nan", "not run")


def test_a_table_of_runs_prints_intervals_where_asked(tmp_path: Path) -> None:
    run = load_run(one_run(tmp_path / "r", {FULL: column(0.1, 0.03), FLAME: column(0.3)}))
    plain, spread = lay_out(build([run])), lay_out(build([run], intervals=True))
    text = {line.label.text: line.entries[0].text for line in spread.lines}
    assert text[f"{FLAME} ‡"] == "0.300 [0.300, 0.300]"
    assert text[f"{FULL} ‡"].startswith("0.100 [0.0")
    assert "openheads-self: [low, high] is a 95% bootstrap interval over 3 identities, 10,000 draws." in spread.notes
    assert not any("bootstrap" in n for n in plain.notes)


def test_the_mean_behind_an_interval_is_the_printed_one(tmp_path: Path) -> None:
    lpips = {FULL: [0.1, 0.2, 0.3, 0.4, 0.5, 0.9], FLAME: [0.3] * 6}
    group = build([load_run(one_run(tmp_path / "r", lpips))]).groups[0]
    for cell in group.cells.values():
        assert sum(s for s, _ in cell.totals.values()) / FRAMES == pytest.approx(cell.result.value)
