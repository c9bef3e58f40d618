from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from avatarbench.errors import DataError, UsageError
from avatarbench.tables import latex, markdown, terminal, tidy
from avatarbench.tables.build import Run, build, load_run
from avatarbench.tables.grid import Entry, Grid, Label, Line, lay_out
from avatarbench.tables.model import Table, heading
from avatarbench.tables.notes import SHORT, short_reason
from avatarbench.tables.speed import speed_csv, speed_table
from tests.units.runs_fixture import method, metric, write_run

PSNR = metric("psnr", name="PSNR", better="higher", unit="dB", digits=2)
AKD = metric("akd_x", name="AKD_x", unit="px")
FID = metric("fid", name="FID", kind="set", digits=1, reference_frames=40)
CLIP = metric("clip", name="CLIP", better="higher", unavailable="weights")
FLOOR = method("floor", name="Floor", role="bound", spec={"factory": "made:floor", "needs": ["views"]})
A = method("a_b", name="A & B", tracker_is_judge=["akd_x"])
C = method("c", name="C", in_domain=True)
D = method("d", name="D", unavailable="needs flame")


@pytest.fixture
def self_run(tmp_path: Path) -> Path:
    """Twenty frames: A best on psnr, C lacks one frame, D did not run, clip has no weights."""
    values: dict[Any, Any] = {
        ("floor", "psnr"): [40.0] * 20,
        ("a_b", "psnr"): [30.0] * 20,
        ("c", "psnr"): [20.0] * 20,
        ("floor", "akd_x"): [0.5] * 20,
        ("a_b", "akd_x"): [2.0] * 19 + [9.0],
        ("c", "akd_x"): [1.0] * 19 + ["no face found in the prediction"],
    }
    sets = {("floor", "fid"): (3.0, 20), ("a_b", "fid"): (5.0, 20), ("c", "fid"): (4.0, 19)}
    metrics = [PSNR, AKD, FID, CLIP]
    return write_run(tmp_path / "run-self", [FLOOR, A, C, D], metrics, values, pairs=20, sets=sets, status="partial")


@pytest.fixture
def cross_run(tmp_path: Path) -> Path:
    values: dict[Any, Any] = {("a_b", "akd_x"): [3.0] * 10, ("c", "akd_x"): [4.0] * 4 + ["no face"] * 6}
    protocol = {"id": "portrait-cross", "task": "cross"}
    return write_run(tmp_path / "run-cross", [A, C], [AKD], values, pairs=10, protocol=protocol)


def table_of(*folders: Path, **options: Any) -> Table:
    return build([load_run(f) for f in folders], **options)


def texts(grid: Grid) -> dict[str, list[str]]:
    return {line.label.text: [e.text for e in line.entries] for line in grid.lines}


def test_cells_show_values_coverage_and_why_a_value_is_missing(self_run: Path) -> None:
    assert texts(lay_out(table_of(self_run))) == {
        "Floor": ["40.00", "0.500", "3.0", "n/a (weights)"],
        "A & B †": ["30.00", "2.000", "5.0", "n/a (weights)"],
        "C ‡": ["20.00", "1.000 (19/20)", "4.0 (19/20)", "n/a (weights)"],
        "D": ["n/a (needs flame)"] * 4,
    }


def test_marks_go_to_ranked_methods_only(self_run: Path) -> None:
    marks = {line.label.text: [e.mark for e in line.entries] for line in lay_out(table_of(self_run)).lines}
    assert marks["Floor"] == [None] * 4
    assert marks["A & B †"] == ["best", "second", "second", None]
    assert marks["C ‡"] == ["second", "best", "best", None]


def test_groups_stand_self_before_cross_whatever_the_order_given(self_run: Path, cross_run: Path) -> None:
    table = table_of(cross_run, self_run)
    assert [g.protocol.id for g in table.groups] == ["clip-self", "portrait-cross"]
    assert [r.id for r in table.rows] == ["a_b", "c", "floor", "d"]
    cells = texts(lay_out(table))
    assert cells["Floor"][-1] == "n/a (not run)"
    assert cells["C ‡"][-1] == "4.000§ (4/10)"
    assert table.groups[1].cells["c", "akd_x"].mark is None


def test_a_method_alone_is_not_called_the_best(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", [FLOOR, A, D], [AKD], {("floor", "akd_x"): [0.0], ("a_b", "akd_x"): [1.0]}, pairs=1)
    table = table_of(run)
    assert {c.mark for c in table.groups[0].cells.values()} == {None}
    assert "Only one method is ranked, so no best is marked." in lay_out(table).notes


def test_footnotes_say_what_stands_behind_the_figures(self_run: Path, cross_run: Path) -> None:
    notes = "\n".join(lay_out(table_of(self_run, cross_run)).notes)
    assert "clip-self: version 1, self-reenactment, 256 px, manifest abababababab, 20 frames a method" in notes
    assert "clip-self: AKD_x over the 19 of 20 frames valid for every method." in notes
    assert "clip-self: FID over sets of N = 20 (Floor), N = 20 (A & B), N = 19 (C) predictions against 40 real" in notes
    assert "† A & B is driven by the detector that judges akd_x." in notes
    assert "‡ C was trained on the family of the data of clip-self, portrait-cross." in notes
    assert "In italics, never ranked: Floor (a floor, a ceiling or a reference, not a method)." in notes
    assert "Floor is fitted on the person's own views from many sides, not on the portrait alone." in notes
    assert notes.count("own views") == 1
    assert "§ Valid on less than 95% of the frames" in notes
    assert "n/a (needs flame): D in clip-self." in notes
    assert "n/a (not run): Floor in portrait-cross, D in portrait-cross." in notes
    assert "run run-self: partial" in notes


def test_transposing_swaps_rows_and_columns_and_keeps_every_cell(self_run: Path, cross_run: Path) -> None:
    table = table_of(self_run, cross_run)
    upright, lying = lay_out(table), lay_out(table, transpose=True)
    assert [line.label for line in lying.lines] == list(upright.columns)
    turned = list(zip(*(line.entries for line in lying.lines), strict=True))
    assert turned == [line.entries for line in upright.lines]


def test_metrics_and_digits_are_chosen(self_run: Path) -> None:
    table = table_of(self_run, metrics=["akd_x", "psnr"], digits=1)
    assert [heading(m) for m in table.groups[0].metrics] == ["AKD_x ↓ (px)", "PSNR ↑ (dB)"]
    assert texts(lay_out(table))["A & B †"] == ["2.0", "30.0"]
    with pytest.raises(UsageError, match="did you mean 'akd_x'"):
        table_of(self_run, metrics=["akd_y"])


def test_ranking_happens_at_the_printed_precision(tmp_path: Path) -> None:
    values: dict[Any, Any] = {("a_b", "akd_x"): [1.04], ("c", "akd_x"): [1.0]}
    run = write_run(tmp_path / "r", [A, C], [AKD], values, pairs=1)
    cells = table_of(run, digits=1).groups[0].cells
    assert cells["a_b", "akd_x"].mark == cells["c", "akd_x"].mark == "best"


def test_the_headline_is_recomputed_over_all_runs_of_a_protocol(tmp_path: Path) -> None:
    floor: dict[Any, Any] = {("floor", "akd_x"): [0.0] * 20}
    first = write_run(tmp_path / "1", [FLOOR, A], [AKD], floor | {("a_b", "akd_x"): [1.0] * 19 + [21.0]}, pairs=20)
    second = write_run(tmp_path / "2", [FLOOR, C], [AKD], floor | {("c", "akd_x"): [2.0] * 19 + ["no face"]}, pairs=20)
    assert table_of(first).groups[0].cells["a_b", "akd_x"].result.value == 2.0
    table = table_of(first, second)
    assert [r.id for r in table.rows] == ["floor", "a_b", "c"]
    assert table.groups[0].cells["a_b", "akd_x"].result.value == 1.0
    assert table.groups[0].cells["a_b", "akd_x"].run == "1"
    assert table.groups[0].cells["c", "akd_x"].run == "2"


def test_a_run_that_lacked_weights_gives_way_to_one_that_had_them(tmp_path: Path) -> None:
    lacking = metric("akd_x", unavailable="weights")
    first = write_run(tmp_path / "1", [A], [lacking], {}, pairs=2)
    second = write_run(tmp_path / "2", [A], [AKD], {("a_b", "akd_x"): [1.0, 3.0]}, pairs=2)
    assert table_of(first, second).groups[0].cells["a_b", "akd_x"].result.value == 2.0


@pytest.mark.parametrize(
    ("what", "value"), [("version", 2), ("size", 512), ("manifest", "cd" * 32), ("pairs", 3)], ids=str
)
def test_runs_of_different_protocols_under_one_id_are_refused(tmp_path: Path, what: str, value: Any) -> None:
    first = write_run(tmp_path / "one", [A], [AKD], {("a_b", "akd_x"): [1.0, 1.0]}, pairs=2)
    second = write_run(tmp_path / "two", [C], [AKD], {("c", "akd_x"): [1.0, 1.0]}, pairs=2, protocol={what: value})
    with pytest.raises(UsageError) as error:
        table_of(first, second)
    old = load_run(first).record.protocol.model_dump()[what]
    for part in ("one", "two", f"{what} {old}", str(value)):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("method_two", "metric_two", "message"),
    [
        (method("a_b", options={"motion": "relative"}), AKD, "has options {} in run one and {'motion': 'relative'}"),
        (method("a_b", spec={"factory": "other:A"}), AKD, "factory 'made:a_b' in run one and 'other:A' in run two"),
        (A, metric("akd_x", version=2), "metric 'akd_x' has version 1 in run one and 2 in run two"),
        (A, metric("akd_x", assets={"net": "00"}), "metric 'akd_x' has assets {} in run one and {'net': '00'}"),
        (A, AKD, "stands in runs one and two with different values of 'akd_x' (1.0 at face/clip/000000 and 2.0)"),
    ],
    ids=["options", "factory", "version", "assets", "values"],
)
def test_runs_that_disagree_are_refused_with_both_named(
    tmp_path: Path, method_two: Any, metric_two: Any, message: str
) -> None:
    first = write_run(tmp_path / "one", [A], [AKD], {("a_b", "akd_x"): [1.0]}, pairs=1)
    second = write_run(tmp_path / "two", [method_two], [metric_two], {("a_b", "akd_x"): [2.0]}, pairs=1)
    with pytest.raises(UsageError, match=re.escape(message)):
        table_of(first, second)


def test_runs_of_other_weights_are_refused_wherever_they_lie_and_with_an_older_record_between(tmp_path: Path) -> None:
    def ran(name: str, sha256: str | None, path: str = "net") -> Path:
        origin = {} if sha256 is None else {"weights": {"net": {"path": path, "sha256": sha256}}}
        options = {} if sha256 is None else {"net": path}
        made = method("a_b", origin=origin, options=options)
        return write_run(tmp_path / name, [made], [AKD], {("a_b", "akd_x"): [1.0]}, pairs=1)

    one, elsewhere, older = ran("one", "11"), ran("elsewhere", "11", "other/net"), ran("older", None)
    assert table_of(one, elsewhere)
    assert table_of(older, one)
    with pytest.raises(UsageError, match=re.escape("weights {'net': '11'} in run one and {'net': '22'} in run two")):
        table_of(older, one, ran("two", "22"))


def test_set_results_that_disagree_are_refused(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [A], [FID], {}, pairs=2, sets={("a_b", "fid"): (1.0, 2)})
    two = write_run(tmp_path / "two", [A], [FID], {}, pairs=2, sets={("a_b", "fid"): (1.1, 2)})
    with pytest.raises(UsageError, match="different values of 'fid'"):
        table_of(one, two)


def test_the_same_run_twice_and_no_run_are_refused(self_run: Path) -> None:
    with pytest.raises(UsageError, match="run-self was given twice"):
        table_of(self_run, self_run)
    with pytest.raises(UsageError, match="at least one run"):
        build([])


def test_a_run_that_was_never_finished_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", [A], [AKD], {("a_b", "akd_x"): [1.0]}, pairs=1, status="interrupted")
    with pytest.raises(DataError, match=r"interrupted.*avatarbench run --resume"):
        load_run(run)


def test_a_run_with_a_damaged_sample_file_is_refused(self_run: Path) -> None:
    (self_run / "samples.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"samples\.parquet"):
        load_run(self_run)


def test_markdown_marks_best_second_and_bounds(self_run: Path, cross_run: Path) -> None:
    lines = markdown.render(lay_out(table_of(self_run, cross_run))).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 6
    assert len({line.count("|") - line.count("\\|") for line in rows}) == 1
    assert r"clip-self (N = 20)<br>AKD\_x ↓ (px)" in rows[0]
    assert "*Floor*" in rows[2]
    assert "*40.00*" in rows[2]
    assert "**30.00**" in rows[3]
    assert "<ins>2.000</ins>" in rows[3]
    assert lines[len(rows)] == ""
    assert all(line.startswith("- ") for line in lines[len(rows) + 1 :])


def test_markdown_takes_hostile_names_literally() -> None:
    grid = Grid("", "Method", (Label("m"),), (Line(Label("a|b*_<i>"), (Entry("1"),)),), ())
    assert r"a\|b\*\_\<i\>" in markdown.render(grid)


def test_latex_is_well_formed(self_run: Path, cross_run: Path) -> None:
    text = latex.render(lay_out(table_of(self_run, cross_run)))
    opened = re.findall(r"\\begin\{(\w+\*?)\}", text)
    assert sorted(opened) == sorted(re.findall(r"\\end\{(\w+\*?)\}", text))
    bare = text.replace(r"\{", "").replace(r"\}", "").replace(r"\textbackslash{}", "")
    assert bare.count("{") == bare.count("}")
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    spec = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert spec is not None
    assert spec[1] == "l" + "c" * 5
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 + 4
    for row in rows:
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
        assert len(re.findall(r"(?<!\\)&", row)) + 1 + sum(n - 1 for n in spans) == 6
    assert r"\multicolumn{4}{c}{clip-self (N = 20)} & \multicolumn{1}{c}{portrait-cross (N = 10)}" in rows[0]
    assert r"\cmidrule(lr){2-5} \cmidrule(lr){6-6}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\bottomrule")] == [1, 1]
    assert r"A \& B $^\dagger$ & \textbf{30.00} & \underline{2.000}" in text
    assert r"\textit{Floor} & \textit{40.00}" in text
    assert r"AKD\_x $\downarrow$ (px)" in text
    assert text.isascii()


def test_latex_escapes_every_special_character() -> None:
    assert latex.escape("a_b & 5% #1 {x} ~ ^ \\ $") == (
        r"a\_b \& 5\% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$"
    )


def test_transposed_latex_heads_each_group_of_rows(self_run: Path, cross_run: Path) -> None:
    text = latex.render(lay_out(table_of(self_run, cross_run), transpose=True))
    assert r"\multicolumn{5}{l}{portrait-cross (N = 10)} \\" in text
    assert r"\cmidrule" not in text


def test_csv_has_one_row_a_cell_in_full_precision(tmp_path: Path, cross_run: Path) -> None:
    third = write_run(tmp_path / "r", [A, D], [AKD], {("a_b", "akd_x"): [0.1, 0.2, 0.4]}, pairs=3)
    rows = list(csv.DictReader(io.StringIO(tidy.render(table_of(third, cross_run)))))
    assert len(rows) == 3 * 2
    first = rows[0]
    assert float(first["value"]) == (0.1 + 0.2 + 0.4) / 3
    assert (first["method"], first["metric"], first["run"]) == ("a_b", "akd_x", "r")
    assert (first["protocol"], first["protocol_version"], first["manifest"]) == ("clip-self", "1", "ab" * 32)
    assert (first["n_valid"], first["n_total"], first["ranked"]) == ("3", "3", "true")
    missing = next(r for r in rows if r["method"] == "d" and r["protocol"] == "clip-self")
    assert (missing["value"], missing["reason"], missing["ranked"]) == ("nan", "needs flame", "false")
    low = next(r for r in rows if r["method"] == "c" and r["protocol"] == "portrait-cross")
    assert (float(low["value"]), low["n_valid"], low["n_total"], low["ranked"]) == (4.0, "4", "10", "false")
    assert {r["reason"] for r in rows if r["value"] == "nan"} == {"needs flame", "not run"}


def test_the_terminal_turns_a_table_that_does_not_fit(self_run: Path, cross_run: Path) -> None:
    table = table_of(self_run, cross_run)
    for width, corner in ((200, "Method"), (80, "Metric")):
        console = Console(width=width, file=io.StringIO())
        with console.capture() as capture:
            console.print(terminal.renderable(table, console))
        assert corner in capture.get()
        assert "n/a (weights)" in capture.get()


def test_the_terminal_colours_best_and_underlines_second(self_run: Path) -> None:
    console = Console(width=200, force_terminal=True, color_system="standard", file=io.StringIO())
    with console.capture() as capture:
        console.print(terminal.renderable(table_of(self_run), console))
    assert "\x1b[1;32m30.00\x1b[0m" in capture.get()
    assert "\x1b[4m20.00\x1b[0m" in capture.get()


def test_a_long_reason_is_cut_in_the_cell_and_whole_in_the_footnote(tmp_path: Path) -> None:
    why = "RuntimeError: the network gave a tensor of the wrong shape on every frame"
    run = write_run(tmp_path / "r", [A], [AKD], {("a_b", "akd_x"): [why]}, pairs=1)
    grid = lay_out(table_of(run))
    assert texts(grid)["A & B †"] == ["n/a (RuntimeError)"]
    assert f"n/a (RuntimeError): {why}; AKD_x." in grid.notes
    assert len(short_reason("x" * 100)) == SHORT


def test_speed_shows_what_was_measured_and_says_what_was_not(tmp_path: Path) -> None:
    fast = method(
        "a", name="A", build_seconds=0.5, fps=30.04, peak_memory_mib=812.3, gaussians=22000, avatars=1, frames=3
    )
    run = write_run(tmp_path / "r", [fast, D], [AKD], {("a", "akd_x"): [1.0]}, pairs=1)
    loaded: list[Run] = [load_run(run)]
    grid = speed_table(loaded)
    assert texts(grid)["A"] == ["0.500", "30.0", "812", "22000", "1", "3", "0"]
    assert texts(grid)["D"][:4] == ["n/a (not run)"] * 4
    assert any("one processor, 2 cores, no GPU" in note for note in grid.notes)
    rows = list(csv.DictReader(io.StringIO(speed_csv(loaded))))
    assert (rows[0]["fps"], rows[0]["run"], rows[0]["cpu"]) == ("30.04", "r", "one processor")
    assert (rows[1]["fps"], rows[1]["unavailable"]) == ("", "needs flame")


def test_two_methods_of_one_name_are_told_apart_by_id(tmp_path: Path) -> None:
    twins = [method("one", name="Twin"), method("two", name="Twin")]
    run = write_run(tmp_path / "r", twins, [AKD], {(m.id, "akd_x"): [1.0] for m in twins}, pairs=1)
    assert list(texts(lay_out(table_of(run)))) == ["Twin (one)", "Twin (two)"]
