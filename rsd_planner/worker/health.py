"""How a planning session is, as values: what status and diagnostics are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.checks import disagreement
from rsd_planner.planning.input_buffer import InputHealth
from rsd_planner.types import PlanResult, PlanSource
from rsd_planner.worker.client import WorkerStatus

__all__ = ["ModelHealth", "PlannerState", "SessionHealth", "percentile"]


class PlannerState(IntEnum):
    """Values equal the constants of `PlannerStatus.msg`."""

    LOADING = 0
    WAITING = 1
    ACTIVE = 2
    DEGRADED = 3
    SAFE_STOP = 4
    FAULT = 5


@dataclass(frozen=True)
class ModelHealth:
    """Which model answers, and what its answers were like. Counts are since activation."""

    model_path: str
    device: str
    drafter: str
    rule: str
    plans: int = 0
    disagreeing: int = 0  # texts that were empty, cut, or decided what their path does not do
    last_disagreement: str = ""
    plan_ms: float = 0.0  # of the newest answer, in the planner alone
    tokens: int = 0  # of the newest answer
    accepted: int = 0
    forwards: int = 0

    @classmethod
    def of(cls, settings: PlannerSettings) -> ModelHealth:
        """Before the first answer."""
        return cls(settings.model_path, settings.device, settings.drafter, settings.rule)

    def after(self, result: PlanResult, plan_ms: float) -> ModelHealth:
        """With one more answer."""
        words = disagreement(result)
        decoded = result.decoded
        return ModelHealth(
            model_path=self.model_path,
            device=self.device,
            drafter=self.drafter,
            rule=self.rule,
            plans=self.plans + 1,
            disagreeing=self.disagreeing + bool(words),
            last_disagreement=words or self.last_disagreement,
            plan_ms=plan_ms,
            tokens=len(decoded.tokens),
            accepted=decoded.accepted,
            forwards=decoded.target_forwards,
        )


@dataclass(frozen=True)
class SessionHealth:
    """A picture of the session for status and diagnostics. Counts are since activation."""

    state: PlannerState
    reasons: tuple[str, ...]
    tick: int
    plan_tick: int
    ticks_skipped: int
    ticks_late: int
    plans_rejected: int
    source: PlanSource | None
    worker: WorkerStatus
    model: ModelHealth
    inputs: tuple[InputHealth, ...]
    overhead_ms: tuple[float, ...]  # newest ticks: from the timer to published, less the planner
    tick_ms: tuple[float, ...]  # newest ticks: from the timer to published
    plan_age_s: float  # ROS time now − t0 of the newest model plan; -1 without one


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of the values do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
