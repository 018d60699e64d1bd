"""Acceptance rules: how much of a draft is valid, and the target's token after it.

`greedy` and `coupled` fix the target's choice at every position before they look at the draft,
so the text is that of plain decoding, token by token. `rejection` gives texts of the same
distribution instead. All read logits whose forbidden tokens are −inf.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rsd_planner.decoding import tree
from rsd_planner.decoding.sampling import GumbelNoise, Sampling, nucleus
from rsd_planner.interfaces import Acceptance
from rsd_planner.types import Draft, Verdict, Verification

__all__ = ["RULES", "Coupled", "Greedy", "Rejection", "make_rule"]

_NOTHING = 1e-12  # less probability than this is rounding
_NEAR = 1e-4  # probabilities this close, relatively, may change places by rounding


class Greedy:
    """Accept what the target would have chosen itself."""

    name = "greedy"
    repeatable = True

    def accept(self, step: Verification, draft: Draft, position: int) -> Verdict:
        """See `interfaces.Acceptance`."""
        choices = step.logits.argmax(dim=-1).tolist()  # (draft + 1,)
        path = tree.follow(draft, choices)
        rows = _rows(path)
        gaps = _top2_gaps(step.logits[rows]).tolist()
        return Verdict(path, _chosen(choices, path), tuple(gaps))


class Coupled:
    """Sample by Gumbel noise that seed and position fix; accept what is sampled alike.

    The target's choice is the argmax of its log-probabilities plus the noise (Gumbel 1954):
    exactly a sample, whatever is drafted, and the same one as without drafts. The noise
    is the same in every tick, so that texts of similar scenes are alike: ticks are correlated.
    """

    name = "coupled"
    repeatable = True

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._noise = GumbelNoise(sampling.seed)

    def accept(self, step: Verification, draft: Draft, position: int) -> Verdict:
        """See `interfaces.Acceptance`."""
        log_probs = self._sampling.log_probs(step.logits)  # (draft + 1, vocab)
        probs = log_probs.exp()
        kept = nucleus(probs, self._sampling.top_p)
        offsets = [0, *(depth + 1 for depth in tree.depths(draft))] if draft.parents else None
        noisy = log_probs + self._noise.rows(position, offsets or len(draft) + 1, like=log_probs)
        choices = noisy.masked_fill(~kept, -torch.inf).argmax(dim=-1).tolist()
        path = tree.follow(draft, choices)
        rows = _rows(path)
        gaps = self._gaps(noisy[rows], probs[rows], kept[rows])
        return Verdict(path, _chosen(choices, path), tuple(gaps.tolist()))

    def _gaps(self, noisy: Tensor, probs: Tensor, kept: Tensor) -> Tensor:
        """How far each row's choice is from being another one (rows,).

        Either the next best token overtakes it, or the nucleus' edge moves: over the choice,
        or over a token outside that the noise prefers.
        """
        scores = noisy.masked_fill(~kept, -torch.inf)
        gaps = _top2_gaps(scores)
        top_p = self._sampling.top_p
        if top_p >= 1.0:
            return gaps
        best, choice = scores.max(dim=-1, keepdim=True)
        above = (probs > (1 - _NEAR) * probs.gather(-1, choice)).scatter(-1, choice, False)
        mass = (probs * above).sum(dim=-1)
        inside = torch.where(above.any(dim=-1), top_p - mass, torch.inf)
        rivals = ~kept & (noisy > best)
        likeliest = probs.masked_fill(~rivals, 0).amax(dim=-1, keepdim=True)
        mass = (probs * (probs > (1 + _NEAR) * likeliest)).sum(dim=-1)
        outside = torch.where(rivals.any(dim=-1), mass - top_p, torch.inf)
        return torch.minimum(gaps, torch.minimum(inside, outside).clamp(min=0))


class Rejection:
    """Accept a drafted token with the target's probability of it (Leviathan 2023, Chen 2023).

    Drafted tokens count as point masses: nothing is assumed of how they were chosen. A
    rejected one is taken out of the distribution before its next sibling is tried (SpecInfer
    2023) or a token is drawn. Every decision has fresh noise: a draft that was copied from an
    earlier tick depends on that tick's noise, and would be accepted too often if it returned.
    """

    name = "rejection"
    repeatable = False

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def accept(self, step: Verification, draft: Draft, position: int) -> Verdict:
        """See `interfaces.Acceptance`."""
        probs = self._sampling.probs(step.logits).cpu()  # (draft + 1, vocab)
        drawn = torch.rand(len(draft), generator=self._generator, dtype=torch.float64).tolist()
        behind = tree.children(draft)
        path: list[int] = []
        row = 0
        while True:
            accepted, tried = _try(behind[row], draft.tokens, probs[row], drawn)
            if accepted is None:
                break
            path.append(accepted)
            row = accepted + 1
        left = probs[row].index_fill(0, torch.tensor(tried, dtype=torch.long), 0.0)
        token = int(torch.multinomial(left, 1, generator=self._generator))
        gaps = _top2_gaps(step.logits[_rows(tuple(path))])
        return Verdict(tuple(path), token, tuple(gaps.tolist()))


def _try(
    siblings: list[int], tokens: tuple[int, ...], probs: Tensor, drawn: list[float]
) -> tuple[int | None, list[int]]:
    """The sibling that is accepted, if one is, and the tokens that were rejected.

    `probs` (vocab,) is the target's distribution, `drawn` a uniform number for each node.
    """
    tried: list[int] = []
    mass = 1.0  # of what has not been tried
    for node in siblings:
        token = tokens[node]
        chance = 0.0 if token in tried else float(probs[token])
        # The last token that is possible is certain, whatever rounding says.
        if drawn[node] * mass < chance or mass - chance < _NOTHING:
            return node, tried
        tried.append(token)
        mass -= chance
    return None, tried


RULES: dict[str, Callable[[Sampling], Acceptance]] = {
    Greedy.name: lambda _: Greedy(),
    Coupled.name: Coupled,
    Rejection.name: Rejection,
}


def make_rule(name: str, sampling: Sampling) -> Acceptance:
    """A fresh rule; `greedy` does not sample.

    Raises:
        KeyError: no rule has this name.
    """
    return RULES[name](sampling)


def _rows(path: tuple[int, ...]) -> slice | list[int]:
    """The rows of a verification that decided about a path and the token behind it."""
    if not path or path[-1] == len(path) - 1:
        return slice(len(path) + 1)  # a view, no copy
    return [0, *(index + 1 for index in path)]


def _chosen(choices: list[int], path: tuple[int, ...]) -> int:
    """The choice behind a path; `choices` are those of each row."""
    return choices[path[-1] + 1 if path else 0]


def _top2_gaps(scores: Tensor) -> Tensor:
    """The difference between the two largest scores of each row (rows,)."""
    top = scores.topk(2, dim=-1).values
    return top[:, 0] - top[:, 1]
