"""A session whose clocks the test moves, with a stand-in for the worker's client."""

from __future__ import annotations

from typing import Any

import pytest
from drives import START_NS, picture, state_at
from fakes import gentle
from results import result_at

from rsd_planner.config import ModelRequirements, PlannerSettings
from rsd_planner.types import Observation, PlanSource
from rsd_planner.worker import session as session_module
from rsd_planner.worker.client import Answer, Outcome, WorkerPhase, WorkerStatus
from rsd_planner.worker.health import PlannerState
from rsd_planner.worker.session import PlanningSession, TickOutput

MS = 1_000_000


class StandIn:
    """Takes what the session asks; the test decides what becomes of it."""

    def __init__(self, settings: Any, on_answer: Any, log: Any, clock: Any) -> None:
        self.settings = settings
        self.on_answer = on_answer
        self.phase = WorkerPhase.READY
        self.asked: list[tuple[Observation, int]] = []
        self.abandoned = 0

    def start(self) -> None:
        pass

    def close(self, wait_s: float) -> None:
        self.phase = WorkerPhase.STOPPED

    def abandon(self) -> None:
        self.abandoned += 1

    def status(self) -> WorkerStatus:
        return WorkerStatus(self.phase, 1, "", 42, 0.0, 0)

    def submit(self, observation: Observation, epoch: int, deadline_s: float) -> bool:
        if self.phase is not WorkerPhase.READY:
            return False
        self.asked.append((observation, epoch))
        self.phase = WorkerPhase.BUSY
        return True

    def answer(
        self, outcome: Outcome = Outcome.PLAN, spoil: Any = lambda t: t, **changes: Any
    ) -> None:
        observation, _ = self.asked[-1]
        ego = observation.history.now
        trajectory = gentle(float(ego.linear_mps[0]), float(ego.angular_radps[2]))
        result = result_at(
            observation.t0_ns,
            observation.tick,
            ego=ego,
            trajectory=spoil(trajectory),
            missing=observation.missing,
            **changes,
        )
        if outcome is not Outcome.LATE:
            self.phase = WorkerPhase.READY
        given = result if outcome is Outcome.PLAN else None
        self.on_answer(Answer(outcome, observation.tick, given, reason=f"it was {outcome.value}"))


class Bench:
    """A session with clocks that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        monkeypatch.setattr(session_module, "WorkerClient", StandIn)
        self.now_ns = START_NS
        self.steady_s = 0.0
        self.out: list[TickOutput] = []
        self.told: list[TickOutput | None] = []
        self.session = PlanningSession(
            PlannerSettings.from_mapping(settings),
            ModelRequirements(),
            self.out.append,
            lambda: self.now_ns,
            clock=lambda: self.steady_s,
            tell=self.told.append,
        )
        self.client: StandIn = self.session._client  # type: ignore[assignment]
        self.session.activate()

    def drive(self, seconds: float, odometry: bool = True, camera: bool = True) -> None:
        for _ in range(round(seconds * 50)):
            self.now_ns += 20 * MS
            self.steady_s += 0.02
            if odometry:
                self.session.add_state(state_at(self.now_ns), "odom", "base_link")
            if camera and self.now_ns % (100 * MS) == 0:
                self.session.add_frame(picture("front_wide", self.now_ns))

    def sources(self) -> list[PlanSource]:
        return [output.followable.source for output in self.out]

    @property
    def state(self) -> PlannerState:
        return self.session.watch().state
