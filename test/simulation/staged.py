"""Snapshots made by hand: an empty street, and what a test places on it relative to the ego."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rsd_planner.simulation.network import load_network
from rsd_planner.simulation.scene import (
    CameraMount,
    Drive,
    EgoTrack,
    LightAhead,
    LightState,
    Obstacle,
    Pedestrian,
    Snapshot,
    Vehicle,
    Weather,
)

NETWORK = "bend"
_LENGTHS_M = {
    "car": (4.4, 1.8, 1.45),
    "van": (5.4, 2.0, 2.2),
    "truck": (8.5, 2.4, 3.1),
    "cyclist": (1.8, 0.65, 1.75),
}


def empty_street(before_light_m: float = 40.0, **values: Any) -> Snapshot:
    """The ego alone, so far before the first light of its street."""
    road = load_network(NETWORK)
    index = next(i for i, s in enumerate(road.signals) if s.edge_id == road.route[1])
    line = road.ends_m[road.signals[index].edge_id]
    at = line - before_light_m - 3.7
    x, y = road.path.position(at)
    fields: dict[str, Any] = {
        "time_s": 2.0,
        "ego_x_m": float(x),
        "ego_y_m": float(y),
        "ego_yaw_rad": road.path.heading(at),
        "ego_speed_mps": 8.0,
        "ego_acceleration_mps2": 0.0,
        "vehicles": (),
        "lights": (LightState.GREEN,) * len(road.signals),
        "light_ahead": LightAhead(index, before_light_m, LightState.GREEN),
    }
    return Snapshot(**{**fields, **values})


def drive_of(
    weather: Weather = Weather.OVERCAST,
    obstacles: Sequence[Obstacle] = (),
    parked: Sequence[Vehicle] = (),
    mount: CameraMount | None = None,
    seed: int = 3,
) -> Drive:
    """A drive without snapshots on the street of `empty_street`."""
    zero = np.zeros(2)
    track = EgoTrack(np.array([0.0, 1.0]), np.zeros((2, 2)), zero, zero, zero)
    return Drive(
        seed=seed,
        network=NETWORK,
        limit_mps=13.9,
        weather=weather,
        snapshots=(),
        ego=track,
        parked=tuple(parked),
        obstacles=tuple(obstacles),
        mount=mount or CameraMount(),
    )


def vehicle(name: str, kind: str, ahead_m: float, left_m: float = 0.0, **values: Any) -> Vehicle:
    """A vehicle before `empty_street()`'s ego, looking the same way unless `turn_rad` is given."""
    x, y, yaw = _place(ahead_m, left_m, values.pop("turn_rad", 0.0))
    length, width, height = _LENGTHS_M[kind]
    fields: dict[str, Any] = {
        "speed_mps": 5.0,
        "acceleration_mps2": 0.0,
        "brake_lamp": False,
        "colour_rgb": (200, 200, 200),
    }
    return Vehicle(name, kind, x, y, yaw, length, width, height, **{**fields, **values})


def person(name: str, ahead_m: float, left_m: float = 0.0, speed_mps: float = 1.3) -> Pedestrian:
    """Somebody who walks from right to left."""
    x, y, yaw = _place(ahead_m, left_m, np.pi / 2)
    return Pedestrian(name, x, y, yaw, speed_mps, 1.75, (200, 60, 50))


def obstacle(name: str, kind: str, ahead_m: float, left_m: float = 0.0) -> Obstacle:
    """A cone or barrier."""
    return Obstacle(name, kind, *_place(ahead_m, left_m, 0.0))


def _place(ahead_m: float, left_m: float, turn_rad: float) -> tuple[float, float, float]:
    ego = empty_street()
    cos, sin = np.cos(ego.ego_yaw_rad), np.sin(ego.ego_yaw_rad)
    x = ego.ego_x_m + cos * ahead_m - sin * left_m
    y = ego.ego_y_m + sin * ahead_m + cos * left_m
    return float(x), float(y), ego.ego_yaw_rad + turn_rad
