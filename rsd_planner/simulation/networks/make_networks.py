"""Makes the road networks that are checked in beside this file. Run once, not at run time.

Each network is one road along which the ego drives. The streets below are blocks of chosen
length, gently bent in the middle and straight at their ends, with a crossing with lights between
two blocks; the others are described in `layouts.py` or drawn by `drawn.py`.
It needs `netconvert` (package eclipse-sumo); the world itself only reads the result:

    python -m rsd_planner.simulation.networks.make_networks
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rsd_planner.simulation.networks.drawn import drawn_roads
from rsd_planner.simulation.networks.layouts import ROADS
from rsd_planner.simulation.networks.plain_xml import PlainFiles, plain_files

FOLDER = Path(__file__).parent
CROSS_LENGTH_M = 90.0
KINDS = ("city", "oldtown", "rural", "motorway")


@dataclass(frozen=True)
class Street:
    """One network: block lengths, and the turn of heading within each block."""

    name: str
    lanes: int
    lane_width_m: float
    blocks_m: tuple[float, ...]
    bends_rad: tuple[float, ...]  # left is positive


STREETS = (
    Street("avenue", 2, 3.5, (230, 190, 210, 180, 220, 200, 230), (0, 0, 0, 0, 0, 0, 0)),
    Street(
        "bend", 2, 3.4, (220, 200, 210, 190, 220, 200, 230), (0.3, -0.35, 0.4, -0.3, -0.3, 0.4, 0)
    ),
    Street("boulevard", 3, 3.5, (260, 230, 250, 240, 230, 250), (0, 0.25, -0.3, 0.2, 0.25, -0.2)),
    Street(
        "oldtown",
        2,
        3.2,
        (170, 150, 160, 140, 170, 150, 160, 150, 170),
        (-0.2, 0.25, -0.25, 0, 0.3, -0.3, 0.2, 0, 0),
    ),
)


def centre_line(street: Street) -> list[list[tuple[float, float, float]]]:
    """(x, y, heading) every 5 m or so, block by block; neighbours share their end point."""
    x = y = heading = 0.0
    blocks = []
    for length, bend in zip(street.blocks_m, street.bends_rad, strict=True):
        steps = round(length / 5.0)
        points = [(x, y, heading)]
        for i in range(steps):
            # A raised cosine over the middle 60 % keeps the crossings straight.
            u = ((i + 0.5) / steps - 0.2) / 0.6
            weight = (1 - math.cos(2 * math.pi * u)) if 0 < u < 1 else 0.0
            heading += bend * weight / (0.6 * steps)
            x += length / steps * math.cos(heading)
            y += length / steps * math.sin(heading)
            points.append((x, y, heading))
        blocks.append(points)
    return blocks


def plain_xml(street: Street) -> PlainFiles:
    """The nodes and edges that netconvert reads."""
    blocks = centre_line(street)
    nodes, edges = [], []
    ends = [blocks[0][0], *(points[-1] for points in blocks)]
    for i, (x, y, heading) in enumerate(ends):
        inner = 0 < i < len(ends) - 1
        kind = "traffic_light" if inner else "dead_end"
        nodes.append(f'<node id="n{i}" x="{x:.2f}" y="{y:.2f}" type="{kind}"/>')
        if not inner:
            continue
        for side, sign in (("l", 1.0), ("r", -1.0)):
            cx = x - sign * CROSS_LENGTH_M * math.sin(heading)
            cy = y + sign * CROSS_LENGTH_M * math.cos(heading)
            nodes.append(f'<node id="c{i}{side}" x="{cx:.2f}" y="{cy:.2f}" type="dead_end"/>')
            for start, end in ((f"c{i}{side}", f"n{i}"), (f"n{i}", f"c{i}{side}")):
                edges.append(
                    f'<edge id="{start}_{end}" from="{start}" to="{end}" numLanes="1" speed="11.1" '
                    f'priority="1" type="city" width="{street.lane_width_m}"/>'
                )
    for i, points in enumerate(blocks):
        for name, a, b, path in (
            (f"f{i}", i, i + 1, points),
            (f"b{i}", i + 1, i, points[::-1]),
        ):
            shape = " ".join(f"{x:.2f},{y:.2f}" for x, y, _ in path)
            edges.append(
                f'<edge id="{name}" from="n{a}" to="n{b}" numLanes="{street.lanes}" '
                f'speed="13.89" priority="3" type="city" '
                f'width="{street.lane_width_m}" shape="{shape}"/>'
            )
    return PlainFiles(nodes, edges)


def make(name: str, plain: PlainFiles) -> Path:
    """Writes `<name>.net.xml` and returns its path."""
    target = FOLDER / f"{name}.net.xml"
    with tempfile.TemporaryDirectory() as folder:
        for kind, lines in (
            ("nodes", plain.nodes), ("edges", plain.edges), ("connections", plain.connections),
            ("types", [f'<type id="{kind}"/>' for kind in KINDS]),
        ):  # fmt: skip
            text = f"<{kind}>" + "\n".join(lines) + f"</{kind}>"
            (Path(folder) / f"{kind}.xml").write_text(text)
        command = [
            *("netconvert", "--node-files", "nodes.xml", "--edge-files", "edges.xml"),
            *("--connection-files", "connections.xml", "--type-files", "types.xml"),
            *("--output-file", str(target), "--offset.disable-normalization", "true"),
            *("--no-turnarounds", "true", "--junctions.corner-detail", "5"),
            *("--tls.green.time", "14", "--tls.yellow.time", "3", "--tls.left-green.time", "0"),
            *("--tls.allred.time", "1", "--default.junctions.radius", "4"),
            *("--output.street-names", "false", "--write-license", "false"),
        ]
        subprocess.run(command, cwd=folder, check=True)
    # The header holds the date and paths of the machine; the file shall not.
    text = target.read_text()
    start, end = text.index("<!--"), text.index("-->") + 3
    target.write_text(text[:start] + "<!-- made by make_networks.py -->" + text[end:])
    return target


def main() -> None:
    """Makes the networks that are named on the command line, or all."""
    made = {street.name: plain_xml(street) for street in STREETS}
    made |= {road.name: plain_files(road) for road in (*ROADS, *drawn_roads())}
    for name in sys.argv[1:] or made:
        print(make(name, made[name]))


if __name__ == "__main__":
    main()
