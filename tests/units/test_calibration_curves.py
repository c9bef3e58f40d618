"""Slope, saturation and detection limit on curves whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from avatarbench.calibration.curves import detection, jackknife, saturation, slope

LEVELS = (1.0, 2.0, 5.0, 10.0)
X = np.array(LEVELS)


def test_a_linear_metric_gives_its_slope_whatever_each_scene_starts_from() -> None:
    zero = np.array([3.0, -1.0, 7.5])
    values = zero[:, None] + 0.4 * X
    assert slope(LEVELS, values, zero) == pytest.approx(0.4)
    assert slope(LEVELS, values, None) == pytest.approx(0.4)


def test_the_slope_is_the_small_end_s_and_one_bad_scene_does_not_move_it() -> None:
    zero = np.zeros(9)
    values = np.tile(np.array([2.0, 4.0, 5.0, 5.5]), (9, 1))
    values[4] = [90.0, -50.0, 300.0, 0.0]
    assert slope(LEVELS, values, zero) == pytest.approx(2.0)


def test_what_the_noise_hides_does_not_flatten_the_slope() -> None:
    zero = np.full(5, 3.0)
    values = np.tile(np.sqrt(9 + np.square(2 * X)), (5, 1))  # a length under noise of length 3
    assert slope(LEVELS, values, zero) < 1.5
    assert slope(LEVELS, values, zero, seen=5.0) == pytest.approx(2.0, abs=0.15)
    assert slope(LEVELS, 0.4 * X[None], np.zeros(1), seen=10.0) == pytest.approx(0.4)


def test_a_scene_without_a_value_is_left_out_of_the_slope() -> None:
    values = np.array([[0.4, np.nan, 2.0, 4.0], [np.nan] * 4])
    assert slope(LEVELS, values, np.zeros(2)) == pytest.approx(0.4)
    assert math.isnan(slope(LEVELS, np.full((2, 4), np.nan), np.zeros(2)))


def test_a_line_does_not_saturate_and_a_knee_is_found_where_it_is() -> None:
    assert saturation(LEVELS, 0.4 * X, 0.0, "lower") is None
    assert saturation(LEVELS, np.minimum(X, 5.0), 0.0, "lower") == 5.0
    assert saturation(LEVELS, np.minimum(X, 2.0), 0.0, "lower") == 2.0
    assert saturation(LEVELS, np.array([3.0, 3.0, 3.0, 3.0]), 0.0, "lower") == 1.0


def test_a_curve_that_rises_again_has_not_saturated() -> None:
    assert saturation(LEVELS, np.array([1.0, 1.05, 1.1, 9.0]), 0.0, "lower") is None


def test_a_metric_that_falls_with_the_change_saturates_alike() -> None:
    assert saturation(LEVELS, -np.minimum(X, 5.0), 0.0, "higher") == 5.0
    assert saturation(LEVELS, np.minimum(X, 5.0), 0.0, "higher") is None  # it only gets better


def test_saturation_passes_over_levels_without_a_mean_and_needs_three_points() -> None:
    assert saturation(LEVELS, np.array([1.0, np.nan, 5.0, 5.0]), 0.0, "lower") == 5.0
    assert saturation(LEVELS, np.array([1.0, np.nan, np.nan, np.nan]), 0.0, "lower") is None


def test_the_detection_limit_is_the_first_level_beyond_two_deviations() -> None:
    assert detection(LEVELS, 1 + 0.4 * X, 1.0, 0.3, "lower") == 2.0  # 0.4 is within 0.6, 0.8 is not
    assert detection(LEVELS, 30 - 0.4 * X, 30.0, 0.3, "higher") == 2.0
    assert detection(LEVELS, 1 + 0.4 * X, 1.0, 3.0, "lower") is None
    assert detection(LEVELS, 1 + 0.4 * X, 1.0, math.nan, "lower") is None
    assert detection(LEVELS, np.array([np.nan, 9.0, 9.0, 9.0]), 1.0, 0.3, "lower") == 2.0


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.array([2.0, 3.0, 5.0, 9.0, 4.0])
    left_out = [float(np.delete(values, n).mean()) for n in range(5)]
    assert jackknife(left_out) == pytest.approx(values.std(ddof=1) / math.sqrt(5))
    assert math.isnan(jackknife([1.0]))
    assert math.isnan(jackknife([1.0, math.nan]))
