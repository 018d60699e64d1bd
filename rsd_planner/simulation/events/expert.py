"""The ego's expert where SUMO's driver knows nothing: people on foot, what blocks a lane, curves.

It follows wishes like an intelligent driver (IDM) and only ever asks SUMO for less speed than
SUMO's own driver would choose.
"""

from __future__ import annotations

import libsumo
import numpy as np

from rsd_planner.simulation.events.stage import ACT_STEP_S, STEP_S, Stage, Wish

__all__ = ["Expert"]

_BRAKE_MPS2 = 2.0
_HARDEST_MPS2 = 4.5
_MIN_GAP_M = 2.0
_TIME_GAP_S = 0.9
_JERK_MPS3 = 6.0


class Expert:
    """Turns the wishes of all events into one speed; changes lanes for them."""

    def __init__(self) -> None:
        self._acceleration = 0.0
        self._bounds = False  # whether it asks for less speed than SUMO's driver would choose
        self._asked: tuple[int, float] | None = None
        self._accel_mps2 = libsumo.vehicletype.getAccel("ego")

    def act(self, stage: Stage) -> None:
        """Called after all events have acted."""
        self._change_lane(stage)
        wanted = min((self._for(stage.ego_speed, w) for w in stage.wishes), default=np.inf)
        if not np.isfinite(wanted) or (wanted >= self._accel_mps2 and self._acceleration > 0):
            libsumo.vehicle.setSpeed("ego", -1)
            self._acceleration, self._bounds = libsumo.vehicle.getAcceleration("ego"), False
            return
        low = min(0.0, self._acceleration) - _JERK_MPS3 * ACT_STEP_S
        high = max(-0.5, self._acceleration) + _JERK_MPS3 * ACT_STEP_S
        if wanted < -3.0:
            low = -_HARDEST_MPS2
        acceleration = float(np.clip(wanted, max(low, -_HARDEST_MPS2), high))
        # SUMO may have gained less speed than was allowed.
        gained = libsumo.vehicle.getAcceleration("ego") + _JERK_MPS3 * ACT_STEP_S
        self._acceleration = min(acceleration, self._accel_mps2, max(gained, 0.0))
        self._bounds = True

    def drive(self) -> None:
        """Called before each of SUMO's steps."""
        if self._bounds:
            speed = libsumo.vehicle.getSpeed("ego") + self._acceleration * STEP_S
            libsumo.vehicle.setSpeed("ego", max(0.0, speed))

    def _for(self, speed: float, wish: Wish) -> float:
        if not wish.follow:
            allowed = np.sqrt(wish.speed_mps**2 + 2 * 1.4 * max(0.0, wish.gap_m))
            return float(np.clip((allowed - speed) / 0.6, -3.0, self._accel_mps2))
        gap = max(wish.gap_m, 0.1)
        closing = speed - wish.speed_mps
        dynamic = speed * _TIME_GAP_S * (wish.speed_mps > 0.5) + speed * closing / (
            2 * np.sqrt(self._accel_mps2 * _BRAKE_MPS2)
        )
        desired = _MIN_GAP_M + max(0.0, dynamic)
        wanted = float(self._accel_mps2 * (1.0 - (desired / gap) ** 2))
        # It would brake harder than it needs to at the end.
        needed = max(0.0, closing) ** 2 / (2 * max(gap - _MIN_GAP_M + 0.5, 0.3))
        return max(wanted, -max(_BRAKE_MPS2 + 0.4, 1.15 * needed))

    def _change_lane(self, stage: Stage) -> None:
        lane = stage.lane_wish
        if lane is None or lane == stage.ego_lane:
            self._asked = None
            return
        if self._asked is None or self._asked[0] != lane or stage.time_s - self._asked[1] > 0.95:
            libsumo.vehicle.changeLane("ego", lane, 1.0)
            self._asked = (lane, stage.time_s)
