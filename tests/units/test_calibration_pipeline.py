"""From frames to the record, with a painter whose pictures are known."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench import assets, registry
from avatarbench.calibration.changes import KINDS
from avatarbench.calibration.measure import Measured, Value
from avatarbench.calibration.pipeline import Request, calibrate
from avatarbench.calibration.plan import IDENTICAL, NOISE, NOISE_SEEDS, STRANGER, Scene, plan
from avatarbench.calibration.record import FILE_NAME, CalibrationRecord
from avatarbench.calibration.report import block
from avatarbench.calibration.summary import summarise
from avatarbench.errors import DataError, PreflightError, UsageError
from avatarbench.method import Camera
from avatarbench.metric import MetricSpec
from avatarbench.openheads.identity import Identity
from avatarbench.openheads.state import HeadState

REQUEST = Request(metrics=("psnr", "ssim"), identities=2, size=32, samples=4, changes=("yaw", "blur"))


@dataclass(frozen=True)
class Picture:
    rgb: np.ndarray


class Painter:
    """A flat head, darker by 8 grey levels a degree of yaw, with noise of one grey level."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        OPENED.append(identity.index)

    def render(self, state: HeadState, camera: Camera, samples: int, seed: int) -> Picture:
        turned = float(np.degrees(np.abs(state.joints[:, 2]).sum()))
        rng = np.random.default_rng([seed, self.identity.index])
        image = np.full((camera.height, camera.width, 3), 230.0 - 40 * (self.identity.index > 1))
        image[8:24, 8:24] -= 8 * turned
        SHOTS.append(seed)
        if len(SHOTS) == STOP_AFTER[0]:
            raise KeyboardInterrupt
        return Picture(np.rint(image + rng.integers(-1, 2, image.shape)).astype(np.uint8))


OPENED: list[int] = []
SHOTS: list[int] = []
STOP_AFTER = [0]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    OPENED.clear()
    SHOTS.clear()
    STOP_AFTER[0] = 0


def scene(person: int = 0, base: str = "frontal") -> Scene:
    return replace(plan(1)[0], person=person, base=base)


def synthetic(spec: MetricSpec, rise: float, floor: float, knee: float = math.inf) -> Measured:
    """A metric that is linear by construction up to ``knee``, over a noise floor."""
    found = Measured()
    for person in range(6):
        where = scene(person)
        wobble = 0.01 * (person - 2.5)
        found.values.append(Value((IDENTICAL, 0.0), where, 0.0, 0.0, None))
        found.values += [Value((NOISE, seed), where, 0.0, floor + wobble, None) for seed in NOISE_SEEDS]
        found.values.append(Value((STRANGER, 0.0), where, 0.0, 50.0, None))
        for kind in KINDS:
            start = 0.0 if kind.group == "image" else floor + wobble
            for level in kind.levels:
                value = start + rise * min(level, knee)
                found.values.append(Value((kind.id, level), where, level, value, None))
    return found


def test_a_metric_that_is_linear_by_construction_gives_its_slope_floor_and_limit() -> None:
    spec = registry.metric("akd-mediapipe")
    found = summarise(spec, synthetic(spec, 0.4, 1.0))
    assert found.floor is not None
    assert found.floor.mean == pytest.approx(1.0)
    assert found.floor.sd == pytest.approx(0.0178, abs=1e-3)
    assert found.stranger is not None
    assert found.stranger.mean == 50
    by_kind = {curve.kind: curve for curve in found.curves}
    assert set(by_kind) == {kind.id for kind in KINDS}
    for curve in found.curves:
        assert curve.slope == pytest.approx(0.4)
        assert curve.saturation is None
    assert by_kind["yaw"].detection == 1.0
    assert by_kind["blur"].detection == 4.0  # 1.6 is the first beyond the floor of 1.0, though it starts from zero
    assert by_kind["yaw"].zero == pytest.approx(1.0)
    assert by_kind["blur"].zero == 0


def test_a_saturating_metric_gives_its_knee_and_a_judge_its_degrees() -> None:
    spec = registry.metric("apd-mediapipe")
    found = summarise(spec, synthetic(spec, 0.3, 0.5, knee=5.0), turns={"yaw": 0.9})
    yaw = next(curve for curve in found.curves if curve.kind == "yaw")
    assert yaw.saturation == 5.0
    assert yaw.said == pytest.approx(0.9)
    assert next(curve for curve in found.curves if curve.kind == "jaw").said is None


def test_the_cap_of_psnr_is_no_point_of_its_curve() -> None:
    spec = registry.metric("psnr")
    measured = synthetic(spec, -2.0, 40.0)
    capped = [replace(v, value=100.0) if v.change[0] == IDENTICAL else v for v in measured.values]
    blur = next(c for c in summarise(spec, Measured(capped)).curves if c.kind == "blur")
    assert math.isnan(blur.zero)
    assert blur.slope == pytest.approx(-2.0)


def test_values_that_are_missing_are_counted_with_their_reason() -> None:
    spec = registry.metric("akd-mediapipe")
    measured = synthetic(spec, 0.4, 1.0)
    lost = [
        replace(v, value=math.nan, reason="no face found") if v.change[0] == "jaw" and v.scene.person < 2 else v  # type: ignore[union-attr]
        for v in measured.values
    ]
    found = summarise(spec, Measured(lost))
    jaw = next(curve for curve in found.curves if curve.kind == "jaw")
    assert [(level.n, level.n_total, level.reason) for level in jaw.levels] == [(4, 6, "no face found")] * 4
    assert jaw.slope == pytest.approx(0.4)
    assert "(4 of 6)" in block(found, spec.version, "x.png")


def test_a_calibration_writes_a_record_values_a_page_and_a_small_plot_a_metric(tmp_path: Path) -> None:
    record = calibrate(REQUEST, tmp_path, Painter)
    assert CalibrationRecord.load(tmp_path / FILE_NAME).model_dump_json() == record.model_dump_json()
    assert record.scenes == 4
    assert record.frames == len(SHOTS) == 4 * (1 + 2 + 1 + 4)
    psnr, ssim = record.metrics
    assert psnr.identical is not None
    assert psnr.identical.mean == 100
    assert psnr.floor is not None
    assert 44 < psnr.floor.mean < 50  # differences of two draws from -1, 0, 1: a mean square of 4 / 3
    yaw = psnr.curves[0]
    assert [level.mean for level in yaw.levels] == sorted((level.mean for level in yaw.levels), reverse=True)
    assert yaw.slope < 0
    assert yaw.detection == 1.0
    assert ssim.curves[1].kind == "blur"
    rows = (tmp_path / "calibration.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 4 * (1 + 2 + 1 + 4 + 4)
    for metric in ("psnr", "ssim"):
        plot = tmp_path / "plots" / f"{metric}.png"
        assert plot.stat().st_size < 60_000
        assert f"plots/{metric}.png" in (tmp_path / "calibration.md").read_text()


def test_what_is_rendered_is_kept_and_a_damaged_frame_is_rendered_again(tmp_path: Path) -> None:
    STOP_AFTER[0] = 10
    with pytest.raises(KeyboardInterrupt):
        calibrate(REQUEST, tmp_path, Painter)
    assert not (tmp_path / FILE_NAME).exists()
    STOP_AFTER[0] = 0
    first = calibrate(REQUEST, tmp_path, Painter)
    assert len(SHOTS) == first.frames + 1  # only the frame that was being rendered is done again
    SHOTS.clear()
    damaged = sorted((tmp_path / "frames").glob("*.png"))[3]
    damaged.write_bytes(damaged.read_bytes()[:200])
    again = calibrate(REQUEST, tmp_path, Painter)
    assert len(SHOTS) == 1
    assert [m.model_dump_json() for m in again.metrics] == [m.model_dump_json() for m in first.metrics]
    more = calibrate(replace(REQUEST, changes=("yaw", "blur", "shift")), tmp_path, Painter)
    assert len(SHOTS) == 1  # a change of pixels costs no frame
    assert len(more.metrics[0].curves) == 3
    calibrate(replace(REQUEST, samples=8), tmp_path, Painter)
    assert len(SHOTS) == 1 + first.frames


def test_a_person_is_made_ready_once(tmp_path: Path) -> None:
    calibrate(REQUEST, tmp_path, Painter)
    assert sorted(OPENED) == [0, 1, 2, 3]


def test_plots_of_one_record_are_the_same_bytes(tmp_path: Path) -> None:
    from avatarbench.calibration.plots import plot

    record = calibrate(replace(REQUEST, metrics=("psnr",)), tmp_path, Painter)
    plot(record.metrics[0], record, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "plots" / "psnr.png").read_bytes()
    with Image.open(tmp_path / "again.png") as image:
        assert image.width == 720


def test_a_set_metric_is_measured_on_the_set_and_says_when_it_is_too_small(tmp_path: Path) -> None:
    record = calibrate(replace(REQUEST, metrics=("fd-vgg",), changes=("yaw",)), tmp_path, Painter)
    (found,) = record.metrics
    assert found.frames == 4
    assert found.features == 512
    assert found.few_frames
    assert found.identical is not None
    assert found.identical.mean == pytest.approx(0, abs=1e-6)
    assert found.floor is not None
    assert math.isfinite(found.floor.sd)
    yaw = found.curves[0]
    assert [level.n_total for level in yaw.levels] == [1] * 4
    assert yaw.levels[-1].mean > found.floor.mean
    assert "N is too small" in block(found, found.version, "x.png")


def test_missing_weights_stop_the_calibration_or_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARBENCH_OFFLINE", "1")
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path / "cache"))
    request = replace(REQUEST, metrics=("psnr", "fid"))
    with pytest.raises(PreflightError, match=r"(?s)'fid' lacks.*--skip-missing"):
        calibrate(request, tmp_path / "out", Painter)
    assert not SHOTS
    record = calibrate(replace(request, skip_missing=True), tmp_path / "out", Painter)
    assert [m.unavailable for m in record.metrics] == [None, "weights missing: inception-2015"]
    text = (tmp_path / "out" / "calibration.md").read_text()
    assert "not measured (weights missing: inception-2015)" in text
    with pytest.raises(PreflightError):
        calibrate(replace(request, metrics=("fid",), skip_missing=True), tmp_path / "out", Painter)


def test_without_mitsuba_nothing_is_fetched_or_made_and_all_that_is_missing_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATARBENCH_OFFLINE", "1")
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path / "cache"))
    find, ensure, asked = importlib.util.find_spec, assets.ensure, []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mitsuba" else find(name))
    monkeypatch.setattr(assets, "ensure", lambda ids, progress: asked.extend(ids) or ensure(ids, progress))
    request = replace(REQUEST, metrics=("psnr", "fid", "csim-arcface"))
    with pytest.raises(PreflightError) as raised:
        calibrate(request, tmp_path / "out")
    assert re.search(
        r"(?s)- 32 frames are to be rendered, and Mitsuba.*- metric 'csim-arcface' lacks", str(raised.value)
    )
    assert not [name for name in asked if assets.get(name).unasked]
    assert not (tmp_path / "out").exists()
    with pytest.raises(PreflightError, match="Mitsuba is not installed"):
        calibrate(replace(request, metrics=("psnr",), skip_missing=True), tmp_path / "out")
    calibrate(replace(request, metrics=("psnr",)), tmp_path / "out", Painter)
    calibrate(replace(request, metrics=("psnr",)), tmp_path / "out")  # every frame is there: nothing is to be rendered


def test_a_record_that_is_none_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with pytest.raises(DataError, match="avatarbench calibrate"):
        CalibrationRecord.load(path)
    path.write_text(json.dumps({"schema_version": 1}))
    with pytest.raises(DataError, match="not a calibration record"):
        CalibrationRecord.load(path)


def test_a_definition_that_moved_on_is_not_shown_with_old_numbers(tmp_path: Path) -> None:
    record = calibrate(replace(REQUEST, metrics=("psnr",)), tmp_path, Painter)
    text = block(record.metrics[0], record.metrics[0].version + 1, "x.png")
    assert "not measured since version 1" in text
    assert "slope" not in text


def test_two_calibrations_do_not_share_a_folder(tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(UsageError, match="another process"):
        calibrate(REQUEST, tmp_path, Painter)
