"""Diagnostics are made from a session's health; no node is started."""

from __future__ import annotations

import pytest

pytest.importorskip("diagnostic_msgs")
pytest.importorskip("rsd_planner.msg")

from session_bench import Bench

from rsd_planner.ros.diagnostics import diagnostics_message, status_message
from rsd_planner.worker.client import WorkerPhase
from rsd_planner.worker.health import PlannerState


def found(bench: Bench) -> dict[str, tuple[int, str, dict[str, str]]]:
    """Level, text and values of each status, by the last word of its name."""
    health = bench.session.watch()
    message = diagnostics_message(1, "rsd_planner", health.state, health.reasons, health)
    return {
        s.name.rsplit(": ", 1)[1]: (s.level[0], s.message, {p.key: p.value for p in s.values})
        for s in message.status
    }


def planned(monkeypatch: pytest.MonkeyPatch, **changes: object) -> Bench:
    bench = Bench(monkeypatch)
    bench.drive(3.0)
    for _ in range(25):
        bench.drive(0.1)
        bench.session.tick()
        bench.client.answer(**changes)
    return bench


def test_five_statuses_with_keys_that_can_be_plotted(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = found(planned(monkeypatch))
    assert list(statuses) == ["plan", "inputs", "model", "worker", "timing"]
    numbers = {
        "plan": ("state_number", "source_number", "plan_age_s", "plans_rejected", "ticks_late"),
        "inputs": ("front_wide.age_s", "front_wide.rate_hz", "odometry.dropped", "odometry.ok"),
        "model": ("load_s", "generation", "plans", "plan_ms", "tokens", "target_forwards"),
        "worker": ("generation", "memory_mb", "heard_s", "restarts", "pid"),
        "timing": ("tick_ms_p99", "overhead_ms_p99"),
    }
    for part, keys in numbers.items():
        assert all(float(statuses[part][2][key]) >= -1.0 for key in keys)
    assert statuses["model"][2]["drafter"] == "cascade"
    assert statuses["model"][2]["device"] == "cpu"
    assert statuses["model"][:2] == (0, "loaded and warm")


def test_texts_that_often_disagree_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    level, text, values = found(planned(monkeypatch, text="Stop for the light."))["model"]
    assert (level, text) == (1, "25 of 25 texts and paths disagree")
    assert "decides 'stop'" in values["last_disagreement"]


def test_a_worker_that_is_away_is_an_error_and_its_model_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = planned(monkeypatch)
    bench.client.phase = WorkerPhase.BACK_OFF
    statuses = found(bench)
    assert statuses["worker"][0] == 2
    assert statuses["model"][0] == 1


def test_status_and_diagnostics_exist_without_a_session() -> None:
    status = status_message(5, PlannerState.WAITING, ["not configured"], None, {})
    assert list(status.reasons) == ["not configured"]
    message = diagnostics_message(5, "n", PlannerState.FAULT, ["no weights"], None)
    assert [s.message for s in message.status] == ["no weights"]
