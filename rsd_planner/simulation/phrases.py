"""The narrator's words: two ways of saying the same, chosen by drive.

Which of the two is used follows the weather (`Phrases.CLEAR`, `Phrases.OVERCAST`), so that it
can be told from the picture and is no coin that nobody can see.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

__all__ = ["Phrases", "cause_clause", "decision_clause"]


class Phrases(Enum):
    """A way of speaking."""

    CLEAR = 0
    OVERCAST = 1


_DECISIONS: dict[str, tuple[str, str]] = {
    "keep": (
        "Keep the speed at {speed} km/h and stay in the lane",
        "Hold {speed} km/h and go on in this lane",
    ),
    "follow": (
        "Keep the distance and drive at {speed} km/h",
        "Follow the traffic ahead at {speed} km/h",
    ),
    "start": (
        "Start moving and accelerate to {goal} km/h",
        "Set off now and speed up to {goal} km/h",
    ),
    "accelerate": (
        "Accelerate from {speed} to {goal} km/h",
        "Speed up from {speed} to {goal} km/h",
    ),
    "slow": (
        "Slow down from {speed} to {goal} km/h",
        "Reduce the speed from {speed} to {goal} km/h",
    ),
    "stop": (
        "Brake from {speed} km/h and stop within {room} m",
        "Come to a stop within {room} m from {speed} km/h",
    ),
    "wait": ("Wait at a standstill and keep the brake on", "Remain stopped and hold the brake"),
}
_CAUSES: dict[str, tuple[str, str]] = {
    "lead_braking": (
        "the lead {kind} {gap_m} m ahead is braking",
        "the {kind} in front is braking at a distance of {gap_m} m",
    ),
    "lead_slower": (
        "the lead {kind} {gap_m} m ahead is slower at {speed_kmh} km/h",
        "the {kind} in front drives only {speed_kmh} km/h at a distance of {gap_m} m",
    ),
    "lead_close": (
        "the lead {kind} is only {gap_m} m ahead",
        "the {kind} in front is as close as {gap_m} m",
    ),
    "lead_stopped": (
        "the lead {kind} {gap_m} m ahead has stopped",
        "the {kind} in front stands at a distance of {gap_m} m",
    ),
    "lead_leaving": (
        "the lead {kind} {gap_m} m ahead is pulling away",
        "the {kind} in front is leaving and already {gap_m} m away",
    ),
    "lead_ahead": (
        "the lead {kind} is {gap_m} m ahead",
        "the {kind} in front is {gap_m} m away",
    ),
    "lead_steady": (
        "the lead {kind} {gap_m} m ahead drives steadily at {speed_kmh} km/h",
        "the {kind} in front goes on at {speed_kmh} km/h at a distance of {gap_m} m",
    ),
    "gap_closing": ("the gap is closing", "it comes closer"),
    "light_red": (
        "the traffic light {distance_m} m ahead is red",
        "the signal shows red in {distance_m} m",
    ),
    "light_amber": (
        "the traffic light {distance_m} m ahead is amber",
        "the signal shows amber in {distance_m} m",
    ),
    "light_green": (
        "the traffic light {distance_m} m ahead is green",
        "the signal shows green in {distance_m} m",
    ),
    "free_until_red": (
        "the road is free up to the red traffic light {distance_m} m ahead",
        "nothing is in the way before the red signal in {distance_m} m",
    ),
    "free_until_amber": (
        "the road is free up to the amber traffic light {distance_m} m ahead",
        "nothing is in the way before the amber signal in {distance_m} m",
    ),
    "amber_too_close": (
        "the amber light is too close to stop",
        "there is no room left to stop at the amber light",
    ),
    "road_free": ("the road ahead is free", "there is nothing in the way"),
    "lane_straight": ("the lane goes straight on", "the street runs straight"),
    "bend_left": ("the lane bends to the left", "the street curves to the left"),
    "bend_right": ("the lane bends to the right", "the street curves to the right"),
}


def decision_clause(
    phrases: Phrases, decision: str, quantities: Mapping[str, int], follows: bool
) -> str:
    """How a text opens; quantities are `speed` and `goal` in km/h and `room` to stop in m."""
    key = decision
    if decision == "keep" and follows:
        key = "follow"
    if decision == "accelerate" and quantities["speed"] == 0:
        key = "start"
    return _DECISIONS[key][phrases.value].format(**quantities)


def cause_clause(phrases: Phrases, name: str, attributes: Mapping[str, str | int]) -> str:
    """One cause in words; a light at the bumper is "just ahead"."""
    clause = _CAUSES[name][phrases.value].format(**attributes)
    if name.startswith(("light", "free_until")) and int(attributes["distance_m"]) <= 1:
        clause = clause.replace("1 m ahead", "just ahead").replace("in 1 m", "just ahead")
    return clause
