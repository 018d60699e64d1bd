"""What an event is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from rsd_planner.simulation.events.stage import Stage

__all__ = ["Event"]


class Event(ABC):
    """Something that happens at a place on the route. Its parameters are drawn when it is made."""

    def begin(self, stage: Stage) -> None:  # noqa: B027 - not every event has something to place
        """Places what stands there from the start of the drive."""

    @abstractmethod
    def step(self, stage: Stage) -> None:
        """Acts at 10 Hz during the whole drive: moves actors, reports hazards, wishes things."""
