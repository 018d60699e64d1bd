"""Whether a text names the causes that are there: counts first, scores from them.

Causes are columns of two bool arrays (ticks, causes): what is true and what was said. Knows
neither pictures nor models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.phrases import CAUSES as CANONICAL_CAUSES

__all__ = [
    "CALM",
    "CANONICAL_CAUSES",
    "SHOWN_BY_HISTORY",
    "CauseCounts",
    "cause_table",
    "confusion",
    "count_causes",
    "history_prior_f1",
    "macro",
    "pack",
    "unpack",
]

# A tick is an event tick if something else than these is true: they ask for nothing.
CALM = frozenset({"road_free", "lead_ahead", "light_green"})

# The car's own motion shows these without a picture: it turns in a curve, and where it drives
# evenly or gains speed the road is free or the lead far.
SHOWN_BY_HISTORY = frozenset({"curve", "road_free", "lead_ahead"})


@dataclass(frozen=True)
class CauseCounts:
    """Counts by cause; arrays (..., causes), so that a bootstrap can hold all its draws."""

    hits: NDArray[np.float64]  # true and said
    extras: NDArray[np.float64]  # said, not true
    misses: NDArray[np.float64]  # true, not said
    ticks: NDArray[np.float64]  # (..., 1)

    @property
    def precision(self) -> NDArray[np.float64]:
        """(..., causes); NaN where a cause was never said."""
        return _share(self.hits, self.hits + self.extras)

    @property
    def recall(self) -> NDArray[np.float64]:
        """(..., causes); NaN where a cause was never true."""
        return _share(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> NDArray[np.float64]:
        """(..., causes); NaN where a cause was neither true nor said."""
        return _share(2 * self.hits, 2 * self.hits + self.extras + self.misses)

    @property
    def prior_f1(self) -> NDArray[np.float64]:
        """(..., causes): F1 of saying a cause always, 2p / (1 + p); NaN where it is never true.

        No text that is drawn without looking does better.
        """
        share = (self.hits + self.misses) / np.maximum(self.ticks, 1.0)
        return np.where(share > 0, 2 * share / (1 + share), np.nan)


def cause_table(
    named: Iterable[Iterable[str]], causes: Sequence[str] = CANONICAL_CAUSES
) -> NDArray[np.bool_]:
    """(ticks, causes): which causes each tick names. Raises KeyError for an unknown name."""
    column = {name: index for index, name in enumerate(causes)}
    rows = [[column[name] for name in names] for names in named]
    table = np.zeros((len(rows), len(causes)), dtype=np.bool_)
    for row, columns in zip(table, rows, strict=True):
        row[columns] = True
    return table


def count_causes(
    truth: NDArray[np.bool_], said: NDArray[np.bool_], group: NDArray[np.int64] | None = None
) -> CauseCounts:
    """Counts of (ticks, causes) tables: (causes,), or (groups, causes) by `group` (ticks,)."""
    parts = np.concatenate(
        [truth & said, ~truth & said, truth & ~said, np.ones((len(truth), 1), np.bool_)], axis=1
    ).astype(np.float64)
    if group is None:
        return unpack(parts.sum(axis=0))
    sums = np.zeros((int(group.max()) + 1 if len(group) else 0, parts.shape[1]))
    np.add.at(sums, group, parts)
    return unpack(sums)


def pack(counts: CauseCounts) -> NDArray[np.float64]:
    """All counts in one array (..., 3 · causes + 1), which may be summed."""
    return np.concatenate([counts.hits, counts.extras, counts.misses, counts.ticks], axis=-1)


def unpack(sums: NDArray[np.float64]) -> CauseCounts:
    """The inverse of `pack`."""
    causes = (sums.shape[-1] - 1) // 3
    return CauseCounts(
        sums[..., :causes],
        sums[..., causes : 2 * causes],
        sums[..., 2 * causes : 3 * causes],
        sums[..., 3 * causes :],
    )


def macro(scores: NDArray[np.float64], of: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """(...,): mean over the causes that have a score, or over those of them in `of` (causes,)."""
    chosen = scores if of is None else scores[..., of]
    known = ~np.isnan(chosen)
    return _share(np.where(known, chosen, 0.0).sum(axis=-1), known.sum(axis=-1))


def confusion(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(causes, causes + 1): row t counts the ticks at which cause t is true.

    Column t holds those that say so. A tick that misses t is shared out among the causes that it
    says wrongly; if there are none, it goes to the last column.
    """
    causes = truth.shape[1]
    table = np.zeros((causes, causes + 1))
    table[np.arange(causes), np.arange(causes)] = (truth & said).sum(axis=0)
    extras, misses = ~truth & said, truth & ~said
    share = extras / np.maximum(extras.sum(axis=1, keepdims=True), 1)  # (ticks, causes)
    table[:, :causes] += misses.astype(np.float64).T @ share
    table[:, causes] = misses[~extras.any(axis=1)].sum(axis=0)
    return table


def history_prior_f1(
    truth: NDArray[np.bool_], motion: NDArray[np.int64], group: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(causes,): F1 of the best guess from the car's own motion alone, fitted on other drives.

    `motion` (ticks,) is the class of motion that a tick's history belongs to, `group` (ticks,)
    its drive. For each half of the drives, the classes in which a cause is frequent enough are
    chosen on the other half, by the threshold that scores best there. NaN where a cause is never
    true or there are fewer than two drives.
    """
    halves = group % 2
    if len(np.unique(halves)) < 2:
        return np.full(truth.shape[1], np.nan)
    classes = int(motion.max()) + 1
    said = np.zeros_like(truth)
    for half in (0, 1):
        fit = halves != half
        for cause in range(truth.shape[1]):
            chosen = _best_classes(truth[fit, cause], motion[fit], classes)
            said[~fit, cause] = chosen[motion[~fit]]
    scores = count_causes(truth, said).f1
    return np.where(truth.any(axis=0), scores, np.nan)


def _best_classes(
    truth: NDArray[np.bool_], motion: NDArray[np.int64], classes: int
) -> NDArray[np.bool_]:
    """(classes,): where to say a cause so that its F1 is best."""
    ticks = np.bincount(motion, minlength=classes).astype(np.float64)
    true = np.bincount(motion[truth], minlength=classes).astype(np.float64)
    order = np.argsort(-true / np.maximum(ticks, 1), kind="stable")
    hits, said = np.cumsum(true[order]), np.cumsum(ticks[order])
    best = int(np.argmax(2 * hits / np.maximum(said + true.sum(), 1)))
    chosen = np.zeros(classes, dtype=np.bool_)
    if true.sum() > 0:
        chosen[order[: best + 1]] = True
    return chosen


def _share(
    above: NDArray[np.float64] | NDArray[np.int64], below: NDArray[np.float64] | NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
