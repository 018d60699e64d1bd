"""MODEL, then LAST_VALID, then SAFE_STOP; nothing infeasible or stale, whatever arrives."""

from __future__ import annotations

import dataclasses

import numpy as np
from drives import START_NS, state_at
from hypothesis import given, settings
from hypothesis import strategies as st
from results import T0_NS, result_at, straight

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.checks import check_plan
from rsd_planner.planning.fallback import Fallback, Followable
from rsd_planner.types import NANOSECONDS, EgoState, PlanSource

MS = 1_000_000
SETTINGS = PlannerSettings.from_mapping({})


def ego_at(stamp_ns: int, **changes: object) -> EgoState:
    return dataclasses.replace(state_at(stamp_ns, yaw_rate_radps=0.0), **changes)


def check_stop(stop: Followable, ego: EgoState, now_ns: int) -> None:
    """Bounded deceleration to standing, from where the car is."""
    path = stop.path
    speed = np.concatenate([[max(0.0, float(ego.linear_mps[0]))], path.speed_mps])
    time_s = np.concatenate([[0.0], (path.time_ns - now_ns) / NANOSECONDS])
    assert np.all(np.diff(speed) <= 1e-9)
    assert np.all(-np.diff(speed) / np.diff(time_s) <= SETTINGS.safe_stop_deceleration_mps2 + 1e-6)
    assert path.speed_mps[-1] == 0.0
    points = np.vstack([ego.position_m, path.position_m])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert np.all(steps <= np.diff(time_s) * speed[:-1] + 1e-3)
    assert stop.valid_until_ns <= now_ns + round(SETTINGS.validity_s * NANOSECONDS)


def test_the_three_stages_follow_one_another() -> None:
    fallback = Fallback(SETTINGS)
    model = fallback.accept(result_at(), T0_NS)
    assert (model.source, model.plan_tick, len(model.path)) == (PlanSource.MODEL, 7, 64)
    now = T0_NS + 450 * MS
    last = fallback.decide(9, now, ego_at(now))
    assert last is not None
    assert (last.source, last.tick, last.plan_tick) == (PlanSource.LAST_VALID, 9, 7)
    assert last.t0_ns == T0_NS
    assert last.path.time_ns[0] == T0_NS + 500 * MS
    assert last.valid_until_ns == T0_NS + NANOSECONDS
    now = T0_NS + NANOSECONDS
    assert fallback.expired(now)
    stop = fallback.decide(12, now, ego_at(now))
    assert stop is not None
    assert (stop.source, stop.plan_tick, stop.t0_ns) == (PlanSource.SAFE_STOP, 7, T0_NS)
    check_stop(stop, ego_at(now), now)
    assert fallback.accept(result_at(now, 13), now).source is PlanSource.MODEL


def test_no_odometry_no_path() -> None:
    fallback = Fallback(SETTINGS)
    fallback.accept(result_at(), T0_NS)
    now = T0_NS + 100 * MS
    assert fallback.decide(8, now, None) is None
    assert fallback.decide(8, now, ego_at(now - 600 * MS)) is None
    assert not fallback.knows_where(now, None)


def test_a_moving_car_without_a_plan_stops_on_its_curve_and_a_standing_one_waits() -> None:
    fallback = Fallback(SETTINGS)
    turning = state_at(T0_NS, yaw_rate_radps=0.4)
    stop = fallback.decide(1, T0_NS, turning)
    assert stop is not None
    assert (stop.source, stop.plan_tick, stop.t0_ns) == (PlanSource.SAFE_STOP, 0, T0_NS)
    check_stop(stop, turning, T0_NS)
    assert np.allclose(stop.path.curvature_1pm[:10], 0.05)
    assert fallback.decide(1, T0_NS, ego_at(T0_NS, linear_mps=np.zeros(3))) is None


def test_a_car_that_left_the_plan_is_stopped_where_it_is() -> None:
    fallback = Fallback(SETTINGS)
    fallback.accept(result_at(), T0_NS)
    now = T0_NS + 200 * MS
    beside = ego_at(now, position_m=ego_at(now).position_m + np.array([0, 4.0, 0]))
    stop = fallback.decide(8, now, beside)
    assert stop is not None
    assert stop.source is PlanSource.SAFE_STOP
    check_stop(stop, beside, now)


def test_a_stop_longer_than_the_plan_goes_on_straight() -> None:
    fallback = Fallback(SETTINGS)
    fallback.accept(result_at(trajectory=straight(8.0, -7.9)), T0_NS)
    now = T0_NS + 1000 * MS
    fast = ego_at(now, linear_mps=np.array([20.0, 0.0, 0.0]))
    stop = fallback.decide(8, now, fast)
    assert stop is not None
    check_stop(stop, fast, now)


events = st.tuples(
    st.sampled_from(["plan", "bad plan", "tick", "no odometry", "reset"]),
    st.integers(1, 700),  # ms since the event before
    st.floats(-3.0, 3.0),  # sideways error of the car
    st.floats(0.0, 20.0),  # speed
    st.floats(-0.5, 0.5),  # yaw rate
)


@settings(max_examples=80, deadline=None)
@given(st.lists(events, max_size=25))
def test_whatever_arrives_what_is_followed_is_fresh_and_feasible(
    sequence: list[tuple[str, int, float, float, float]],
) -> None:
    fallback = Fallback(SETTINGS)
    now = START_NS + 2 * NANOSECONDS
    for kind, gap_ms, sideways, speed, yaw_rate in sequence:
        now += gap_ms * MS
        ego = ego_at(
            now,
            position_m=ego_at(now).position_m + np.array([0.0, sideways, 0.0]),
            linear_mps=np.array([speed, 0.0, 0.0]),
            angular_radps=np.array([0.0, 0.0, yaw_rate]),
        )
        if kind == "reset":
            fallback.reset()
        elif "plan" in kind:
            wrong = straight(80.0) if kind == "bad plan" else straight()
            result = result_at(now - 300 * MS, trajectory=wrong)
            if not check_plan(result, ego, SETTINGS):
                assert kind == "plan"
                fallback.accept(result, now)
        followed = fallback.decide(1, now, None if kind == "no odometry" else ego)
        if kind == "no odometry":
            assert followed is None
        elif followed is None:
            assert speed < 0.3
        elif followed.source is PlanSource.SAFE_STOP:
            check_stop(followed, ego, now)
        else:
            assert followed.source is PlanSource.LAST_VALID
            assert now < followed.valid_until_ns <= followed.t0_ns + NANOSECONDS
            assert followed.path.time_ns[0] > now
            off = followed.path.position_m[0] - ego.position_m
            assert np.linalg.norm(off[:2]) < 1.5 + 1.0
