"""The drafters by name. `build` and the settings' choices read this one table.

A drafter's class has a first docstring line that says what it does, and a `make` that takes
`DrafterResources`. Its module imports torch only inside of `make`, so that the table can be
read without.
"""

from __future__ import annotations

from typing import Protocol

from rsd_planner.decoding.drafters.blend import BlendDrafter
from rsd_planner.decoding.drafters.cascade import CascadeDrafter
from rsd_planner.decoding.drafters.cascade_block import CascadeBlockDrafter
from rsd_planner.decoding.drafters.glance import GlanceDrafter
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.decoding.drafters.previous_tick import PreviousTickDrafter
from rsd_planner.decoding.drafters.prompt_lookup import PromptLookupDrafter
from rsd_planner.decoding.drafters.replica import ReplicaDrafter
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.routine import RoutineDrafter
from rsd_planner.decoding.drafters.routine_block import RoutineBlockDrafter
from rsd_planner.decoding.drafters.suffix import SuffixDrafter
from rsd_planner.interfaces import Drafter

__all__ = ["DRAFTERS", "make_drafter"]


class _Makes(Protocol):
    """The class of a drafter."""

    def make(self, resources: DrafterResources) -> Drafter:
        """A fresh drafter for a checkpoint."""


DRAFTERS: dict[str, _Makes] = {
    NoDrafter.name: NoDrafter,
    PreviousTickDrafter.name: PreviousTickDrafter,
    PromptLookupDrafter.name: PromptLookupDrafter,
    SuffixDrafter.name: SuffixDrafter,
    RoutineDrafter.name: RoutineDrafter,
    RoutineBlockDrafter.name: RoutineBlockDrafter,
    ReplicaDrafter.name: ReplicaDrafter,
    GlanceDrafter.name: GlanceDrafter,
    BlendDrafter.name: BlendDrafter,
    CascadeDrafter.name: CascadeDrafter,
    CascadeBlockDrafter.name: CascadeBlockDrafter,
}


def make_drafter(name: str, resources: DrafterResources | None = None) -> Drafter:
    """A fresh drafter for a checkpoint; without resources, one that needs no files.

    Raises:
        KeyError: no drafter has this name.
        ConfigError: the drafter needs a file that the checkpoint's folder lacks.
    """
    return DRAFTERS[name].make(resources or DrafterResources())
