"""The last tick's reasoning as this tick's draft, re-aligned after a rejection.

When the target replaces a token, the rest of the old text is still likely: the committed
text is aligned to a prefix of the old one by edit distance, and drafting goes on behind it.
Knows nothing about what the tokens mean.
"""

from __future__ import annotations

from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

__all__ = ["PrefixAlignment", "PreviousTickDrafter"]


class PreviousTickDrafter:
    """Drafts from the text of the tick before."""

    name = "previous_tick"

    def __init__(self) -> None:
        self._previous: tuple[int, ...] = ()
        self._alignment = PrefixAlignment(())

    def begin(self) -> None:
        """Start at the old text's beginning."""
        self._alignment = PrefixAlignment(self._previous)

    def propose(self, context: DraftContext) -> Draft:
        """The old text from where the committed text has come to."""
        start = self._alignment.position(context.committed)
        tokens = self._previous[start : start + context.budget]
        return Draft(tokens, (SpanSource.PREVIOUS_TICK,) * len(tokens))

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        self._previous = decoded.tokens

    def reset(self) -> None:
        """Forget it."""
        self._previous = ()


class PrefixAlignment:
    """Where in an old sequence a growing new one has come to, by edit distance.

    Row by row of Levenshtein's table, so that each token costs one pass over the old text.
    """

    def __init__(self, old: tuple[int, ...]) -> None:
        self._old = old
        self._row = list(range(len(old) + 1))  # distance of the new text to each prefix
        self._done = 0
        self._position = 0
        self._last: int | None = None

    def position(self, new: tuple[int, ...]) -> int:
        """How many old tokens the new text stands for; `new` extends what was given before.

        Among the prefixes at the smallest distance, one that ends in the new text's last
        token is preferred, then the one as far along as a replaced token leads.
        """
        for token in new[self._done :]:
            self._extend(token)
        expected = self._position + len(new) - self._done
        best = min(self._row)
        candidates = [j for j, distance in enumerate(self._row) if distance == best]
        ending_alike = [j for j in candidates if j > 0 and self._old[j - 1] == self._last]
        self._done = len(new)
        self._position = min(ending_alike or candidates, key=lambda j: abs(j - expected))
        return self._position

    def _extend(self, token: int) -> None:
        row = [self._row[0] + 1]
        for j, old in enumerate(self._old):
            replaced = self._row[j] + (old != token)
            row.append(min(replaced, self._row[j + 1] + 1, row[j] + 1))
        self._row, self._last = row, token
