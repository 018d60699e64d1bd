"""Whether what a text says of a cause is right: its side, kind, distance and speed.

Only causes that are both true and said are looked at, so that naming and describing are scored
apart. Coarse quantities may be one of the narrator's steps off.
"""

from __future__ import annotations

from collections.abc import Mapping

from rsd_planner.simulation.phrases import distance_step_m

__all__ = ["ATTRIBUTES", "SPEED_STEP_KMH", "is_right", "score_attributes"]

ATTRIBUTES = ("side", "kind", "distance_m", "speed_kmh")
SPEED_STEP_KMH = 5

Named = Mapping[str, Mapping[str, str | int]]  # attributes by cause


def is_right(name: str, truth: str | int, said: str | int | None) -> bool:
    """Whether an attribute is as told, or within one step of it."""
    if said is None:
        return False
    if name == "distance_m":
        step = max(distance_step_m(float(truth)), distance_step_m(float(said)))
        return abs(float(truth) - float(said)) <= step
    if name == "speed_kmh":
        return abs(float(truth) - float(said)) <= SPEED_STEP_KMH
    return truth == said


def score_attributes(truth: Named, said: Named) -> dict[str, tuple[int, int]]:
    """Of one tick: by attribute how many are right and how many were to be told."""
    counted = dict.fromkeys(ATTRIBUTES, (0, 0))
    for cause, attributes in truth.items():
        if cause not in said:
            continue
        for name, value in attributes.items():
            right, total = counted.get(name, (0, 0))
            counted[name] = (right + is_right(name, value, said[cause].get(name)), total + 1)
    return counted
