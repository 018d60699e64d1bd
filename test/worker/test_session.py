"""What a tick does and what an answer means, with a stand-in for the worker's client."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from drives import START_NS, state_at
from session_bench import MS, Bench

from rsd_planner.types import NANOSECONDS, PlanSource
from rsd_planner.worker.client import Outcome, WorkerPhase
from rsd_planner.worker.health import PlannerState


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def planned(bench: Bench) -> None:
    bench.drive(3.0)
    bench.session.tick()
    bench.client.answer()
    assert bench.sources() == [PlanSource.MODEL]
    assert bench.state is PlannerState.ACTIVE


def test_a_busy_worker_changes_nothing_while_the_plan_is_valid(bench: Bench) -> None:
    planned(bench)
    bench.drive(0.2)
    bench.session.tick()
    bench.drive(0.2)
    bench.session.tick()
    bench.session.tick()
    assert bench.sources() == [PlanSource.MODEL]
    health = bench.session.watch()
    assert (health.state, health.ticks_skipped, health.tick) == (PlannerState.ACTIVE, 2, 4)


def test_the_same_picture_is_not_planned_twice(bench: Bench) -> None:
    planned(bench)
    bench.session.tick()
    assert len(bench.client.asked) == 1
    assert bench.state is PlannerState.ACTIVE


def test_a_plan_that_runs_out_while_the_worker_is_busy_means_a_stop(bench: Bench) -> None:
    planned(bench)
    bench.drive(0.2)
    bench.session.tick()
    bench.drive(1.0)
    bench.session.tick()
    assert bench.sources()[-1] is PlanSource.SAFE_STOP
    assert "raise validity_s" in bench.session.watch().reasons[0]
    bench.client.answer(Outcome.LATE)
    assert bench.state is PlannerState.SAFE_STOP


def test_late_lost_and_erring_answers_fall_back_and_say_why(bench: Bench) -> None:
    planned(bench)
    for outcome in (Outcome.LATE, Outcome.LOST, Outcome.ERROR):
        bench.drive(0.1)
        bench.session.tick()
        bench.client.answer(outcome)
        assert bench.sources()[-1] is PlanSource.LAST_VALID
        assert bench.state is PlannerState.DEGRADED
        assert bench.session.watch().reasons[0] == f"it was {outcome.value}"
        bench.client.phase = WorkerPhase.READY
    assert bench.session.watch().ticks_late == 1
    bench.drive(0.1)
    bench.session.tick()
    bench.client.answer()
    assert bench.state is PlannerState.ACTIVE


def test_in_the_fallback_every_tick_publishes_until_a_plan_comes(bench: Bench) -> None:
    planned(bench)
    bench.drive(0.1)
    bench.session.tick()
    bench.client.answer(Outcome.LATE)
    count = len(bench.out)
    for _ in range(3):  # busy
        bench.drive(0.1)
        bench.session.tick()
    assert len(bench.out) == count + 3


def test_without_odometry_nothing_is_published_and_it_is_a_fault(bench: Bench) -> None:
    planned(bench)
    bench.drive(0.8, odometry=False)
    count = len(bench.out)
    bench.session.tick()
    assert len(bench.out) == count
    assert bench.state is PlannerState.FAULT
    bench.drive(2.0)
    bench.session.tick()
    bench.client.answer()
    assert bench.state is PlannerState.ACTIVE


def test_a_moving_car_is_stopped_while_the_model_loads_and_a_standing_one_waits(
    bench: Bench,
) -> None:
    bench.client.phase = WorkerPhase.LOADING
    bench.session.tick()
    assert bench.out == []
    assert bench.state is PlannerState.LOADING
    bench.drive(3.0)
    bench.session.tick()
    assert bench.sources() == [PlanSource.SAFE_STOP]
    assert bench.out[-1].followable.plan_tick == 0


def test_an_answer_after_deactivate_is_dropped(bench: Bench) -> None:
    planned(bench)
    bench.drive(0.2)
    bench.session.tick()
    bench.session.deactivate()
    bench.client.answer()
    assert len(bench.out) == 1
    assert bench.state is PlannerState.WAITING


def test_a_time_jump_forgets_the_plan_and_tells_the_planner(bench: Bench) -> None:
    planned(bench)
    bench.now_ns = START_NS
    bench.drive(0.2)
    bench.session.tick()
    assert bench.sources()[-1] is PlanSource.SAFE_STOP
    assert bench.out[-1].followable.plan_tick == 0
    bench.drive(3.0)
    bench.session.tick()
    assert bench.client.asked[-1][1] == 1
    assert bench.client.abandoned >= 1


def test_a_frozen_clock_is_degraded_and_ends_by_itself(bench: Bench) -> None:
    planned(bench)
    bench.session.watch()
    bench.steady_s += 1.0
    health = bench.session.watch()
    assert health.state is PlannerState.DEGRADED
    assert "clock stands still" in health.reasons[0]
    bench.drive(0.1)
    assert bench.state is PlannerState.ACTIVE


def test_a_plan_for_elsewhere_is_counted_and_not_published(bench: Bench) -> None:
    planned(bench)
    bench.drive(0.1)
    bench.session.tick()
    moved = state_at(bench.now_ns + 20 * MS)
    jump = np.array([50.0, 0.0, 0.0])
    bench.now_ns += 20 * MS
    jumped = type(moved)(
        moved.stamp_ns,
        moved.position_m + jump,
        moved.orientation_xyzw,
        moved.linear_mps,
        moved.angular_radps,
    )
    bench.session.add_state(jumped, "odom", "base_link")
    bench.client.answer()
    assert bench.session.watch().plans_rejected == 1
    assert bench.sources()[-1] is PlanSource.SAFE_STOP
    stop = bench.out[-1].followable.path
    assert np.linalg.norm(stop.position_m[0] - jumped.position_m) < 2.0


def test_an_optional_camera_that_is_missing_degrades(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, optional_cameras=["rear"])
    bench.drive(3.0)
    bench.session.tick()
    bench.client.answer()
    health = bench.session.watch()
    assert health.state is PlannerState.DEGRADED
    assert "rear" in health.reasons[0]
    assert bench.sources() == [PlanSource.MODEL]


def test_time_of_a_tick_without_the_planner_is_noted(bench: Bench) -> None:
    planned(bench)
    assert len(bench.session.watch().overhead_ms) == 1
    assert bench.session.watch().plan_age_s == pytest.approx(
        (bench.now_ns - bench.out[0].followable.t0_ns) / NANOSECONDS
    )


def test_a_route_hint_cannot_pass_for_tokens_of_the_prompt(bench: Bench) -> None:
    bench.session.set_navigation("turn <|image_pad|> left\ud800\x00 " + "x" * 5000)
    bench.drive(3.0)
    bench.session.tick()
    hint = bench.client.asked[-1][0].navigation
    assert hint.startswith("turn image_pad left? xxx")
    assert len(hint) <= 1000
    hint.encode()


def test_stamps_ahead_of_the_clock_do_not_prolong_a_plan(bench: Bench) -> None:
    bench.drive(3.0)
    bench.session.tick()
    bench.now_ns -= 300 * MS  # /clock lags
    bench.client.answer()
    assert bench.out[-1].followable.valid_until_ns == bench.now_ns + NANOSECONDS


def test_a_time_jump_while_the_worker_is_busy_still_means_a_stop(bench: Bench) -> None:
    planned(bench)
    bench.drive(0.1)
    bench.session.tick()  # no answer comes
    bench.now_ns -= 600 * MS
    bench.drive(0.2, camera=False)
    count = len(bench.out)
    bench.session.tick()
    assert [o.followable.source for o in bench.out[count:]] == [PlanSource.SAFE_STOP]
    assert bench.session.watch().reasons[0] == "no plan yet: the worker is busy"


def test_a_plan_without_points_is_rejected_and_its_tick_falls_back(bench: Bench) -> None:
    planned(bench)
    bench.drive(0.1)
    bench.session.tick()
    bench.client.answer(
        spoil=lambda made: dataclasses.replace(made, position_m=made.position_m[:0])
    )
    assert bench.sources()[-1] is PlanSource.LAST_VALID
    assert "no usable points" in bench.session.watch().reasons[0]


def test_a_stop_is_timed_by_the_clock_also_when_stamps_run_ahead_of_it(bench: Bench) -> None:
    planned(bench)
    bench.drive(1.6, camera=False)
    bench.now_ns -= 260 * MS  # /clock lags
    bench.session.tick()
    stop = bench.out[-1].followable
    newest = bench.session._buffer.newest_state
    assert stop.source is PlanSource.SAFE_STOP
    assert newest is not None
    off = stop.path.position_at(newest.stamp_ns) - newest.position_m
    assert np.linalg.norm(off) < 0.3  # what braking takes off in 0.26 s


def test_a_closed_session_keeps_no_picture(bench: Bench) -> None:
    planned(bench)
    kept = [weakref.ref(frame) for frame in bench.client.asked[-1][0].frames]
    bench.client.asked.clear()
    bench.out.clear()
    bench.told.clear()
    assert all(ref() is not None for ref in kept)
    bench.session.close(0.0)
    gc.collect()
    assert all(ref() is None for ref in kept)
    assert bench.session.watch().state is PlannerState.WAITING


def test_that_nothing_is_left_to_follow_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.drive(3.0)
    bench.session.tick()
    bench.client.answer()
    assert bench.told == bench.out
    bench.drive(0.6, odometry=False)  # longer than max_input_age_s
    for _ in range(3):
        bench.drive(0.1, odometry=False)
        bench.session.tick()
    assert bench.told == [*bench.out, None]
