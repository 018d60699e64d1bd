"""Random plans, ages, clocks and odometry: what is published can be followed, or is a stop."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from drives import state_at
from feasible import assert_followable
from hypothesis import example, given, settings
from hypothesis import strategies as st
from session_bench import MS, Bench

from rsd_planner.types import NANOSECONDS, PlanSource, Trajectory
from rsd_planner.worker.client import Outcome, WorkerPhase

spoils = st.one_of(
    st.tuples(st.just("good")),
    st.tuples(st.just("scaled"), st.floats(-2.0, 3.0)),
    st.tuples(st.just("moved"), st.floats(-6.0, 6.0), st.floats(-6.0, 6.0)),
    st.tuples(st.just("turned"), st.floats(-3.2, 3.2)),
    st.tuples(st.just("faster"), st.floats(-30.0, 60.0)),
    st.tuples(st.just("braking"), st.floats(-30.0, 30.0)),
    st.tuples(st.just("bent"), st.floats(-2.0, 2.0)),
    st.tuples(st.just("noise"), st.integers(0, 9), st.floats(0.0, 3.0)),
    st.tuples(st.just("nan"), st.integers(0, 63)),
    st.tuples(st.just("short"), st.integers(0, 63)),
)
events = st.one_of(
    st.tuples(st.just("drive"), st.floats(0.02, 0.9), st.booleans(), st.booleans()),
    st.tuples(st.just("tick")),
    st.tuples(st.just("wait"), st.integers(1, 900)),
    st.tuples(st.just("plan"), spoils),
    st.tuples(st.just("fail"), st.sampled_from([Outcome.LATE, Outcome.LOST, Outcome.ERROR])),
    st.tuples(st.just("clock"), st.integers(-4_000, 2_000)),
    st.tuples(
        st.just("odometry"), st.floats(-4.0, 4.0), st.floats(-2.0, 40.0), st.floats(-4.0, 4.0)
    ),
)


def spoilt(made: Trajectory, kind: str, *how: Any) -> Trajectory:
    replace = dataclasses.replace
    if kind == "scaled":
        return replace(made, position_m=made.position_m * how[0])
    if kind == "moved":
        return replace(made, position_m=made.position_m + np.array([*how, 0.0]))
    if kind == "turned":
        c, s = np.cos(how[0]), np.sin(how[0])
        turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        return replace(
            made, position_m=made.position_m @ turn, heading_rad=made.heading_rad + how[0]
        )
    if kind == "faster":
        return replace(made, speed_mps=made.speed_mps + how[0])
    if kind == "braking":
        return replace(made, acceleration_mps2=made.acceleration_mps2 + how[0])
    if kind == "bent":
        return replace(made, curvature_1pm=made.curvature_1pm + how[0])
    if kind == "noise":
        random = np.random.default_rng(how[0])
        shaken = made.position_m + random.normal(0.0, how[1], made.position_m.shape)
        return replace(made, position_m=shaken)
    if kind == "nan":
        spoiled = made.position_m.copy()
        spoiled[how[0]] = np.nan
        return replace(made, position_m=spoiled)
    if kind == "short":
        return replace(made, position_m=made.position_m[: how[0]])
    return made


def play(bench: Bench, event: tuple[Any, ...]) -> None:
    kind = event[0]
    if kind == "drive":
        bench.drive(event[1], odometry=event[2], camera=event[3])
    elif kind == "tick":
        bench.session.tick()
    elif kind == "wait":  # nothing arrives
        bench.now_ns += event[1] * MS
        bench.steady_s += event[1] / 1000
    elif kind == "clock":
        bench.now_ns += event[1] * MS
    elif kind == "odometry":
        bench.now_ns += 20 * MS
        state = state_at(bench.now_ns)
        state = dataclasses.replace(
            state,
            position_m=state.position_m + np.array([0.0, event[1], 0.0]),
            linear_mps=np.array([event[2], 0.0, 0.0]),
            angular_radps=np.array([0.0, 0.0, event[3]]),
        )
        bench.session.add_state(state, "odom", "base_link")
    elif bench.client.phase is WorkerPhase.BUSY:
        if kind == "plan":
            bench.client.answer(spoil=lambda made: spoilt(made, *event[1]))
        else:
            bench.client.answer(event[1])
            bench.client.phase = WorkerPhase.READY


@settings(max_examples=200, deadline=None)
@given(st.lists(events, max_size=40))
@example([("odometry", 3.0, 23.0, 4.0), ("clock", -218), ("tick",)])
def test_what_is_published_can_be_followed_and_a_silence_ends_in_a_stop(
    sequence: list[Any],
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        bench = Bench(monkeypatch)
        bench.drive(3.0)
        for event in (("tick",), ("plan", ("good",)), *sequence):
            seen = len(bench.out)
            play(bench, event)
            newest = bench.session._buffer.newest_state
            for output in bench.out[seen:]:
                assert_followable(output.followable, newest, bench.now_ns, bench.session.settings)
        stop(bench)


def stop(bench: Bench) -> None:
    """The cameras fall silent: after the validity every tick of a moving car is a stop."""
    bench.drive(1.6, camera=False)
    for _ in range(3):
        bench.drive(0.2, camera=False)
        seen = len(bench.out)
        bench.session.tick()
        assert [o.followable.source for o in bench.out[seen:]] == [PlanSource.SAFE_STOP]
        assert bench.out[-1].followable.valid_until_ns == bench.now_ns + NANOSECONDS
