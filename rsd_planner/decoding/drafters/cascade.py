"""The last tick's text first; where it is rejected, a second drafter bridges back to it.

After a correction most of the old text still holds, but the next few tokens often do not. The
second drafter continues the committed text; where its continuation meets the old text again,
the old text goes on. How far the new text has come in the old one is found by edit distance.
Once the two differ too much, the old text is no guide and the second drafter goes on alone.
Tokens that were replaced once are replaced again where they recur.

A second drafter that foresees, from more than texts, what changes in the old text goes first and
as far as it is sure; the old text goes on behind it.

The routine reasoner is asked beside them, each time: where it expects another token than the draft
has (a number that the car's motion changes) and was mostly right when it was as sure, its own take
that place. Every text shows who was right there, whatever was drafted.
"""

from __future__ import annotations

import math
from typing import Protocol

from rsd_planner.decoding.drafters.previous_tick import PrefixAlignment, Replacements
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.routine import ROUTINE_WEIGHTS, RoutineDrafter
from rsd_planner.decoding.drafters.suffix import SuffixDrafter
from rsd_planner.interfaces import Drafter
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

__all__ = ["CascadeDrafter", "Foreseer"]

FREE_EDITS = 2  # by which the new text may always differ from the old one …
EDITS_A_TOKEN = 0.15  # … and by so many more for each of its tokens
LIKELY = 0.5  # chance down to which a foreseen text is followed behind its first other token
_FORGETTING = 0.98  # weight of an old observation for each newer one


class Foreseer(Drafter, Protocol):
    """A drafter that knows how sure it is."""

    @property
    def chances(self) -> tuple[float, ...]:
        """Of the newest draft's tokens, each given those in front of it."""


class CascadeDrafter:
    """Drafts the last tick's text and bridges what is new in it by a second drafter."""

    name = "cascade"

    def __init__(
        self, second: Drafter, *, foresees: bool = False, foreseer: Foreseer | None = None
    ) -> None:
        """`foresees` says that the second drafter knows better than the old text what comes.

        What `foreseer` is sure of is put in place in every draft.
        """
        self._second, self._foreseer = second, foreseer
        self._asked: tuple[Drafter, ...] = (second, foreseer) if foreseer else (second,)
        self._record = _Record()
        self._foresees = foresees
        self._last: tuple[int, ...] = ()
        self._follow(())

    @classmethod
    def make(cls, resources: DrafterResources) -> CascadeDrafter:
        """`suffix` is the second drafter; the routine reasoner foresees where it is trained.

        Raises:
            ConfigError: a file of one of them is damaged or of another checkpoint.
        """
        trained = resources.find(ROUTINE_WEIGHTS) is not None
        routine = RoutineDrafter.make(resources) if trained else None
        return cls(SuffixDrafter.make(resources), foreseer=routine)

    def begin(self) -> None:
        """Start at the last text's beginning."""
        for drafter in self._asked:
            drafter.begin()
        self._follow(self._last)

    def propose(self, context: DraftContext) -> Draft:
        """The old text where it holds, else a bridge to it, with what is foreseen in place."""
        self._read(context.committed)
        draft = self._drafted(context)
        if self._foreseer is None or draft.parents:
            return draft
        foreseen = self._foreseer.propose(context)
        return self._with_foreseen(context, draft, foreseen, self._foreseer.chances)

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        for drafter in self._asked:
            drafter.end(decoded)
        self._record.learn(decoded.tokens)
        self._last = decoded.tokens

    def reset(self) -> None:
        """Forget all earlier ticks."""
        for drafter in self._asked:
            drafter.reset()
        self._record = _Record()
        self._last = ()
        self._follow(())

    def _drafted(self, context: DraftContext) -> Draft:
        if self._old and not context.committed and not self._foresees:
            return self._old_text(0, context.budget)
        bridge = self._second.propose(context).cut(context.budget)
        return self._joined(context.committed, bridge, context.budget)

    def _with_foreseen(
        self, context: DraftContext, draft: Draft, foreseen: Draft, chances: tuple[float, ...]
    ) -> Draft:
        """The foreseen text as far as it is the draft's or preferred, then the old text."""
        length, others = 0, False  # what is taken; whether it has left the draft
        for token, chance in zip(foreseen.tokens[: context.budget], chances):
            drafted = draft.tokens[length] if length < len(draft) else None
            if others:
                if token != drafted and chance < LIKELY:
                    break
            elif drafted is not None and token != drafted:
                front = context.committed + draft.tokens[:length]
                self._record.note(front, drafted, token, chance)
                others = self._record.prefers(chance)
                if not others:
                    break
            length += 1
        taken = _labelled(foreseen.cut(length), draft)
        if len(taken) <= len(draft) and not others:
            return draft
        text = context.committed + taken.tokens
        if text[-1:] == self._old[-1:]:
            return taken  # the end
        alignment = self._alignment.fork()
        position = alignment.position(text)
        if alignment.distance > FREE_EDITS + EDITS_A_TOKEN * len(text):
            return taken
        return _chain(taken, self._old_text(position, context.budget - len(taken)))

    def _follow(self, old: tuple[int, ...]) -> None:
        self._old = old
        self._alignment = PrefixAlignment(old)
        self._replacements = Replacements(old)
        self._read_tokens = self._position = 0  # of the committed and the old text

    def _read(self, committed: tuple[int, ...]) -> None:
        """Align what was committed since the last draft, and note what it replaced."""
        for done in range(self._read_tokens, len(committed)):
            before, token = self._position, committed[done]
            self._position = self._alignment.position(committed[: done + 1])
            if self._position == before + 1 and self._old[before] != token:
                self._replacements.note(before, token)
        self._read_tokens = len(committed)

    def _joined(self, committed: tuple[int, ...], bridge: Draft, budget: int) -> Draft:
        """The bridge as far as it takes to meet the old text, then that one."""
        if bridge.parents:
            return bridge  # several alternatives lead to several places
        alignment = self._alignment.fork()
        for length in range(len(bridge) + 1):
            text = committed + bridge.tokens[:length]
            position = alignment.position(text)
            if alignment.distance > FREE_EDITS + EDITS_A_TOKEN * len(text):
                continue
            met = position > 0 and self._old[position - 1] == text[-1]
            if (met and not self._foresees) or length == len(bridge):
                return _chain(bridge.cut(length), self._old_text(position, budget - length))
        return bridge

    def _old_text(self, position: int, length: int) -> Draft:
        tokens = self._replacements.apply(position, length)
        return Draft(tokens, (SpanSource.PREVIOUS_TICK,) * len(tokens))


class _Record:
    """Who was right where a foreseen token was not the drafted one, by how sure it was."""

    def __init__(self) -> None:
        self._noted: list[tuple[tuple[int, ...], int, int, float]] = []
        self._lead: dict[int, float] = {}  # of foreseen tokens over drafted ones

    def note(self, front: tuple[int, ...], drafted: int, foreseen: int, chance: float) -> None:
        """Behind the text `front` they differ."""
        self._noted.append((front, drafted, foreseen, chance))

    def prefers(self, chance: float) -> bool:
        """Whether foreseen tokens as sure as this one have been right more often."""
        return self._lead.get(_sureness(chance), 0.0) > 0

    def learn(self, text: tuple[int, ...]) -> None:
        """A tick's whole text."""
        for front, drafted, foreseen, chance in self._noted:
            if text[: len(front)] == front and len(text) > len(front):
                right = text[len(front)]
                lead = _FORGETTING * self._lead.get(_sureness(chance), 0.0)
                self._lead[_sureness(chance)] = lead + (right == foreseen) - (right == drafted)
        self._noted.clear()


def _sureness(chance: float) -> int:
    """Chances in classes: 0 up to a half, then one more for each halving of the doubt."""
    return min(int(-math.log2(max(1.0 - chance, 0.01))), 5)


def _labelled(foreseen: Draft, draft: Draft) -> Draft:
    """The foreseen text; what the draft has in the same place is the draft's."""
    sources = list(foreseen.sources)
    for place, (ours, its) in enumerate(zip(foreseen.tokens, draft.tokens)):
        if ours == its:
            sources[place] = draft.sources[place]
    return Draft(foreseen.tokens, tuple(sources))


def _chain(first: Draft, then: Draft) -> Draft:
    return Draft(first.tokens + then.tokens, first.sources + then.sources)
