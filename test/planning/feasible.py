"""Whether a car could follow what is published, judged apart from the planner's own checks."""

from __future__ import annotations

import numpy as np

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.ego_history import yaw_of
from rsd_planner.planning.fallback import Followable
from rsd_planner.types import NANOSECONDS, EgoState, PlanSource


def assert_followable(
    plan: Followable, ego: EgoState | None, now_ns: int, settings: PlannerSettings
) -> None:
    """Fresh, finite, at the car, within the limits; a stop ends standing."""
    path, limit = plan.path, settings
    validity_ns = round(limit.validity_s * NANOSECONDS)
    assert now_ns < plan.valid_until_ns <= now_ns + validity_ns
    if plan.source is not PlanSource.SAFE_STOP:
        assert plan.valid_until_ns <= plan.t0_ns + validity_ns
    assert len(path) > 0
    assert np.all(np.diff(path.time_ns) > 0)
    assert path.time_ns[-1] > now_ns
    for values in (
        path.position_m, path.yaw_rad, path.speed_mps, path.acceleration_mps2, path.curvature_1pm
    ):  # fmt: skip
        assert np.isfinite(values).all()
    assert ego is not None
    assert abs(now_ns - ego.stamp_ns) <= 2.0 * limit.max_input_age_s * NANOSECONDS
    assert_at_the_car(plan, ego, now_ns, limit)
    dt_s = np.diff(path.time_ns) / NANOSECONDS
    step_m = np.linalg.norm(np.diff(path.position_m[:, :2], axis=0), axis=1)
    top_mps = max(limit.max_speed_mps, float(ego.linear_mps[0]))
    assert np.all(step_m <= 1.6 * top_mps * dt_s + 1.05)
    if plan.source is PlanSource.SAFE_STOP:
        speed = np.concatenate([[max(0.0, float(ego.linear_mps[0]))], path.speed_mps])
        time_s = np.concatenate([[0.0], (path.time_ns - now_ns) / NANOSECONDS])
        braking = -np.diff(speed) / np.diff(time_s)
        assert np.all(braking >= -1e-9)
        assert np.all(braking <= limit.max_deceleration_mps2 + 1e-6)
        assert path.speed_mps[-1] == 0.0
        lateral = np.abs(path.speed_mps**2 * path.curvature_1pm).max()
        hardest = braking.max() >= limit.max_deceleration_mps2 - 1e-6
        assert hardest or lateral <= limit.max_lateral_acceleration_mps2 + 1e-6


def assert_at_the_car(plan: Followable, ego: EgoState, now_ns: int, limit: PlannerSettings) -> None:
    """The path begins where the car is, or where it will be at the first point's time."""
    path = plan.path
    since_s = (path.time_ns[0] - ego.stamp_ns) / NANOSECONDS
    reach_m = abs(float(ego.linear_mps[0])) * max(0.0, since_s)
    off_m = np.linalg.norm((path.position_at(ego.stamp_ns) - ego.position_m)[:2])
    braking_m = 0.5 * limit.max_deceleration_mps2 * max(0.0, since_s) ** 2
    assert off_m <= limit.max_displacement_m + reach_m + braking_m + 0.5
    if plan.source is not PlanSource.SAFE_STOP:
        turn = path.heading_at(now_ns) - yaw_of(ego.orientation_xyzw)
        assert abs(np.angle(np.exp(1j * turn))) <= 0.7 + abs(float(ego.angular_radps[2])) + 0.1
