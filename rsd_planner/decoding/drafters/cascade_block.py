"""The last tick's text with the block drafter as the bridge over what is new.

Before the first forward the routine reasoner's text goes first as far as it is sure, if there is
one, and the old text behind it. Behind a rejection the target's features exist: the block drafter,
which knows the pictures from them, goes as far as it is sure, and the old text behind it.
"""

from __future__ import annotations

from rsd_planner.decoding.drafters.cascade import CascadeDrafter
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.routine import ROUTINE_WEIGHTS, RoutineDrafter
from rsd_planner.decoding.drafters.routine_block import RoutineBlockDrafter

__all__ = ["CascadeBlockDrafter"]


class CascadeBlockDrafter(CascadeDrafter):
    """Drafts as `cascade` does; what is new is bridged from what the target has understood."""

    name = "cascade_block"

    def __init__(self, bridge: RoutineBlockDrafter) -> None:
        """Before the first forward the bridge's own first drafter foresees, if it has one."""
        super().__init__(bridge, foresees=True)
        self.feature_layers = bridge.feature_layers

    @classmethod
    def make(cls, resources: DrafterResources) -> CascadeBlockDrafter:
        """The routine reasoner comes first where it is trained.

        Raises:
            ConfigError: the block drafter's files are missing, or a file is damaged or of
                another checkpoint.
        """
        trained = resources.find(ROUTINE_WEIGHTS) is not None
        first = RoutineDrafter.make(resources) if trained else None
        return cls(RoutineBlockDrafter.make(resources, first))
