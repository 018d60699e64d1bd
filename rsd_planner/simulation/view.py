"""What is visible at an instant, and which of it matters.

A `View` is what the picture shows, in numbers; a `Thing` is one of its parts that can be named
as a cause. Limits have margins: where two causes are hard to tell apart, the simpler one holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from rsd_planner.simulation.scene import HazardKind, LightState, Weather

__all__ = [
    "STANDING_MPS",
    "HazardView",
    "LeadView",
    "LightView",
    "Role",
    "Thing",
    "View",
    "lead_name",
    "things_of",
]

STANDING_MPS = 0.5
# A car of 1.8 m in a lens of 197 px (256 for 66°), in the 0.6 s between the first and the last
# picture of a tick: so many pixels for each m/s, over the square of the gap in metres.
_GROWTH_PX_M = 1.8 * 197.0 * 0.6
_PEDESTRIANS = (HazardKind.PEDESTRIAN_CROSSING, HazardKind.PEDESTRIAN_WAITING)
_GOES_FIRST = (*_PEDESTRIANS, HazardKind.CROSS_TRAFFIC, HazardKind.ONCOMING)
_IN_THE_WAY = (HazardKind.BLOCKED_LANE, HazardKind.CONES)


@dataclass(frozen=True)
class LeadView:
    """The lead vehicle, if it can be seen."""

    kind: str
    gap_m: float
    speed_mps: float
    braking: bool  # its brake lamps are lit


@dataclass(frozen=True)
class LightView:
    """The light that governs the ego, if its lit lamp can be seen."""

    state: LightState
    distance_m: float


@dataclass(frozen=True)
class HazardView:
    """A hazard that can be seen; the fields are those of `scene.Hazard`."""

    kind: HazardKind
    distance_m: float
    side: str = ""
    speed_mps: float = 0.0
    actor: str = ""  # kind of the vehicle that shows it


@dataclass(frozen=True)
class View:
    """What is visible at an instant, and what the expert does in the next moment."""

    speed_mps: float
    next_acceleration_mps2: float  # mean over the next 0.7 s
    lead: LeadView | None = None
    light: LightView | None = None
    hazards: tuple[HazardView, ...] = ()  # nearest first, one of a kind
    sideways_mps: float = 0.0  # to the left across the road, mean over the same time
    weather: Weather = Weather.CLEAR


class Role(Enum):
    """What a thing asks of the ego."""

    NONE = 0  # nothing: a green light, a lead far enough ahead
    SLOW = 1
    PASS = 2  # to go around it
    STOP = 3
    YIELD = 4


@dataclass(frozen=True)
class Thing:
    """Something visible that can be named as a cause."""

    name: str  # of the cause
    distance_m: float
    role: Role
    kind: str = ""
    side: str = ""
    speed_mps: float = 0.0


def lead_name(lead: LeadView, speed_mps: float, before: str = "") -> str:
    """What the lead vehicle is a cause of; empty if it is too far to matter.

    `before` is what it was an instant ago: it stays so near the limits.
    """
    if lead.speed_mps < STANDING_MPS:
        return "lead_stopped" if lead.gap_m < max(30.0, 5.0 * speed_mps) else ""
    if lead.braking and lead.gap_m < max(30.0, 4.0 * speed_mps):
        return "lead_braking"
    close = lead.gap_m < max(15.0, 4.0 * speed_mps)
    if close and _comes_nearer(lead, speed_mps, before == "lead_closing"):
        return "lead_closing"
    near = 1.1 if before else 1.0
    return "lead_ahead" if lead.gap_m < near * max(25.0, 3.0 * speed_mps) else ""


def _comes_nearer(lead: LeadView, speed_mps: float, seen_before: bool) -> bool:
    """Whether the lead grows in the pictures of a tick as the gap becomes smaller."""
    closing_mps = speed_mps - lead.speed_mps
    grows_px = _GROWTH_PX_M * closing_mps / max(1.0, lead.gap_m) ** 2
    least_mps, least_px = (1.0, 0.5) if seen_before else (1.5, 0.75)
    return closing_mps > least_mps and grows_px > least_px


def things_of(view: View, lead_before: str = "") -> list[Thing]:
    """Everything that can be named, nearest first."""
    things = [_hazard_thing(hazard) for hazard in view.hazards]
    light, lead = view.light, view.lead
    if light is not None and _is_named(view, light):
        things.append(
            Thing(f"light_{light.state.value}", light.distance_m, _light_role(view, light))
        )
    name = lead_name(lead, view.speed_mps, lead_before) if lead is not None else ""
    if lead is not None and name:
        things.append(
            Thing(name, lead.gap_m, _lead_role(view, lead, name), lead.kind, "", lead.speed_mps)
        )
    return sorted(things, key=lambda thing: thing.distance_m)


def _hazard_thing(hazard: HazardView) -> Thing:
    role = Role.SLOW
    if hazard.kind in _GOES_FIRST:
        role = Role.YIELD
    elif hazard.kind in _IN_THE_WAY:
        role = Role.PASS if hazard.side else Role.STOP
    elif hazard.kind is HazardKind.CYCLIST and hazard.side:
        role = Role.PASS
    return Thing(
        hazard.kind.value, hazard.distance_m, role, hazard.actor, hazard.side, hazard.speed_mps
    )


def _is_named(view: View, light: LightView) -> bool:
    near = light.distance_m < max(40.0, 4.0 * view.speed_mps)
    return near or light.state is LightState.GREEN


def _light_role(view: View, light: LightView) -> Role:
    if light.state is LightState.GREEN or light.distance_m > max(25.0, 4.0 * view.speed_mps):
        return Role.NONE
    # An amber light that is too close to stop is passed.
    amber = light.state is LightState.AMBER
    passed = amber and view.speed_mps**2 > 2 * 3.0 * light.distance_m
    return Role.NONE if passed else Role.STOP


def _lead_role(view: View, lead: LeadView, name: str) -> Role:
    if name == "lead_stopped":
        return Role.STOP
    if name == "lead_braking":
        soon_stands = lead.speed_mps < 2.5 and lead.gap_m < 25.0
        return Role.STOP if soon_stands else Role.SLOW
    close = lead.gap_m < max(5.0, 1.7 * view.speed_mps)
    slower = view.speed_mps - lead.speed_mps > 0.5
    return Role.SLOW if name == "lead_closing" or close or slower else Role.NONE
