"""The two scenes that are drawn at once: the one to see and the flat one to label.

Whatever is attached is a `Pair` of nodes that are moved, shown and removed together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from panda3d.core import GeomNode, NodePath

from rsd_planner.simulation.classes import CLASS_STEP, PixelClass
from rsd_planner.simulation.mesh import Mesh, recolour
from rsd_planner.simulation.weather import Look

__all__ = ["Eye", "Pair", "Stage"]

_FOG_SIGHTS = 1.4  # so many visibilities away everything is fog

_LAMP_THINNESS = 0.6  # fog seems thinner to lamps


@dataclass(frozen=True)
class Eye:
    """Where the cameras are and where the front one looks to."""

    at_m: NDArray[np.float64]  # (2,)
    ahead: NDArray[np.float64]  # (2,) of length one

    def sees(
        self, places_m: NDArray[np.float64], radii_m: float | NDArray[np.float64], sight_m: float
    ) -> NDArray[np.bool_]:
        """Which discs (n, 2) around places reach into the half circle before the eye, (n,)."""
        away = places_m - self.at_m
        near = np.hypot(away[:, 0], away[:, 1]) - radii_m < sight_m
        seen: NDArray[np.bool_] = near & (away @ self.ahead + radii_m > 0.0)
        return seen


@dataclass
class _Foggy:
    """What the fog paints over."""

    node: GeomNode
    points: NDArray[np.float64]  # (vertices, 3) relative to the pair's root
    colours: NDArray[np.float64]  # (vertices, 3)
    thinness: NDArray[np.float64]  # (vertices,) factor on the distance


@dataclass
class Pair:
    """The same thing in both scenes."""

    seen: NodePath
    label: NodePath
    foggy: list[_Foggy] = field(default_factory=list)  # of this node alone

    def show(self, visible: bool) -> None:
        """Shows or hides it and all below it."""
        for node in (self.seen, self.label):
            node.show() if visible else node.hide()

    def place(self, x_m: float, y_m: float, yaw_rad: float) -> None:
        """Puts it onto the ground."""
        heading = float(np.rad2deg(yaw_rad))
        for node in (self.seen, self.label):
            node.setPosHpr(x_m, y_m, 0.0, heading, 0.0, 0.0)

    def swing(self, angle_deg: float) -> None:
        """Turns it about its own left axis; positive moves what hangs down backwards."""
        for node in (self.seen, self.label):
            node.setR(angle_deg)

    def set_class(self, kind: PixelClass) -> None:
        """Paints the label of it and of all below it that has no class of its own."""
        level = int(kind) * CLASS_STEP / 255.0
        self.label.setColor(level, level, level, 1.0, 1)

    def paint_in_order(self, order: int) -> None:
        """For what lies on the flat ground: painted one over the other, without depth."""
        for node in (self.seen, self.label):
            node.setBin("background", order)
            node.setDepthTest(False)
            node.setDepthWrite(False)

    def remove(self) -> None:
        """Takes it out of both scenes."""
        self.seen.removeNode()
        self.label.removeNode()


class Stage:
    """Both scenes, in the light of one kind of weather."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.foggy = bool(np.isfinite(look.visibility_m))
        self.sight_m = _FOG_SIGHTS * look.visibility_m  # nothing shows beyond it
        self.seen = NodePath("seen")
        self.label = NodePath("label")
        for scene in (self.seen, self.label):
            scene.setTwoSided(True)
            scene.setBin("unsorted", 0)  # else what coincides is drawn in an order by chance

    def group(self, name: str, parent: Pair | None = None) -> Pair:
        """An empty pair to attach others to."""
        seen, label = (parent.seen, parent.label) if parent else (self.seen, self.label)
        return Pair(seen.attachNewNode(name), label.attachNewNode(name))

    def attach(self, mesh: Mesh, name: str, parent: Pair | None = None) -> Pair:
        """A mesh, below a pair or on the ground."""
        seen, label = mesh.nodes(name, self.look.tone)
        over = (parent.seen, parent.label) if parent else (self.seen, self.label)
        pair = Pair(over[0].attachNewNode(seen), over[1].attachNewNode(label))
        if self.foggy:
            colours = np.repeat(mesh.colours(self.look.tone).astype(float), 4, axis=0)
            thinness = np.where(mesh.shining(), _LAMP_THINNESS, 1.0)
            pair.foggy.append(_Foggy(seen, mesh.points(), colours, thinness))
        return pair

    def fog(self, pair: Pair, eye_m: NDArray[np.float64], at_m: NDArray[np.float64]) -> None:
        """Paints the fog over a pair at `at_m` (2,), seen from `eye_m` (2,)."""
        horizon = np.array(self.look.horizon, dtype=float)
        for part in pair.foggy:
            away = np.linalg.norm(part.points[:, :2] + (at_m - eye_m), axis=1)  # (vertices,)
            share = self.look.fog_share(part.thinness * away)[:, None]
            colours = part.colours + share * (horizon - part.colours)
            recolour(part.node, colours.astype(np.uint8))

    def close(self) -> None:
        """Frees what the scenes hold."""
        self.seen.removeNode()
        self.label.removeNode()
