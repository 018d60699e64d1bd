"""The drafters by name. `build` and the settings' choices read this one table."""

from __future__ import annotations

from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.decoding.drafters.previous_tick import PreviousTickDrafter
from rsd_planner.interfaces import Drafter

__all__ = ["DRAFTERS", "make_drafter"]

DRAFTERS: dict[str, type] = {
    NoDrafter.name: NoDrafter,
    PreviousTickDrafter.name: PreviousTickDrafter,
}


def make_drafter(name: str) -> Drafter:
    """A fresh drafter.

    Raises:
        KeyError: no drafter has this name.
    """
    drafter: Drafter = DRAFTERS[name]()
    return drafter
