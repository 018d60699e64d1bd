"""Made-up answers of the model."""

from __future__ import annotations

import dataclasses

import numpy as np
from drives import START_NS, state_at

from rsd_planner.types import (
    NANOSECONDS,
    Decision,
    Decoded,
    Durations,
    EgoState,
    FinishReason,
    PlanResult,
    Span,
    SpanKind,
    SpanSource,
    Trajectory,
)

T0_NS = START_NS + 3 * NANOSECONDS


def straight(speed_mps: float = 8.0, acceleration: float = 0.0, points: int = 64) -> Trajectory:
    """A straight path with constant acceleration that never goes backwards."""
    time_s = 0.1 * np.arange(1, points + 1)
    speed = np.maximum(speed_mps + acceleration * time_s, 0.0)
    x = np.cumsum(np.concatenate([[speed_mps], speed[:-1]]) * 0.1)
    zero = np.zeros(points)
    return Trajectory(
        0.1,
        np.stack([x, zero, zero], axis=1),
        zero,
        speed,
        np.where(speed > 0, acceleration, 0.0),
        zero,
        spread_m=0.4,
    )


def result_at(
    t0_ns: int = T0_NS, tick: int = 7, trajectory: Trajectory | None = None, **changes: object
) -> PlanResult:
    """An answer for a car that goes straight at 8 m/s."""
    decoded = Decoded(
        tokens=(1, 2, 3),
        sources=(SpanSource.PREVIOUS_TICK, SpanSource.TARGET, SpanSource.TARGET),
        kinds=(SpanKind.ACCEPTED, SpanKind.CORRECTED, SpanKind.UNDRAFTED),
        finish_reason=FinishReason.COMPLETE,
        target_forwards=2,
        drafter_calls=1,
        proposed=2,
        accepted=1,
        top2_gaps=(0.5, 1.5, 2.5),
        drafter_ms=0.1,
        prefill_ms=40.0,
        decode_ms=55.0,
    )
    ego: EgoState = state_at(t0_ns, yaw_rate_radps=0.0)
    made = PlanResult(
        tick=tick,
        t0_ns=t0_ns,
        ego=ego,
        trajectory=trajectory or straight(),
        text="keep speed: the lane is free",
        spans=(
            Span(0, 11, 1, SpanSource.PREVIOUS_TICK, SpanKind.ACCEPTED),
            Span(11, 28, 2, SpanSource.TARGET, SpanKind.CORRECTED),
        ),
        decision=Decision.KEEP,
        agrees_with_trajectory=True,
        decoded=decoded,
        durations=Durations(1.0, 9.0, 40.0, 15.0, 5.0, 70.0),
        drafter="previous_tick",
        rule="greedy",
        plain_ms_estimate=120.0,
        missing=("rear: no pictures in time",),
        extra={"answer": 42.0},
    )
    return dataclasses.replace(made, **changes)
