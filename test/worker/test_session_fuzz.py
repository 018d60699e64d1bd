"""Whatever arrives, nothing raises out of a session, counters add up, and it plans again."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from drives import picture, state_at
from hypothesis import given, settings
from hypothesis import strategies as st
from session_bench import MS, Bench

from rsd_planner.planning.input_checks import Verdict
from rsd_planner.types import NANOSECONDS, EgoState, Frame, PlanSource
from rsd_planner.worker.client import Outcome, WorkerPhase
from rsd_planner.worker.health import PlannerState

NASTY = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-300, 1e300, -1e18, 1e9)

numbers = st.one_of(st.sampled_from(NASTY), st.floats(width=64))
offsets_ns = st.one_of(
    st.sampled_from([0, 1, -1, 20 * MS, -20 * MS, 3 * NANOSECONDS, -3 * NANOSECONDS]),
    st.integers(-(2**62), 2**62),
)
frame_ids = st.sampled_from(["odom", "", "map", "base_link", "x" * 300, "a\x00b", "\ud800"])
vectors = st.tuples(
    st.sampled_from(["position_m", "orientation_xyzw", "linear_mps", "angular_radps"]),
    st.integers(0, 3),
    numbers,
)
images = st.sampled_from(
    [
        np.zeros((4, 6, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 3), np.float32),
        np.zeros((9000, 1, 3), np.uint8),
        np.zeros((8, 2, 3), np.uint8),
    ]
)
events = st.one_of(
    st.tuples(st.just("state"), offsets_ns, st.lists(vectors, max_size=2), frame_ids, frame_ids),
    st.tuples(st.just("frame"), offsets_ns, images, st.sampled_from(["front_wide", "none", ""])),
    st.tuples(st.just("refuse"), st.sampled_from(["front_wide", "odometry", "none"]), st.text()),
    st.tuples(st.just("navigation"), st.text(max_size=40)),
    st.tuples(st.just("clock"), st.integers(-5_000, 5_000)),
    st.tuples(st.just("tick")),
    st.tuples(st.just("answer"), st.sampled_from(list(Outcome))),
    st.tuples(st.just("plan"), st.sampled_from(["speed_mps", "position_m"]), numbers),
    st.tuples(st.just("worker"), st.sampled_from(list(WorkerPhase))),
)


class Fuzz:
    """A session that planned once, and the counts that it should show."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = Bench(monkeypatch)
        self.bench.drive(3.0)
        self.bench.session.tick()
        self.bench.client.answer()
        self.expected = {h.name: [h.received, h.dropped] for h in self.health()}

    def health(self) -> Any:
        return self.bench.session.watch().inputs

    def count(self, name: str, verdict: Verdict) -> None:
        if name in self.expected:
            self.expected[name][0] += 1
            self.expected[name][1] += not verdict.ok

    def play(self, event: tuple[Any, ...]) -> None:
        bench, session, kind = self.bench, self.bench.session, event[0]
        if kind == "state":
            self.count("odometry", self.send_state(*event[1:]))
        elif kind == "frame":
            frame = Frame(event[3], bench.now_ns + event[1], event[2])
            self.count(event[3], session.add_frame(frame))
        elif kind == "refuse":
            session.refuse(event[1], event[2])
            self.count(event[1], Verdict.UNREADABLE)
        elif kind == "navigation":
            session.set_navigation(event[1])
        elif kind == "clock":
            bench.now_ns += event[1] * MS
            bench.steady_s += 0.02
        elif kind == "tick":
            session.tick()
        elif kind == "worker":
            bench.client.phase = event[1]
        elif bench.client.phase is WorkerPhase.BUSY and bench.client.asked:
            self.answer(kind, *event[1:])

    def send_state(self, offset_ns: int, changes: Any, frame_id: str, child: str) -> Verdict:
        good = state_at(self.bench.now_ns)
        values = {f.name: getattr(good, f.name) for f in dataclasses.fields(EgoState)}
        for name, index, number in changes:
            values[name] = values[name].copy()
            values[name].flat[index % len(values[name])] = number
        values["stamp_ns"] = self.bench.now_ns + offset_ns
        return self.bench.session.add_state(EgoState(**values), frame_id, child)

    def answer(self, kind: str, *what: Any) -> None:
        if kind == "answer":
            self.bench.client.answer(what[0])
            return
        field, number = what
        self.bench.client.answer(spoil=lambda t: spoilt(t, field, number))


def spoilt(trajectory: Any, field: str, number: float) -> Any:
    values = getattr(trajectory, field).copy()
    values.flat[7] = number
    return dataclasses.replace(trajectory, **{field: values})


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=40))
def test_nothing_raises_counters_add_up_and_it_plans_again(sequence: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        fuzz = Fuzz(monkeypatch)
        bench = fuzz.bench
        for event in sequence:
            seen = len(bench.out)
            fuzz.play(event)
            for output in bench.out[seen:]:
                path = output.followable.path
                assert np.isfinite(path.position_m).all()
                assert np.isfinite(path.speed_mps).all()
                assert output.followable.valid_until_ns <= bench.now_ns + NANOSECONDS
                assert output.followable.valid_until_ns > bench.now_ns
        assert {h.name: [h.received, h.dropped] for h in fuzz.health()} == fuzz.expected
        recover(bench)


def recover(bench: Bench) -> None:
    """Good messages again, also after the clock jumped: the next good tick plans."""
    bench.client.phase = WorkerPhase.READY
    bench.now_ns += 20 * NANOSECONDS
    bench.now_ns -= bench.now_ns % (20 * MS)
    bench.drive(3.0)
    bench.session.tick()
    assert bench.client.asked
    bench.client.answer()
    assert bench.sources()[-1] is PlanSource.MODEL
    assert bench.session.watch().state is PlannerState.ACTIVE


def test_ten_thousand_bad_messages_and_the_next_good_tick_plans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch)
    random = np.random.default_rng(7)
    bench.drive(3.0)
    names = ("position_m", "orientation_xyzw", "linear_mps", "angular_radps")
    for number in range(10_000):
        bench.now_ns += MS
        if number % 2:
            state = state_at(bench.now_ns + int(random.integers(-(10**12), 10**12)))
            name = names[int(random.integers(4))]
            values = getattr(state, name).copy()
            values[int(random.integers(len(values)))] = NASTY[int(random.integers(len(NASTY)))]
            bench.session.add_state(dataclasses.replace(state, **{name: values}), "odom", "?")
        else:
            shape = tuple(random.integers(0, 6, int(random.integers(0, 5))))
            image = np.zeros(shape, np.uint8)
            stamp = bench.now_ns + int(random.integers(-(10**12), 10**12))
            bench.session.add_frame(dataclasses.replace(picture("front_wide", stamp), image=image))
        if number % 100 == 0:
            bench.session.tick()
    received = {h.name: h.received for h in bench.session.watch().inputs}
    assert received == {"front_wide": 5_030, "odometry": 5_150}
    recover(bench)
