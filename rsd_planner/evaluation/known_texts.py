"""What a drafter would do where the target's texts are known already: counts without the target.

The decoder's own loop runs with a target that only recites, so drafters are compared on many
drives in seconds. Greedy. Nothing here can be timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rsd_planner.decoding import tree
from rsd_planner.decoding.decoder import DecodeLimits, decode
from rsd_planner.interfaces import Drafter
from rsd_planner.types import (
    Decoded,
    Draft,
    EgoHistory,
    Prompt,
    SpanKind,
    Verdict,
    Verification,
)

__all__ = ["KnownTick", "accepted_first", "recite"]


@dataclass(frozen=True)
class KnownTick:
    """A tick and the text that the target writes there."""

    history: EgoHistory
    text: tuple[int, ...]  # the end tokens included
    first: bool = False  # of a drive: drafters know no earlier tick


def recite(
    drafter: Drafter, ticks: Iterable[KnownTick], limits: DecodeLimits, isolated: bool = False
) -> Iterator[Decoded]:
    """Decode the ticks in order. `isolated` makes the drafter forget before every tick."""
    prompt = Prompt(np.empty(0, np.int64), ())
    for tick in ticks:
        if tick.first or isolated:
            drafter.reset()
        known = _Known(tick.text)
        yield decode(known, drafter, known, prompt, tick.history, limits)


def accepted_first(decoded: Decoded) -> int:
    """How many tokens of the first draft were right before a wrong one, or its end."""
    others = (i for i, kind in enumerate(decoded.kinds) if kind is not SpanKind.ACCEPTED)
    return next(others, len(decoded.kinds))


class _Known:
    """A target and a rule that say one text."""

    name = "known"
    repeatable = True

    def __init__(self, text: tuple[int, ...]) -> None:
        self._text = text

    def prefill(self, prompt: Prompt, draft: Draft) -> Verification:
        return Verification(None)

    def verify(self, last_token: int, draft: Draft) -> Verification:
        return Verification(None)

    def keep(self, path: Sequence[int]) -> None: ...

    def close(self, last_token: int) -> None: ...

    def accept(self, step: Verification, draft: Draft, position: int) -> Verdict:
        rest = dict(enumerate(self._text[position:]))
        # Behind the end stands no token, and nothing is committed there.
        choices = [rest.get(place, -1) for place in (0, *(d + 1 for d in tree.depths(draft)))]
        path = tree.follow(draft, choices)
        return Verdict(path, rest.get(len(path), 0), (0.0,) * (len(path) + 1))
