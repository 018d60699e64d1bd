"""Errors of many planned paths at once, simple paths to compare with, and calibration.

Paths are (ticks, points, 2) or (ticks, samples, points, 2) in the ego frame at t0, metres,
point i at t0 + (i + 1)·step. The driven path is what the expert did: one good answer of many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Calibration",
    "ade",
    "calibrate",
    "constant_turn_rate",
    "constant_velocity",
    "distances",
    "fde",
    "medoid",
    "min_ade",
]

Floats = NDArray[np.float64]


def distances(planned: Floats, driven: Floats) -> Floats:
    """(..., points): how far each point is from the driven one."""
    return np.asarray(np.linalg.norm(planned - driven, axis=-1))


def ade(apart: Floats, horizon_s: float, step_s: float = 0.1) -> Floats:
    """(...,): mean of distances (..., points) up to a horizon."""
    return np.asarray(apart[..., : _points(apart, horizon_s, step_s)].mean(axis=-1))


def fde(apart: Floats, horizon_s: float, step_s: float = 0.1) -> Floats:
    """(...,): the distance at a horizon."""
    return np.asarray(apart[..., _points(apart, horizon_s, step_s) - 1])


def min_ade(samples: Floats, driven: Floats, horizon_s: float, step_s: float = 0.1) -> Floats:
    """(ticks,): ADE of the best of the samples (ticks, samples, points, 2)."""
    return np.asarray(ade(distances(samples, driven[:, None]), horizon_s, step_s).min(axis=1))


def medoid(samples: Floats) -> NDArray[np.int64]:
    """(ticks,): index of the sample that is nearest to all others over the whole path."""
    apart = distances(samples[:, :, None], samples[:, None])  # (ticks, samples, samples, points)
    return np.asarray(apart.mean(axis=-1).sum(axis=-1).argmin(axis=-1))


def constant_velocity(history_xy: Floats, points: int, step_s: float = 0.1) -> Floats:
    """(ticks, points, 2): straight on with the velocity of the history's last step.

    `history_xy` is (ticks, steps, 2), oldest first, the last row at the origin.
    """
    velocity = (history_xy[:, -1] - history_xy[:, -2]) / step_s  # (ticks, 2)
    time = step_s * np.arange(1, points + 1)
    return np.asarray(velocity[:, None] * time[None, :, None])


def constant_turn_rate(
    history_xy: Floats, heading: Floats, points: int, step_s: float = 0.1
) -> Floats:
    """(ticks, points, 2): an arc with the speed and the turn rate of the history's last step.

    `heading` (ticks, steps) in radians, the last column zero.
    """
    last = history_xy[:, -1] - history_xy[:, -2]
    speed = np.linalg.norm(last, axis=-1) * np.where(last[:, 0] < 0, -1.0, 1.0) / step_s
    turned = heading[:, -1] - heading[:, -2]
    rate = np.arctan2(np.sin(turned), np.cos(turned)) / step_s  # (ticks,)
    time = step_s * np.arange(1, points + 1)
    half = 0.5 * rate[:, None] * time  # an arc's chord points along half of its turn
    chord = speed[:, None] * time * np.sinc(half / np.pi)
    return np.stack([chord * np.cos(half), chord * np.sin(half)], axis=-1)


@dataclass(frozen=True)
class Calibration:
    """Whether the samples' spread says how wrong a path may be, at one horizon."""

    horizon_s: float
    spread_m: float  # mean distance of the other samples from the medoid
    error_m: float  # mean distance of the truth from the medoid
    coverage: Mapping[float, float]  # share of truths as near as that share of the samples
    rank_correlation: float | None  # of spread and error over ticks


def calibrate(
    samples: Floats, chosen: NDArray[np.int64], driven: Floats, horizon_s: float,
    step_s: float = 0.1, shares: tuple[float, ...] = (0.5, 0.8, 1.0),
) -> Calibration | None:  # fmt: skip
    """Compare the samples' distances from the chosen one with the truth's.

    `coverage[q]` is the share of ticks whose truth is no farther from the chosen path than the
    q-quantile of the other samples: q itself would be perfect, less is over-confident. None for
    fewer than two samples or no ticks.
    """
    ticks, count = samples.shape[:2]
    if count < 2 or ticks == 0:
        return None
    at = _points(samples[..., 0], horizon_s, step_s) - 1
    here = samples[np.arange(ticks), chosen, at]  # (ticks, 2)
    apart = np.linalg.norm(samples[:, :, at] - here[:, None], axis=-1)  # (ticks, samples)
    others = apart[np.arange(count)[None] != chosen[:, None]].reshape(ticks, count - 1)
    error = np.linalg.norm(driven[:, at] - here, axis=-1)
    limits = np.quantile(others, shares, axis=1)  # (shares, ticks)
    return Calibration(
        horizon_s=horizon_s,
        spread_m=float(others.mean()),
        error_m=float(error.mean()),
        coverage={q: float((error <= limit).mean()) for q, limit in zip(shares, limits)},
        rank_correlation=_rank_correlation(others.mean(axis=1), error),
    )


def _points(apart: Floats, horizon_s: float, step_s: float) -> int:
    return min(apart.shape[-1], max(1, round(horizon_s / step_s)))


def _rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's; ties share their mean rank. None where one of them does not vary."""
    ranks = [_ranks(values) for values in (one, other)]
    deviation = [r - r.mean() for r in ranks]
    scale = float(np.sqrt(np.square(deviation[0]).sum() * np.square(deviation[1]).sum()))
    return float((deviation[0] * deviation[1]).sum()) / scale if scale > 0 else None


def _ranks(values: Floats) -> Floats:
    _, where, count = np.unique(values, return_inverse=True, return_counts=True)
    end = np.cumsum(count)
    return np.asarray((end - (count - 1) / 2)[where], dtype=np.float64)
