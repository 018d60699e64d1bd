"""Confidence intervals bootstrapped over drives, for anything that follows from sums.

Ticks of one drive are alike, so resampling ticks would promise too much: drives are drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "bootstrap", "sums_by_drive"]

_DRAWS = 1000

Interval = tuple[float, float]


def sums_by_drive(values: NDArray[np.float64], drive: NDArray[np.int64]) -> NDArray[np.float64]:
    """(drives, n + 1): the sums of `values` (ticks, n) of each drive and how many ticks it has."""
    counted = np.concatenate([values, np.ones((len(values), 1))], axis=1)
    sums = np.zeros((int(drive.max()) + 1 if len(drive) else 0, counted.shape[1]))
    np.add.at(sums, drive, counted)
    return sums


def bootstrap(
    sums: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    seed: int,
) -> Interval | None:
    """The 95 % interval of a statistic of sums over drives; None for fewer than two drives.

    `sums` is (drives, n); `statistic` turns (draws, n) into (draws,). Draws without a value
    (NaN) are left out.
    """
    if len(sums) < 2:
        return None
    rng = np.random.default_rng(seed)
    # How often each drive is drawn, so that a draw is a product and not a copy of the sums.
    times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=_DRAWS)
    values = statistic(times @ sums)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
