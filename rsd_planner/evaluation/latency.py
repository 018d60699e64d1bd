"""Percentiles, and confidence intervals of ratios bootstrapped over drives.

Ticks of one drive are alike, so resampling ticks would promise too much: drives are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["bootstrap_ratio", "percentile"]

_DRAWS = 2000


def percentile(values: Sequence[float], share: float) -> float | None:
    """The percentile of measured values; None without any."""
    return float(np.percentile(values, share)) if len(values) else None


def bootstrap_ratio(
    above: Sequence[float], below: Sequence[float], seed: int
) -> tuple[float, float] | None:
    """The 95 % interval of Σ above / Σ below over drives; None for fewer than two drives.

    `above[i]` and `below[i]` are the sums of drive i.
    """
    if len(above) < 2:
        return None
    chosen = np.random.default_rng(seed).integers(0, len(above), (_DRAWS, len(above)))
    denominators = np.asarray(below)[chosen].sum(axis=1)
    ratios = np.asarray(above)[chosen].sum(axis=1) / np.where(denominators > 0, denominators, 1e-9)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)
