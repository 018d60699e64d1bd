"""Messages of one tick, in any order, become one view; without ROS."""

from __future__ import annotations

import itertools
from types import SimpleNamespace as Message

import numpy as np
import pytest

from rsd_planner.ros.tick_assembly import TickAssembler
from rsd_planner.types import Decision, PlanSource, SpanKind, SpanSource


def time_of(nanoseconds: int) -> Message:
    return Message(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def trajectory(tick: int = 7, source: int = 0, first_step: int = 0) -> Message:
    points = [
        Message(
            time_from_start=time_of(i * 100_000_000),
            pose=Message(
                position=Message(x=float(i), y=0.0, z=0.0),
                orientation=Message(x=0.0, y=0.0, z=0.0, w=1.0),
            ),
            longitudinal_velocity_mps=10.0,
        )
        for i in range(first_step, 65)
    ]
    header = Message(stamp=time_of(5 * 10**9))
    return Message(header=header, tick=tick, plan_tick=7, source=source, points=points)


def reasoning(tick: int = 7) -> Message:
    span = Message(start=0, end=4, tokens=2, source=1, kind=0)
    return Message(tick=tick, text="Stop", spans=[span], decision=4, agrees_with_trajectory=True)


def stats(tick: int = 7) -> Message:
    numbers = dict.fromkeys(
        ("vision_ms", "prefill_ms", "reasoning_ms", "head_ms", "total_ms", "plain_ms_estimate"), 2.0
    )
    counts = {"tokens": 4, "proposed": 3, "accepted": 3, "target_forwards": 1}
    return Message(tick=tick, drafter="previous_tick", rule="greedy", **numbers, **counts)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_last_of_three_messages_completes_the_tick(order):
    assembler = TickAssembler(lambda stamp_ns: np.eye(4))
    adders = (
        lambda: assembler.add_trajectory(trajectory()),
        lambda: assembler.add_reasoning(reasoning()),
        lambda: assembler.add_stats(stats()),
    )
    first, second, last = (adders[i]() for i in order)
    assert first is None
    assert second is None
    assert last.tick == 7
    assert last.t0_ns == 5 * 10**9
    assert last.decision is Decision.STOP
    assert last.spans[0].source is SpanSource.PREVIOUS_TICK
    assert last.spans[0].kind is SpanKind.ACCEPTED
    assert (last.accepted, last.deliberative) == (3, 1)
    assert last.step_s == pytest.approx(0.1)


def test_the_pose_at_t0_is_not_a_waypoint():
    assembler = TickAssembler(lambda stamp_ns: np.eye(4))
    view = assembler.add_trajectory(trajectory(source=1))
    assert len(view.path_m) == 64
    assert view.path_m[0, 0] == pytest.approx(1.0)
    assert view.skipped_points == 0


def test_a_fallback_plan_stands_alone_and_knows_what_was_dropped():
    assembler = TickAssembler(lambda stamp_ns: np.eye(4))
    view = assembler.add_trajectory(trajectory(tick=9, source=1, first_step=4))
    assert view.source is PlanSource.LAST_VALID
    assert view.tick == 9
    assert view.text == ""
    assert view.skipped_points == 3


def test_without_odometry_the_path_starts_at_the_car():
    view = TickAssembler(lambda stamp_ns: None).add_trajectory(trajectory(source=2))
    assert view.path_in_ego_m[0] == pytest.approx([0.0, 0.0, 0.0])


def test_ticks_that_never_complete_are_forgotten():
    assembler = TickAssembler(lambda stamp_ns: np.eye(4))
    for tick in range(100):
        assembler.add_reasoning(reasoning(tick))
    assert len(assembler._pending) <= 20
