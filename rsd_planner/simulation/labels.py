"""What a picture shows, read off its id picture: for the narrator and as training labels.

A cause counts as visible only if enough pixels show it and it is near enough to matter.
`LABELS` is the table of training labels; `image_labels` evaluates it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rsd_planner.simulation.phrases import CAUSES, Phrases
from rsd_planner.simulation.scene import HazardKind
from rsd_planner.simulation.sight import view_of
from rsd_planner.simulation.view import (
    STANDING_MPS,
    HazardView,
    LeadView,
    LightView,
    View,
    things_of,
)

__all__ = [
    "LABELS",
    "LABEL_KINDS",
    "LABEL_NAMES",
    "Label",
    "image_labels",
    "view_of",
]

LABEL_KINDS = ("binary", "distance", "speed", "side")


@dataclass(frozen=True)
class Label:
    """One column of a picture's labels, NaN where the picture does not say.

    Kinds: `binary` is 0 or 1; `distance` metres, at least 0 (learn its log1p); `speed` m/s, at
    least 0; `side` −1 for left and +1 for right.
    """

    name: str
    kind: str  # one of LABEL_KINDS
    value: Callable[[View], float]


def image_labels(view: View) -> list[float]:
    """The values of `LABELS` for one picture, in their order."""
    return [label.value(view) for label in LABELS]


def _cause(name: str) -> Callable[[View], float]:
    def value(view: View) -> float:
        things = things_of(view)
        return float(any(t.name == name for t in things) or (name == "road_free" and not things))

    return value


def _of_lead(read: Callable[[LeadView], float]) -> Callable[[View], float]:
    return lambda view: math.nan if view.lead is None else float(read(view.lead))


def _lead_is(kind: str) -> Callable[[View], float]:
    return _of_lead(lambda lead: float(lead.kind == kind))


def _of_light(read: Callable[[LightView], float]) -> Callable[[View], float]:
    return lambda view: math.nan if view.light is None else float(read(view.light))


def _of_hazard(kind: HazardKind, read: Callable[[HazardView], float]) -> Callable[[View], float]:
    def value(view: View) -> float:
        return next((float(read(h)) for h in view.hazards if h.kind is kind), math.nan)

    return value


def _side(hazard: HazardView) -> float:
    return {"left": -1.0, "right": 1.0}.get(hazard.side, math.nan)


def _distance_m(hazard: HazardView) -> float:
    return hazard.distance_m


def _speed_mps(hazard: HazardView) -> float:
    return max(0.0, hazard.speed_mps)


def _speaks(phrases: Phrases) -> Callable[[View], float]:
    return lambda view: float(Phrases.of(view.weather) is phrases)


def _hazard_labels() -> list[Label]:
    labels = []
    sided = set(HazardKind) - {HazardKind.CYCLIST, HazardKind.ONCOMING}
    moving = (HazardKind.CYCLIST, HazardKind.CUT_IN, HazardKind.MERGE)
    for kind in HazardKind:
        name = kind.value
        labels.append(Label(f"{name}_distance_m", "distance", _of_hazard(kind, _distance_m)))
        if kind in sided:
            labels.append(Label(f"{name}_side", "side", _of_hazard(kind, _side)))
        if kind in moving:
            labels.append(Label(f"{name}_speed_mps", "speed", _of_hazard(kind, _speed_mps)))
    return labels


LABELS: tuple[Label, ...] = (
    *(Label(name, "binary", _cause(name)) for name in CAUSES),
    Label("lead_visible", "binary", lambda view: float(view.lead is not None)),
    Label("lead_lamps", "binary", _of_lead(lambda lead: float(lead.braking))),
    *(Label(f"lead_is_{kind}", "binary", _lead_is(kind)) for kind in ("car", "van", "truck")),
    Label("lead_distance_m", "distance", _of_lead(lambda lead: lead.gap_m)),
    Label("lead_speed_mps", "speed", _of_lead(lambda lead: max(0.0, lead.speed_mps))),
    Label("light_distance_m", "distance", _of_light(lambda light: light.distance_m)),
    *_hazard_labels(),
    *(Label(f"speaks_{p.name.lower()}", "binary", _speaks(p)) for p in Phrases),
    Label("standing", "binary", lambda view: float(view.speed_mps < STANDING_MPS)),
    Label("ego_speed_mps", "speed", lambda view: view.speed_mps),
)
LABEL_NAMES: tuple[str, ...] = tuple(label.name for label in LABELS)
