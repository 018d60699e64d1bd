"""Writes the chain of causation of an instant: the decision first, then what is seen and why.

A decision follows the expert's motion over the next moment, but only as far as something that
is visible in the picture explains it; quantities are coarse and sluggish, so that the text
changes when the scene does. It knows nothing of pixels: `view_of` says what is visible.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rsd_planner.simulation.phrases import Phrases, cause_clause, decision_clause
from rsd_planner.simulation.scene import LightState

__all__ = [
    "DECISIONS",
    "Cause",
    "LeadView",
    "LightView",
    "Narration",
    "Narrator",
    "View",
    "count_words",
]

DECISIONS = ("keep", "accelerate", "slow", "stop", "wait")  # names of types.Decision, in lower case
_STANDING_MPS = 0.5
_FOLLOW_S = 4.0  # a lead nearer than this, or than _FOLLOW_M, is followed
_FOLLOW_M = 25.0


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
class View:
    """What is visible at an instant, and what the expert does in the next moment."""

    speed_mps: float
    next_acceleration_mps2: float  # mean over the next 0.7 s
    lead: LeadView | None = None
    light: LightView | None = None
    bend: str = ""  # "left", "right" or nothing, of the lane just ahead


@dataclass(frozen=True)
class Cause:
    """One reason: a name and its (coarse) quantities."""

    name: str
    attributes: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Narration:
    """One instant's text with its labels."""

    text: str
    decision: str
    causes: tuple[Cause, ...]


class Narrator:
    """Tells one drive, instant by instant in order; it remembers what it said."""

    def __init__(self, phrases: Phrases) -> None:
        self._phrases = phrases
        self._decision = "keep"
        self._motion = 0  # −1 braking, 0 steady, +1 accelerating
        self._values: dict[str, int] = {}

    def tell(self, view: View) -> Narration:
        """The text of the next instant."""
        decision, causes = self._decide(view)
        self._decision = decision
        self._forget(view, decision)
        speed = self._speed("own", view.speed_mps)
        goal = self._speed("goal", max(0.0, view.speed_mps + 2.0 * view.next_acceleration_mps2))
        if decision == "accelerate":
            goal = max(goal, speed + 5)
        elif decision == "slow":
            goal = max(0, min(goal, speed - 5))
        elif decision == "stop":
            speed = max(5, speed)
        room = self._distance("room", _room_to_stop_m(view)) if decision == "stop" else 0
        quantities = {"speed": speed, "goal": goal, "room": room}
        follows = causes[0].name.startswith("lead")
        opening = decision_clause(self._phrases, decision, quantities, follows)
        reasons = " and ".join(cause_clause(self._phrases, c.name, c.attributes) for c in causes)
        return Narration(f"{opening} because {reasons}.", decision, causes)

    def _forget(self, view: View, decision: str) -> None:
        """Drops remembered quantities of what is no longer there."""
        gone = {
            "lead": view.lead is None,
            "lead_speed": view.lead is None,
            "light": view.light is None,
            "room": decision != "stop",
        }
        for key, is_gone in gone.items():
            if is_gone:
                self._values.pop(key, None)

    def _decide(self, view: View) -> tuple[str, tuple[Cause, ...]]:
        self._motion = _with_hysteresis(self._motion, view.next_acceleration_mps2)
        if view.speed_mps < _STANDING_MPS:
            if self._free_to_go(view):
                return "accelerate", self._go_causes(view)
            causes = self._stop_causes(view)
            if causes:
                return "wait", causes
        if self._motion < 0:
            causes = self._stop_causes(view)
            if causes and _must_stop(view):
                return "stop", causes
            causes = self._slow_causes(view)
            if causes:
                return "slow", causes
        if self._motion > 0 and self._free_to_go(view):
            return "accelerate", self._go_causes(view)
        return "keep", self._keep_causes(view)

    @staticmethod
    def _free_to_go(view: View) -> bool:
        light, lead = view.light, view.lead
        light_ok = light is None or light.state is LightState.GREEN or light.distance_m > 25.0
        if light is not None and light.state is LightState.AMBER and view.speed_mps > 3.0:
            light_ok = True  # the expert drives on while it may
        if light is not None and lead is not None and lead.speed_mps > 0.5:
            light_ok |= lead.gap_m + 8.0 < light.distance_m  # moving up in the queue
        lead_ok = lead is None or lead.speed_mps > 0.3 or lead.gap_m > 12.0
        return light_ok and lead_ok

    def _stop_causes(self, view: View) -> tuple[Cause, ...]:
        causes = []
        light, lead = view.light, view.lead
        if lead is not None and lead.speed_mps < 1.0 and lead.gap_m < 45.0:
            causes.append(self._lead_cause("lead_stopped", lead))
        elif lead is not None and lead.braking and _blocks(view):
            causes.append(self._lead_cause("lead_braking", lead))
        if light is not None and light.state is not LightState.GREEN:
            # The light comes first unless the lead stands well before it.
            light_cause = self._light_cause(light)
            if lead is not None and lead.gap_m < light.distance_m - 2.0:
                causes.append(light_cause)
            else:
                causes.insert(0, light_cause)
        return tuple(causes[:2])

    def _slow_causes(self, view: View) -> tuple[Cause, ...]:
        causes = []
        lead, light = view.lead, view.light
        if lead is not None and lead.gap_m < max(15.0, 4.6 * view.speed_mps):
            if lead.braking:
                causes.append(self._lead_cause("lead_braking", lead))
            elif view.speed_mps - lead.speed_mps > 0.4:
                causes.append(self._lead_cause("lead_slower", lead))
            elif lead.gap_m < max(5.0, 1.8 * view.speed_mps):
                causes.append(self._lead_cause("lead_close", lead))
        if light is not None and light.state is not LightState.GREEN:
            causes.append(self._light_cause(light))
        elif causes and view.lead is not None and view.speed_mps - view.lead.speed_mps > 1.0:
            causes.append(Cause("gap_closing"))
        return tuple(causes[:2])

    def _go_causes(self, view: View) -> tuple[Cause, ...]:
        causes = []
        lead, light = view.lead, view.light
        if light is not None and light.state is LightState.GREEN:
            causes.append(self._light_cause(light))
        if lead is not None and lead.gap_m < max(25.0, 4.0 * view.speed_mps):
            faster = lead.speed_mps > view.speed_mps + 0.3
            causes.append(self._lead_cause("lead_leaving" if faster else "lead_ahead", lead))
        else:
            causes.append(Cause("road_free"))
        if len(causes) < 2:
            causes.append(Cause(f"bend_{view.bend}" if view.bend else "lane_straight"))
        return tuple(causes)

    def _keep_causes(self, view: View) -> tuple[Cause, ...]:
        lead, light = view.lead, view.light
        follows = lead is not None and lead.gap_m < max(_FOLLOW_M, _FOLLOW_S * view.speed_mps)
        shape = Cause(f"bend_{view.bend}" if view.bend else "lane_straight")
        if light is not None and _too_close(view.speed_mps, light):
            second = Cause("amber_too_close")
        elif light is not None and (follows or light.state is LightState.GREEN):
            second = self._light_cause(light)
        elif light is not None:  # still far: free as far as there
            return (self._light_cause(light, "free_until"), shape)
        else:
            second = shape
        if follows and lead is not None:
            return (self._lead_cause("lead_steady", lead), second)
        return (Cause("road_free"), second)

    def _lead_cause(self, name: str, lead: LeadView) -> Cause:
        gap = self._distance("lead", lead.gap_m)
        speed = self._speed("lead_speed", lead.speed_mps)
        return Cause(name, {"kind": lead.kind, "gap_m": gap, "speed_kmh": speed})

    def _light_cause(self, light: LightView, name: str = "light") -> Cause:
        distance = self._distance("light", light.distance_m)
        return Cause(f"{name}_{light.state.value}", {"distance_m": distance})

    def _speed(self, key: str, speed_mps: float) -> int:
        """In steps of 5 km/h; the last step is kept until the speed is well outside of it."""
        kmh = 3.6 * speed_mps
        if abs(kmh - self._values.get(key, -99)) > 3.0:
            self._values[key] = 5 * round(kmh / 5)
        return self._values[key]

    def _distance(self, key: str, distance_m: float) -> int:
        """In steps that grow with the distance, sluggish in the same way."""
        last = self._values.get(key)
        if last is None or abs(distance_m - last) > 0.65 * _step(last):
            step = _step(distance_m)
            self._values[key] = max(1, step * round(distance_m / step))
        return self._values[key]


def _step(distance_m: float) -> int:
    for limit, step in ((7, 1), (15, 2), (30, 3), (50, 5)):
        if distance_m < limit:
            return step
    return 10


def _with_hysteresis(motion: int, acceleration: float) -> int:
    if acceleration < (-0.25 if motion < 0 else -0.5):
        return -1
    if acceleration > (0.25 if motion > 0 else 0.45):
        return 1
    return 0


def _blocks(view: View) -> bool:
    """Whether a braking lead will soon stand where the ego must stop."""
    return view.lead is not None and view.lead.speed_mps < 2.5 and view.lead.gap_m < 25.0


def _too_close(speed_mps: float, light: LightView) -> bool:
    return light.state is LightState.AMBER and speed_mps**2 > 2 * 3.0 * light.distance_m


def _must_stop(view: View) -> bool:
    """Whether what is visible asks for a standstill rather than for less speed."""
    lead, light = view.lead, view.light
    red = light is not None and light.state is not LightState.GREEN
    if red and light is not None and not _too_close(view.speed_mps, light):
        return lead is None or lead.gap_m > light.distance_m - 25.0 or lead.speed_mps < 2.5
    return lead is not None and (lead.speed_mps < 1.0 or _blocks(view))


def _room_to_stop_m(view: View) -> float:
    """How far it is to where the ego must stand, as far as it is seen."""
    rooms = []
    if view.light is not None and view.light.state is not LightState.GREEN:
        rooms.append(view.light.distance_m)
    if view.lead is not None:
        # A braking lead goes on for a while; 2 m stay free behind it.
        rooms.append(view.lead.gap_m + view.lead.speed_mps**2 / 6.0 - 2.0)
    return max(1.0, min(rooms))


def count_words(text: str) -> int:
    """Words, single digits and punctuation marks: about what a small vocabulary makes of it."""
    return len(re.findall(r"[A-Za-z]+(?:/[a-z]+)?|\d|[^\w\s]", text))
