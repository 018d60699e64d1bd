"""Plain autoregressive decoding: the reference that every other drafter is held against."""

from __future__ import annotations

from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.types import Decoded, Draft, DraftContext

__all__ = ["NoDrafter"]


class NoDrafter:
    """Proposes nothing."""

    name = "none"
    yardstick = True  # others are measured by it: no controller interferes

    @classmethod
    def make(cls, resources: DrafterResources) -> NoDrafter:
        """Needs nothing of a checkpoint."""
        return cls()

    def begin(self) -> None:
        """Nothing to prepare."""

    def propose(self, context: DraftContext) -> Draft:
        """An empty draft."""
        return Draft()

    def end(self, decoded: Decoded) -> None:
        """Nothing to remember."""

    def reset(self) -> None:
        """Nothing to forget."""
