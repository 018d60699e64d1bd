"""One tick end to end on a tiny random model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenes import observation

from rsd_planner.build import build_planner
from rsd_planner.config import PlannerSettings
from rsd_planner.planning.decision import agrees, decision_of
from rsd_planner.planning.planner import Planner
from rsd_planner.types import Decision, Trajectory


def planner(folder: Path, drafter: str = "previous_tick") -> Planner:
    return build_planner(
        PlannerSettings.from_mapping({"model_path": str(folder), "drafter": drafter})
    )


def test_a_stream_of_ticks_is_what_plain_decoding_plans(tiny_folder: Path) -> None:
    fast, plain = planner(tiny_folder), planner(tiny_folder, "none")
    for tick in range(4):
        seen = replace(observation(tick // 2, 4), tick=tick, t0_ns=tick)
        ours, theirs = fast.plan(seen), plain.plan(seen)
        assert ours.decoded.tokens == theirs.decoded.tokens
        assert (ours.text, ours.tick, ours.t0_ns) == (theirs.text, tick, tick)
        np.testing.assert_allclose(
            ours.trajectory.position_m, theirs.trajectory.position_m, atol=1e-4
        )
    assert ours.decoded.target_forwards < theirs.decoded.target_forwards


def test_durations_add_up(tiny_folder: Path) -> None:
    result = planner(tiny_folder).plan(observation(0, 4))
    d = result.durations
    parts = d.prepare_ms + d.vision_ms + d.prefill_ms + d.reasoning_ms + d.head_ms
    assert parts == pytest.approx(d.total_ms, rel=0.05, abs=0.5)
    assert min(d.vision_ms, d.prefill_ms, d.reasoning_ms, d.head_ms) >= 0


def test_warm_up_leaves_no_trace(tiny_folder: Path) -> None:
    warm, cold = planner(tiny_folder), planner(tiny_folder)
    warm.warm_up((32, 64))
    seen = observation(3, 4)
    assert warm.plan(seen).decoded.proposed == cold.plan(seen).decoded.proposed == 0


def test_spans_cover_the_text(tiny_folder: Path) -> None:
    result = planner(tiny_folder).plan(observation(2, 4))
    assert "".join(result.text[s.start : s.end] for s in result.spans) == result.text


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("Slow down to 20 km/h because the car ahead is braking", Decision.SLOW),
        ("Stop at the line because the light is red", Decision.STOP),
        ("Brake from 30 km/h and stop within 24 m because", Decision.STOP),
        ("Brake from 30 km/h to 20 because the car ahead", Decision.SLOW),
        ("Hold 45 km/h and go on in this lane because", Decision.KEEP),
        ("Remain stopped and hold the brake because", Decision.WAIT),
        ("Set off now and speed up to 5 km/h because", Decision.ACCELERATE),
        ("Keep waiting because the light is still red", Decision.WAIT),
        ("Start moving because the light turned green", Decision.ACCELERATE),
        ("Keep 50 km/h because the road is free", Decision.KEEP),
        ("Yield to the cross-traffic vehicle", Decision.YIELD),
        ("Change lanes to the left to pass the cones", Decision.LEFT),
        ("Purple", Decision.UNKNOWN),
        ("", Decision.UNKNOWN),
    ],
)
def test_decision_is_read_from_the_opening(text: str, decision: Decision) -> None:
    assert decision_of(text) is decision


def path(speeds: np.ndarray) -> Trajectory:
    x = np.cumsum(speeds * 0.1)
    zero = np.zeros_like(speeds)
    xyz = np.stack([x, zero, zero], axis=1)
    return Trajectory(0.1, xyz, zero, speeds, zero, zero)


def test_speeding_up_disagrees_with_stopping() -> None:
    speeding, stopping = path(np.linspace(8, 14, 64)), path(np.linspace(8, 0, 64))
    assert not agrees(Decision.STOP, speeding, 8.0)
    assert agrees(Decision.STOP, stopping, 8.0)
    assert not agrees(Decision.WAIT, speeding, 0.0)
    assert not agrees(Decision.ACCELERATE, stopping, 9.0)
