"""What to follow when the model gives no good plan in time.

A pure state machine: MODEL → LAST_VALID (the last good plan, past points dropped, until its
validity ends) → SAFE_STOP (bounded deceleration along the last plan, or along the present
curvature). Without odometry there is no path. Time is passed in, on the clock of the
stamps. It assumes that `accept` gets checked plans only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.ego_history import yaw_of
from rsd_planner.planning.path import (
    TURNED_RAD,
    TimedPath,
    arc_path,
    moved_to,
    path_of,
    stop_along,
    turned_rad,
)
from rsd_planner.types import NANOSECONDS, EgoState, PlanResult, PlanSource

__all__ = ["Fallback", "Followable"]

MOVING_MPS = 0.3
HARDER_STEPS = 4


@dataclass(frozen=True)
class Followable:
    """A path that may be followed until `valid_until_ns`.

    `t0_ns` and `plan_tick` are those of the model's answer that it goes back to; without
    one, `t0_ns` is the stamp of the odometry and `plan_tick` is 0.
    """

    source: PlanSource
    tick: int
    plan_tick: int
    t0_ns: int
    valid_until_ns: int
    path: TimedPath


class Fallback:
    """Remembers the last good plan and decides what is followed instead of a new one."""

    def __init__(self, settings: PlannerSettings) -> None:
        self.settings = settings
        self._last: Followable | None = None
        self.source: PlanSource | None = None  # of what was published last; None: nothing

    def reset(self) -> None:
        """Forgets the last plan: time jumped, or the node was deactivated."""
        self._last = None
        self.source = None

    def accept(self, result: PlanResult, now_ns: int, path: TimedPath | None = None) -> Followable:
        """A checked answer of the model, whose `path` may be known, becomes the plan to follow.

        Stamps may run ahead of a lagging clock; the validity never counts from later than now.
        """
        path = path_of(result) if path is None else path
        plan = Followable(
            PlanSource.MODEL,
            result.tick,
            result.tick,
            result.t0_ns,
            min(result.t0_ns, now_ns) + self._validity_ns,
            path.after(result.t0_ns),
        )
        self._last = plan
        self.source = PlanSource.MODEL
        return plan

    @property
    def has_plan(self) -> bool:
        """Whether there is a plan of the model, however old."""
        return self._last is not None

    def expired(self, now_ns: int) -> bool:
        """Whether a plan was followed whose validity is over."""
        return self._last is not None and now_ns >= self._last.valid_until_ns

    def decide(self, tick: int, now_ns: int, ego: EgoState | None) -> Followable | None:
        """What to follow at `now_ns` without a new plan; None when no path can be given.

        None means FAULT when `ego` is None or too old, and otherwise that the car stands
        and nothing was planned yet.
        """
        chosen = self._decide(tick, now_ns, ego)
        self.source = chosen.source if chosen else None
        return chosen

    def _decide(self, tick: int, now_ns: int, ego: EgoState | None) -> Followable | None:
        if not self.knows_where(now_ns, ego):
            return None
        assert ego is not None
        speed_mps = abs(float(ego.linear_mps[0]))
        ego = moved_to(ego, now_ns, self._grip_1pm(speed_mps) * speed_mps)
        last = self._last
        if last is None:
            return self._stop_blind(tick, now_ns, ego)
        if self._still_good(last, now_ns, ego):
            return Followable(
                PlanSource.LAST_VALID,
                tick,
                last.plan_tick,
                last.t0_ns,
                last.valid_until_ns,
                last.path.after(now_ns),
            )
        line = last.path if self._near(last.path, ego) else self._arc(ego)
        return self._stop(tick, now_ns, ego, line, last)

    def knows_where(self, now_ns: int, ego: EgoState | None) -> bool:
        """Whether the odometry is fresh enough to give any path."""
        if ego is None:
            return False
        return abs(now_ns - ego.stamp_ns) <= self.settings.max_input_age_s * NANOSECONDS

    @property
    def _validity_ns(self) -> int:
        return round(self.settings.validity_s * NANOSECONDS)

    def _still_good(self, plan: Followable, now_ns: int, ego: EgoState) -> bool:
        """Valid, not from the future, with points left, and still where the car is."""
        if not plan.t0_ns <= now_ns < plan.valid_until_ns:
            return False
        if not np.any(plan.path.time_ns > now_ns):
            return False
        off = plan.path.position_at(ego.stamp_ns) - ego.position_m
        if float(np.linalg.norm(off[:2])) > self.settings.max_displacement_m:
            return False
        heading = plan.path.heading_at(ego.stamp_ns)
        return turned_rad(heading, yaw_of(ego.orientation_xyzw)) <= TURNED_RAD

    def _near(self, path: TimedPath, ego: EgoState) -> bool:
        """Whether the line of a path, at any time of it, passes where the car is and its way."""
        off_m = np.linalg.norm(path.position_m[:, :2] - ego.position_m[:2], axis=1)
        nearest = int(np.argmin(off_m))
        if turned_rad(path.yaw_rad[nearest], yaw_of(ego.orientation_xyzw)) > TURNED_RAD:
            return False
        spacing_m = 0.06 * float(np.max(path.speed_mps))  # the line between two points
        return float(off_m[nearest]) <= self.settings.max_displacement_m + spacing_m

    def _arc(self, ego: EgoState) -> TimedPath:
        return arc_path(ego, self._grip_1pm(float(ego.linear_mps[0])))

    def _grip_1pm(self, speed_mps: float) -> float:
        """The sharpest curve that the car can drive at a speed."""
        grip_1pm = self.settings.max_lateral_acceleration_mps2 / max(1.0, speed_mps) ** 2
        return min(self.settings.max_curvature_1pm, grip_1pm)

    def _stop_blind(self, tick: int, now_ns: int, ego: EgoState) -> Followable | None:
        """No plan ever: a moving car stops on its present curve, a standing one gets nothing."""
        if abs(float(ego.linear_mps[0])) < MOVING_MPS:
            return None
        return self._stop(tick, now_ns, ego, self._arc(ego), None)

    def _stop(
        self, tick: int, now_ns: int, ego: EgoState, line: TimedPath, last: Followable | None
    ) -> Followable:
        return Followable(
            PlanSource.SAFE_STOP,
            tick,
            last.plan_tick if last else 0,
            last.t0_ns if last else ego.stamp_ns,
            now_ns + self._validity_ns,
            self._gentlest_stop(line, ego, now_ns),
        )

    def _gentlest_stop(self, line: TimedPath, ego: EgoState, now_ns: int) -> TimedPath:
        """Braking of SAFE_STOP, or as much more as the curves of the line ask for."""
        hardest = self.settings.max_deceleration_mps2
        gentle = min(self.settings.safe_stop_deceleration_mps2, hardest)
        stop = stop_along(line, ego, now_ns, gentle)
        for deceleration in np.linspace(gentle, hardest, HARDER_STEPS)[1:]:
            lateral = np.abs(stop.speed_mps**2 * stop.curvature_1pm)
            if float(lateral.max()) <= self.settings.max_lateral_acceleration_mps2:
                break
            stop = stop_along(line, ego, now_ns, float(deceleration))
        return stop
