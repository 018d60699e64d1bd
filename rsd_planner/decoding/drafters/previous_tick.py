"""The last tick's reasoning as this tick's draft, re-aligned after a rejection.

When the target replaces a token, the rest of the old text is still likely: the committed
text is aligned to a prefix of the old one by edit distance, and drafting goes on behind it.
What was replaced once is replaced again where it recurs (a speed that is said twice). When
the text begins otherwise, the newest earlier tick that began so takes the last one's place
(texts go to and fro: keep, slow, keep). When rejections follow each other, the old text is
no guide: drafting rests until the target's own words meet it again. Knows nothing about what
the tokens mean.
"""

from __future__ import annotations

from collections import deque

from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

__all__ = ["PrefixAlignment", "PreviousTickDrafter", "Replacements"]

MEMORY = 256  # different texts of earlier ticks
PATIENCE = 2  # whole drafts in a row that may fail
CAREFUL_LENGTH = 4  # tokens drafted where a lost text meets the old one again


class PreviousTickDrafter:
    """Drafts from the texts of the ticks before, the last one first."""

    name = "previous_tick"

    def __init__(self) -> None:
        self._earlier: deque[tuple[int, ...]] = deque(maxlen=MEMORY)  # different, newest last
        self.begin()

    @classmethod
    def make(cls, resources: DrafterResources) -> PreviousTickDrafter:
        """Needs nothing of a checkpoint."""
        return cls()

    def begin(self) -> None:
        """Start at the last text's beginning."""
        self._start = 0  # where in the old text the newest draft began
        self._drafted: tuple[int, ...] = ()
        self._known = 0  # committed tokens when it was made
        self._follow(self._earlier[-1] if self._earlier else ())

    def propose(self, context: DraftContext) -> Draft:
        """The old text from where the committed text has come to."""
        if context.committed:
            self._learn(context.committed)
            if self._failures:
                self._recall(context.committed)
        start = self._alignment.position(context.committed)
        length = min(self._trusted(context.committed, start), context.budget)
        tokens = self._replacements.apply(start, length)
        self._start, self._drafted, self._known = start, tokens, len(context.committed)
        return Draft(tokens, (SpanSource.PREVIOUS_TICK,) * len(tokens))

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        if decoded.tokens in self._earlier:
            self._earlier.remove(decoded.tokens)
        self._earlier.append(decoded.tokens)

    def reset(self) -> None:
        """Forget all texts."""
        self._earlier.clear()

    def _follow(self, old: tuple[int, ...]) -> None:
        self._old = old
        self._alignment = PrefixAlignment(old)
        self._replacements = Replacements(old)
        self._failures = 0  # drafts in a row of which nothing was accepted

    def _recall(self, committed: tuple[int, ...]) -> None:
        """Follow the newest earlier text that begins as this one does, if another one does."""
        if self._old[: len(committed)] == committed:
            return
        for text in reversed(self._earlier):
            if text[: len(committed)] == committed:
                self._follow(text)
                return

    def _learn(self, committed: tuple[int, ...]) -> None:
        """What became of the newest draft, read from the text that came in its place.

        Perhaps not all of it was verified, and perhaps nobody asked for a draft since: a token
        that the target chose by itself as drafted was right too.
        """
        told = committed[self._known :]
        right = next(
            (i for i, (ours, its) in enumerate(zip(self._drafted, told)) if ours != its), None
        )
        if right is None:
            self._failures = 0 if self._drafted else self._failures
            return
        self._failures = 0 if right else self._failures + 1
        self._replacements.note(self._start + right, told[right])

    def _trusted(self, committed: tuple[int, ...], start: int) -> int:
        """How many tokens are worth verifying."""
        if self._failures < PATIENCE:
            return len(self._old)
        met_again = start > 0 and self._old[start - 1] == committed[-1]
        return CAREFUL_LENGTH if met_again else 0


class Replacements:
    """Runs of old tokens that the target replaced, put in again where they recur.

    A run is known by what stands around it: by the token behind it, and a run of a single
    token also by the one in front, or every digit would be taken for another number's.
    """

    def __init__(self, old: tuple[int, ...]) -> None:
        self._old = old
        self._runs: list[tuple[int, list[int]]] = []  # start in the old text, new tokens

    def note(self, index: int, token: int) -> None:
        """The old token at `index` was replaced."""
        if self._runs and index == self._runs[-1][0] + len(self._runs[-1][1]):
            self._runs[-1][1].append(token)
        else:
            self._runs.append((index, [token]))

    def apply(self, start: int, length: int) -> tuple[int, ...]:
        """`length` old tokens from `start` on, with what recurs replaced."""
        tokens = list(self._old[start : start + length])
        for first, new in self._runs:
            end = first + len(new)
            front = self._old[first - 1 : first] if first > 0 and len(new) == 1 else ()
            pattern = [*front, *self._old[first:end], *self._old[end : end + 1]]
            if len(pattern) <= len(new) or (len(new) == 1 and not front):
                continue
            for at in range(len(tokens) - len(pattern) + 1):
                if tokens[at : at + len(pattern)] == pattern:
                    inner = at + len(front)
                    tokens[inner : inner + len(new)] = new
        return tuple(tokens)


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

    @property
    def distance(self) -> int:
        """Edits between the new text and the prefix that it stands for."""
        return min(self._row)

    def fork(self) -> PrefixAlignment:
        """One that goes its own way from here."""
        other = PrefixAlignment(self._old)
        other._row, other._done = self._row, self._done  # rows are replaced, never changed
        other._position, other._last = self._position, self._last
        return other

    def _extend(self, token: int) -> None:
        row = [self._row[0] + 1]
        for j, old in enumerate(self._old):
            replaced = self._row[j] + (old != token)
            row.append(min(replaced, self._row[j + 1] + 1, row[j] + 1))
        self._row, self._last = row, token
