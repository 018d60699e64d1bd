"""Which part of a text came from where: runs of tokens as spans of characters.

Routine tokens are the accepted ones; deliberative ones were chosen by the target; the
corrected ones are the signal of novelty.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rsd_planner.types import Decoded, Span, SpanKind

__all__ = ["routine_share", "spans_of"]


def spans_of(decoded: Decoded, pieces: Sequence[str]) -> tuple[str, tuple[Span, ...]]:
    """The text and its spans; `pieces` holds the characters of each token.

    Tokens without characters (the end of the reasoning) count in a span's tokens only where
    the span has characters too.
    """
    labelled = zip(decoded.sources, decoded.kinds, pieces, strict=True)
    text, spans = "", []
    for (source, kind), run in groupby(labelled, key=lambda item: item[:2]):
        characters = [piece for _, _, piece in run]
        added = "".join(characters)
        if added:
            spans.append(Span(len(text), len(text) + len(added), len(characters), source, kind))
        text += added
    return text, tuple(spans)


def routine_share(decoded: Decoded) -> float:
    """The share of tokens that a drafter wrote and the target accepted."""
    return decoded.kinds.count(SpanKind.ACCEPTED) / len(decoded.kinds) if decoded.kinds else 0.0
