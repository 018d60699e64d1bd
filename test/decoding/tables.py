"""A target whose distributions are looked up: small enough to know every text's probability.

It stands for a real one where thousands of texts are needed, and it says what its cache holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from rsd_planner.decoding.decoder import DecodeLimits, decode
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.interfaces import Acceptance, Drafter
from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    EgoHistory,
    EgoState,
    Prompt,
    SpanSource,
    Verification,
)

PROMPT = Prompt(np.zeros(0, np.int64), ())
_NOW = EgoState(0, np.zeros(3), np.array([0.0, 0, 0, 1]), np.zeros(3), np.zeros(3))
HISTORY = EgoHistory(0, 0.1, np.zeros((1, 3)), np.eye(3)[None], _NOW)


class TableTarget:
    """Logits that depend on all tokens before, the same in every run of a seed."""

    def __init__(self, vocab: int, seed: int, scale: float = 1.5) -> None:
        self.vocab, self._seed, self._scale = vocab, seed, scale
        self._rows: dict[tuple[int, ...], torch.Tensor] = {}
        self.cached: list[int] = []
        self._draft = Draft()

    def logits(self, text: tuple[int, ...]) -> torch.Tensor:
        """(vocab,) after a text."""
        if text not in self._rows:
            rng = np.random.default_rng([self._seed, *(token + 1 for token in text)])
            row = rng.normal(scale=self._scale, size=self.vocab)
            self._rows[text] = torch.from_numpy(row).float()
        return self._rows[text]

    def prefill(self, prompt: Prompt, draft: Draft) -> Verification:
        self.cached = []
        return self._verify(draft)

    def verify(self, last_token: int, draft: Draft) -> Verification:
        self.cached.append(last_token)
        return self._verify(draft)

    def keep(self, path: Sequence[int]) -> None:
        self.cached += [self._draft.tokens[node] for node in path]

    def close(self, last_token: int) -> None:
        self.cached.append(last_token)

    def _verify(self, draft: Draft) -> Verification:
        self._draft = draft
        known = [tuple(self.cached)]
        for node, token in enumerate(draft.tokens):
            parent = draft.parents[node] if draft.parents else node - 1
            known.append((*known[parent + 1], token))
        return Verification(torch.stack([self.logits(text) for text in known]))


class RandomDrafter:
    """Drafts that know nothing of the text and prefer small tokens.

    Evenly drawn ones would hide a wrong residual: they favour no token.
    """

    name = "random"

    def __init__(self, vocab: int, seed: int, longest: int = 3) -> None:
        self._vocab, self._longest = vocab, longest
        self._rng = np.random.default_rng(seed)

    def begin(self) -> None: ...

    def propose(self, context: DraftContext) -> Draft:
        length = self._rng.integers(1, self._longest + 1)
        tokens = self._rng.integers(0, self._vocab, (3, length)).min(axis=0)
        return Draft(tuple(tokens.tolist()), (SpanSource.LOOKUP,) * len(tokens))

    def end(self, decoded: Decoded) -> None: ...

    def reset(self) -> None: ...


def tell(
    target: TableTarget, rule: Acceptance, drafter: Drafter | None = None, max_tokens: int = 3,
    budget: int = 8,
) -> Decoded:  # fmt: skip
    """One text; its last token of the vocabulary ends it. The cache holds it exactly."""
    limits = DecodeLimits(target.vocab - 1, max_tokens, budget, target.vocab)
    decoded = decode(target, drafter or NoDrafter(), rule, PROMPT, HISTORY, limits)
    assert tuple(target.cached) == decoded.tokens
    return decoded


def texts(vocab: int, max_tokens: int) -> Iterator[tuple[int, ...]]:
    """Every text that can be told."""
    for length in range(1, max_tokens + 1):
        for text in itertools.product(range(vocab), repeat=length):
            ended = text[-1] == vocab - 1
            if vocab - 1 not in text[:-1] and (ended or length == max_tokens):
                yield text
