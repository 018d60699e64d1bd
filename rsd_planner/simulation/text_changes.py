"""How texts change from one tick to the next: what is novel, and figures for a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.narrator import Narration, text_words

__all__ = ["NOVEL_S", "TextStatistics", "changed_words", "novel_frames", "text_statistics"]

NOVEL_S = 1.0


def novel_frames(
    stamps_ns: NDArray[np.int64], causes: Sequence[Iterable[str]], within_s: float = NOVEL_S
) -> NDArray[np.bool_]:
    """(frames,) whether the set of causes changed at most `within_s` before each frame.

    `causes` holds the names of each frame's causes; a frame at which they change is novel, the
    first one is not.
    """
    sets = [frozenset(names) for names in causes]
    changes = [i for i, (a, b) in enumerate(pairwise(sets), start=1) if a != b]
    if not changes:
        return np.zeros(len(sets), dtype=np.bool_)
    changed_ns = stamps_ns[changes]
    last = np.searchsorted(changed_ns, stamps_ns, side="right") - 1
    since_ns = stamps_ns - changed_ns[np.maximum(last, 0)]
    return (last >= 0) & (since_ns <= round(within_s * 1e9))


def changed_words(before: str, after: str) -> int:
    """How many words are replaced, inserted or removed from one text to the next."""
    if before == after:
        return 0
    a, b = text_words(before), text_words(after)
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return max(len(a), len(b)) - sum(block.size for block in blocks)


@dataclass(frozen=True)
class TextStatistics:
    """Figures over the texts of several drives; words as `count_words` counts them."""

    texts: int
    equal_share: float  # of consecutive texts
    changed_words: float  # mean over consecutive texts, equal ones included
    words: tuple[int, float, int]  # least, mean, most
    vocabulary: int  # different words
    causes: Counter[str]
    decisions: Counter[str]

    def lines(self) -> tuple[str, ...]:
        """The figures in sentences."""
        least, mean, most = self.words
        return (
            f"{self.texts} texts of {least} to {most} words, {mean:.1f} on average, "
            f"of {self.vocabulary} different ones",
            f"equal consecutive texts: {self.equal_share:.0%}; "
            f"{self.changed_words:.1f} words change on average",
            f"decisions: {_listing(self.decisions)}",
            f"causes: {_listing(self.causes)}",
        )


def text_statistics(drives: Iterable[Sequence[Narration]]) -> TextStatistics:
    """Figures over drives, each a sequence of narrations at the rate of interest.

    Raises:
        ValueError: there is no text.
    """
    told = [list(drive) for drive in drives]
    texts = [n.text for drive in told for n in drive]
    if not texts:
        raise ValueError("there is no text to count")
    pairs = [(a.text, b.text) for drive in told for a, b in pairwise(drive)]
    lengths = [len(text_words(text)) for text in texts]
    return TextStatistics(
        texts=len(texts),
        equal_share=sum(a == b for a, b in pairs) / max(1, len(pairs)),
        changed_words=sum(changed_words(a, b) for a, b in pairs) / max(1, len(pairs)),
        words=(min(lengths), sum(lengths) / len(lengths), max(lengths)),
        vocabulary=len({word for text in texts for word in text_words(text)}),
        causes=Counter(c.name for drive in told for n in drive for c in n.causes),
        decisions=Counter(n.decision for drive in told for n in drive),
    )


def _listing(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
