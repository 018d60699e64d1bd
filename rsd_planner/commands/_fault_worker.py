"""A worker whose planner misbehaves on order, to set as `worker_python` in fault drills.

The process, the server and the protocol are the real ones; only the planner is made up: it
goes on at the present speed and yaw rate, or does what the order file says. The order is one
line: `late S`, `hang`, `eat MB`, `nan`, `inf`, `reversed`, `displaced`, `infeasible`, `cut`,
`empty`, `contrary`, `history`; anything else, or no file, is good behaviour.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.decision import decision_of
from rsd_planner.types import (
    Decoded,
    Durations,
    FinishReason,
    Observation,
    PlanResult,
    Span,
    SpanKind,
    SpanSource,
    Trajectory,
)
from rsd_planner.worker.server import main

__all__ = ["DrillPlanner", "run", "write_worker"]

GOOD_TEXT = "Keep the speed because the road is free."
TEXTS = {"empty": "", "contrary": "Stop because of the red light."}
STEP_S, POINTS = 0.1, 64


class DrillPlanner:
    """Stands in for the planner; a class attribute names the order file."""

    order_file = Path()

    def __init__(self, settings: PlannerSettings) -> None:
        self.settings = settings
        self._eaten: list[np.ndarray[Any, Any]] = []

    def warm_up(self) -> None:
        """Takes as long as the order `load S` says."""
        order, _, value = self._order()
        if order == "load":
            time.sleep(float(value))

    def reset(self) -> None:
        """Nothing is remembered."""

    def plan(self, observation: Observation) -> PlanResult:
        """Carries the order out."""
        order, _, value = self._order()
        if order == "late":
            time.sleep(float(value))
        elif order == "hang":
            time.sleep(3600.0)
        elif order == "eat":
            self._eaten.append(np.ones(int(value) * 1_000_000, np.uint8))
        ego = observation.history.now
        made = _gentle(float(ego.linear_mps[0]), float(ego.angular_radps[2]))
        text = TEXTS.get(order, GOOD_TEXT)
        if order == "history":
            text = f"Keep the speed; the history is {_off_grid(observation) * 1e3:.1f} mm off."
        return _result(observation, _spoilt(made, order), text, cut=order == "cut")

    def _order(self) -> tuple[str, str, str]:
        try:
            return self.order_file.read_text(encoding="utf-8").strip().partition(" ")
        except OSError:
            return "", "", ""


def _gentle(speed_mps: float, yaw_rate_radps: float) -> Trajectory:
    """Constant speed and yaw rate."""
    time_s = STEP_S * np.arange(1, POINTS + 1)
    turn = np.asarray(yaw_rate_radps * time_s, np.float64)
    middle = turn - 0.5 * yaw_rate_radps * STEP_S
    step = speed_mps * STEP_S
    x, y = np.cumsum(step * np.cos(middle)), np.cumsum(step * np.sin(middle))
    ones = np.ones(POINTS)
    curvature = yaw_rate_radps / speed_mps if speed_mps > 0.5 else 0.0
    position = np.stack([x, y, 0.0 * x], axis=1)
    return Trajectory(STEP_S, position, turn, speed_mps * ones, 0.0 * ones, curvature * ones)


def _spoilt(made: Trajectory, order: str) -> Trajectory:
    if order in ("nan", "inf"):
        spoilt = made.position_m.copy()
        spoilt[20] = np.nan if order == "nan" else np.inf
        return replace(made, position_m=spoilt)
    if order == "reversed":
        return replace(made, position_m=-made.position_m)
    if order == "displaced":
        return replace(made, position_m=made.position_m + np.array([0.0, 9.0, 0.0]))
    if order == "infeasible":
        return replace(made, curvature_1pm=made.curvature_1pm + 0.25)
    return made


def _off_grid(observation: Observation) -> float:
    """How far the history is from that of a car on a straight line at its speed [m]."""
    history = observation.history
    steps = np.arange(1 - len(history.position_m), 1)
    straight = steps * history.step_s * float(history.now.linear_mps[0])
    return float(np.abs(history.position_m[:, 0] - straight).max())


def _result(observation: Observation, trajectory: Trajectory, text: str, cut: bool) -> PlanResult:
    decoded = Decoded(
        tokens=(1, 2),
        sources=(SpanSource.PREVIOUS_TICK, SpanSource.TARGET),
        kinds=(SpanKind.ACCEPTED, SpanKind.UNDRAFTED),
        finish_reason=FinishReason.LENGTH if cut else FinishReason.COMPLETE,
        target_forwards=1,
        drafter_calls=1,
        proposed=1,
        accepted=1,
    )
    return PlanResult(
        tick=observation.tick,
        t0_ns=observation.t0_ns,
        ego=observation.history.now,
        trajectory=trajectory,
        text=text,
        spans=(Span(0, len(text), 2, SpanSource.TARGET, SpanKind.UNDRAFTED),),
        decision=decision_of(text),
        agrees_with_trajectory=True,
        decoded=decoded,
        durations=Durations(),
        drafter="drill",
        rule="greedy",
        missing=observation.missing,
    )


def write_worker(folder: Path, order_file: Path) -> str:
    """An executable to set as `worker_python`."""
    script = folder / "drill_worker"
    root = str(Path(__file__).resolve().parents[2])
    script.write_text(
        f"#!{sys.executable}\n"
        f"import sys\nsys.path.insert(0, {root!r})\n"
        "from rsd_planner.commands._fault_worker import run\n"
        f"run({str(order_file)!r}, sys.argv[3:])\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    return str(script)


def run(order_file: str, arguments: list[str]) -> None:
    """Serves until the client is gone; does not return."""
    DrillPlanner.order_file = Path(order_file)
    os._exit(main(arguments, build=DrillPlanner))
