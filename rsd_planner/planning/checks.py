"""Whether an answer of the model may be published: checks as values.

A plan must be finite, start where the car is now, be a motion that a car can make, and ask
for nothing that the limits in the settings forbid. Rates are judged as means over half a
second, because a controller does not follow single points; both by what the plan says of
itself and by what its points do. It does not know whether the plan is wise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.decision import agrees, decision_of
from rsd_planner.planning.ego_history import yaw_of
from rsd_planner.planning.path import TURNED_RAD, TimedPath, path_of, turned_rad
from rsd_planner.types import NANOSECONDS, Decision, EgoState, FinishReason, PlanResult

__all__ = ["PlanFault", "PlanFaultKind", "check_plan", "checked_path", "disagreement"]

WINDOW_S = 0.5
WALKING_MPS = 2.0  # below it, curvature is noise of standing
SLACK = 1.05


class PlanFaultKind(Enum):
    """What is wrong with a plan."""

    SHAPE = "shape"
    NOT_FINITE = "not finite"
    DISPLACED = "displaced"
    BROKEN = "broken"
    REVERSED = "reversed"
    SPEED = "speed"
    ACCELERATION = "acceleration"
    JERK = "jerk"
    LATERAL_ACCELERATION = "lateral acceleration"
    CURVATURE = "curvature"
    DISAGREES = "disagrees"


@dataclass(frozen=True)
class PlanFault:
    """One reason why a plan was rejected; `detail` has the figure and its limit."""

    kind: PlanFaultKind
    detail: str

    def __str__(self) -> str:
        return f"plan rejected: {self.detail}"


def check_plan(
    result: PlanResult, ego_now: EgoState | None, settings: PlannerSettings
) -> tuple[PlanFault, ...]:
    """Everything that is wrong with a plan; empty when it may be published.

    `ego_now` is the newest odometry, which may be later than the plan's t0.
    """
    return checked_path(result, ego_now, settings)[0]


def checked_path(
    result: PlanResult, ego_now: EgoState | None, settings: PlannerSettings
) -> tuple[tuple[PlanFault, ...], TimedPath | None]:
    """As `check_plan`, and the path in the odometry frame, if the plan has one."""
    faults = _check_numbers(result)
    if faults:
        return faults, None
    path = path_of(result)
    step_s = result.trajectory.step_s
    faults = (
        _check_place(path, ego_now, settings.max_displacement_m)
        + _check_motion(path, step_s)
        + _check_limits(path, step_s, settings)
        + (_check_text(result) if settings.require_agreement else ())
    )
    return faults, path


def disagreement(result: PlanResult) -> str:
    """Why the text cannot be what the path follows from, in words; empty when it can."""
    if _check_numbers(result):
        return "the path has no usable points"
    if not result.text.strip():
        return "the text is empty"
    if result.decoded.finish_reason is FinishReason.LENGTH:
        return "the text was cut at max_reasoning_tokens"
    decision = decision_of(result.text)
    if decision is Decision.UNKNOWN:
        return "the text names no decision"
    if not agrees(decision, result.trajectory, float(result.ego.linear_mps[0])):
        return f"the text decides '{decision.name.lower()}' and the path does not"
    return ""


def _check_text(result: PlanResult) -> tuple[PlanFault, ...]:
    words = disagreement(result)
    return (PlanFault(PlanFaultKind.DISAGREES, words),) if words else ()


def _check_numbers(result: PlanResult) -> tuple[PlanFault, ...]:
    trajectory = result.trajectory
    points = trajectory.position_m.shape[0] if trajectory.position_m.ndim == 2 else 0
    rows = (
        trajectory.heading_rad, trajectory.speed_mps,
        trajectory.acceleration_mps2, trajectory.curvature_1pm,
    )  # fmt: skip
    shapes = trajectory.position_m.shape == (points, 3) and all(r.shape == (points,) for r in rows)
    if not shapes or points < 2 or not 0.01 <= trajectory.step_s <= 1.0:
        return (PlanFault(PlanFaultKind.SHAPE, "the path has no usable points"),)
    numbers = (trajectory.position_m, *rows, result.ego.position_m, result.ego.orientation_xyzw)
    if not all(np.all(np.isfinite(values)) for values in numbers):
        return (PlanFault(PlanFaultKind.NOT_FINITE, "the path holds NaN or infinity"),)
    return ()


def _check_place(
    path: TimedPath, ego_now: EgoState | None, limit_m: float
) -> tuple[PlanFault, ...]:
    first_m = float(np.linalg.norm(path.position_m[1] - path.position_m[0]))
    reach_m = 1.0 + 2.0 * max(abs(float(path.speed_mps[0])), abs(float(path.speed_mps[1]))) * (
        float(path.time_ns[1] - path.time_ns[0]) / NANOSECONDS
    )
    if first_m > reach_m:
        detail = f"the path starts {first_m:.1f} m from the ego pose at t0"
        return (PlanFault(PlanFaultKind.DISPLACED, detail),)
    if ego_now is None:
        return ()
    off_m = float(np.linalg.norm((path.position_at(ego_now.stamp_ns) - ego_now.position_m)[:2]))
    if off_m > limit_m:
        detail = f"the path is {off_m:.1f} m from where the car is now (limit {limit_m:.1f} m)"
        return (PlanFault(PlanFaultKind.DISPLACED, detail),)
    off_rad = turned_rad(path.heading_at(ego_now.stamp_ns), yaw_of(ego_now.orientation_xyzw))
    if off_rad <= TURNED_RAD:
        return ()
    detail = f"the path is turned by {off_rad:.1f} rad from the car's heading now"
    return (PlanFault(PlanFaultKind.DISPLACED, detail),)


def _check_motion(path: TimedPath, step_s: float) -> tuple[PlanFault, ...]:
    """No reversal, no leaps, and points that move as their speeds and headings say."""
    step = np.diff(path.position_m, axis=0)  # (n, 3)
    dt_s = np.diff(path.time_ns) / NANOSECONDS
    middle = path.yaw_rad[:-1] + 0.5 * np.angle(np.exp(1j * np.diff(path.yaw_rad)))
    along = step[:, 0] * np.cos(middle) + step[:, 1] * np.sin(middle)  # (n,)
    across = step[:, 1] * np.cos(middle) - step[:, 0] * np.sin(middle)
    back_m = float(-np.minimum(along, 0.0).sum())
    if back_m > 0.5 or float(path.speed_mps[1:].min()) < -0.3:
        detail = f"the path goes {back_m:.1f} m backwards"
        return (PlanFault(PlanFaultKind.REVERSED, detail),)
    fastest = np.maximum(np.abs(path.speed_mps[:-1]), np.abs(path.speed_mps[1:]))
    leap_m = float((np.linalg.norm(step, axis=1) - 1.5 * fastest * dt_s).max())
    if leap_m > 1.0:
        return (PlanFault(PlanFaultKind.BROKEN, f"the path leaps by {leap_m:.1f} m"),)
    window = max(1, round(WINDOW_S / step_s))
    said = _mean(0.5 * (path.speed_mps[:-1] + path.speed_mps[1:]), window)
    off_mps = float((np.abs(_mean(along / dt_s, window) - said) - 0.15 * said).max())
    slides_mps = float((np.abs(_mean(across / dt_s, window)) - 0.3 * said).max())
    if off_mps > 1.0:
        detail = f"the points move {off_mps:.1f} m/s off the plan's own speed"
        return (PlanFault(PlanFaultKind.BROKEN, detail),)
    if slides_mps > 1.0:
        detail = f"the path slides {slides_mps:.1f} m/s sideways off its own heading"
        return (PlanFault(PlanFaultKind.BROKEN, detail),)
    return ()


def _check_limits(
    path: TimedPath, step_s: float, settings: PlannerSettings
) -> tuple[PlanFault, ...]:
    window = max(1, round(WINDOW_S / step_s))
    speed = _mean(path.speed_mps[1:], window)
    acceleration = _mean(path.acceleration_mps2[1:], window)
    jerk = np.abs(acceleration[window:] - acceleration[:-window]) / (window * step_s)
    turning = np.abs(np.angle(np.exp(1j * np.diff(path.yaw_rad)))) / step_s  # (n,)
    curvature = _mean(path.curvature_1pm[1:], window)
    lateral = np.maximum(np.abs(speed * speed * curvature), speed * _mean(turning, window))
    tight = np.abs(curvature[speed > WALKING_MPS])
    found = (
        (PlanFaultKind.SPEED, "speed", speed.max(), settings.max_speed_mps, "m/s"),
        (
            PlanFaultKind.ACCELERATION, "acceleration",
            acceleration.max(), settings.max_acceleration_mps2, "m/s^2",
        ),
        (
            PlanFaultKind.ACCELERATION, "deceleration",
            -acceleration.min(), settings.max_deceleration_mps2, "m/s^2",
        ),
        (PlanFaultKind.JERK, "jerk", jerk.max(initial=0.0), settings.max_jerk_mps3, "m/s^3"),
        (
            PlanFaultKind.LATERAL_ACCELERATION, "lateral acceleration",
            lateral.max(), settings.max_lateral_acceleration_mps2, "m/s^2",
        ),
        (
            PlanFaultKind.CURVATURE, "curvature",
            tight.max(initial=0.0), settings.max_curvature_1pm, "1/m",
        ),
    )  # fmt: skip
    return tuple(
        PlanFault(kind, f"{name} {float(value):.2f} above {limit:.2f} {unit}")
        for kind, name, value, limit, unit in found
        if float(value) > SLACK * limit
    )


def _mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Moving mean of length n − window + 1, or the mean of all if there are fewer."""
    if len(values) <= window:
        return np.array([values.mean()])
    return np.convolve(values, np.full(window, 1.0 / window), mode="valid")
