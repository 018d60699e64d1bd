"""Layouts drawn by seeds: more training roads of each kind than anyone would lay out by hand.

A tower that has seen few roads knows these roads; on others it takes a merging car for any car.
"""

from __future__ import annotations

import math
import random

from rsd_planner.simulation.networks.layouts import Block, Road

__all__ = ["drawn_roads"]

_EACH = {"city": 5, "old": 3, "rural": 4, "fast": 5}


def drawn_roads() -> tuple[Road, ...]:
    """`city1` … `city5`, and so for old towns, rural roads and motorways.

    Counts stop before a road whose ring or crossing is drawn badly.
    """
    makers = {"city": _city, "old": _old_town, "rural": _rural, "fast": _motorway}
    return tuple(
        make(f"{name}{number}", random.Random(f"{name}{number}"))
        for name, make in makers.items()
        for number in range(1, _EACH[name] + 1)
    )


def _city(name: str, rng: random.Random) -> Road:
    blocks = [
        Block(_bent(rng, rng.randint(150, 240), 26, 110.0), "lights", sides=rng.choice(_SIDES))
        for _ in range(6)
    ]
    return Road(
        name, "city", rng.choice((2, 2, 3)), _between(rng, 3.2, 3.6),
        (*blocks, Block(((rng.randint(210, 250), 0),))),
        cross_lanes=rng.choice((1, 2)), cross_m=110.0,
    )  # fmt: skip


def _old_town(name: str, rng: random.Random) -> Road:
    ends = ["lights", "yield", "minor", "lights", "yield", rng.choice(("minor", "lights"))]
    rng.shuffle(ends)
    blocks = [
        Block(_bent(rng, rng.randint(130, 170), 38, 55.0), end, sides=_sides(rng, end))
        for end in ends
    ]
    return Road(
        name, "oldtown", 1, _between(rng, 3.2, 3.4),
        (*blocks, Block(((rng.randint(140, 160), 0),))), cross_m=70.0,
    )  # fmt: skip


def _rural(name: str, rng: random.Random) -> Road:
    ends = ["ring", "yield", rng.choice(("yield", "ring")), "minor"]
    rng.shuffle(ends)
    side = rng.choice((-1, 1))
    blocks = []
    for end in [*ends, "plain"]:
        pieces: list[tuple[float, float]] = [(rng.randint(90, 140), 0)]
        for _ in range(rng.choice((1, 2))):
            turn = rng.randint(45, 72)
            radius_m = rng.uniform(34.0, 68.0)
            pieces += [(radius_m * math.radians(turn), side * turn), (rng.randint(70, 110), 0)]
            side = -side
        blocks.append(Block(tuple(pieces), end, sides=_sides(rng, end)))
    return Road(name, "rural", 1, _between(rng, 3.3, 3.6), tuple(blocks), cross_m=130.0)


def _motorway(name: str, rng: random.Random) -> Road:
    lanes, side = rng.choice((2, 2, 3, 4)), rng.choice((-1, 1))
    blocks = []
    for _ in range(2):
        turn, side = side * rng.uniform(4.0, 15.0), -side
        blocks += [
            Block(((rng.randint(190, 280), turn),), "on"),
            Block(((rng.randint(180, 220), 0.0),), "drop", extra_lane=True),
            Block(((rng.randint(160, 230), -turn),)),
            Block(((rng.randint(165, 190), 0.0),), "off", extra_lane=True),
        ]
    return Road(
        name, "motorway", lanes, _between(rng, 3.4, 3.7),
        (*blocks, Block(((rng.randint(230, 260), 0.0),))), two_way=rng.random() < 0.7,
    )  # fmt: skip


_SIDES = ("lr", "lr", "l", "r")


def _sides(rng: random.Random, end: str) -> str:
    """Who has the right of way, or circles, comes from both sides."""
    return "lr" if end in ("yield", "ring", "plain") else rng.choice(_SIDES)


def _bent(
    rng: random.Random, length_m: float, most_deg: int, least_bend_m: float
) -> tuple[tuple[float, float], ...]:
    """A block that is straight, or straight at its ends and bent between them."""
    if rng.random() < 0.4:
        return ((length_m, 0),)
    turn = rng.choice((-1, 1)) * rng.randint(12, most_deg)
    bend = max(least_bend_m, 0.45 * length_m)
    straight = max(30.0, (length_m - bend) / 2)
    return ((straight, 0), (bend, turn), (straight + 5.0, 0))


def _between(rng: random.Random, low: float, high: float) -> float:
    return round(rng.uniform(low, high), 1)
