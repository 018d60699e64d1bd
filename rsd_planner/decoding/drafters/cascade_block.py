"""Texts and the routine reasoner before the first forward, the block drafter behind a rejection.

Before the first forward `blend` drafts, or `suffix` where no routine reasoner is trained. Behind
a rejection the target's features exist: the block drafter, which knows the pictures from them,
goes as far as it is sure, and the old text behind it.
"""

from __future__ import annotations

from rsd_planner.decoding.drafters.blend import BlendDrafter
from rsd_planner.decoding.drafters.cascade import CascadeDrafter
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.routine import ROUTINE_WEIGHTS
from rsd_planner.decoding.drafters.routine_block import RoutineBlockDrafter
from rsd_planner.decoding.drafters.suffix import SuffixDrafter

__all__ = ["CascadeBlockDrafter"]


class CascadeBlockDrafter(CascadeDrafter):
    """Drafts by texts first; what is new is bridged from what the target has understood."""

    name = "cascade_block"

    def __init__(self, bridge: RoutineBlockDrafter) -> None:
        """Before the first forward the bridge's own first drafter drafts, if it has one."""
        super().__init__(bridge, foresees=True)
        self.feature_layers = bridge.feature_layers

    @classmethod
    def make(cls, resources: DrafterResources) -> CascadeBlockDrafter:
        """From the checkpoint's files.

        Raises:
            ConfigError: the block drafter's files are missing, or a file is damaged or of
                another checkpoint.
        """
        trained = resources.find(ROUTINE_WEIGHTS) is not None
        first = BlendDrafter.make(resources) if trained else SuffixDrafter.make(resources)
        return cls(RoutineBlockDrafter.make(resources, first))
