"""Which examples a step sees: a pure function of the seed and the step, so a run can resume.

Rare causes are drawn more often: a tick weighs as much as the rarest thing that its text
names, within limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_WEIGHT", "rarity_weights", "step_batches"]

MOST_WEIGHT = 5.0


def rarity_weights(
    things: Sequence[Iterable[Hashable]], power: float = 0.5, most: float = MOST_WEIGHT
) -> NDArray[np.float64]:
    """(examples,) weights from 1 to `most`.

    `things` are what each example shows (causes, its decision). A thing k times as rare as
    the commonest one weighs k ** power; an example weighs as much as its rarest thing.
    """
    sets = [frozenset(names) for names in things]
    counts = Counter(name for names in sets for name in names)
    if not counts:
        return np.ones(len(sets))
    commonest = max(counts.values())
    weight = {name: min(most, (commonest / n) ** power) for name, n in counts.items()}
    return np.array([max((weight[n] for n in names), default=1.0) for names in sets])


def step_batches(
    count: int, size: int, seed: int, weights: NDArray[np.float64] | None = None
) -> Callable[[int], NDArray[np.int64]]:
    """The batch of indices below `count` of each step.

    Each epoch of `count // size` steps draws `count` examples. Without weights that is every
    example once; with them each is drawn its expected number of times, rounded up or down.
    """
    per_epoch = max(1, count // size)
    ends = np.cumsum(np.ones(count) if weights is None else weights)
    epoch_order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def indices(step: int) -> NDArray[np.int64]:
        nonlocal epoch_order
        epoch, index = divmod(step, per_epoch)
        if epoch_order[0] != epoch:
            rng = np.random.default_rng([seed, epoch])
            places = (np.arange(count) + rng.uniform()) / count * ends[-1]
            drawn = np.searchsorted(ends, places, side="right").clip(max=count - 1)
            epoch_order = epoch, rng.permutation(drawn)
        return epoch_order[1][index * size : (index + 1) * size]

    return indices
