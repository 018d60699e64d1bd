"""Writes the chain of causation of an instant: the decision first, then what is seen and why.

A decision follows the expert's motion over the next moment, but only as far as something that
is visible in the picture explains it; quantities are coarse and sluggish, so that the text
changes when the scene does. It knows nothing of pixels: `view_of` says what is visible.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rsd_planner.simulation.phrases import (
    CLAUSES,
    Phrases,
    cause_clause,
    decision_clause,
    distance_step_m,
    sentence,
)
from rsd_planner.simulation.view import (
    STANDING_MPS,
    HazardView,
    LeadView,
    LightView,
    Role,
    Thing,
    View,
    lead_name,
    things_of,
)

__all__ = [
    "DECISIONS",
    "MAX_WORDS",
    "Cause",
    "HazardView",
    "LeadView",
    "LightView",
    "Narration",
    "Narrator",
    "View",
    "count_words",
    "text_words",
]

# Names of types.Decision, in lower case.
DECISIONS = ("keep", "accelerate", "slow", "stop", "wait", "left", "right", "yield")
MAX_WORDS = 45
_MAX_CAUSES = 3
_NEAR_M = 25.0
_CRAWLING_MPS = 4.0
_MOVES_MPS2 = 0.4
_PASS_M = 80.0  # nothing farther is gone around yet


@dataclass(frozen=True)
class Cause:
    """One reason: a name and its (coarse) quantities, see `phrases.ATTRIBUTES`."""

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
        self._motion = 0  # −1 braking, 0 steady, +1 accelerating
        self._lead = ""
        self._passed = ""  # name of what the ego is going around
        self._values: dict[str, int] = {}

    def tell(self, view: View) -> Narration:
        """The text of the next instant."""
        self._motion = _with_hysteresis(self._motion, view.next_acceleration_mps2)
        things = things_of(view, self._lead)
        self._lead = lead_name(view.lead, view.speed_mps, self._lead) if view.lead else ""
        self._watch_passing(view, things)
        decision, first = self._decide(view, things)
        causes = self._causes(_in_order(things, first))
        room = self._room_m(first) if decision == "stop" else 0
        return self._compose(view, decision, causes, room)

    def _watch_passing(self, view: View, things: list[Thing]) -> None:
        """Going around something begins with a move to the side, or with setting off near it, and
        ends when it is gone."""
        ahead = next((t for t in things if t.role is Role.PASS and t.distance_m < _PASS_M), None)
        if ahead is None:
            self._passed = ""
            return
        aside = view.sideways_mps if ahead.side == "left" else -view.sideways_mps
        slow = view.speed_mps < _CRAWLING_MPS and ahead.distance_m < _NEAR_M
        sets_off = slow and view.next_acceleration_mps2 > _MOVES_MPS2
        if aside > 0.3 or sets_off or self._passed not in ("", ahead.name):
            self._passed = ahead.name

    def _decide(self, view: View, things: list[Thing]) -> tuple[str, list[Thing]]:
        """The decision and the things that explain it."""
        asking = [t for t in things if t.role is not Role.NONE]
        held = [t for t in asking if _holds(view, t)]
        passed = [t for t in things if t.name == self._passed]
        green = [t for t in things if t.name == "light_green"]
        braking = self._motion < 0
        if view.speed_mps < STANDING_MPS:
            return self._decide_standing(view, asking, held, passed) or ("accelerate", green)
        if braking and _must_yield(asking):
            return "yield", asking
        if braking and _must_stop(asking):
            return "stop", asking
        if passed:
            return passed[0].side, passed
        if braking and asking:
            return "slow", asking
        if self._motion > 0 and not held:
            return "accelerate", green
        return "keep", []

    @staticmethod
    def _decide_standing(
        view: View, asking: list[Thing], held: list[Thing], passed: list[Thing]
    ) -> tuple[str, list[Thing]] | None:
        """None if nothing visible keeps the ego from going."""
        moves = view.next_acceleration_mps2 > _MOVES_MPS2
        # A light and a lead are told until they let the ego go, all else until it goes.
        firm = [t for t in held if t.name.startswith(("light", "lead"))]
        if moves and passed and not firm:
            return passed[0].side, passed
        reasons = firm if moves else (held or asking)
        if not reasons:
            return None
        yields = any(t.role is Role.YIELD for t in reasons)
        return "yield" if yields else "wait", reasons

    def _causes(self, things: list[Thing]) -> tuple[Cause, ...]:
        keys = {"lead" if t.name.startswith("lead") else t.name for t in things}
        for key in list(self._values):  # drop the quantities of what is no longer there
            owner = key.split(".")[0]
            if owner not in keys | {"own", "goal"}:
                del self._values[key]
        told = things[:_MAX_CAUSES]
        return tuple(self._cause(thing) for thing in told) or (Cause("road_free"),)

    def _cause(self, thing: Thing) -> Cause:
        template = CLAUSES[thing.name][0]
        key = "lead" if thing.name.startswith("lead") else thing.name
        attributes: dict[str, str | int] = {}
        if "{kind}" in template:
            attributes["kind"] = thing.kind
        if "{side}" in template:
            attributes["side"] = thing.side
        if "{at}" in template:
            attributes["distance_m"] = self._distance(f"{key}.distance", thing.distance_m)
        if "{speed_kmh}" in template:
            slowest = 5 if thing.speed_mps > STANDING_MPS else 0
            attributes["speed_kmh"] = max(slowest, self._speed(f"{key}.speed", thing.speed_mps))
        return Cause(thing.name, attributes)

    def _compose(
        self, view: View, decision: str, causes: tuple[Cause, ...], room_m: int
    ) -> Narration:
        speed = self._speed("own", view.speed_mps)
        goal = self._speed("goal", max(0.0, view.speed_mps + 2.0 * view.next_acceleration_mps2))
        if decision == "accelerate":
            goal = max(goal, speed + 5)
        elif decision in ("slow", "yield"):
            goal = max(0, min(goal, speed - 5))
        elif decision == "stop":
            speed = max(5, speed)
        if decision in ("left", "right"):
            speed = max(5, speed)
        elif view.speed_mps < STANDING_MPS:
            speed = 0
        elif decision in ("keep", "yield"):
            speed = max(5, speed)
        quantities = {"speed": speed, "goal": goal, "room": room_m}
        follows = causes[0].name.startswith("lead")
        opening = decision_clause(self._phrases, decision, quantities, follows)
        clauses = [cause_clause(self._phrases, c.name, c.attributes) for c in causes]
        text = sentence(self._phrases, opening, clauses)
        if count_words(text) > MAX_WORDS:
            text = sentence(self._phrases, opening, clauses[:-1])
            causes = causes[:-1]
        return Narration(text, decision, causes)

    def _room_m(self, first: list[Thing]) -> int:
        """How far it is to where the ego must stand, as far as it is seen."""
        rooms = []
        for thing in first:
            if thing.name.startswith("lead"):
                # A braking lead goes on for a while; 2 m stay free behind it.
                room = thing.distance_m + thing.speed_mps**2 / 6.0 - 2.0
                rooms.append(self._distance("lead.room", max(1.0, room)))
            elif thing.role is Role.STOP:  # the same number as in the cause
                rooms.append(self._distance(f"{thing.name}.distance", thing.distance_m))
        return min(rooms, default=1)

    def _speed(self, key: str, speed_mps: float) -> int:
        """In steps of 5 km/h; the last step is kept until the speed is well outside of it."""
        kmh = 3.6 * speed_mps
        if abs(kmh - self._values.get(key, -99)) > 2.6:
            self._values[key] = 5 * round(kmh / 5)
        return self._values[key]

    def _distance(self, key: str, distance_m: float) -> int:
        """In steps that grow with the distance, sluggish in the same way."""
        last = self._values.get(key)
        if last is None or abs(distance_m - last) > 0.55 * distance_step_m(last):
            step = distance_step_m(distance_m)
            self._values[key] = max(1, step * round(distance_m / step))
        return self._values[key]


def _with_hysteresis(motion: int, acceleration: float) -> int:
    if acceleration < (-0.25 if motion < 0 else -0.5):
        return -1
    if acceleration > (0.25 if motion > 0 else 0.45):
        return 1
    return 0


def _in_order(things: list[Thing], first: list[Thing]) -> list[Thing]:
    """What explains the decision before the rest, each nearest first."""
    return [*first, *(t for t in things if t not in first)]


def _holds(view: View, thing: Thing) -> bool:
    """Whether the ego cannot go on (or go faster) because of it."""
    if thing.name.startswith("light"):
        lead = view.lead
        if lead is None or lead.speed_mps < STANDING_MPS:
            return True
        # Moving up in the queue is possible before the light.
        return lead.gap_m + 8.0 > thing.distance_m
    standing = view.speed_mps < STANDING_MPS
    if thing.name.startswith("lead"):
        return not standing or (thing.speed_mps < 0.3 and thing.distance_m < 12.0)
    if standing and thing.role is Role.YIELD:
        return True
    if thing.role is Role.SLOW:  # only when it is about to be too slow for the ego
        near = thing.distance_m < max(12.0, 2.5 * view.speed_mps)
        return near and view.speed_mps > thing.speed_mps - 0.5
    return thing.distance_m < max(40.0, 4.0 * view.speed_mps)


def _must_yield(asking: list[Thing]) -> bool:
    """Whether the nearest goes first, or blocks a lane that someone else takes first."""
    if not asking:
        return False
    blocked = asking[0].name in ("blocked_lane", "cones")
    return asking[0].role is Role.YIELD or (blocked and any(t.name == "oncoming" for t in asking))


def _must_stop(asking: list[Thing]) -> bool:
    """Whether what is visible asks for a standstill rather than for less speed."""
    if not asking:
        return False
    nearest = asking[0]
    if nearest.role is Role.STOP:
        return True
    stops = [t for t in asking if t.role is Role.STOP]
    # Behind a lead that slows down before a red light.
    follows = nearest.name.startswith("lead")
    return bool(stops) and follows and nearest.distance_m > stops[0].distance_m - 25.0


def text_words(text: str) -> list[str]:
    """Words, single digits and punctuation marks: about what a small vocabulary makes of it."""
    return re.findall(r"[A-Za-z]+(?:/[a-z]+)?|\d|[^\w\s]", text)


def count_words(text: str) -> int:
    """How many `text_words` a text has."""
    return len(text_words(text))
