"""How vehicles look: body, windows, wheels, and brake lamps that are easy to see.

Local frame: x forward, y left, z up, origin in the middle of the footprint.
"""

from __future__ import annotations

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.mesh import Colour, Mesh
from rsd_planner.simulation.traffic import KINDS

__all__ = ["body", "lamps", "shadow"]

_GLASS = (38, 48, 60)
_TYRE = (22, 22, 24)
_LAMP_ON = (255, 36, 24)
_LAMP_OFF = (104, 22, 26)
_VEHICLE = PixelClass.VEHICLE


def body(kind: str, colour: Colour, shade: float) -> Mesh:
    """Everything but the rear lamps."""
    mesh = Mesh(shade)
    length, width, height = KINDS[kind]
    x, y = length / 2, width / 2
    _wheels(mesh, x, y, 0.36 if kind == "truck" else 0.31)
    if kind == "car":
        _car(mesh, x, y, height, colour)
    elif kind == "van":
        _van(mesh, x, y, height, colour)
    else:
        _truck(mesh, x, y, height, colour)
    _front(mesh, x, y)
    return mesh


def lamps(kind: str, lit: bool) -> Mesh:
    """The rear lamps: two large ones and, when lit, a third one high in the middle."""
    mesh = Mesh()
    length, width, height = KINDS[kind]
    x, y = -length / 2 - 0.03, width / 2
    low, high = {"car": (0.58, 0.9), "van": (0.75, 1.15), "truck": (0.6, 1.0)}[kind]
    wide = 0.52 if lit else 0.44
    colour, label = (_LAMP_ON, PixelClass.BRAKE_LAMP_ON) if lit else (_LAMP_OFF, PixelClass.VEHICLE)
    for a, b in ((y - wide, y), (-y, -y + wide)):
        _rear(mesh, x, (a, b), (low, high), colour, label)
    if lit:
        third = {"car": 1.22, "van": height - 0.28, "truck": height - 0.35}[kind]
        at = x + (0.42 if kind == "car" else 0.0)
        _rear(mesh, at, (-0.4, 0.4), (third, third + 0.13), colour, label)
    return mesh


def shadow(kind: str) -> Mesh:
    """A dark patch on the road below; it makes the distance visible."""
    mesh = Mesh()
    length, width, _ = KINDS[kind]
    x, y = length / 2 + 0.15, width / 2 + 0.18
    corners = [(-x, -y, 0), (x, -y, 0), (x, y, 0), (-x, y, 0)]
    mesh.quad(corners, (36, 37, 40), PixelClass.ROAD, flat=True)
    return mesh


def _rear(
    mesh: Mesh,
    x: float,
    across: tuple[float, float],
    up: tuple[float, float],
    colour: Colour,
    label: PixelClass,
) -> None:
    (a, b), (low, high) = across, up
    mesh.quad([(x, b, low), (x, a, low), (x, a, high), (x, b, high)], colour, label, flat=True)


def _wheels(mesh: Mesh, x: float, y: float, radius: float) -> None:
    for cx in (-0.6 * x, 0.62 * x):
        for side in (-1, 1):
            y0, y1 = sorted((side * (y + 0.01), side * (y - 0.22)))
            bottom = [(cx - radius * 0.6, y0, 0.0), (cx + radius * 0.6, y0, 0.0),
                      (cx + radius * 0.6, y1, 0.0), (cx - radius * 0.6, y1, 0.0)]  # fmt: skip
            top = [(cx - radius, y0, radius), (cx + radius, y0, radius),
                   (cx + radius, y1, radius), (cx - radius, y1, radius)]  # fmt: skip
            mesh.prism(bottom, top, _TYRE, _VEHICLE, lid=False)
            mesh.box((cx - radius, y0, radius), (cx + radius, y1, 1.7 * radius), _TYRE, _VEHICLE)


def _front(mesh: Mesh, x: float, y: float) -> None:
    for a, b in ((y - 0.45, y - 0.05), (-y + 0.05, -y + 0.45)):
        corners = [
            (x + 0.02, a, 0.58),
            (x + 0.02, b, 0.58),
            (x + 0.02, b, 0.78),
            (x + 0.02, a, 0.78),
        ]
        mesh.quad(corners, (245, 243, 220), _VEHICLE, flat=True)
    corners = [
        (x + 0.02, -0.5, 0.4),
        (x + 0.02, 0.5, 0.4),
        (x + 0.02, 0.5, 0.62),
        (x + 0.02, -0.5, 0.62),
    ]
    mesh.quad(corners, (30, 30, 34), _VEHICLE, flat=True)


def _ring(x0: float, x1: float, y: float, z: float) -> list[tuple[float, float, float]]:
    return [(x0, -y, z), (x1, -y, z), (x1, y, z), (x0, y, z)]


def _car(mesh: Mesh, x: float, y: float, height: float, colour: Colour) -> None:
    mesh.prism(_ring(-x, x, y, 0.22), _ring(-x, x, y, 0.62), colour, _VEHICLE)
    mesh.prism(_ring(-x, x, y, 0.62), _ring(-x + 0.06, x - 0.22, y - 0.06, 0.92), colour, _VEHICLE)
    base, roof = (-x + 0.12, x - 1.25, y - 0.08), (-x + 0.75, x - 2.15, y - 0.26)
    mesh.prism(_ring(*base, 0.92), _ring(*roof, height), _GLASS, _VEHICLE, lid=False)
    mesh.quad(_ring(roof[0] - 0.02, roof[1] + 0.02, roof[2] + 0.02, height), colour, _VEHICLE)
    # Pillars: the roof reaches down at the corners.
    for bx, rx in ((base[0], roof[0]), (base[1], roof[1])):
        for side in (-1, 1):
            low, high = side * (base[2] + 0.01), side * (roof[2] + 0.01)
            foot = [(bx - 0.07, low, 0.92), (bx + 0.07, low, 0.92)]
            head = [(rx + 0.06, high, height), (rx - 0.06, high, height)]
            mesh.quad(foot + head, colour, _VEHICLE)
    _plate(mesh, x, 0.36)


def _van(mesh: Mesh, x: float, y: float, height: float, colour: Colour) -> None:
    mesh.prism(_ring(-x, x, y, 0.25), _ring(-x, x - 0.1, y, 1.15), colour, _VEHICLE)
    mesh.prism(
        _ring(-x, x - 0.1, y, 1.15), _ring(-x + 0.05, x - 1.5, y - 0.12, height), colour, _VEHICLE
    )
    r = -x - 0.01
    corners = [
        (r, y - 0.2, 1.3),
        (r, -y + 0.2, 1.3),
        (r + 0.04, -y + 0.28, 1.85),
        (r + 0.04, y - 0.28, 1.85),
    ]
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


def _plate(mesh: Mesh, x: float, low: float) -> None:
    _rear(mesh, -x - 0.02, (-0.26, 0.26), (low, low + 0.13), (225, 225, 215), _VEHICLE)
