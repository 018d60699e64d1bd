"""Made-up motion for tests: a car on a known curve, sampled at any instants."""

from __future__ import annotations

import math

import numpy as np

from rsd_planner.config import ModelRequirements, PlannerSettings
from rsd_planner.planning.input_buffer import InputBuffer
from rsd_planner.types import NANOSECONDS, EgoState, Frame

START_NS = 1_700_000_000 * NANOSECONDS


def state_at(stamp_ns: int, speed_mps: float = 8.0, yaw_rate_radps: float = 0.1) -> EgoState:
    """The state on a circle (or a line) at an instant; the origin is at START_NS."""
    t = (stamp_ns - START_NS) / NANOSECONDS
    yaw = yaw_rate_radps * t
    if abs(yaw_rate_radps) < 1e-9:
        position = [speed_mps * t, 0.0, 0.0]
    else:
        radius = speed_mps / yaw_rate_radps
        position = [radius * math.sin(yaw), radius * (1.0 - math.cos(yaw)), 0.0]
    return EgoState(
        stamp_ns,
        np.array(position),
        np.array([0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)]),
        np.array([speed_mps, 0.0, 0.0]),
        np.array([0.0, 0.0, yaw_rate_radps]),
    )


def picture(camera: str, stamp_ns: int, value: int = 0) -> Frame:
    """A small flat picture."""
    return Frame(camera, stamp_ns, np.full((4, 6, 3), value, dtype=np.uint8))


def filled_buffer(
    seconds: float = 3.0, settings: PlannerSettings | None = None, camera_hz: float = 10.0
) -> tuple[InputBuffer, int]:
    """A buffer after some seconds of driving, and the time at its end."""
    settings = settings or PlannerSettings.from_mapping({})
    buffer = InputBuffer(settings, ModelRequirements())
    end = START_NS + round(seconds * NANOSECONDS)
    step = round(NANOSECONDS / camera_hz)
    for stamp in range(START_NS, end, 20_000_000):
        assert buffer.add_state(state_at(stamp), end, "odom", "base_link").ok
    for stamp in range(START_NS, end - step, step):
        for camera in settings.all_cameras:
            assert buffer.add_frame(picture(camera, stamp), end).ok
    return buffer, end
