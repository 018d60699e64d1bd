"""Everything that is not an actor: sky, hills and ground, the scenery's meshes, and the lights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation import scenery
from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.mesh import Mesh
from rsd_planner.simulation.network import load_network
from rsd_planner.simulation.scene import Drive, LightState, Snapshot
from rsd_planner.simulation.stage import Eye, Pair, Stage
from rsd_planner.simulation.weather import Look

__all__ = ["Surroundings"]

_SIGHT_M = 330.0
_LABEL_SIGHT_M = 170.0  # what is farther away has too few pixels to be a cause, or to hide one
_GROUND_CELL_M = 70.0
_SIGNAL_RADIUS_M = 40.0  # from a stop line to the heads beyond the junction
_GRASS = (124, 134, 104)
_RADIUS_M = 250.0
_LIT = {
    LightState.RED: PixelClass.LIGHT_RED,
    LightState.AMBER: PixelClass.LIGHT_AMBER,
    LightState.GREEN: PixelClass.LIGHT_GREEN,
}


class Surroundings:
    """What stands still, on the stage, and the backdrop that moves along with the ego."""

    def __init__(self, stage: Stage, drive: Drive) -> None:
        self._stage = stage
        road = load_network(drive.network)
        sky, ground = _sky(stage.look), _plain(stage.look)
        self._backdrop = [stage.attach(sky, "sky"), stage.attach(ground, "plain")]
        for order, pair in enumerate(self._backdrop):
            pair.paint_in_order(order)
        layers = [layer.split(_GROUND_CELL_M) for layer in scenery.ground_layers(road)]
        layers.append([scenery.crosswalk(road, at_m) for at_m in drive.crosswalks_m])
        cells = []
        for order, meshes in enumerate(layers):
            for mesh in meshes:
                cells.append(self._add_cell(mesh))
                cells[-1][0].paint_in_order(2 + order)
        uprights = scenery.upright_cells(road, drive.seed, stage.look.sun, drive.limit_mps)
        cells += [self._add_cell(mesh) for mesh in uprights]
        self._cells = [pair for pair, _, _ in cells]
        self._middles = np.array([middle for _, middle, _ in cells])  # (cells, 2)
        self._radii = np.array([radius for _, _, radius in cells])
        self._seen: NDArray[np.bool_] = np.ones(len(cells), bool)
        self._labelled: NDArray[np.bool_] = self._seen
        self._lamps = [
            {state: stage.attach(scenery.lamp_disc(road, s, state), "lamp") for state in _LIT}
            for s in road.signals
        ]
        self._stops = np.array([signal.stop_points.mean(axis=0) for signal in road.signals])

    def show(self, snapshot: Snapshot, eye: Eye) -> None:
        """Moves the backdrop, leaves out what the eye cannot see, switches the lights."""
        for pair in self._backdrop:
            pair.place(snapshot.ego_x_m, snapshot.ego_y_m, 0.0)
        seen = eye.sees(self._middles, self._radii, min(_SIGHT_M, self._stage.sight_m))
        labelled = eye.sees(self._middles, self._radii, _LABEL_SIGHT_M)
        for index in np.flatnonzero((seen != self._seen) | (labelled != self._labelled)):
            pair = self._cells[index]
            pair.seen.show() if seen[index] else pair.seen.hide()
            pair.label.show() if labelled[index] else pair.label.hide()
        self._seen, self._labelled = seen, labelled
        ahead = snapshot.light_ahead.signal if snapshot.light_ahead else -1
        for index, lamps in enumerate(self._lamps):
            now = snapshot.lights[index]
            for state, pair in lamps.items():
                pair.show(state is now)
            lamps[now].set_class(_LIT[now] if index == ahead else PixelClass.OTHER_LIGHT)

    def fog(self, snapshot: Snapshot, eye: Eye) -> None:
        """Paints the fog over all that `show` has left in sight."""
        origin = np.zeros(2)
        for index in np.flatnonzero(self._seen):
            self._stage.fog(self._cells[index], eye.at_m, origin)
        self._stage.fog(self._backdrop[1], origin, origin)
        if not self._lamps:
            return
        near = eye.sees(self._stops, _SIGNAL_RADIUS_M, self._stage.sight_m)
        for index, lamps in enumerate(self._lamps):
            lit = lamps[snapshot.lights[index]]
            if near[index]:
                self._stage.fog(lit, eye.at_m, origin)
            else:
                lit.seen.hide()

    def _add_cell(self, mesh: Mesh) -> tuple[Pair, NDArray[np.float64], float]:
        middle = mesh.middle()[:2]
        radius = float(np.linalg.norm(mesh.points()[:, :2] - middle, axis=1).max())
        return self._stage.attach(mesh, "cell"), middle, radius


def _sky(look: Look) -> Mesh:
    """The sky, and hills at its foot."""
    mesh, sides = Mesh(), 24
    angles = np.arange(sides + 1) * 2 * np.pi / sides
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * _RADIUS_M
    levels = np.linspace(0.0, 110.0, 17)
    for low, high in zip(levels[:-1], levels[1:], strict=True):
        share = min(1.0, low / 80.0) ** 0.7
        red, green, blue = (
            int(a + share * (b - a)) for a, b in zip(look.horizon, look.zenith, strict=True)
        )
        for a, b in zip(ring[:-1], ring[1:], strict=True):
            corners = [(*a, low), (*b, low), (*b, high), (*a, high)]
            mesh.quad(corners, (red, green, blue), PixelClass.SKY, glow=True)
    heights = 6.0 + 5.0 * np.sin(3 * angles + 1.0) + 3.0 * np.sin(7 * angles)
    for i in range(sides):
        a, b = 0.99 * ring[i], 0.99 * ring[i + 1]
        corners = [(*a, -1.0), (*b, -1.0), (*b, heights[i + 1]), (*a, heights[i])]
        mesh.quad(corners, look.hill, PixelClass.VEGETATION, glow=True)
    return mesh


def _plain(look: Look) -> Mesh:
    """Grass around the ego; in rings if fog is to be painted over it."""
    mesh, sides = Mesh(), 16
    foggy = np.isfinite(look.visibility_m)
    radii = [0.0, 6.0, 15.0, 30.0, 55.0, 90.0, 1.1 * _RADIUS_M] if foggy else [0, 1.1 * _RADIUS_M]
    angles = np.arange(sides + 1) * 2 * np.pi / sides
    ring = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(sides + 1)])
    for low, high in zip(radii[:-1], radii[1:], strict=True):
        for a, b in zip(ring[:-1], ring[1:], strict=True):
            corners = [low * a, high * a, high * b, low * b]
            mesh.quad(corners, _GRASS, PixelClass.GROUND, flat=True)
    return mesh
