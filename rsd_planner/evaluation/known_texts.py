"""What a drafter would do where the target's texts are known already: counts without the target.

The decoder's own loop runs with a target that only recites, so drafters are compared on many
drives in seconds. Greedy. Nothing here can be timed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

__all__ = ["KnownFeatures", "KnownTick", "accepted_first", "recite"]


@dataclass(frozen=True)
class KnownFeatures:
    """What the target would bring as `interfaces.Features` at the end of a tick's text."""

    states: Any  # torch (prompt + text, layers · hidden)
    places: NDArray[np.int64]  # (3, prompt + text)
    prompt: int  # tokens of the prompt


@dataclass(frozen=True)
class KnownTick:
    """A tick and the text that the target writes there."""

    history: EgoHistory
    text: tuple[int, ...]  # the end tokens included
    first: bool = False  # of a drive: drafters know no earlier tick
    features: KnownFeatures | None = None  # for drafters that read them


def recite(
    drafter: Drafter, ticks: Iterable[KnownTick], limits: DecodeLimits, isolated: bool = False
) -> Iterator[Decoded]:
    """Decode the ticks in order. `isolated` makes the drafter forget before every tick."""
    prompt = Prompt(np.empty(0, np.int64), ())
    for tick in ticks:
        if tick.first or isolated:
            drafter.reset()
        known = _Known(tick)
        yield decode(known, drafter, known, prompt, tick.history, limits)


def accepted_first(decoded: Decoded) -> int:
    """How many tokens of the first draft were right before a wrong one, or its end."""
    others = (i for i, kind in enumerate(decoded.kinds) if kind is not SpanKind.ACCEPTED)
    return next(others, len(decoded.kinds))


class _Known:
    """A target and a rule that say one tick's text, and the target's features."""

    name = "known"
    repeatable = True

    def __init__(self, tick: KnownTick) -> None:
        self._text, self._features = tick.text, tick.features
        self._fed = 0  # tokens of the text that would be cached

    def prefill(self, prompt: Prompt, draft: Draft) -> Verification:
        self._fed = 0
        return self._step()

    def verify(self, last_token: int, draft: Draft) -> Verification:
        self._fed += 1
        return self._step()

    def keep(self, path: Sequence[int]) -> None:
        self._fed += len(path)

    def close(self, last_token: int) -> None: ...

    def watch(self, layers: Sequence[int]) -> None: ...

    def _step(self) -> Verification:
        return Verification(None, self if self._features is not None else None)

    def __len__(self) -> int:
        assert self._features is not None
        return self._features.prompt + self._fed

    def rows(self, start: int) -> tuple[Any, NDArray[np.int64]]:
        assert self._features is not None
        end = len(self)
        return self._features.states[start:end], self._features.places[:, start:end]

    def accept(self, step: Verification, draft: Draft, position: int) -> Verdict:
        rest = dict(enumerate(self._text[position:]))
        # Behind the end stands no token, and nothing is committed there.
        choices = [rest.get(place, -1) for place in (0, *(d + 1 for d in tree.depths(draft)))]
        path = tree.follow(draft, choices)
        return Verdict(path, rest.get(len(path), 0), (0.0,) * (len(path) + 1))
