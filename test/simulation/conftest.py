"""One short drive, simulated once for all tests of the world."""

import pytest

from rsd_planner.simulation.scene import Drive
from rsd_planner.simulation.world import simulate


@pytest.fixture(scope="session")
def drive() -> Drive:
    """A street with bends, fourteen seconds."""
    return simulate(seed=3, duration_s=14.0, network="bend")
