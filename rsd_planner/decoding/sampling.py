"""What sampling is made of: temperature, nucleus, and noise that is indexed by position.

Works on logits whose forbidden tokens are −inf already; temperature comes next, top-p last.
Knows neither drafts nor rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["GumbelNoise", "Sampling", "nucleus"]

_FIRST_GUESS = 32  # tokens that a nucleus mostly fits into
_FIRST_ROWS = 64


@dataclass(frozen=True)
class Sampling:
    """How texts are sampled."""

    temperature: float = 0.6
    top_p: float = 0.98
    seed: int = 0

    def log_probs(self, logits: Tensor) -> Tensor:
        """Log-probabilities (rows, vocab) at the temperature, before the nucleus is cut."""
        return (logits / self.temperature).log_softmax(dim=-1)

    def probs(self, logits: Tensor) -> Tensor:
        """Probabilities (rows, vocab) in fp64 of what may be sampled."""
        probs = self.log_probs(logits).exp()
        kept = (probs * nucleus(probs, self.top_p)).double()
        return kept / kept.sum(dim=-1, keepdim=True)


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Bool (rows, vocab): tokens below which less than `top_p` lies (Holtzman 2020).

    Tokens that are equally probable are in or out together, so that the order in which they
    are sorted makes no difference.
    """
    if top_p >= 1.0:
        return torch.ones_like(probs, dtype=torch.bool)
    vocab = probs.shape[-1]
    count = min(_FIRST_GUESS, vocab)
    while True:  # a full sort costs more than all the rest
        top = probs.topk(count, dim=-1).values
        before = top.cumsum(dim=-1) - top  # probability of the more probable ones
        if count == vocab or bool((before[:, -1] >= top_p).all()):
            break
        count = min(8 * count, vocab)
    last = (before < top_p).sum(dim=-1, keepdim=True) - 1  # (rows, 1)
    return probs >= top.gather(-1, last)


class GumbelNoise:
    """Standard Gumbel noise for each token at each position of a text.

    Indexed, not drawn in turn: position i of a seed has the same noise in every tick, however
    the text came to be. The counter of a Philox generator (Salmon 2011) is the position.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._table = torch.empty(0, 0)  # (positions, vocab), grown as texts grow

    def rows(self, first: int, offsets: list[int] | int, like: Tensor) -> Tensor:
        """Noise (rows, vocab) at `first` plus each offset, or plus 0 … `offsets` − 1.

        `like` (rows, vocab) gives vocabulary and device.
        """
        last = first + (offsets - 1 if isinstance(offsets, int) else max(offsets))
        if last >= len(self._table) or self._table.shape[1] != like.shape[-1]:
            self._grow(max(last + 1, 2 * len(self._table), _FIRST_ROWS), like)
        if isinstance(offsets, int):
            return self._table[first : first + offsets]
        return self._table[[first + offset for offset in offsets]]

    def _grow(self, positions: int, like: Tensor) -> None:
        # On the CPU, so that a seed means the same text on every device.
        uniform = np.empty((positions, like.shape[-1]))
        for position in range(positions):
            philox = np.random.Philox(key=self._seed, counter=[0, 0, 0, position])
            uniform[position] = np.random.Generator(philox).random(like.shape[-1])
        exponential = -np.log1p(-uniform)
        gumbel = -np.log(np.maximum(exponential, np.finfo(np.float64).tiny))
        self._table = torch.from_numpy(gumbel).float().to(like.device)
