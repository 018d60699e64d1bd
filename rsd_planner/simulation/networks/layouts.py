"""What the road networks look like: blocks of the main road and what lies between two of them.

Only data. `plain_xml.py` turns it into the files that netconvert reads.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ROADS", "Block", "Road"]


@dataclass(frozen=True)
class Block:
    """One edge of the main road, up to the junction at its end."""

    pieces: tuple[tuple[float, float], ...]  # (length in m, turn in degrees, left is positive)
    # lights; minor: the cross road gives way; yield: the main road gives way; ring: a roundabout;
    # on: a ramp joins; off: a ramp leaves; drop: the extra lane ends; plain: nothing.
    ends: str = "plain"
    extra_lane: bool = False  # on the right, for joining or leaving
    kind: str = ""  # where it differs from the road's
    lanes: int = 0  # where it differs from the road's
    sides: str = "lr"  # where the cross road goes


@dataclass(frozen=True)
class Road:
    """One network."""

    name: str
    kind: str
    lanes: int  # each way
    lane_width_m: float
    blocks: tuple[Block, ...]
    two_way: bool = True
    cross_lanes: int = 1
    cross_m: float = 90.0


def _ramps(*lengths: tuple[float, float, float, float], curve: float) -> tuple[Block, ...]:
    """Blocks of a motorway: free, joining, free, leaving; it bends to and fro."""
    blocks: list[Block] = []
    for number, (free, joining, between, leaving) in enumerate(lengths):
        turn = curve if number % 2 == 0 else -curve
        blocks += [
            Block(((free, turn),), "on"),
            Block(((joining, 0.0),), "drop", extra_lane=True),
            Block(((between, -turn),)),
            Block(((leaving, 0.0),), "off", extra_lane=True),
        ]
    return tuple(blocks)


ROADS = (
    Road(
        "market", "city", 2, 3.3,
        (
            Block(((210, 0),), "lights"), Block(((90, 0), (90, 16)), "lights"),
            Block(((200, 0),), "lights", sides="r"),
            Block(((60, 0), (100, -22), (20, 0)), "lights"),
            Block(((190, 0),), "lights", sides="l"),
            Block(((30, 0), (120, 14), (40, 0)), "lights"),
            Block(((220, 0),)),
        ),
        cross_lanes=2, cross_m=110.0,
    ),
    Road(
        "plaza", "city", 3, 3.3,
        (
            Block(((240, 0),), "lights"), Block(((40, 0), (150, -20), (40, 0)), "lights"),
            Block(((210, 0),), "lights"), Block(((40, 0), (150, 25), (40, 0)), "lights", sides="l"),
            Block(((220, 0),), "lights"), Block(((250, 0),)),
        ),
        cross_lanes=2, cross_m=110.0,
    ),
    Road(
        "alley", "oldtown", 1, 3.2,
        (
            Block(((40, 0), (70, 20), (40, 0)), "minor"), Block(((140, 0),), "lights"),
            Block(((30, 0), (60, -35), (40, 0)), "minor", sides="l"),
            Block(((40, 0), (30, 30), (70, 0)), "yield"),
            Block(((120, 0),), "lights"), Block(((40, 0), (50, -30), (40, 0)), "minor", sides="r"),
            Block(((140, 0),), "yield"), Block(((30, 0), (60, 30), (40, 0)), "lights"),
            Block(((150, 0),)),
        ),
        cross_m=70.0,
    ),
    Road(
        "cobble", "oldtown", 1, 3.2,
        (
            Block(((150, 0),), "lights"), Block(((30, 0), (30, 45), (50, 0)), "yield"),
            Block(((40, 0), (30, -45), (60, 0)), "minor"), Block(((130, 0),), "lights"),
            Block(((40, 0), (60, -20), (50, 0)), "minor", sides="r"),
            Block(((40, 0), (26, -50), (30, 0), (26, 50), (40, 0)), "yield"),
            Block(((140, 0),), "lights"), Block(((40, 0), (70, 25), (40, 0)), "minor", sides="l"),
            Block(((150, 0),)),
        ),
        cross_m=70.0,
    ),
    Road(
        "valley", "rural", 1, 3.5,
        (
            Block(((150, 0), (60, 50), (90, 0), (40, -55), (60, 0)), "yield"),
            Block(((90, 0), (50, -70), (110, 0), (70, 60), (70, 0)), "minor", sides="l"),
            Block(((100, 0), (35, 65), (80, 0), (45, -60), (70, 0)), "yield"),
            Block(((120, 0), (70, -55), (110, 0)), "ring"),
            Block(((90, 0), (55, 70), (120, 0))),
        ),
        cross_m=130.0,
    ),
    Road(
        "meadow", "rural", 1, 3.5,
        (
            Block(((130, 0), (45, -60), (90, 0)), "ring"),
            Block(((90, 0), (60, 55), (100, 0), (38, -65), (60, 0)), "yield"),
            Block(((110, 0), (55, 75), (70, 0)), "minor", sides="r"),
            Block(((80, 0), (40, -60), (100, 0), (70, -50), (70, 0)), "yield"),
            Block(((110, 0), (60, 60), (140, 0))),
        ),
        cross_m=130.0,
    ),
    Road(
        "bypass", "motorway", 3, 3.6,
        (*_ramps((280, 190, 190, 170), (230, 190, 220, 170), curve=9.0), Block(((250, 0),))),
        two_way=False,
    ),
    Road(
        "expressway", "motorway", 3, 3.6,
        (*_ramps((240, 210, 160, 180), (220, 200, 260, 180), curve=-14.0), Block(((240, 6),))),
    ),
    Road(
        "beltway", "motorway", 2, 3.5,
        (*_ramps((210, 180, 230, 160), (260, 210, 170, 170), curve=12.0), Block(((230, -8),))),
    ),
    # Held out: two mixtures that together hold all that the others hold.
    Road(
        "harbour", "oldtown", 1, 3.2,
        (
            Block(((60, 0), (50, 25), (60, 0)), "minor"),
            Block(((40, 0), (32, -45), (60, 0)), "yield"), Block(((140, 0),), "lights"),
            Block(((40, 0), (60, 30), (50, 0)), "lights"),
            Block(((190, 0),), "lights", kind="city", lanes=2),
            Block(((40, 0), (110, -18), (40, 0)), "lights", kind="city", lanes=2, sides="l"),
            Block(((200, 0),), "lights", kind="city", lanes=2),
            Block(((210, 0),), kind="city", lanes=2),
        ),
        cross_m=80.0,
    ),
    Road(
        "ridge", "rural", 1, 3.5,
        (
            Block(((140, 0), (55, -60), (90, 0)), "yield"),
            Block(((90, 0), (40, 60), (80, 0), (60, -50), (70, 0)), "ring"),
            Block(((100, 0), (50, 55), (120, 0))),
            Block(((200, 6),), "on", kind="motorway", lanes=2),
            Block(((200, 0),), "drop", extra_lane=True, kind="motorway", lanes=2),
            Block(((170, -10),), kind="motorway", lanes=2),
            Block(((170, 0),), "off", extra_lane=True, kind="motorway", lanes=2),
            Block(((180, 8),), "on", kind="motorway", lanes=2),
            Block(((200, 0),), "drop", extra_lane=True, kind="motorway", lanes=2),
            Block(((250, 0),), kind="motorway", lanes=2),
        ),
        cross_m=120.0,
    ),
)  # fmt: skip
