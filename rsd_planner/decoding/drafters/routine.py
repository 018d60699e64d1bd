"""The routine reasoner: drafts from the car's motion and the last tick's text, without a picture.

A small trained network (`models/routine.py`) writes the whole draft before any picture is
encoded; it foresees what changes with the car's own motion (speeds, distances, the phase of a
stop). After a rejection it goes on behind what was committed, aligned with the old text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rsd_planner.decoding.drafters.last_text import LastText
from rsd_planner.decoding.drafters.previous_tick import PrefixAlignment
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.errors import ConfigError
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

__all__ = ["ROUTINE_FACTS", "ROUTINE_WEIGHTS", "Expectation", "RoutineDrafter"]

ROUTINE_WEIGHTS, ROUTINE_FACTS = "routine.safetensors", "routine.json"
_REMEDY = "make it with `rsd train routine`"


class _Facts(Protocol):
    """What the drafter asks of a reasoner's config."""

    @property
    def target_vocab_size(self) -> int: ...

    @property
    def end_token(self) -> int: ...

    @property
    def history_steps(self) -> int: ...


class Expectation(Protocol):
    """What may stand at a place; see `models.routine_reasoner.Expected`."""

    @property
    def token(self) -> int: ...

    @property
    def chance(self) -> float: ...

    def of(self, token: int) -> float: ...


class Reasoner(Protocol):
    """The network at work; see `models.routine_reasoner.RoutineReasoner`."""

    @property
    def config(self) -> _Facts: ...

    def read(
        self,
        motion: NDArray[np.float32],
        old: Sequence[int],
        since_s: Sequence[float],
        since_m: Sequence[float],
    ) -> None: ...

    def write(
        self, committed: Sequence[int], shift: int, most: int
    ) -> tuple[tuple[int, ...], tuple[float, ...]]: ...

    def look_ahead(self, committed: Sequence[int], shift: int) -> int: ...

    def expect(
        self, places: Sequence[int], fronts: Sequence[int | None]
    ) -> Sequence[Expectation]: ...


class RoutineDrafter:
    """Drafts with a small network from motion and text, never from pictures."""

    name = "routine"

    def __init__(self, reasoner: Reasoner) -> None:
        self._reasoner = reasoner
        self.end_token = reasoner.config.end_token  # of a text
        self._last = LastText()
        self.chances: tuple[float, ...] = ()  # of the newest draft's tokens, each given its front
        self.begin()

    @classmethod
    def make(cls, resources: DrafterResources) -> RoutineDrafter:
        """With the checkpoint's trained network.

        Raises:
            ConfigError: its files are missing, damaged, or made for another checkpoint.
        """
        from rsd_planner.models.routine_reasoner import load_routine

        facts = resources.require(ROUTINE_FACTS, _REMEDY)
        weights = resources.require(ROUTINE_WEIGHTS, _REMEDY)
        reasoner = load_routine(weights, facts, resources.device)
        config = reasoner.config
        made_for = (config.target_vocab_size, config.end_token, 3 * config.history_steps)
        if made_for != (resources.vocab_size, resources.end_token, resources.history_tokens):
            raise ConfigError(
                f"{weights} was made for a checkpoint of another vocabulary or history; {_REMEDY}."
            )
        return cls(reasoner)

    def begin(self) -> None:
        """The next `propose` reads the tick's motion."""
        self._last.begin()
        self._shift: int | None = None  # of the last look ahead
        self.looked_anew = False

    def propose(self, context: DraftContext) -> Draft:
        """The likeliest text behind the committed one, as far as it is likely enough."""
        if not self._last.is_read:
            self._read(context)
        shift = self._shift_of(context.committed)
        tokens, self.chances = self._reasoner.write(context.committed, shift, context.budget)
        return Draft(tokens, (SpanSource.ROUTINE,) * len(tokens))

    def look_ahead(self, context: DraftContext) -> int:
        """Get ready to be asked by `expect`; behind which place there is nothing to say.

        One look serves all drafts of a tick, until the new text's places are no longer the old
        one's. `looked_anew` says whether there was another look.
        """
        if not self._last.is_read:
            self._read(context)
        start, shift = len(context.committed), self._shift_of(context.committed)
        self.looked_anew = self._shift != shift
        if self.looked_anew:
            self._end = start + self._reasoner.look_ahead(context.committed, shift)
            self._shift = shift
        return self._end

    def expect(self, places: Sequence[int], fronts: Sequence[int | None]) -> Sequence[Expectation]:
        """What may stand at places that were looked ahead to, given the tokens in front."""
        return self._reasoner.expect(places, fronts)

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        self._last.end(decoded)

    def reset(self) -> None:
        """Forget the last text."""
        self._last.reset()

    def _shift_of(self, committed: tuple[int, ...]) -> int:
        """By how many places the old text is ahead of the new one; 0 where there is no old one."""
        if not self._last.tokens:
            return 0
        return self._alignment.position(committed) - len(committed)

    def _read(self, context: DraftContext) -> None:
        motion, told = self._last.read(context.history), self._last.told
        self._reasoner.read(motion, told.tokens, told.since_s, told.since_m)
        self._alignment = PrefixAlignment(told.tokens)
