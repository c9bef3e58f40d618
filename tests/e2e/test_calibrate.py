"""``avatarbench calibrate`` as a user runs it, on the real studio."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatarbench.calibration.record import FILE_NAME, CalibrationRecord
from tests.conftest import Cli

SMALL = ("--identities", "1", "--size", "48", "--samples", "4", "--change", "blur", "--metric", "ssim")


@pytest.mark.slow
def test_it_renders_measures_reports_and_goes_on_from_what_is_there(cli: Cli, tmp_path: Path) -> None:
    done = cli("calibrate", *SMALL)
    assert done.returncode == 0, done.stderr
    record = CalibrationRecord.load(tmp_path / "calibration" / FILE_NAME)
    (ssim,) = record.metrics
    assert record.frames == 8  # two states: unchanged, two of noise, a stranger
    assert ssim.identical is not None
    assert ssim.identical.mean == 1
    assert ssim.floor is not None
    assert ssim.stranger is not None
    assert ssim.stranger.mean < ssim.floor.mean < 1
    assert ssim.curves[0].slope < 0
    assert "ssim" in done.stdout
    assert record.seconds_a_frame is not None
    assert (tmp_path / "calibration" / "plots" / "ssim.png").exists()
    again = cli("calibrate", *SMALL)
    assert again.returncode == 0, again.stderr
    second = CalibrationRecord.load(tmp_path / "calibration" / FILE_NAME)
    assert second.seconds_a_frame is None  # nothing was rendered
    assert [m.model_dump_json() for m in second.metrics] == [m.model_dump_json() for m in record.metrics]


def test_wrong_use_is_named_before_any_work(cli: Cli, tmp_path: Path) -> None:
    for arguments, text in (
        (("--metric", "psrn"), "did you mean 'psnr'"),
        (("--change", "yav"), "did you mean 'yaw'"),
        (("--metric", "psnr", "--identities", "0"), "identities"),
    ):
        done = cli("calibrate", *arguments)
        assert done.returncode == 2
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "calibration").exists()


def test_help_shows_examples(cli: Cli) -> None:
    done = cli("calibrate", "--help")
    assert done.returncode == 0
    assert "avatarbench calibrate --skip-missing" in done.stdout
