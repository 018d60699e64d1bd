"""The last tick's text first; where it is rejected, a second drafter bridges back to it.

Where a glance is trained (`glance.py`) it drafts instead: it goes along the last text too, and
knows from the pictures where that does not hold. The rest is for checkpoints without one, and for
pictures such as it has not learned with.

After a correction most of the old text still holds, but the next few tokens often do not. The
second drafter continues the committed text; where its continuation meets the old text again,
the old text goes on. How far the new text has come in the old one is found by edit distance.
Once the two differ too much, the old text is no guide and the second drafter goes on alone.
Tokens that were replaced once are replaced again where they recur. Behind a rejection, what else
is likely enough to come stands beside it in a tree.

A second drafter that foresees, from more than texts, what changes in the old text goes first and
as far as it is sure; the old text goes on behind it.
"""

from __future__ import annotations

from collections.abc import Callable

from rsd_planner.decoding import tree
from rsd_planner.decoding.drafters.glance import GLANCE_WEIGHTS, GlanceDrafter
from rsd_planner.decoding.drafters.previous_tick import PrefixAlignment, Replacements
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.suffix import SuffixDrafter
from rsd_planner.interfaces import Drafter
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

__all__ = ["CascadeDrafter"]

FREE_EDITS = 2  # by which the new text may always differ from the old one …
EDITS_A_TOKEN = 0.15  # … and by so many more for each of its tokens


class CascadeDrafter:
    """Drafts the last tick's text and bridges what is new in it by a second drafter."""

    name = "cascade"

    def __init__(
        self,
        second: Drafter,
        *,
        foresees: bool = False,
        widen: Callable[[DraftContext], Draft] | None = None,
        glance: GlanceDrafter | None = None,
    ) -> None:
        """`foresees` says that the second drafter knows better than the old text what comes.
        `widen` is the second drafter's tree of all that is likely enough, the likeliest first;
        without it, what it proposes stands alone. `glance` drafts where it sees."""
        self._second, self._glance = second, glance
        self._saw = False  # the glance, this tick
        self._is_stale = False  # what the second drafter remembers: the glance drafted since
        self._widen = widen
        self._foresees = foresees
        self._last: tuple[int, ...] = ()
        self._follow(())

    @classmethod
    def make(cls, resources: DrafterResources) -> CascadeDrafter:
        """With the checkpoint's glance, where it has one; `suffix` is the second drafter.

        Raises:
            ConfigError: a file is damaged, or made for another checkpoint.
        """
        suffix = SuffixDrafter.make(resources)
        trained = resources.find(GLANCE_WEIGHTS) is not None and resources.encode is not None
        glance = GlanceDrafter.make(resources) if trained else None
        return cls(suffix, widen=suffix.alternatives, glance=glance)

    def begin(self) -> None:
        """Start at the last text's beginning."""
        if self._glance is not None:
            self._glance.begin()
        self._saw = False
        self._second.begin()
        self._follow(self._last)

    def propose(self, context: DraftContext) -> Draft:
        """The old text where it holds, else a bridge to it."""
        if self._glance is not None:
            self._saw = self._glance.sees(context)
            if self._saw:
                return self._glance.propose(context)
        if self._is_stale:
            self._second.reset()
            self._is_stale = False
        self._read(context.committed)
        if self._old and not context.committed and not self._foresees:
            return self._old_text(0, context.budget)
        if self._widen is None:
            bridge = self._second.propose(context).cut(context.budget)
            return self._joined(context.committed, bridge, context.budget)
        wide = self._widen(context)
        chain = self._joined(context.committed, tree.first_path(wide), context.budget)
        return tree.merge([chain, wide]).cut(context.budget)

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        if self._glance is not None:
            self._glance.end(decoded)
        if self._saw:
            self._is_stale = True
        else:
            self._second.end(decoded)
        self._last = decoded.tokens

    def reset(self) -> None:
        """Forget all earlier ticks."""
        if self._glance is not None:
            self._glance.reset()
        self._second.reset()
        self._last = ()
        self._follow(())

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


def _chain(first: Draft, then: Draft) -> Draft:
    return Draft(first.tokens + then.tokens, first.sources + then.sources)
