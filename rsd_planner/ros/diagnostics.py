"""PlannerStatus and /diagnostics, made from a session's health or from the reason there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from rsd_planner.msg import InputStatus, PlannerStatus
from rsd_planner.ros.conversions import time_message
from rsd_planner.worker.session import PlannerState, SessionHealth

__all__ = ["diagnostics_message", "fingerprint", "percentile", "status_message"]

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_LEVELS = {
    PlannerState.LOADING: WARN,
    PlannerState.WAITING: WARN,
    PlannerState.ACTIVE: OK,
    PlannerState.DEGRADED: WARN,
    PlannerState.SAFE_STOP: ERROR,
    PlannerState.FAULT: ERROR,
}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of the values do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def status_message(
    now_ns: int,
    state: PlannerState,
    reasons: Sequence[str],
    health: SessionHealth | None,
    topics: Mapping[str, str],
) -> PlannerStatus:
    """`topics` gives each input's resolved topic name."""
    message = PlannerStatus(state=int(state), reasons=list(reasons))
    message.header.stamp = time_message(now_ns)
    if health is None:
        return message
    message.tick = message.ticks_total = health.tick
    message.plan_tick = health.plan_tick
    message.ticks_skipped = health.ticks_skipped
    message.ticks_late = health.ticks_late
    message.worker_generation = health.worker.generation
    message.inputs = [
        InputStatus(
            name=item.name,
            topic=topics.get(item.name, ""),
            required=item.required,
            ok=item.ok,
            age_s=item.age_s,
            rate_hz=item.rate_hz,
            received=item.received,
            dropped=item.dropped,
            detail="" if item.ok else (item.last_drop or "nothing fresh arrives"),
        )
        for item in health.inputs
    ]
    return message


def fingerprint(state: PlannerState, reasons: Sequence[str]) -> tuple[int, str]:
    """What must change for a status to be news: not the digits of an age."""
    return int(state), re.sub(r"[0-9.]+", "#", "|".join(reasons))


def diagnostics_message(
    now_ns: int,
    name: str,
    state: PlannerState,
    reasons: Sequence[str],
    health: SessionHealth | None,
) -> DiagnosticArray:
    """One status each for inputs, worker, plan and timing, with keys that can be plotted."""
    message = DiagnosticArray()
    message.header.stamp = time_message(now_ns)
    summary = "; ".join(reasons) or state.name
    plan = _status(f"{name}: plan", _LEVELS[state], summary, {"state": state.name})
    message.status = [plan]
    if health is None:
        return message
    plan.values += _pairs(
        {
            "source": health.source.name if health.source is not None else "none",
            "tick": health.tick,
            "plan_tick": health.plan_tick,
            "ticks_skipped": health.ticks_skipped,
            "ticks_late": health.ticks_late,
            "plans_rejected": health.plans_rejected,
            "plan_age_s": health.plan_age_s,
        }
    )
    message.status += [_inputs(name, health), _worker(name, health), _timing(name, health)]
    return message


def _inputs(name: str, health: SessionHealth) -> DiagnosticStatus:
    silent = [i.name for i in health.inputs if not i.ok]
    required = [i.name for i in health.inputs if not i.ok and i.required]
    level = ERROR if required else WARN if silent else OK
    text = "not fresh: " + ", ".join(silent) if silent else "fresh"
    values: dict[str, object] = {}
    for item in health.inputs:
        values[f"{item.name}.age_s"] = item.age_s
        values[f"{item.name}.rate_hz"] = item.rate_hz
        values[f"{item.name}.received"] = item.received
        values[f"{item.name}.dropped"] = item.dropped
        if item.last_drop:
            values[f"{item.name}.last_drop"] = item.last_drop
    return _status(f"{name}: inputs", level, text, values)


def _worker(name: str, health: SessionHealth) -> DiagnosticStatus:
    worker = health.worker
    phase = worker.phase.value
    level = OK if phase in ("ready", "busy") else WARN if phase == "loading" else ERROR
    values = {
        "phase": phase,
        "generation": worker.generation,
        "pid": worker.pid or 0,
        "load_s": worker.load_s,
        "late_dropped": worker.late_dropped,
    }
    return _status(f"{name}: worker", level, worker.reason or phase, values)


def _timing(name: str, health: SessionHealth) -> DiagnosticStatus:
    values = {
        "tick_ms_p50": percentile(health.tick_ms, 0.5),
        "tick_ms_p99": percentile(health.tick_ms, 0.99),
        "overhead_ms_p50": percentile(health.overhead_ms, 0.5),
        "overhead_ms_p99": percentile(health.overhead_ms, 0.99),
        "ticks_measured": len(health.tick_ms),
    }
    text = f"{values['tick_ms_p50']:.0f} ms a tick"
    return _status(f"{name}: timing", OK, text, values)


def _status(name: str, level: bytes, text: str, values: Mapping[str, object]) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level, name=name, message=text, hardware_id="", values=_pairs(values)
    )


def _pairs(values: Mapping[str, object]) -> list[KeyValue]:
    return [
        KeyValue(key=key, value=f"{value:.3f}" if isinstance(value, float) else str(value))
        for key, value in values.items()
    ]
