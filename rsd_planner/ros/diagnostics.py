"""PlannerStatus and /diagnostics, made from a session's health or from the reason there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from rsd_planner.msg import InputStatus, PlannerStatus
from rsd_planner.ros.conversions import time_message
from rsd_planner.worker.client import WorkerPhase
from rsd_planner.worker.health import PlannerState, SessionHealth, percentile

__all__ = ["diagnostics_message", "fingerprint", "status_message"]

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
FEW_PLANS = 20  # fewer say nothing about how often text and path disagree
MANY_DISAGREE = 0.25
_LEVELS = {
    PlannerState.LOADING: WARN,
    PlannerState.WAITING: WARN,
    PlannerState.ACTIVE: OK,
    PlannerState.DEGRADED: WARN,
    PlannerState.SAFE_STOP: ERROR,
    PlannerState.FAULT: ERROR,
}


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
            ok=item.ok and not item.drop_now,
            age_s=item.age_s,
            rate_hz=item.rate_hz,
            received=item.received,
            dropped=item.dropped,
            detail=item.drop_now or ("" if item.ok else "nothing fresh arrives"),
        )
        for item in health.inputs
    ]
    return message


def fingerprint(
    state: PlannerState, reasons: Sequence[str], health: SessionHealth | None
) -> tuple[int, str]:
    """What must change for a status to be news: not the digits of an age."""
    inputs = health.inputs if health is not None else ()
    refused = [f"{i.name}: {i.drop_now}, {'fresh' if i.ok else 'not fresh'}" for i in inputs]
    return int(state), re.sub(r"[0-9.]+", "#", "|".join([*reasons, *refused]))


def diagnostics_message(
    now_ns: int,
    name: str,
    state: PlannerState,
    reasons: Sequence[str],
    health: SessionHealth | None,
) -> DiagnosticArray:
    """One status each for plan, inputs, model, worker and timing, with keys that can be plotted."""
    message = DiagnosticArray()
    message.header.stamp = time_message(now_ns)
    summary = "; ".join(reasons) or state.name
    plan = _status(
        f"{name}: plan", _LEVELS[state], summary, {"state": state.name, "state_number": int(state)}
    )
    message.status = [plan]
    if health is None:
        return message
    plan.values += _pairs(
        {
            "source": health.source.name if health.source is not None else "none",
            "source_number": -1 if health.source is None else int(health.source),
            "tick": health.tick,
            "plan_tick": health.plan_tick,
            "ticks_skipped": health.ticks_skipped,
            "ticks_late": health.ticks_late,
            "plans_rejected": health.plans_rejected,
            "plan_age_s": health.plan_age_s,
        }
    )
    message.status += [
        _inputs(name, health),
        _model(name, health),
        _worker(name, health),
        _timing(name, health),
    ]
    return message


def _inputs(name: str, health: SessionHealth) -> DiagnosticStatus:
    silent = [i.name for i in health.inputs if not i.ok]
    required = [i.name for i in health.inputs if not i.ok and i.required]
    refused = [f"{i.name}: {i.drop_now}" for i in health.inputs if i.drop_now]
    level = ERROR if required else WARN if silent or refused else OK
    text = "not fresh: " + ", ".join(silent) if silent else "fresh"
    text = "; ".join([text, *refused])
    values: dict[str, object] = {}
    for item in health.inputs:
        values[f"{item.name}.ok"] = int(item.ok)
        values[f"{item.name}.age_s"] = item.age_s
        values[f"{item.name}.rate_hz"] = item.rate_hz
        values[f"{item.name}.received"] = item.received
        values[f"{item.name}.dropped"] = item.dropped
        if item.last_drop:
            values[f"{item.name}.last_drop"] = item.last_drop
    return _status(f"{name}: inputs", level, text, values)


def _model(name: str, health: SessionHealth) -> DiagnosticStatus:
    model, worker = health.model, health.worker
    loaded = worker.phase in (WorkerPhase.READY, WorkerPhase.BUSY)
    often = model.plans >= FEW_PLANS and model.disagreeing > MANY_DISAGREE * model.plans
    values = {
        "model_path": model.model_path,
        "device": model.device,
        "drafter": model.drafter,
        "rule": model.rule,
        "loaded": int(loaded),
        "load_s": worker.load_s,
        "generation": worker.generation,
        "plans": model.plans,
        "plans_disagreeing": model.disagreeing,
        "last_disagreement": model.last_disagreement,
        "plan_ms": model.plan_ms,
        "tokens": model.tokens,
        "accepted": model.accepted,
        "target_forwards": model.forwards,
    }
    if not loaded:
        return _status(f"{name}: model", WARN, worker.reason or "not loaded", values)
    if often:
        text = f"{model.disagreeing} of {model.plans} texts and paths disagree"
        return _status(f"{name}: model", WARN, text, values)
    return _status(f"{name}: model", OK, "loaded and warm", values)


def _worker(name: str, health: SessionHealth) -> DiagnosticStatus:
    worker = health.worker
    phase = worker.phase.value
    loading = worker.phase is WorkerPhase.LOADING
    level = OK if phase in ("ready", "busy") else WARN if loading else ERROR
    values = {
        "phase": phase,
        "generation": worker.generation,
        "pid": worker.pid or 0,
        "standby_pid": worker.standby_pid or 0,
        "restarts": worker.restarts,
        "memory_mb": worker.memory_mb,
        "heard_s": worker.heard_s,
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
