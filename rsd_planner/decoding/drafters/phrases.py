"""What most often followed the last few tokens in texts that were seen: one look-up a token.

`suffix` finds the longest end of a text that was seen and weighs all that followed it. This only
guesses one token, for somebody who judges the guess, but in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Phrases"]

_LENGTHS = (4, 2, 1)  # of the ends that are looked up, the longest first
_BITS = 15  # of a token, so that an end is one number
_START = (1 << _BITS) - 1  # stands before every text


class Phrases:
    """The likeliest token behind each short run of tokens."""

    def __init__(self, texts: Iterable[tuple[Sequence[int], int]]) -> None:
        """Texts, and how often each was seen.

        Raises:
            ValueError: a token is negative, or 32767 or more.
        """
        tokens: list[int] = []
        counts: list[int] = []  # of the text that a token stands in; none are counted behind 0
        for text, count in texts:
            tokens += (*[_START] * _LENGTHS[0], *text)
            counts += (*[0] * _LENGTHS[0], *[count] * len(text))
        every, counted = np.array(tokens, np.int64), np.array(counts, np.int64)
        known = every[counted > 0]
        if len(known) and not 0 <= known.min() <= known.max() < _START:
            raise ValueError(f"tokens go from 0 to {_START - 1}")
        self._next = [_likeliest(every, counted, length) for length in _LENGTHS]

    def next(self, text: Sequence[int]) -> int | None:
        """The token that most often followed the end of a text; None where none ever did."""
        end = (*[_START] * (_LENGTHS[0] - len(text)), *text[-_LENGTHS[0] :])
        for length, known in zip(_LENGTHS, self._next):
            run = 0
            for token in end[-length:]:
                run = run << _BITS | token
            found = known.get(run)
            if found is not None:
                return found
        return None


def _likeliest(tokens: NDArray[np.int64], counts: NDArray[np.int64], length: int) -> dict[int, int]:
    """The likeliest token behind each run of a length, of equals the lowest.

    `counts` says how much each token counts, as one that follows.
    """
    places = np.flatnonzero(counts)
    runs: NDArray[np.int64] = np.zeros(len(places), np.int64)
    for back in range(length, 0, -1):
        runs = runs << _BITS | tokens[places - back]
    order = np.lexsort((tokens[places], runs))
    runs, behind, weights = runs[order], tokens[places][order], counts[places][order]
    changes = (np.diff(runs, prepend=-1) != 0) | (np.diff(behind, prepend=-1) != 0)
    starts = np.flatnonzero(changes)
    if not len(starts):
        return {}
    totals = np.add.reduceat(weights, starts)
    runs, behind = runs[starts], behind[starts]
    best = np.lexsort((behind, -totals, runs))
    first = best[np.diff(runs[best], prepend=-1) != 0]
    return dict(zip(runs[first].tolist(), behind[first].tolist()))
