"""MODEL, then LAST_VALID, then SAFE_STOP; nothing infeasible or stale, whatever arrives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drives import START_NS, picture, state_at
from feasible import assert_followable
from hypothesis import example, given, settings
from hypothesis import strategies as st
from results import T0_NS, result_at, straight
from session_bench import Bench

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.checks import check_plan
from rsd_planner.planning.ego_history import yaw_of
from rsd_planner.planning.fallback import Fallback, Followable
from rsd_planner.types import NANOSECONDS, EgoState, PlanSource, Trajectory
from rsd_planner.worker.client import Outcome, WorkerPhase

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


@pytest.mark.parametrize("outcome", [Outcome.PLAN, Outcome.LATE, Outcome.LOST])
def test_while_the_clock_stands_still_nothing_is_published(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    bench = Bench(monkeypatch)
    bench.drive(3.0)
    bench.session.tick()
    bench.client.answer()
    bench.drive(0.1)
    bench.session.tick()
    bench.session.watch()
    bench.steady_s += 1.0
    published = len(bench.out)
    bench.client.answer(outcome)
    assert len(bench.out) == published
    bench.client.phase = WorkerPhase.READY
    bench.drive(0.2)
    bench.session.tick()
    bench.client.answer()
    assert bench.sources()[-1] is PlanSource.MODEL


class Car:
    """Follows what a session publishes, as a perfect controller would; drives on without it."""

    def __init__(self, bench: Bench, speed_mps: float) -> None:
        self.bench = bench
        self.state = ego_at(bench.now_ns, linear_mps=np.array([speed_mps, 0.0, 0.0]))
        self.line: np.ndarray | None = None  # (n, 5): seconds, x, y, yaw, speed
        self.followed: Followable | None = None

    def drive(self, seconds: float, camera: bool = True) -> None:
        for _ in range(round(seconds * 50)):
            self.bench.now_ns += 20 * MS
            self.bench.steady_s += 0.02
            self.move()
            self.bench.session.add_state(self.state, "odom", "base_link")
            if camera and self.bench.now_ns % (100 * MS) == 0:
                self.bench.session.add_frame(picture("front_wide", self.bench.now_ns))

    def move(self) -> None:
        x, y, _ = self.state.position_m
        yaw, speed = yaw_of(self.state.orientation_xyzw), float(self.state.linear_mps[0])
        rate = 0.0
        if self.line is None:
            x, y = x + 0.02 * speed * np.cos(yaw), y + 0.02 * speed * np.sin(yaw)
        else:
            now_s = (self.bench.now_ns - START_NS) / NANOSECONDS
            x, y, new_yaw, speed = (
                float(np.interp(now_s, self.line[:, 0], self.line[:, i])) for i in range(1, 5)
            )
            rate, yaw = (new_yaw - yaw) / 0.02, new_yaw
        self.state = EgoState(
            self.bench.now_ns,
            np.array([x, y, 0.0]),
            np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]),
            np.array([speed, 0.0, 0.0]),
            np.array([0.0, 0.0, rate]),
        )

    def follow(self) -> None:
        """Takes what was published since, and holds every piece of it to the rules."""
        bench, session = self.bench, self.bench.session
        for output in bench.out:
            assert_followable(output.followable, self.state, bench.now_ns, session.settings)
            self.followed = output.followable
            path = output.followable.path.after(bench.now_ns)
            now = [(bench.now_ns - START_NS) / NANOSECONDS, *self.state.position_m[:2]]
            now += [yaw_of(self.state.orientation_xyzw), float(self.state.linear_mps[0])]
            seconds = (path.time_ns - START_NS) / NANOSECONDS
            rows = np.column_stack([seconds, path.position_m[:, :2], path.yaw_rad, path.speed_mps])
            self.line = np.vstack([now, rows])
            self.line[:, 3] = np.unwrap(self.line[:, 3])
        bench.out.clear()

    def tick(self, answer: str, bend_1pm: float = 0.0, acceleration: float = 0.0) -> None:
        """One tick, and what becomes of its question."""
        client = self.bench.client
        self.bench.session.tick()
        self.follow()
        if client.phase is not WorkerPhase.BUSY or answer == "none":
            return
        if answer in ("late", "lost"):
            client.answer(Outcome[answer.upper()])
            client.phase = WorkerPhase.READY
        else:
            speed = float(self.state.linear_mps[0])
            client.answer(spoil=lambda _: bent(speed, bend_1pm, acceleration, answer == "bad"))
        self.follow()


def bent(speed: float, curvature_1pm: float, acceleration: float, bad: bool) -> Trajectory:
    """A plan along an arc; a bad one goes the way of the plan but with a leap in it."""
    plan = straight(speed, acceleration)
    along = plan.position_m[:, 0]
    turn = curvature_1pm * along
    if abs(curvature_1pm) > 1e-6:
        x, y = np.sin(turn) / curvature_1pm, (1 - np.cos(turn)) / curvature_1pm
    else:
        x, y = along, np.zeros(64)
    position = np.stack([x, y + 30.0 * (bad & (np.arange(64) > 20)), np.zeros(64)], axis=1)
    return dataclasses.replace(
        plan, position_m=position, heading_rad=turn, curvature_1pm=np.full(64, curvature_1pm)
    )


steps = st.tuples(
    st.sampled_from(["plan", "plan", "plan", "bad", "late", "lost", "none", "silence", "jump"]),
    st.floats(-0.25, 0.25),  # curvature
    st.floats(-7.0, 5.0),  # acceleration
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.floats(0.0, 24.0),
    st.lists(steps, max_size=20),
    st.sampled_from(["camera", "none", "bad", "late", "lost"]),
)
@example(20.0, [("plan", 0.01, 2.0), ("jump", 0.0, 0.0), ("plan", 0.25, 0.0)], "camera")
def test_a_car_that_follows_comes_to_stand_when_nothing_good_comes_any_more(
    speed_mps: float, sequence: list[tuple[str, float, float]], end: str
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        bench = Bench(monkeypatch)
        car = Car(bench, speed_mps)
        car.drive(2.0)
        for kind, curvature, acceleration in [("plan", 0.0, 0.0), *sequence]:
            if kind == "jump":
                bench.now_ns -= 2 * NANOSECONDS
                car.line = car.followed = None
            car.drive(0.1, camera=kind != "silence")
            car.tick("plan" if kind in ("silence", "jump") else kind, curvature, acceleration)
            if bench.client.phase is WorkerPhase.BUSY and kind != "none":
                bench.client.phase = WorkerPhase.READY
        assert_comes_to_stand(car, end)


def assert_comes_to_stand(car: Car, end: str) -> None:
    """A stop begins when the last plan's validity ends, and ends where braking says."""
    waited = 0
    while car.followed is not None and car.followed.source is not PlanSource.SAFE_STOP:
        assert waited <= 11, "the validity and a tick"
        car.drive(0.1, camera=end != "camera")
        car.tick("none" if end == "camera" else end)
        waited += 1
    speed = float(car.state.linear_mps[0])
    gentle_s = speed / SETTINGS.safe_stop_deceleration_mps2
    for _ in range(int(10 * gentle_s) + 4):
        car.drive(0.1, camera=end != "camera")
        car.tick("none" if end == "camera" else end)
        assert car.followed is None or car.followed.source is PlanSource.SAFE_STOP
        assert float(car.state.linear_mps[0]) <= speed + 1e-6
        speed = float(car.state.linear_mps[0])
    assert speed < 0.3  # where a standing car that never had a plan gets none
    there = car.state.position_m
    car.drive(1.0)
    assert np.linalg.norm(car.state.position_m - there) <= 0.3
