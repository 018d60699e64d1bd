"""The narrator's words: three ways of saying the same, chosen by the weather.

Which one is used can be told from the picture and is no coin that nobody can see. Templates are
plain strings, so that a parser can be made of the same tables (`evaluation/causes.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from rsd_planner.simulation.scene import Weather

__all__ = [
    "ATTRIBUTES",
    "CAUSES",
    "CLAUSES",
    "CONNECTORS",
    "DISTANCES",
    "JOINTS",
    "JUST_AHEAD",
    "OPENINGS",
    "Phrases",
    "cause_clause",
    "decision_clause",
    "distance_step_m",
    "sentence",
]


class Phrases(Enum):
    """A way of speaking."""

    CLEAR = 0
    OVERCAST = 1  # and rain
    DUSK = 2  # and fog

    @classmethod
    def of(cls, weather: Weather) -> Phrases:
        """How a drive in this weather is told."""
        if weather is Weather.CLEAR:
            return cls.CLEAR
        return cls.OVERCAST if weather in (Weather.OVERCAST, Weather.RAIN) else cls.DUSK


# Each entry begins with the decision's name; what follows a dot is a variant of it.
OPENINGS: dict[str, tuple[str, str, str]] = {
    "keep": (
        "Keep the speed at {speed} km/h and stay in the lane",
        "Hold {speed} km/h and go on in this lane",
        "Continue straight on at a speed of {speed} km/h",
    ),
    "keep.follow": (
        "Keep the distance and drive at {speed} km/h",
        "Follow the traffic ahead at {speed} km/h",
        "Continue behind the others at {speed} km/h",
    ),
    "accelerate": (
        "Accelerate from {speed} to {goal} km/h",
        "Speed up from {speed} to {goal} km/h",
        "Gain speed from {speed} to {goal} km/h",
    ),
    "accelerate.start": (
        "Start moving and accelerate to {goal} km/h",
        "Set off now and speed up to {goal} km/h",
        "Move off and gain speed up to {goal} km/h",
    ),
    "slow": (
        "Slow down from {speed} to {goal} km/h",
        "Reduce the speed from {speed} to {goal} km/h",
        "Ease off from {speed} to {goal} km/h",
    ),
    "stop": (
        "Brake from {speed} km/h and stop within {room} m",
        "Come to a stop within {room} m from {speed} km/h",
        "Stop from {speed} km/h with {room} m left",
    ),
    "wait": (
        "Wait at a standstill and keep the brake on",
        "Remain stopped and hold the brake",
        "Stand still with the foot on the brake",
    ),
    "left": (
        "Move to the left and pass at {speed} km/h",
        "Steer left to get by at {speed} km/h",
        "Swing left and go around at {speed} km/h",
    ),
    "right": (
        "Move to the right and pass at {speed} km/h",
        "Steer right to get by at {speed} km/h",
        "Swing right and go around at {speed} km/h",
    ),
    "yield": (
        "Yield and slow down from {speed} to {goal} km/h",
        "Give way and reduce the speed from {speed} to {goal} km/h",
        "Let others go first and ease off from {speed} to {goal} km/h",
    ),
    "yield.stand": (
        "Yield and wait at a standstill",
        "Give way and remain stopped",
        "Let others go first and stand still",
    ),
}

# {at} is a distance in words, see DISTANCES.
CLAUSES: dict[str, tuple[str, str, str]] = {
    "lead_braking": (
        "the lead {kind} {at} is braking",
        "the {kind} in front {at} brakes",
        "the brake lamps of the {kind} {at} are on",
    ),
    "lead_stopped": (
        "the lead {kind} {at} has stopped",
        "the {kind} in front stands still {at}",
        "the {kind} {at} does not move",
    ),
    "lead_closing": (
        "the lead {kind} {at} is slower at {speed_kmh} km/h",
        "the {kind} in front {at} goes only {speed_kmh} km/h",
        "the {kind} {at} comes closer at only {speed_kmh} km/h",
    ),
    "lead_ahead": (
        "the lead {kind} {at} drives at {speed_kmh} km/h",
        "the {kind} in front {at} goes {speed_kmh} km/h",
        "the {kind} {at} rolls along at {speed_kmh} km/h",
    ),
    "light_red": (
        "the traffic light {at} is red",
        "the signal {at} shows red",
        "a red light shines {at}",
    ),
    "light_amber": (
        "the traffic light {at} is amber",
        "the signal {at} shows amber",
        "an amber light shines {at}",
    ),
    "light_green": (
        "the traffic light {at} is green",
        "the signal {at} shows green",
        "a green light shines {at}",
    ),
    "pedestrian_crossing": (
        "a pedestrian {at} is crossing from the {side}",
        "someone {at} walks across from the {side}",
        "a person on the road {at} comes from the {side}",
    ),
    "pedestrian_waiting": (
        "a pedestrian {at} is waiting on the {side}",
        "someone {at} wants to cross from the {side}",
        "a person stands at the {side} kerb {at}",
    ),
    "cyclist": (
        "a cyclist {at} rides at {speed_kmh} km/h",
        "the bicycle in front {at} goes {speed_kmh} km/h",
        "a bicycle {at} rolls along at {speed_kmh} km/h",
    ),
    "cut_in": (
        "a {kind} {at} is cutting in from the {side}",
        "a {kind} {at} changes lanes from the {side}",
        "a {kind} {at} swings in from the {side} lane",
    ),
    "merge": (
        "a {kind} {at} is merging from the {side}",
        "a {kind} {at} joins from the {side}",
        "a {kind} {at} comes in from the {side} entry",
    ),
    "blocked_lane": (
        "a parked {kind} {at} blocks the lane",
        "the lane is blocked by a {kind} {at}",
        "a {kind} with hazard lights stands in the lane {at}",
    ),
    "cones": (
        "cones {at} close the lane",
        "the lane is closed by cones {at}",
        "cones stand in the lane {at}",
    ),
    "oncoming": (
        "an oncoming {kind} {at} needs the narrow road",
        "a {kind} {at} comes the other way where it is narrow",
        "a {kind} fills the narrow road {at}",
    ),
    "cross_traffic": (
        "a {kind} {at} is crossing from the {side}",
        "a {kind} {at} has priority from the {side}",
        "a {kind} {at} passes from the {side}",
    ),
    "curve": (
        "the road {at} bends sharply to the {side}",
        "a sharp curve to the {side} begins {at}",
        "the road turns tightly {side} {at}",
    ),
    "road_free": (
        "the road ahead is free",
        "there is nothing in the way",
        "the whole lane is clear",
    ),
}
CAUSES = tuple(CLAUSES)
ATTRIBUTES = ("kind", "side", "distance_m", "speed_kmh")

DISTANCES = ("{distance_m} m ahead", "at {distance_m} m", "{distance_m} m away")
JUST_AHEAD = "just ahead"  # in every way of speaking: a distance of 1 m
CONNECTORS = (" because ", " as ", ": ")  # between the decision and its causes
JOINTS = (", ", " and ")  # between causes


def distance_step_m(distance_m: float) -> int:
    """The step in which distances are told: the coarser the farther."""
    for limit, step in ((7, 1), (15, 2), (30, 3), (60, 5)):
        if distance_m < limit:
            return step
    return 10


def decision_clause(
    phrases: Phrases, decision: str, quantities: Mapping[str, int], follows: bool = False
) -> str:
    """How a text opens.

    Quantities are `speed` and `goal` in km/h and `room` to stop in m; a speed of 0 is a
    standstill. `follows` says whether the first cause is a lead vehicle.
    """
    key = decision
    if decision == "keep" and follows:
        key = "keep.follow"
    if decision == "accelerate" and quantities["speed"] == 0:
        key = "accelerate.start"
    if decision == "yield" and quantities["speed"] == 0:
        key = "yield.stand"
    return OPENINGS[key][phrases.value].format(**quantities)


def cause_clause(phrases: Phrases, name: str, attributes: Mapping[str, str | int]) -> str:
    """One cause in words."""
    distance = attributes.get("distance_m")
    at = JUST_AHEAD if distance == 1 else DISTANCES[phrases.value].format(distance_m=distance)
    return CLAUSES[name][phrases.value].format(at=at, **attributes)


def sentence(phrases: Phrases, opening: str, clauses: Sequence[str]) -> str:
    """The whole text."""
    *most, last = clauses
    reasons = f"{JOINTS[0].join(most)}{JOINTS[1]}{last}" if most else last
    return f"{opening}{CONNECTORS[phrases.value]}{reasons}."
