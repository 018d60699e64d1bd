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

from rsd_planner.decoding.drafters.previous_tick import PrefixAlignment
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.told import Told
from rsd_planner.errors import ConfigError
from rsd_planner.models.motion import motion_features, travelled_m
from rsd_planner.types import NANOSECONDS, Decoded, Draft, DraftContext, SpanSource

__all__ = ["LONGEST_GAP_S", "ROUTINE_FACTS", "ROUTINE_WEIGHTS", "Expectation", "RoutineDrafter"]

ROUTINE_WEIGHTS, ROUTINE_FACTS = "routine.safetensors", "routine.json"
LONGEST_GAP_S = 1.0  # an older text is none
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
        self._told = Told()
        self._last_ns: int | None = None  # of the newest tick that was seen
        self._unseen: list[tuple[int, ...]] = []  # texts of the ticks since, whose time is unknown
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
        self._t0_ns: int | None = None
        self._shift: int | None = None  # of the last look ahead
        self.looked_anew = False

    def propose(self, context: DraftContext) -> Draft:
        """The likeliest text behind the committed one, as far as it is likely enough."""
        if self._t0_ns is None:
            self._read(context)
        shift = self._shift_of(context.committed)
        tokens, self.chances = self._reasoner.write(context.committed, shift, context.budget)
        return Draft(tokens, (SpanSource.ROUTINE,) * len(tokens))

    def look_ahead(self, context: DraftContext) -> int:
        """Get ready to be asked by `expect`; behind which place there is nothing to say.

        One look serves all drafts of a tick, until the new text's places are no longer the old
        one's. `looked_anew` says whether there was another look.
        """
        if self._t0_ns is None:
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
        """Remember this tick's text.

        A tick without a `propose` has no time: it counts as one of equally long ones.
        """
        if self._t0_ns is None:
            self._unseen.append(decoded.tokens)
        else:
            self._told.say(decoded.tokens)
            self._last_ns = self._t0_ns

    def reset(self) -> None:
        """Forget the last text."""
        self._told.forget()
        self._last_ns = None
        self._unseen.clear()

    def _shift_of(self, committed: tuple[int, ...]) -> int:
        """By how many places the old text is ahead of the new one; 0 where there is no old one."""
        if not self._told.tokens:
            return 0
        return self._alignment.position(committed) - len(committed)

    def _read(self, context: DraftContext) -> None:
        history, told = context.history, self._told
        gap_s, way_m = 0.0, 0.0
        if self._last_ns is not None:
            ticks = len(self._unseen) + 1
            gap_s = (history.t0_ns - self._last_ns) / NANOSECONDS / ticks
            if 0.0 <= gap_s <= LONGEST_GAP_S:
                way_m = float(travelled_m(history.position_m, history.step_s, gap_s))
                for text in self._unseen:
                    told.moved(gap_s, way_m)
                    told.say(text)
                told.moved(gap_s, way_m)
            else:
                told.forget()
                gap_s = 0.0
        elif self._unseen:
            told.say(self._unseen[-1])
        self._unseen.clear()
        motion = motion_features(history.position_m, history.rotation, history.step_s, gap_s, way_m)
        self._reasoner.read(motion, told.tokens, told.since_s, told.since_m)
        self._alignment = PrefixAlignment(told.tokens)
        self._t0_ns = history.t0_ns
