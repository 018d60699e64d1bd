"""How people look: on foot and on a bicycle, slightly larger than life.

Local frame: x forward, y left, z up, origin on the ground below them. Limbs are meshes of their
own that hang from a pivot, so that they can swing with the way that was walked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.mesh import Colour, Mesh

__all__ = ["Figure", "Limb", "cyclist", "pedestrian", "swing_deg"]

_LARGER = 1.1
_SKIN = (232, 186, 156)
_HAIRS = ((52, 36, 28), (28, 26, 26), (140, 98, 52), (178, 172, 164))
_TROUSERS = ((72, 98, 152), (46, 48, 62), (164, 146, 116))
_SHOES = (236, 236, 230)
_FRAMES = ((206, 40, 44), (36, 84, 178), (30, 132, 84), (226, 226, 220))
_TYRE = (24, 24, 26)
_HELMET = (248, 248, 244)
_SATURATION = 1.3
_BRIGHT = 225.0  # of the strongest colour of a jacket
_PERSON = PixelClass.PEDESTRIAN
_RIDER = PixelClass.CYCLIST
_STRIDE_M = 1.5  # two steps
_CRANK_M = 4.5  # of way for a turn of the pedals


@dataclass(frozen=True)
class Limb:
    """An arm or a leg; its mesh hangs from the origin."""

    mesh: Mesh
    pivot_m: tuple[float, float, float]
    swing_deg: float  # how far it swings either way at full pace; its sign is its phase
    rest_deg: float = 0.0  # where it hangs between


@dataclass(frozen=True)
class Figure:
    """A person: what is stiff, and the limbs."""

    body: Mesh
    limbs: tuple[Limb, ...]
    stride_m: float


def swing_deg(limb: Limb, stride_m: float, way_m: float, pace: float) -> float:
    """The angle of a limb after a way; `pace` 0 is standing, 1 full pace."""
    return limb.rest_deg + pace * limb.swing_deg * float(np.sin(2 * np.pi * way_m / stride_m))


@lru_cache(maxsize=64)
def pedestrian(height_m: float, colour: Colour) -> Figure:
    """Someone on foot; the colour is that of the jacket."""
    h = _LARGER * height_m
    drawn = sum(colour)
    jacket, trousers = _vivid(colour), _TROUSERS[drawn % len(_TROUSERS)]
    body = Mesh(0.4)
    wide, hip, shoulder = 0.135 * h, 0.49 * h, 0.84 * h
    waist = _rectangle(0.07 * h, 0.1 * h, hip - 0.03 * h)
    chest = _rectangle(0.085 * h, wide, shoulder - 0.06 * h)
    body.prism(waist, chest, jacket, _PERSON, lid=False)
    body.prism(chest, _rectangle(0.05 * h, 0.07 * h, shoulder), jacket, _PERSON)
    head, radius = 0.93 * h, 0.07 * h
    body.tube((0.0, 0.0), (0.035 * h, 0.035 * h), (shoulder, head - radius), _SKIN, _PERSON)
    _ball(body, (0.01 * h, 0.0, head), radius, _SKIN, _PERSON)
    hair = _HAIRS[drawn % len(_HAIRS)]
    _ball(body, (-0.014 * h, 0.0, head + 0.018 * h), radius, hair, _PERSON)
    leg = Mesh(0.4)
    thigh, shin = _rectangle(0.05 * h, 0.048 * h, 0.0), _rectangle(0.034 * h, 0.034 * h, -hip)
    leg.prism(shin, thigh, trousers, _PERSON, lid=False)
    leg.box((-0.04 * h, -0.036 * h, -hip), (0.1 * h, 0.036 * h, 0.05 * h - hip), _SHOES, _PERSON)
    arm = Mesh(0.4)
    sleeve, cuff = _rectangle(0.034 * h, 0.03 * h, 0.0), _rectangle(0.026 * h, 0.026 * h, -0.3 * h)
    arm.prism(cuff, sleeve, jacket, _PERSON, lid=False)
    arm.box((-0.024 * h, -0.024 * h, -0.36 * h), (0.024 * h, 0.024 * h, -0.3 * h), _SKIN, _PERSON)
    limbs = []
    for side in (-1, 1):
        limbs.append(Limb(leg, (0.0, side * 0.054 * h, hip), side * 30.0))
        at = (0.0, side * (wide + 0.018 * h), shoulder - 0.04 * h)
        limbs.append(Limb(arm, at, -side * 28.0))
    return Figure(body, tuple(limbs), _STRIDE_M)


@lru_cache(maxsize=64)
def cyclist(colour: Colour) -> Figure:
    """Someone on a bicycle; from behind one sees a wheel, a red lamp, two bags and a helmet."""
    body, s = Mesh(0.4), _LARGER
    frame = _FRAMES[sum(colour) % len(_FRAMES)]
    for x in (-0.55, 0.55):
        _wheel(body, s * x, s * 0.36, s * 0.045)
    _bike(body, s, frame)
    jacket = _vivid(colour)
    seat, neck = (-0.22 * s, 1.0 * s), (0.12 * s, 1.5 * s)
    low = [(seat[0] + a * s, b * s, seat[1]) for a, b in _corners(0.13, 0.17)]
    high = [(neck[0] + a * s, b * s, neck[1]) for a, b in _corners(0.12, 0.25)]
    body.prism(low, high, jacket, _RIDER)
    head = (0.22 * s, 0.0, 1.66 * s)
    _ball(body, head, 0.115 * s, _SKIN, _RIDER)
    _ball(body, (head[0] - 0.02, 0.0, head[2] + 0.045 * s), 0.135 * s, _HELMET, _RIDER)
    for side in (-1, 1):
        shoulder = np.array([0.14, side * 0.24, 1.43]) * s
        hand = np.array([0.44, side * 0.27, 1.08]) * s
        _bar(body, shoulder, hand, 0.055 * s, jacket)
    leg = Mesh(0.4)
    trousers = _TROUSERS[sum(colour) % len(_TROUSERS)]
    knee = np.array([0.3, 0.0, -0.22]) * s
    foot = np.array([0.22, 0.0, -0.68]) * s
    _bar(leg, np.zeros(3), knee, 0.075 * s, trousers)
    _bar(leg, knee, foot, 0.06 * s, trousers)
    low_shoe, high_shoe = foot + s * np.array([-0.08, -0.05, -0.06]), foot + 0.06 * s
    leg.box(low_shoe, high_shoe + s * np.array([0.12, -0.01, 0]), _SHOES, _RIDER)
    limbs = tuple(
        Limb(leg, (seat[0] + 0.03, side * 0.13 * s, seat[1] + 0.02), side * 16.0)
        for side in (-1, 1)
    )
    return Figure(body, limbs, _CRANK_M)


def _bike(mesh: Mesh, s: float, frame: Colour) -> None:
    hub, saddle = np.array([-0.55, 0.0, 0.36]) * s, np.array([-0.24, 0.0, 0.98]) * s
    crank, steer = np.array([-0.08, 0.0, 0.32]) * s, np.array([0.4, 0.0, 0.92]) * s
    axle, bar = np.array([0.55, 0.0, 0.36]) * s, np.array([0.42, 0.0, 1.08]) * s
    for a, b in ((hub, crank), (crank, steer), (saddle, crank), (saddle, steer), (hub, saddle)):
        _bar(mesh, a, b, 0.03 * s, frame)
    for a, b in ((axle, steer), (steer, bar)):
        _bar(mesh, a, b, 0.03 * s, frame)
    across = np.array([0.0, 0.33, 0.0]) * s
    _bar(mesh, bar - across, bar + across, 0.03 * s, _TYRE)
    mesh.box(saddle + s * np.array([-0.16, -0.09, 0.0]), saddle + s * np.array([0.12, 0.09, 0.06]),
             _TYRE, _RIDER)  # fmt: skip
    for side in (-1, 1):
        y0, y1 = sorted((side * 0.08 * s, side * 0.22 * s))
        mesh.box((-0.78 * s, y0, 0.42 * s), (-0.4 * s, y1, 0.74 * s), (210, 150, 40), _RIDER)
    rear = -0.94 * s
    lamp = [(rear, 0.08 * s, 0.66 * s), (rear, -0.08 * s, 0.66 * s),
            (rear, -0.08 * s, 0.82 * s), (rear, 0.08 * s, 0.82 * s)]  # fmt: skip
    mesh.quad(lamp, (226, 28, 30), _RIDER, glow=True)


def _wheel(mesh: Mesh, x: float, radius: float, half: float) -> None:
    """A tyre with daylight through its spokes."""
    angles = np.arange(13) * np.pi / 6
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (13, 2) x, z
    outer, inner = radius * ring, 0.78 * radius * ring
    for i in range(12):
        a, b, c, d = outer[i], outer[i + 1], inner[i + 1], inner[i]
        for y in (-half, half):
            side = [(x + p[0], y, radius + p[1]) for p in (a, b, c, d)]
            mesh.quad(side, _TYRE, _RIDER, flat=True)
        tread = [(x + p[0], y, radius + p[1]) for p, y in ((a, -half), (b, -half), (b, half), (a, half))]  # noqa: E501  # fmt: skip
        mesh.quad(tread, _TYRE, _RIDER, flat=True)


def _ball(
    mesh: Mesh,
    middle: tuple[float, float, float],
    radius: float,
    colour: Colour,
    kind: PixelClass,
) -> None:
    x, y, z = middle
    rims = [(0.55, -1.0), (1.0, -0.35), (1.0, 0.4), (0.55, 1.0)]
    for (a, low), (b, high) in zip(rims[:-1], rims[1:], strict=True):
        heights = (z + low * radius, z + high * radius)
        mesh.tube((x, y), (a * radius, b * radius), heights, colour, kind)


def _bar(mesh: Mesh, a: np.ndarray, b: np.ndarray, half: float, colour: Colour) -> None:
    """A square rod between two points, thick enough from every side."""
    along = (b - a) / (float(np.linalg.norm(b - a)) or 1.0)
    other = np.array([0.0, 1.0, 0.0]) if abs(along[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    u = np.cross(along, other)
    u /= np.linalg.norm(u)
    v = np.cross(along, u)
    ring = [half * (p * u + q * v) for p, q in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    mesh.prism([a + r for r in ring], [b + r for r in ring], colour, _RIDER)


def _corners(x: float, y: float) -> list[tuple[float, float]]:
    return [(-x, -y), (x, -y), (x, y), (-x, y)]


def _rectangle(x: float, y: float, z: float) -> list[tuple[float, float, float]]:
    return [(a, b, z) for a, b in _corners(x, y)]


def _vivid(colour: Colour) -> Colour:
    """More of its hue and bright enough to stand out against asphalt and houses."""
    grey = sum(colour) / 3
    strong = np.clip([grey + _SATURATION * (c - grey) for c in colour], 0, 255)
    red, green, blue = (strong * max(1.0, _BRIGHT / max(float(strong.max()), 1.0))).astype(int)
    return int(red), int(green), int(blue)
