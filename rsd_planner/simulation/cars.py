"""How vehicles look: body, windows, wheels, and lamps that are easy to see.

Local frame: x forward, y left, z up, origin in the middle of the footprint. Brake lamps and turn
indicators are larger than real ones, so that they survive in small pictures.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.mesh import Colour, Mesh

__all__ = ["Size", "body", "brake_lamps", "indicator", "shadow"]

Size = tuple[float, float, float]  # length, width, height in metres

_GLASS = (38, 48, 60)
_TYRE = (22, 22, 24)
_RIM = (168, 172, 176)
_LAMP_ON = (255, 36, 24)
_LAMP_OFF = (104, 22, 26)
_TAIL_LIGHT = (116, 10, 12)
_HEADLIGHT = (250, 248, 226)
_REFLECTOR = (196, 200, 204)
_AMBER = (255, 176, 0)
_AMBER_OFF = (62, 38, 20)  # dark, so that even on a yellow car it is seen when it lights up
_VEHICLE = PixelClass.VEHICLE
_REAR_LAMPS_M = {"car": (0.6, 0.92), "van": (0.8, 1.2), "truck": (0.62, 1.02)}  # low, high


@lru_cache(maxsize=256)
def body(kind: str, size: Size, colour: Colour, sun: float, headlights: bool) -> Mesh:
    """Everything but the lamps that change."""
    mesh = Mesh(sun)
    length, width, height = size
    x, y = length / 2, width / 2
    radius = 0.48 if kind == "truck" else 0.33
    axles = {"truck": (-0.78, -0.5, 0.72)}.get(kind, (-0.58, 0.62))
    for axle in axles:
        for side in (-1, 1):
            _wheel(mesh, axle * x, side * y, radius)
    if kind == "car":
        _car(mesh, x, y, height, colour)
    elif kind == "van":
        _van(mesh, x, y, height, colour)
    else:
        _truck(mesh, x, y, height, colour)
    _front(mesh, x, y, 0.75 if kind == "truck" else 0.58, headlights)
    low, high = _indicator_heights(kind)
    for a, b in ((y + 0.02, y - 0.5), (0.5 - y, -y - 0.02)):
        _rear(mesh, -x - 0.04, (b, a), (low - 0.04, high), _AMBER_OFF, _VEHICLE)
    return mesh


@lru_cache(maxsize=64)
def brake_lamps(kind: str, size: Size, lit: bool, night: bool) -> Mesh:
    """The rear lamps: two large ones and, when lit, a third one high in the middle."""
    mesh = Mesh()
    length, width, height = size
    x, y = -length / 2 - 0.03, width / 2
    up = _REAR_LAMPS_M[kind]
    wide = 0.54 if lit else 0.44
    colour = _LAMP_ON if lit else _TAIL_LIGHT if night else _LAMP_OFF
    label = PixelClass.BRAKE_LAMP_ON if lit else _VEHICLE
    for across in ((y - wide, y), (-y, -y + wide)):
        _rear(mesh, x, across, up, colour, label, glow=lit or night)
    if lit:
        third = {"car": 1.22, "van": height - 0.28, "truck": height - 0.35}[kind]
        at = x + (0.42 if kind == "car" else 0.0)
        _rear(mesh, at, (-0.4, 0.4), (third, third + 0.13), colour, label, glow=True)
    return mesh


@lru_cache(maxsize=64)
def indicator(kind: str, size: Size, side: int) -> Mesh:
    """The lit amber lamps of one side (1 left, -1 right): rear, front and flank."""
    mesh = Mesh()
    length, width, height = size
    x, y = length / 2, width / 2
    low, high = _indicator_heights(kind)
    label = PixelClass.INDICATOR_ON

    def across(at: float, inner: float, outer: float, up: tuple[float, float]) -> None:
        a, b = side * inner, side * outer
        corners = [(at, a, up[0]), (at, b, up[0]), (at, b, up[1]), (at, a, up[1])]
        mesh.quad(corners, _AMBER, label, glow=True)

    def along(start: float, end: float, up: tuple[float, float]) -> None:
        at = side * (y + 0.05)
        corners = [(start, at, up[0]), (end, at, up[0]), (end, at, up[1]), (start, at, up[1])]
        mesh.quad(corners, _AMBER, label, glow=True)

    for end in (-x - 0.05, x + 0.05):
        across(end, y - 0.46, y + 0.06, (low, high))
    along(-x - 0.05, -x + 0.4, (low, high))
    along(x - 0.4, x + 0.05, (low, high))
    along(0.3 * x, 0.3 * x + 0.34, (0.72, 0.94))
    if kind != "car":  # a second one under the roof, above whatever stands behind
        across(-x - 0.04, y - 0.46, y + 0.02, (height - 0.42, height - 0.1))
    return mesh


@lru_cache(maxsize=64)
def shadow(size: Size) -> Mesh:
    """A dark patch on the road below; it makes the distance visible."""
    mesh = Mesh()
    x, y = size[0] / 2 + 0.15, size[1] / 2 + 0.18
    corners = [(-x, -y, 0), (x, -y, 0), (x, y, 0), (-x, y, 0)]
    mesh.quad(corners, (36, 37, 40), PixelClass.ROAD, flat=True)
    return mesh


def _indicator_heights(kind: str) -> tuple[float, float]:
    high = _REAR_LAMPS_M[kind][0] - 0.02
    return max(0.26, high - 0.34), high


def _rear(
    mesh: Mesh,
    x: float,
    across: tuple[float, float],
    up: tuple[float, float],
    colour: Colour,
    label: PixelClass,
    glow: bool = False,
) -> None:
    (a, b), (low, high) = across, up
    corners = [(x, b, low), (x, a, low), (x, a, high), (x, b, high)]
    mesh.quad(corners, colour, label, flat=True, glow=glow)


def _wheel(mesh: Mesh, x: float, y: float, radius: float) -> None:
    """A tyre's outer side with a rim, and its tread; `y` is that of the outer side."""
    side = float(np.sign(y))
    out, inside = y + 0.015 * side, y - 0.22 * side
    angles = np.arange(11) * np.pi / 5
    ring = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (11, 2) x, z
    for i in range(10):
        a, b = ring[i], ring[i + 1]
        mesh.quad(
            [(x + a[0], out, radius + a[1]), (x + b[0], out, radius + b[1]),
             (x + b[0], inside, radius + b[1]), (x + a[0], inside, radius + a[1])],
            _TYRE, _VEHICLE, flat=True,
        )  # fmt: skip
    for scale, colour, at in ((1.0, _TYRE, out), (0.55, _RIM, out + 0.01 * side)):
        rim = [(x + scale * p[0], at, radius + scale * p[1]) for p in ring]
        for i in range(1, 8, 2):
            mesh.quad([rim[0], rim[i], rim[i + 1], rim[i + 2]], colour, _VEHICLE, flat=True)


def _front(mesh: Mesh, x: float, y: float, low: float, lit: bool) -> None:
    at = x + 0.02
    for a, b in ((y - 0.47, y - 0.05), (-y + 0.05, -y + 0.47)):
        corners = [(at, a, low), (at, b, low), (at, b, low + 0.2), (at, a, low + 0.2)]
        mesh.quad(corners, _HEADLIGHT if lit else _REFLECTOR, _VEHICLE, flat=True, glow=lit)
    corners = [(at, -0.5, low - 0.2), (at, 0.5, low - 0.2), (at, 0.5, low + 0.04),
               (at, -0.5, low + 0.04)]  # fmt: skip
    mesh.quad(corners, (30, 30, 34), _VEHICLE, flat=True)


def _ring(x0: float, x1: float, y: float, z: float) -> list[tuple[float, float, float]]:
    return [(x0, -y, z), (x1, -y, z), (x1, y, z), (x0, y, z)]


def _car(mesh: Mesh, x: float, y: float, height: float, colour: Colour) -> None:
    mesh.prism(_ring(-x, x, y, 0.24), _ring(-x, x, y, 0.62), colour, _VEHICLE)
    mesh.prism(_ring(-x, x, y, 0.62), _ring(-x + 0.06, x - 0.22, y - 0.06, 0.92), colour, _VEHICLE)
    base, roof = (-x + 0.12, x - 1.25, y - 0.08), (-x + 0.75, x - 2.05, y - 0.26)
    mesh.prism(_ring(*base, 0.92), _ring(*roof, height), _GLASS, _VEHICLE, lid=False)
    mesh.quad(_ring(roof[0] - 0.02, roof[1] + 0.02, roof[2] + 0.02, height), colour, _VEHICLE)
    # The roof reaches down in pillars: at the corners, and between the doors.
    for bx, rx in ((base[0], roof[0]), (base[1], roof[1]), (0.06 * x, 0.02 * x)):
        for side in (-1, 1):
            low, high = side * (base[2] + 0.015), side * (roof[2] + 0.015)
            foot = [(bx - 0.07, low, 0.92), (bx + 0.07, low, 0.92)]
            head = [(rx + 0.06, high, height), (rx - 0.06, high, height)]
            mesh.quad(foot + head, colour, _VEHICLE)
    _lines_of_doors(mesh, (-0.42 * x, 0.06 * x, 0.44 * x), y + 0.01, (0.3, 0.88), colour)
    _sills(mesh, x, y, 0.24)
    _plate(mesh, x, 0.36)


def _lines_of_doors(
    mesh: Mesh, places: tuple[float, ...], y: float, up: tuple[float, float], colour: Colour
) -> None:
    red, green, blue = (int(0.6 * c) for c in colour)
    for at in places:
        for side in (-1, 1):
            a, b = at - 0.025, at + 0.025
            corners = [(a, side * y, up[0]), (b, side * y, up[0]),
                       (b, side * y, up[1] - 0.26), (a, side * y, up[1] - 0.26)]  # fmt: skip
            mesh.quad(corners, (red, green, blue), _VEHICLE, flat=True)


def _sills(mesh: Mesh, x: float, y: float, low: float) -> None:
    """The dark underside between the wheels."""
    mesh.prism(_ring(-x + 0.1, x - 0.1, y - 0.08, 0.12), _ring(-x + 0.1, x - 0.1, y - 0.08, low),
               (26, 26, 28), _VEHICLE, lid=False)  # fmt: skip


def _van(mesh: Mesh, x: float, y: float, height: float, colour: Colour) -> None:
    mesh.prism(_ring(-x, x, y, 0.25), _ring(-x, x - 0.1, y, 1.15), colour, _VEHICLE)
    mesh.prism(
        _ring(-x, x - 0.1, y, 1.15), _ring(-x + 0.05, x - 1.5, y - 0.12, height), colour, _VEHICLE
    )
    r = -x - 0.01
    corners = [(r, y - 0.2, 1.3), (r, -y + 0.2, 1.3),
               (r + 0.04, -y + 0.28, 1.85), (r + 0.04, y - 0.28, 1.85)]  # fmt: skip
    mesh.quad(corners, _GLASS, _VEHICLE, flat=True)
    for side in (-1, 1):
        mesh.quad(
            [(x - 1.9, side * (y + 0.01), 1.2), (x - 0.4, side * (y + 0.01), 1.2),
             (x - 1.3, side * (y - 0.06), 1.85), (x - 1.9, side * (y - 0.06), 1.85)],
            _GLASS, _VEHICLE, flat=True,
        )  # fmt: skip
    mesh.quad(
        [(x - 0.2, -y + 0.15, 1.22), (x - 0.2, y - 0.15, 1.22),
         (x - 1.25, y - 0.25, 2.0), (x - 1.25, -y + 0.25, 2.0)],
        _GLASS, _VEHICLE, flat=True,
    )  # fmt: skip
    _lines_of_doors(mesh, (0.25 * x, -0.2 * x), y + 0.012, (0.32, 1.4), colour)
    _sills(mesh, x, y, 0.25)
    _plate(mesh, x, 0.45)


def _truck(mesh: Mesh, x: float, y: float, height: float, colour: Colour) -> None:
    mesh.prism(_ring(-x, x, y - 0.1, 0.45), _ring(-x, x, y - 0.1, 0.75), (40, 40, 44), _VEHICLE)
    mesh.box((x - 1.9, -y, 0.5), (x, y, height - 0.55), colour, _VEHICLE)
    mesh.box((-x, -y, 1.05), (x - 2.1, y, height), (214, 214, 208), _VEHICLE)
    r = -x - 0.01
    mesh.quad([(r, 0.03, 1.1), (r, -0.03, 1.1), (r, -0.03, height), (r, 0.03, height)],
              (120, 120, 120), _VEHICLE, flat=True)  # fmt: skip
    mesh.box((-x - 0.005, -y, 0.5), (-x + 0.1, y, 1.05), (60, 60, 64), _VEHICLE)
    corners = [(x + 0.01, -y + 0.15, 1.5), (x + 0.01, y - 0.15, 1.5),
               (x + 0.01, y - 0.15, 2.3), (x + 0.01, -y + 0.15, 2.3)]  # fmt: skip
    mesh.quad(corners, _GLASS, _VEHICLE, flat=True)
    for side in (-1, 1):
        at = side * (y + 0.012)
        mesh.quad([(x - 1.3, at, 1.5), (x - 0.3, at, 1.5), (x - 0.3, at, 2.2), (x - 1.3, at, 2.2)],
                  _GLASS, _VEHICLE, flat=True)  # fmt: skip
        mesh.quad([(-x, at, 1.5), (x - 2.1, at, 1.5), (x - 2.1, at, 1.75), (-x, at, 1.75)],
                  colour, _VEHICLE, flat=True)  # fmt: skip


def _plate(mesh: Mesh, x: float, low: float) -> None:
    _rear(mesh, -x - 0.02, (-0.26, 0.26), (low, low + 0.13), (225, 225, 215), _VEHICLE)
