"""Percentiles of measured times, and intervals of ratios of sums, bootstrapped over drives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rsd_planner.evaluation.intervals import Interval, bootstrap

__all__ = ["bootstrap_ratio", "percentile"]


def percentile(values: Sequence[float], share: float) -> float | None:
    """The percentile of measured values; None without any."""
    return float(np.percentile(values, share)) if len(values) else None


def bootstrap_ratio(above: Sequence[float], below: Sequence[float], seed: int) -> Interval | None:
    """The 95 % interval of Σ above / Σ below over drives; None for fewer than two drives.

    `above[i]` and `below[i]` are the sums of drive i.
    """
    sums = np.stack([np.asarray(above, float), np.asarray(below, float)], axis=1)
    return bootstrap(sums[sums.any(axis=1)], _ratio, seed)


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws,): NaN where nothing stands below."""
    below = sums[:, 1]
    return np.divide(sums[:, 0], below, out=np.full(len(sums), np.nan), where=below > 0)
