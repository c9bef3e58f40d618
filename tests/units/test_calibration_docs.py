"""The metric guide shows a calibration beside each definition."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from types import FunctionType
from typing import cast

import pytest

from avatarbench import registry
from avatarbench.calibration.pipeline import calibrate
from avatarbench.calibration.record import FILE_NAME, CalibrationRecord
from avatarbench.errors import DataError
from avatarbench.openheads.identity import VERSION
from tests.conftest import ROOT
from tests.units.test_calibration_pipeline import REQUEST, Painter


def guide(folder: Path) -> dict[str, FunctionType]:
    """The functions of docs/make_metrics.py, with ``folder`` in the place of docs/calibration."""
    found = runpy.run_path(str(ROOT / "docs" / "make_metrics.py"))
    page = cast(FunctionType, found["page"])
    page.__globals__["CALIBRATION"] = folder
    return found


def test_an_adopted_calibration_stands_beside_each_definition(tmp_path: Path) -> None:
    calibrate(replace(REQUEST, metrics=("psnr",)), tmp_path / "out", Painter)
    kept = tmp_path / "calibration"
    functions = guide(kept)
    assert "How to read the calibrations" not in functions["page"]()
    functions["adopt"](tmp_path / "out")
    assert sorted(path.name for path in kept.iterdir()) == [FILE_NAME, "psnr.png"]
    page = functions["page"]()
    assert "How to read the calibrations" in page
    psnr = page.split("## psnr\n")[1].split("\n## ")[0]
    assert "noise floor" in psnr
    assert "| yaw of the head (deg) |" in psnr
    assert "](calibration/psnr.png)" in psnr
    assert "newer than the last calibration" in page.split("## ssim\n")[1]
    assert page == functions["page"]()


def test_plots_of_metrics_that_are_gone_do_not_stay(tmp_path: Path) -> None:
    calibrate(replace(REQUEST, metrics=("psnr",)), tmp_path / "out", Painter)
    kept = tmp_path / "calibration"
    kept.mkdir()
    (kept / "old.png").write_bytes(b"x")
    guide(kept)["adopt"](tmp_path / "out")
    assert not (kept / "old.png").exists()
    assert CalibrationRecord.load(kept / FILE_NAME).metrics[0].id == "psnr"


def test_a_folder_without_a_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="avatarbench calibrate"):
        guide(tmp_path / "kept")["adopt"](tmp_path / "nothing")
    assert not (tmp_path / "kept").exists()


def test_the_shipped_calibration_covers_every_metric_as_it_is_defined_now() -> None:
    record = CalibrationRecord.load(ROOT / "docs" / "calibration" / FILE_NAME)
    assert record.openheads == VERSION
    found = {metric.id: metric for metric in record.metrics}
    assert set(found) == set(registry.names("metrics"))
    for name, metric in found.items():
        assert metric.version == registry.metric(name).version, name
        if metric.unavailable is None:
            assert (ROOT / "docs" / "calibration" / f"{name}.png").is_file()
            assert metric.curves
        else:
            assert "weights missing" in metric.unavailable
