"""Traffic lights: housings, masts and the lamps that are lit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.ground import outer_offset
from rsd_planner.simulation.mesh import Colour, Mesh
from rsd_planner.simulation.placing import Cells, axes, face
from rsd_planner.simulation.road import RoadNetwork, Signal
from rsd_planner.simulation.scene import LightState

__all__ = ["LAMP_COLOURS", "lamp_disc", "signals"]

_STEEL = (92, 96, 100)
_HOUSING = (24, 25, 28)
_FRAME = (232, 232, 226)
LAMP_COLOURS: dict[LightState, Colour] = {
    LightState.RED: (255, 40, 30),
    LightState.AMBER: (255, 190, 20),
    LightState.GREEN: (40, 250, 120),
}
_LAMP_RADIUS_M = 0.42
_LAMP_GAP_M = 0.95
_LAMP_ORDER = (LightState.RED, LightState.AMBER, LightState.GREEN)

Head = tuple[NDArray[np.float64], float, NDArray[np.float64] | None]


def signals(cells: Cells, road: RoadNetwork) -> None:
    """All lights of a network, dark."""
    for signal in road.signals:
        for point, low_m, mast in _heads(road, signal):
            _housing(cells.at(point), signal.heading_rad, point, low_m)
            if mast is not None:
                _mast(cells.at(point), signal.heading_rad, point, mast)


def lamp_disc(road: RoadNetwork, signal: Signal, state: LightState) -> Mesh:
    """The lit lamps of one approach; the class is painted over by the renderer."""
    mesh = Mesh()
    for point, low, _ in _heads(road, signal):
        colour = LAMP_COLOURS[state]
        _disc(mesh, signal.heading_rad, point, low, state, colour, 0.27, lit=True)
    return mesh


def _heads(road: RoadNetwork, signal: Signal) -> list[Head]:
    """Where the heads of an approach hang: (x, y), height of the lower rim, foot of the mast."""
    edge = road.edge(signal.edge_id)
    forward, left = axes(signal.heading_rad)
    right_side = signal.stop_points[0] + (outer_offset(edge) - 0.7) * left
    near = right_side + 0.4 * forward
    far = (signal.far_distance_m + 1.0) * forward
    mast = right_side + far
    heads: list[Head] = [(near, 2.3, near)]
    for number, point in enumerate(signal.stop_points):
        heads.append((point + far, 3.5, mast if number == len(signal.stop_points) - 1 else None))
    return heads


def _housing(mesh: Mesh, heading: float, point: NDArray[np.float64], low: float) -> None:
    height = 3 * _LAMP_GAP_M + 0.15
    forward, left = axes(heading)
    ring = [
        point + a * forward + b * left
        for a, b in ((-0.2, 0.58), (-0.2, -0.58), (0.2, -0.58), (0.2, 0.58))
    ]
    mesh.prism(
        [(*p, low) for p in ring], [(*p, low + height) for p in ring], _HOUSING,
        PixelClass.LIGHT_HOUSING,
    )  # fmt: skip
    frame = face(heading, point, (0.66, 0.66), (low - 0.08, low + height + 0.08), 0.14)
    mesh.quad(frame, _FRAME, PixelClass.LIGHT_HOUSING, flat=True)
    frame = face(heading, point, (0.58, 0.58), (low, low + height), 0.21)
    mesh.quad(frame, _HOUSING, PixelClass.LIGHT_HOUSING, flat=True)
    for state in _LAMP_ORDER:
        red, green, blue = (int(20 + 0.10 * c) for c in LAMP_COLOURS[state])
        _disc(mesh, heading, point, low, state, (red, green, blue), 0.24, lit=False)


def _disc(
    mesh: Mesh,
    heading: float,
    point: NDArray[np.float64],
    low: float,
    state: LightState,
    colour: Colour,
    ahead: float,
    lit: bool,
) -> None:
    kind = PixelClass.OTHER_LIGHT if lit else PixelClass.LIGHT_HOUSING
    forward, left = axes(heading)
    row = len(_LAMP_ORDER) - 1 - _LAMP_ORDER.index(state)
    z = low + 0.075 + (row + 0.5) * _LAMP_GAP_M
    at = point - ahead * forward
    angles = np.arange(8) * np.pi / 4
    rim = [
        (*(at + _LAMP_RADIUS_M * np.cos(t) * left), z + _LAMP_RADIUS_M * np.sin(t)) for t in angles
    ]
    for i in range(0, 6, 2):  # a fan of quads over the octagon
        corners = [rim[0], rim[i + 1], rim[i + 2], rim[(i + 3) % 8]]
        mesh.quad(corners, colour, kind, flat=True, glow=lit)


def _mast(mesh: Mesh, heading: float, head: NDArray[np.float64], foot: NDArray[np.float64]) -> None:
    reach = float(np.linalg.norm(head - foot))
    top = 5.0 if reach > 1.0 else 2.5
    mesh.tube(foot, (0.13, 0.11), (0.0, top + 0.1), _STEEL, PixelClass.POLE, sides=6)
    if reach <= 1.0:
        return
    forward, _ = axes(heading)
    a, b = foot + 0.25 * forward, head + 0.25 * forward
    low, high = top - 0.1, top + 0.1
    mesh.quad([(*a, low), (*b, low), (*b, high), (*a, high)], _STEEL, PixelClass.POLE)
