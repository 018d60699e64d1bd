"""The history depends on the motion, not on how often or how regularly it was reported."""

from __future__ import annotations

import numpy as np
import pytest
from drives import START_NS, state_at
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_planner.planning.ego_history import OdometryTrack, rotation_matrix, slerp
from rsd_planner.types import NANOSECONDS, EgoHistory

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
