"""The history depends on the motion, not on how often or how regularly it was reported."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drives import START_NS, state_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsd_planner.planning.ego_history import (
    OdometryTrack,
    _turned,
    rotation_matrix,
    rotation_vector,
    slerp,
)
from rsd_planner.types import NANOSECONDS, EgoHistory, EgoState

T0_NS = START_NS + 2 * NANOSECONDS


def history_from_gaps(gaps_ms: list[float], yaw_rate: float = 0.1) -> EgoHistory:
    """The history when odometry comes with these gaps, over and over, from 0 s to past 2 s."""
    stamps, stamp, i = [], float(START_NS), 0
    while stamp < T0_NS + 200_000_000:
        stamps.append(round(stamp))
        stamp += gaps_ms[i % len(gaps_ms)] * 1e6
        i += 1
    track = OdometryTrack([state_at(s, yaw_rate_radps=yaw_rate) for s in stamps])
    history = track.history(T0_NS, 16, 0.1, 0.5)
    assert history is not None
    return history


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(10.0, 100.0), min_size=1, max_size=12),
    st.floats(-0.4, 0.4),
)
def test_history_is_the_same_at_any_rate_and_jitter(gaps_ms: list[float], yaw_rate: float) -> None:
    exact = history_from_gaps([1.0], yaw_rate)
    found = history_from_gaps(gaps_ms, yaw_rate)
    # A chord of 0.1 s at 8 m/s and 0.4 rad/s leaves its arc by 4 mm.
    assert np.max(np.abs(found.position_m - exact.position_m)) < 0.02
    assert np.max(np.abs(found.rotation - exact.rotation)) < 0.005


def test_history_ends_at_the_ego_pose_and_looks_back() -> None:
    history = history_from_gaps([20.0], yaw_rate=0.0)
    assert np.allclose(history.position_m[-1], 0.0)
    assert np.array_equal(history.rotation[-1], np.eye(3))
    assert np.allclose(history.position_m[0], [-12.0, 0.0, 0.0], atol=1e-6)  # 1.5 s at 8 m/s
    assert history.now.stamp_ns == T0_NS


def test_there_is_no_pose_outside_the_record_or_inside_a_hole() -> None:
    states = [state_at(START_NS + i * 20_000_000) for i in range(100) if not 40 <= i < 70]
    track = OdometryTrack(states)
    assert track.history(START_NS + 3 * NANOSECONDS, 16, 0.1, 0.5) is None
    assert track.history(START_NS + 1_980_000_000, 16, 0.1, 0.5) is None
    assert track.history(START_NS + 1_980_000_000, 16, 0.1, 0.7) is not None
    assert OdometryTrack([]).history(T0_NS, 16, 0.1, 0.5) is None


def driven(seed: int, seconds: float) -> list[EgoState]:
    """A drive at 50 Hz that brakes, speeds up and steers at random, as hard as a car can."""
    rng = np.random.default_rng(seed)
    step_s, states = 0.005, []
    position, yaw, speed, pull, rate, rate_change = np.zeros(3), 0.3, 22.0, 0.0, 0.0, 0.0
    for i in range(round(seconds / step_s)):
        if i % 4 == 0:
            states.append(
                EgoState(
                    START_NS + round(i * step_s * NANOSECONDS),
                    position.copy(),
                    np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]),
                    np.array([speed, 0.0, 0.0]),
                    np.array([0.0, 0.0, rate]),
                )
            )
        if i % 80 == 0:
            jerk, push = rng.choice([-6.0, 0.0, 6.0]), rng.choice([-1.0, 0.0, 1.0])
        pull = float(np.clip(pull + jerk * step_s, -6.0, 3.0))
        rate_change = float(np.clip(rate_change + push * step_s, -0.3, 0.3))
        speed += pull * step_s
        rate = float(np.clip(rate + rate_change * step_s, -0.3, 0.3))
        yaw += rate * step_s
        position += speed * step_s * np.array([np.cos(yaw), np.sin(yaw), 0.0])
    return states


@pytest.mark.parametrize("gap_s", [0.3, 0.6, 1.0])
def test_a_hole_is_bridged_by_the_twists_on_both_sides(gap_s: float) -> None:
    t0_ns, worst_m, worst_rad = START_NS + 2_600_000_000, 0.0, 0.0
    for seed in range(12):
        states = driven(seed, 3.0)
        from_ns = START_NS + 1_400_000_000
        until_ns = from_ns + round(gap_s * NANOSECONDS)
        holed = OdometryTrack([s for s in states if not from_ns < s.stamp_ns < until_ns])
        found = holed.history(t0_ns, 16, 0.1, 1.0)
        exact = OdometryTrack(states).history(t0_ns, 16, 0.1, 1.0)
        assert found is not None and exact is not None
        worst_m = max(worst_m, float(np.abs(found.position_m - exact.position_m).max()))
        worst_rad = max(worst_rad, float(np.abs(found.rotation - exact.rotation).max()))
    print(f"a hole of {gap_s} s: {worst_m:.3f} m, {worst_rad:.3f} rad at the worst")
    assert worst_m < 0.1
    assert worst_rad < 0.02


def test_a_hole_whose_way_the_twists_do_not_explain_stays_a_hole() -> None:
    t0_ns = START_NS + 2_600_000_000
    states = [s for s in driven(1, 3.0) if not 1.4e9 < s.stamp_ns - START_NS < 2.0e9]
    assert OdometryTrack(states).history(t0_ns, 16, 0.1, 1.0) is not None
    after = [s.stamp_ns - START_NS >= 2_000_000_000 for s in states]
    moved = [
        dataclasses.replace(s, position_m=s.position_m + np.array([0.0, 0.6 * late, 0.0]))
        for s, late in zip(states, after, strict=True)
    ]
    turned = [
        dataclasses.replace(s, orientation_xyzw=np.array([0.0, 0.0, np.sin(0.5), np.cos(0.5)]))
        if late
        else s
        for s, late in zip(states, after, strict=True)
    ]
    without_twist = [dataclasses.replace(s, linear_mps=np.zeros(3)) for s in states]
    for wrong in (moved, turned, without_twist):
        assert OdometryTrack(wrong).history(t0_ns, 16, 0.1, 1.0) is None


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3))
def test_rotation_vectors_are_those_of_the_turn(vector: list[float]) -> None:
    start = np.array([[0.5, -0.5, 0.5, 0.5]])
    turned = _turned(start, np.array([vector]))
    assert np.isclose(np.linalg.norm(turned), 1.0)
    between = rotation_matrix(start).transpose(0, 2, 1) @ rotation_matrix(turned)
    assert np.allclose(rotation_vector(between), [vector], atol=1e-9)


def test_stamps_that_do_not_increase_are_refused() -> None:
    with pytest.raises(ValueError, match="strictly increase"):
        OdometryTrack([state_at(T0_NS), state_at(T0_NS)])


@given(st.floats(-3.1, 3.1), st.floats(-3.1, 3.1), st.floats(0.0, 1.0), st.booleans())
def test_slerp_turns_the_short_way_and_stays_unit(
    start_yaw: float, turn: float, share: float, flipped: bool
) -> None:
    def quaternion(yaw: float) -> np.ndarray:
        return np.array([[0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]])

    end = quaternion(start_yaw + turn) * (-1.0 if flipped else 1.0)
    found = slerp(quaternion(start_yaw), end, np.array([share]))
    assert np.isclose(np.linalg.norm(found), 1.0)
    expected = rotation_matrix(quaternion(start_yaw + share * turn))
    assert np.allclose(rotation_matrix(found), expected, atol=1e-6)
