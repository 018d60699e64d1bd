"""Whether a speculative text is the plain one, and if not, whether rounding explains it.

Logits of a batched and of a one-token forward differ in the last bits, so two texts may part
where the plain decoding itself hardly preferred one token. Knows tokens and gaps, no models.
"""

from __future__ import annotations

from enum import Enum

from rsd_planner.types import Decoded

__all__ = ["EXCUSED_GAP", "Exactness", "first_divergence", "judge"]

EXCUSED_GAP = 1e-4  # fp32: the plain top-2 gap below which a divergence is rounding


class Exactness(Enum):
    """What a comparison with plain decoding came to."""

    EXACT = "exact"
    EXCUSED = "excused"
    WRONG = "wrong"


def first_divergence(one: tuple[int, ...], other: tuple[int, ...]) -> int | None:
    """Where two token sequences part; None where they are equal."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


def judge(plain: Decoded, other: Decoded) -> Exactness:
    """Compare a text with plain decoding's, up to the first divergence.

    It is excused only if plain decoding's own top-2 gap there is below `EXCUSED_GAP`.
    """
    where = first_divergence(plain.tokens, other.tokens)
    if where is None:
        return Exactness.EXACT
    if where < len(plain.top2_gaps) and plain.top2_gaps[where] < EXCUSED_GAP:
        return Exactness.EXCUSED
    return Exactness.WRONG
