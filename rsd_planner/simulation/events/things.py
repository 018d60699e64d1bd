"""Makes what stands by or in the road: parked vehicles and cones."""

from __future__ import annotations

import numpy as np

from rsd_planner.simulation.events.base import Event
from rsd_planner.simulation.events.stage import Stage
from rsd_planner.simulation.events.way import Way
from rsd_planner.simulation.scene import Obstacle, Vehicle
from rsd_planner.simulation.traffic import COLOURS, KINDS

__all__ = ["ConesBeside", "cones_across", "new_vehicle", "parked_vehicle"]


def new_vehicle(name: str, kind: str, colour_rgb: tuple[int, int, int]) -> Vehicle:
    """A vehicle that is nowhere yet."""
    length, width, height = KINDS[kind]
    return Vehicle(
        name, kind, 0.0, 0.0, 0.0, length, width, height, 0.0, 0.0,
        brake_lamp=False, colour_rgb=colour_rgb,
    )  # fmt: skip


def parked_vehicle(
    way: Way, name: str, s_m: float, d_m: float, rng: np.random.Generator,
    hazard_lights: bool, against: bool = False,
) -> Vehicle:  # fmt: skip
    """A vehicle whose rear (or front, if it stands against the way) is at `s_m`."""
    kind = str(rng.choice(["car", "van", "truck"], p=[0.5, 0.4, 0.1])) if hazard_lights else "car"
    length, width, height = KINDS[kind]
    x, y, yaw = way.at(s_m + length / 2, d_m)
    return Vehicle(
        name, kind, x, y, yaw + np.pi * against + float(rng.normal(0, 0.015)), length, width,
        height, 0.0, 0.0, brake_lamp=False, colour_rgb=COLOURS[int(rng.integers(len(COLOURS)))],
        parked=True, indicator="both" if hazard_lights else "",
    )  # fmt: skip


def cones_across(
    way: Way, name: str, span_m: tuple[float, float], d_m: float, width_m: float
) -> list[Obstacle]:
    """A slanting row that closes a strip around `d_m`, then one along the strip's left side."""
    low, high = span_m
    slant = min(6.0, (high - low) / 2)
    places = [
        (low + slant * share, d_m + width_m * (share - 0.5)) for share in np.linspace(0.05, 0.95, 5)
    ]
    places += [(s, d_m + 0.45 * width_m) for s in np.arange(low + slant + 3.0, high, 3.5)]
    return [_cone(way, f"{name}_{i}", s, d) for i, (s, d) in enumerate(places)]


class ConesBeside(Event):
    """Rows of cones off the lanes. No cause for anything."""

    def __init__(self, rng: np.random.Generator, count: int, span_m: tuple[float, float]):
        self._rows = [
            (float(rng.uniform(*span_m)), float(rng.uniform(0.7, 1.4)), int(rng.integers(3, 7)))
            for _ in range(count)
        ]

    def begin(self, stage: Stage) -> None:
        for k, (s, aside, count) in enumerate(self._rows):
            stretch = stage.way.stretch_near(s)
            d = stretch.lane_d(0) - stretch.edge.lane_width_m / 2 - aside
            for i in range(count):
                if stage.way.inside(s + 3.0 * i, 6.0, 6.0):
                    cone = _cone(stage.way, f"row{k}_{i}", s + 3.0 * i, d)
                    stage.obstacles[cone.obstacle_id] = cone
            stage.clear.append((s - 5.0, s + 3.0 * count + 5.0))

    def step(self, stage: Stage) -> None:
        """They only stand there."""


def _cone(way: Way, name: str, s_m: float, d_m: float) -> Obstacle:
    x, y, yaw = way.at(s_m, d_m)
    return Obstacle(name, "cone", x, y, yaw)
