"""Exactness, path errors and intervals on values that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rsd_planner.evaluation.acceptance import Exactness, first_divergence, judge
from rsd_planner.evaluation.benchmark import text_alone
from rsd_planner.evaluation.latency import bootstrap_ratio, percentile
from rsd_planner.evaluation.trajectory import PathError, driven_path, path_error
from rsd_planner.planning.ego_history import OdometryTrack
from rsd_planner.types import Decoded, EgoState, Trajectory


def decoded(tokens: tuple[int, ...], gaps: tuple[float, ...] = ()) -> Decoded:
    return replace(text_alone(tokens, forwards=len(tokens)), top2_gaps=gaps)


def straight(points: int = 10, speed: float = 5.0) -> Trajectory:
    position = np.zeros((points, 3))
    position[:, 0] = speed * 0.1 * np.arange(1, points + 1)
    flat = np.zeros(points)
    return Trajectory(0.1, position, flat, flat + speed, flat, flat)


def test_divergence_is_found_where_it_is():
    assert first_divergence((1, 2, 3), (1, 2, 3)) is None
    assert first_divergence((1, 2, 3), (1, 9, 3)) == 1
    assert first_divergence((1, 2), (1, 2, 3)) == 2


def test_a_divergence_is_excused_only_at_a_tie():
    plain = decoded((1, 2, 3), (5.0, 5e-5, 5.0))
    assert judge(plain, decoded((1, 2, 3))) is Exactness.EXACT
    assert judge(plain, decoded((1, 7, 3))) is Exactness.EXCUSED
    assert judge(plain, decoded((7, 2, 3))) is Exactness.WRONG
    assert judge(plain, decoded((1, 2))) is Exactness.WRONG


def test_a_text_that_goes_on_is_wrong():
    assert judge(decoded((1, 2), (1.0, 1.0)), decoded((1, 2, 3))) is Exactness.WRONG


def test_path_error_of_a_shifted_path_is_the_shift():
    path = straight()
    ade, fde = path_error(path, path.position_m + np.array([0.0, 0.5, 0.0]))
    assert ade == pytest.approx(0.5)
    assert fde == pytest.approx(0.5)


def test_ticks_without_a_recorded_future_do_not_count():
    errors = PathError()
    errors.add(straight(), None)
    assert errors.ticks == 0
    assert errors.ade_m is None


def test_driven_path_is_seen_from_the_ego_pose():
    yaw = np.pi / 2
    turn = np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    states = [
        EgoState(i * 20_000_000, np.array([3.0, 0.1 * i, 0.0]), turn, np.zeros(3), np.zeros(3))
        for i in range(200)
    ]
    track = OdometryTrack(states)
    path = driven_path(track, states[50], states[50].stamp_ns, 10, 0.1)
    assert path is not None
    assert path[0] == pytest.approx([0.5, 0.0, 0.0])  # forward, though the car drives north
    assert driven_path(track, states[199], states[199].stamp_ns, 10, 0.1) is None


def test_interval_needs_two_drives_and_holds_the_ratio():
    assert bootstrap_ratio([10.0], [2.0], seed=0) is None
    interval = bootstrap_ratio([10.0, 12.0, 9.0], [2.0, 2.0, 3.0], seed=0)
    assert interval is not None
    low, high = interval
    assert low <= 31 / 7 <= high
    assert interval == bootstrap_ratio([10.0, 12.0, 9.0], [2.0, 2.0, 3.0], seed=0)


def test_percentile_of_nothing_is_none():
    assert percentile([], 50) is None
    assert percentile([1.0, 3.0], 50) == pytest.approx(2.0)
