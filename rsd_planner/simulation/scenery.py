"""What stands still: the ground and its markings, houses, trees, signs, poles, lights.

Built once for a network and a seed. Ground layers are painted one over the other without depth
(the ground is flat); what stands upright is cut into cells that can be culled.
"""

from __future__ import annotations

import numpy as np

from rsd_planner.simulation.buildings import buildings
from rsd_planner.simulation.ground import ground_layers
from rsd_planner.simulation.markings import crosswalk
from rsd_planner.simulation.mesh import Mesh
from rsd_planner.simulation.placing import Cells, clearance
from rsd_planner.simulation.road import RoadNetwork
from rsd_planner.simulation.roadside import roadside
from rsd_planner.simulation.signals import LAMP_COLOURS, lamp_disc, signals
from rsd_planner.simulation.signs import signs

__all__ = ["LAMP_COLOURS", "crosswalk", "ground_layers", "lamp_disc", "upright_cells"]


def upright_cells(
    road: RoadNetwork, seed: int, shade: float, limit_mps: float | None = None
) -> list[Mesh]:
    """Everything that stands, in cells; with signs of the speed limit if it is given."""
    rng = np.random.default_rng([seed, 3])
    cells = Cells(shade)
    free = clearance(road.name)
    buildings(cells, road, free, rng)
    roadside(cells, road, free, rng)
    signals(cells, road)
    signs(cells, road, free, limit_mps)
    return list(cells.meshes.values())
