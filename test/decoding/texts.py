"""A target that says given texts, and ticks replayed over it: drafters without any model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from hypothesis import strategies as st

from rsd_planner.decoding.acceptance import Greedy
from rsd_planner.decoding.decoder import DecodeLimits, decode
from rsd_planner.interfaces import Drafter
from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    EgoHistory,
    EgoState,
    Prompt,
    Verification,
)

END = 0  # the last token of every text
VOCAB = 1200


_texts = st.lists(st.integers(1, 5), max_size=12).map(lambda text: (*text, END))
some_texts = st.lists(_texts, min_size=1, max_size=8)


class TextTarget:
    """Says one text, whatever is drafted."""

    def __init__(self, text: tuple[int, ...]) -> None:
        self._text = text
        self._said = 0

    def prefill(self, prompt: Prompt, draft: Draft) -> Verification:
        self._said = 0
        return self._verification(draft)

    def verify(self, last_token: int, draft: Draft) -> Verification:
        assert last_token == self._text[self._said - 1]
        return self._verification(draft)

    def keep(self, path: Sequence[int]) -> None:
        self._said += len(path) + 1

    def close(self, last_token: int) -> None:
        assert last_token == self._text[-1]

    def _verification(self, draft: Draft) -> Verification:
        logits = torch.zeros(len(draft) + 1, VOCAB)
        depths = [0]  # of each row: how many drafted tokens stand in front
        for parent in draft.parents or range(-1, len(draft) - 1):
            depths.append(depths[parent + 1] + 1)
        for row, depth in enumerate(depths):
            if self._said + depth < len(self._text):
                logits[row, self._text[self._said + depth]] = 1.0
        return Verification(logits)


def standing() -> EgoHistory:
    """A car that stands."""
    now = EgoState(0, np.zeros(3), np.array([0.0, 0, 0, 1]), np.zeros(3), np.zeros(3))
    turn = np.broadcast_to(np.eye(3), (16, 3, 3)).copy()
    return EgoHistory(0, 0.1, np.zeros((16, 3)), turn, now)


def replay(
    drafter: Drafter,
    texts: Iterable[tuple[int, ...]],
    prompt: tuple[int, ...] = (),
    budget: int = 48,
    end: int = END,
) -> list[Decoded]:
    """Decode ticks whose texts are given, in order, and check that they come out as given."""
    asked, history, found = Prompt(np.array(prompt, np.int64), ()), standing(), []
    for text in texts:
        limits = DecodeLimits(end, max(len(text), 64), budget, VOCAB)
        target = TextTarget(text)
        found.append(decode(target, drafter, Greedy(), asked, history, limits))
        assert found[-1].tokens == text
    return found


def ids(text: str) -> tuple[int, ...]:
    """Characters as tokens, and the end."""
    return (*map(ord, text), END)


def propose(
    drafter: Drafter, committed: str = "", prompt: tuple[int, ...] = (), budget: int = 48
) -> str:
    """What is drafted behind a text, its end as `$`."""
    asked = Prompt(np.array(prompt, np.int64), ())
    context = DraftContext(asked, standing(), tuple(map(ord, committed)), budget)
    return "".join(map(chr, drafter.propose(context).tokens)).replace(chr(END), "$")
