"""What most often followed the last few tokens in texts that were seen: one look-up a token.

`suffix` finds the longest end of a text that was seen and weighs all that followed it. This only
guesses one token, for somebody who judges the guess, but in a tenth of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["Phrases"]

_LENGTHS = (4, 2, 1)  # of the ends that are looked up, the longest first
_START = -1  # stands before every text


class Phrases:
    """The likeliest token behind each short run of tokens."""

    def __init__(self, texts: Iterable[tuple[Sequence[int], int]]) -> None:
        """Texts, and how often each was seen."""
        behind: dict[tuple[int, ...], Counter[int]] = {}
        for text, count in texts:
            known = (_START,) * _LENGTHS[0] + tuple(text)
            for end in range(_LENGTHS[0], len(known)):
                for length in _LENGTHS:
                    run = known[end - length : end]
                    behind.setdefault(run, Counter())[known[end]] += count
        self._next = {run: max(found, key=found.__getitem__) for run, found in behind.items()}

    def next(self, text: Sequence[int]) -> int | None:
        """The token that most often followed the end of a text; None where none ever did."""
        end = (_START,) * _LENGTHS[0] + tuple(text[-_LENGTHS[0] :])
        for length in _LENGTHS:
            token = self._next.get(end[-length:])
            if token is not None:
                return token
        return None
