"""Path errors, simple paths and calibration on values with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsd_planner.evaluation.paths import (
    ade,
    calibrate,
    constant_turn_rate,
    constant_velocity,
    distances,
    fde,
    medoid,
    min_ade,
)


def arc(speed: float, rate: float, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (1, n, 2) and headings (1, n) of a circle through the origin at time 0."""
    angle = rate * time
    if abs(rate) < 1e-9:
        xy = np.stack([speed * time, 0 * time], axis=1)
    else:
        xy = speed / rate * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)
    return xy[None], angle[None]


AHEAD = 0.1 * np.arange(1, 65)
BEHIND = 0.1 * np.arange(-15, 1)


@given(st.floats(0.1, 30), st.floats(-0.6, 0.6))
def test_constant_turn_rate_goes_on_along_a_circle(speed, rate):
    xy, heading = arc(speed, rate, BEHIND)
    found = constant_turn_rate(xy, heading, 64)
    wanted, _ = arc(speed, rate, AHEAD)
    # The speed is that of the last chord, a little shorter than its arc.
    assert distances(found, wanted).max() < 1e-3 * speed * 6.4 + 1e-6


@given(st.floats(0, 30))
def test_constant_velocity_is_exact_on_a_straight_line(speed):
    xy, _ = arc(speed, 0.0, BEHIND)
    wanted, _ = arc(speed, 0.0, AHEAD)
    np.testing.assert_allclose(constant_velocity(xy, 64), wanted, atol=1e-9)


def test_a_car_that_stands_goes_nowhere():
    still = np.zeros((1, 16, 2))
    assert np.all(constant_velocity(still, 5) == 0)
    assert np.all(constant_turn_rate(still, still[..., 0], 5) == 0)


def test_errors_up_to_a_horizon():
    apart = np.arange(1.0, 65.0)[None]
    assert ade(apart, 3.0) == pytest.approx(15.5)
    assert fde(apart, 3.0) == pytest.approx(30.0)
    assert fde(apart, 6.0) == pytest.approx(60.0)
    assert ade(apart[:, :20], 6.0) == pytest.approx(10.5), "no longer than the path"


@given(st.integers(0, 2**32 - 1))
def test_the_best_sample_is_no_worse_than_any(seed):
    rng = np.random.default_rng(seed)
    samples, driven = rng.normal(size=(5, 6, 64, 2)), rng.normal(size=(5, 64, 2))
    best = min_ade(samples, driven, 3.0)
    every = ade(distances(samples, driven[:, None]), 3.0)
    assert np.all(best[:, None] <= every)
    assert np.all((best[:, None] == every).any(axis=1))


def test_medoid_is_in_the_middle():
    offsets = np.array([[0.0, 5.0, 1.0], [2.9, 3.0, 9.0]])
    samples = np.zeros((2, 3, 10, 2))
    samples[..., 1] = offsets[:, :, None]
    np.testing.assert_array_equal(medoid(samples), [2, 1])


def test_calibration_of_samples_that_are_like_the_truth():
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.2, 3.0, 4000)
    samples = scale[:, None, None, None] * rng.normal(size=(4000, 12, 10, 2))
    driven = scale[:, None, None] * rng.normal(size=(4000, 10, 2))
    chosen = medoid(samples)
    found = calibrate(samples, chosen, driven, 1.0)
    assert found is not None
    assert found.coverage[0.5] == pytest.approx(0.5, abs=0.06)
    assert found.rank_correlation is not None
    assert found.rank_correlation > 0.5
    sure = calibrate(0.01 * samples, chosen, driven, 1.0)
    assert sure is not None
    assert sure.coverage[0.5] < 0.05


def test_one_sample_says_nothing_about_its_spread():
    assert calibrate(np.zeros((3, 1, 10, 2)), np.zeros(3, int), np.zeros((3, 10, 2)), 1.0) is None
