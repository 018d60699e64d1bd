"""Triangles with a colour for the eye and a class for the label, and how Panda3D takes them.

Sunlight is baked into the colours when a face is added, the weather when the mesh becomes nodes,
so nothing is lit while drawing. Every mesh becomes two nodes: one with colours, one flat one whose
red channel carries the class.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from panda3d.core import (
    Geom,
    GeomEnums,
    GeomNode,
    GeomTriangles,
    GeomVertexArrayFormat,
    GeomVertexData,
    GeomVertexFormat,
    InternalName,
)

from rsd_planner.simulation.classes import CLASS_STEP, PixelClass

__all__ = ["Colour", "Mesh", "Tone", "recolour"]

Colour = tuple[int, int, int]
Point = Sequence[float] | NDArray[np.float64]
_LONGEST_M = 12.0  # of a ribbon's pieces
_SAGITTA_M = 0.02
_VERTEX = np.dtype([("point", "<f4", 3), ("colour", "u1", 4)])
_SUN = (0.35, -0.5, 0.79)


class Tone(Protocol):
    """What the weather makes of a mesh's colours."""

    def __call__(
        self,
        colours: NDArray[np.float64],  # (quads, 3) 0 to 255
        classes: NDArray[np.uint8],  # (quads,)
        flat: NDArray[np.bool_],  # (quads,) drawn without sunlight: paint, glass
        glow: NDArray[np.bool_],  # (quads,) shines by itself
    ) -> NDArray[np.float64]:
        """The colours to draw, (quads, 3)."""


class Mesh:
    """Collects quads; `shade` is how much the sun matters (0 overcast, 1 bright)."""

    def __init__(self, shade: float = 1.0) -> None:
        self._shade = shade
        self._points: list[NDArray[np.float64]] = []
        self._colours: list[Colour] = []
        self._classes: list[int] = []
        self._flat: list[bool] = []
        self._glow: list[bool] = []

    def __len__(self) -> int:
        return len(self._points)

    def middle(self) -> NDArray[np.float64]:
        """The mean of all corners."""  # (3,)
        return np.concatenate(self._points).mean(axis=0)

    def points(self) -> NDArray[np.float64]:
        """All corners, four a quad."""  # (quads * 4, 3)
        return np.concatenate(self._points)

    def shining(self) -> NDArray[np.bool_]:
        """Which corners belong to lamps that are lit."""  # (quads * 4,)
        return np.repeat(np.array(self._glow), 4)

    def split(self, cell_m: float) -> list[Mesh]:
        """The same quads in square cells, so that those out of sight can be left out."""
        cells: defaultdict[tuple[int, int], Mesh] = defaultdict(lambda: Mesh(self._shade))
        for index, points in enumerate(self._points):
            x, y = points[:, :2].mean(axis=0) // cell_m
            cell = cells[int(x), int(y)]
            cell._points.append(points)
            for name in ("_colours", "_classes", "_flat", "_glow"):
                getattr(cell, name).append(getattr(self, name)[index])
        return list(cells.values())

    def quad(
        self,
        corners: Sequence[Point],
        colour: Colour,
        kind: PixelClass,
        flat: bool = False,
        glow: bool = False,
    ) -> None:
        """Four corners in order; `flat` leaves out sunlight, `glow` every darkness."""
        points = np.asarray(corners, dtype=float)  # (4, 3)
        if not (flat or glow):
            # By hand: this runs for every face of the world, and numpy is slow for three numbers.
            (ax, ay, az), (bx, by, bz) = (points[2:] - points[:2]).tolist()
            x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            length = math.sqrt(x * x + y * y + z * z) or 1.0
            light = (x * _SUN[0] + y * _SUN[1] + z * _SUN[2]) / length
            light = abs(light) if z > 0.3 * length else max(0.0, light)
            factor = 1.0 - 0.2 * (1 - self._shade) - 0.5 * self._shade * (0.85 - light)
            colour = tuple(int(min(255, c * factor)) for c in colour)  # type: ignore[assignment]
        self._points.append(points)
        self._colours.append(colour)
        self._classes.append(int(kind))
        self._flat.append(flat)
        self._glow.append(glow)

    def prism(
        self,
        bottom: Sequence[Point],
        top: Sequence[Point],
        colour: Colour,
        kind: PixelClass,
        lid: bool = True,
    ) -> None:
        """Side faces between two rings (counter-clockwise from above), and a lid if wanted."""
        count = len(bottom)
        for i in range(count):
            j = (i + 1) % count
            self.quad([bottom[i], bottom[j], top[j], top[i]], colour, kind)
        if lid and count == 4:
            self.quad(top, colour, kind)
        elif lid:
            middle = np.mean(np.asarray(top, dtype=float), axis=0)
            for i in range(count):
                self.quad([top[i], top[(i + 1) % count], middle, middle], colour, kind)

    def box(
        self,
        low: Point,
        high: Point,
        colour: Colour,
        kind: PixelClass,
    ) -> None:
        """A box along the axes."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        self.prism([(*p, z0) for p in ring], [(*p, z1) for p in ring], colour, kind)

    def tube(
        self,
        center: Point,
        radii: tuple[float, float],
        heights: tuple[float, float],
        colour: Colour,
        kind: PixelClass,
        sides: int = 6,
    ) -> None:
        """An upright tube or cone around (x, y)."""
        angles = np.arange(sides) * 2 * np.pi / sides
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        rings = [
            np.column_stack([np.asarray(center)[:2] + r * ring, np.full(sides, z)])
            for r, z in zip(radii, heights, strict=True)
        ]
        self.prism(list(rings[0]), list(rings[1]), colour, kind)

    def ribbon(
        self,
        left: NDArray[np.float64],
        right: NDArray[np.float64],
        colour: Colour,
        kind: PixelClass,
        height_m: float = 0.0,
    ) -> None:
        """A flat strip between two polylines (points, 2); straight stretches become one quad."""
        keep = _corners(0.5 * (left + right))
        left, right = left[keep], right[keep]
        left3 = np.column_stack([left, np.full(len(left), height_m)])
        right3 = np.column_stack([right, np.full(len(right), height_m)])
        for i in range(len(left) - 1):
            self.quad([right3[i], right3[i + 1], left3[i + 1], left3[i]], colour, kind, flat=True)

    def nodes(self, name: str, tone: Tone) -> tuple[GeomNode, GeomNode]:
        """The node to see and the node to label."""
        classes = np.array(self._classes, dtype=np.uint8)  # (quads,)
        labels = np.repeat((classes * CLASS_STEP)[:, None], 3, axis=1)
        return self._node(f"{name}-seen", self.colours(tone)), self._node(f"{name}-label", labels)

    def colours(self, tone: Tone) -> NDArray[np.uint8]:
        """The colour of every quad in this weather."""  # (quads, 3)
        colours = tone(
            np.array(self._colours, dtype=float),
            np.array(self._classes, dtype=np.uint8),
            np.array(self._flat),
            np.array(self._glow),
        )
        return np.clip(colours, 0, 255).astype(np.uint8)

    def _node(self, name: str, colours: NDArray[np.uint8]) -> GeomNode:
        quads = len(self._points)
        vertices = np.zeros(quads * 4, dtype=_VERTEX)
        vertices["point"] = self.points()
        vertices["colour"][:, :3] = np.repeat(colours, 4, axis=0)
        vertices["colour"][:, 3] = 255
        data = GeomVertexData(name, _vertex_format(), Geom.UHStatic)
        data.uncleanSetNumRows(len(vertices))
        memoryview(data.modifyArray(0)).cast("B")[:] = vertices.tobytes()
        corner = np.array([0, 1, 2, 0, 2, 3], dtype=np.uint32)
        index = (np.arange(quads, dtype=np.uint32)[:, None] * 4 + corner).ravel()
        triangles = GeomTriangles(Geom.UHStatic)
        triangles.setIndexType(GeomEnums.NTUint32)
        array = triangles.modifyVertices()
        array.uncleanSetNumRows(len(index))
        memoryview(array).cast("B")[:] = index.tobytes()
        geom = Geom(data)
        geom.addPrimitive(triangles)
        node = GeomNode(name)
        node.addGeom(geom)
        return node


def recolour(node: GeomNode, colours: NDArray[np.uint8]) -> None:
    """Gives every vertex of a mesh's node a new colour, (vertices, 3)."""
    array = node.modifyGeom(0).modifyVertexData().modifyArray(0)
    vertices = np.frombuffer(memoryview(array).cast("B"), dtype=_VERTEX)
    vertices["colour"][:, :3] = colours


def _corners(line: NDArray[np.float64]) -> list[int]:
    """The points of a polyline that are needed: it bends there, or it is long since the last."""
    steps = np.diff(line, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    headings = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    keep, begin, length = [0], 0, 0.0
    for i in range(1, len(steps)):
        length += lengths[i - 1]
        ahead = length + lengths[i]
        bend = abs(headings[i] - headings[begin])
        if ahead > _LONGEST_M or ahead * bend > 8 * _SAGITTA_M:
            keep.append(i)
            begin, length = i, 0.0
    return [*keep, len(line) - 1]


def _vertex_format() -> GeomVertexFormat:
    array = GeomVertexArrayFormat()
    array.addColumn(InternalName.getVertex(), 3, GeomEnums.NTFloat32, GeomEnums.CPoint)
    array.addColumn(InternalName.getColor(), 4, GeomEnums.NTUint8, GeomEnums.CColor)
    vertex_format = GeomVertexFormat()
    vertex_format.addArray(array)
    return GeomVertexFormat.registerFormat(vertex_format)
