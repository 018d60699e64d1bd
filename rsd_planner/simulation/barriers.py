"""How what stands in the way looks: cones and barriers.

Local frame: x along the traffic, y left, z up, origin on the ground.
"""

from __future__ import annotations

from functools import lru_cache

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.mesh import Mesh

__all__ = ["obstacle"]

_ORANGE = (255, 98, 16)
_WHITE = (250, 250, 246)
_RED = (214, 36, 34)
_CONE = PixelClass.CONE
_CONE_HEIGHT_M = 0.9
_BANDS = (_ORANGE, _WHITE, _ORANGE, _WHITE, _ORANGE)


@lru_cache(maxsize=4)
def obstacle(kind: str) -> Mesh:
    """A cone, or a barrier across the lane."""
    mesh = Mesh(0.4)
    if kind == "cone":
        _cone(mesh)
    else:
        _barrier(mesh)
    return mesh


def _cone(mesh: Mesh) -> None:
    mesh.box((-0.29, -0.29, 0.0), (0.29, 0.29, 0.06), (190, 66, 16), _CONE)
    step = (_CONE_HEIGHT_M - 0.06) / len(_BANDS)
    for number, colour in enumerate(_BANDS):
        low = 0.06 + number * step
        radii = (0.23 - 0.038 * number, 0.23 - 0.038 * (number + 1))
        mesh.tube((0.0, 0.0), radii, (low, low + step), colour, _CONE, sides=8)


def _barrier(mesh: Mesh) -> None:
    for y in (-0.85, 0.85):
        mesh.box((-0.3, y - 0.06, 0.0), (0.3, y + 0.06, 0.1), (70, 70, 72), _CONE)
        mesh.box((-0.04, y - 0.04, 0.1), (0.04, y + 0.04, 1.15), (225, 225, 222), _CONE)
        lamp = [(-0.1, y + 0.12, 1.15), (-0.1, y - 0.12, 1.15),
                (-0.1, y - 0.12, 1.38), (-0.1, y + 0.12, 1.38)]  # fmt: skip
        mesh.quad(lamp, (255, 186, 30), _CONE, glow=True)
    stripes = 8
    for low in (0.42, 0.82):
        for number in range(stripes):
            y0 = -1.0 + 2.0 * number / stripes
            colour = _RED if number % 2 == 0 else _WHITE
            mesh.box((-0.05, y0, low), (0.05, y0 + 2.0 / stripes, low + 0.28), colour, _CONE)
