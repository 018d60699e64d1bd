"""Turns measured ticks into the rows of the benchmark: sums first, rates from them.

One row for each drafter. Field names are fixed: other tools and the docs read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rsd_planner.evaluation.acceptance import Exactness
from rsd_planner.evaluation.benchmark import TickMeasurement
from rsd_planner.evaluation.latency import bootstrap_ratio, percentile
from rsd_planner.evaluation.trajectory import PathError

__all__ = ["ROW_FIELDS", "Drive", "bench_rows"]

ROW_FIELDS = (
    "drafter",
    "rule",
    "split",
    "ticks",
    "tokens",
    "target_forwards",
    "tokens_per_forward",
    "routine_share",
    "exact_ticks",
    "excused_ticks",
    "equal_text_share",
    "reasoning_ms_p50",
    "reasoning_ms_p95",
    "background_ms",
    "tick_ms_p50",
    "tick_ms_p99",
    "floor_ms_p50",
    "speedup_reasoning",
    "saved_share",
    "speedup_tick",
    "ci95_low",
    "ci95_high",
    "ade_m",
    "fde_m",
)


@dataclass(frozen=True)
class Drive:
    """The measured ticks of one drive, by drafter, and the path errors of each."""

    ticks: dict[str, list[TickMeasurement]]
    path_errors: dict[str, PathError]


def bench_rows(
    drives: Sequence[Drive], *, split: str, seed: int = 0, plain: str = "none"
) -> list[dict[str, Any]]:
    """One row for each drafter, in the order in which they were measured.

    What needs plain decoding beside it (speed-ups, exactness) is None where it was not
    measured; so is what needs an oracle.
    """
    names = list(drives[0].ticks) if drives else []
    return [_row(drives, name, split, seed, plain) for name in names]


def _row(drives: Sequence[Drive], name: str, split: str, seed: int, plain: str) -> dict[str, Any]:
    ticks = [tick for drive in drives for tick in drive.ticks[name]]
    tokens = sum(len(tick.decoded.tokens) for tick in ticks)
    forwards = sum(tick.decoded.target_forwards for tick in ticks)
    reasoning = [tick.reasoning_ms for tick in ticks]
    totals = [tick.tick_ms for tick in ticks]
    compared = all(plain in drive.ticks for drive in drives)
    counted = {kind: sum(tick.exactness is kind for tick in ticks) for kind in Exactness}
    errors = [drive.path_errors[name] for drive in drives if name in drive.path_errors]
    row: dict[str, Any] = {
        "drafter": name,
        "rule": ticks[0].rule if ticks else "",
        "split": split,
        "ticks": len(ticks),
        "tokens": tokens,
        "target_forwards": forwards,
        "tokens_per_forward": _ratio(tokens, forwards),
        "routine_share": _ratio(sum(tick.decoded.accepted for tick in ticks), tokens),
        "exact_ticks": counted[Exactness.EXACT] if compared else None,
        "excused_ticks": counted[Exactness.EXCUSED] if compared else None,
        "equal_text_share": _equal_text_share(drives, name),
        "reasoning_ms_p50": percentile(reasoning, 50),
        "reasoning_ms_p95": percentile(reasoning, 95),
        "background_ms": _ratio(sum(tick.background_ms for tick in ticks), len(ticks)),
        "tick_ms_p50": percentile(totals, 50),
        "tick_ms_p99": percentile(totals, 99),
        "floor_ms_p50": percentile([tick.floor_ms for tick in ticks], 50),
    }
    row.update(_against_plain(drives, name, seed, plain if compared else ""))
    row["ade_m"] = _mean([error.ade_m for error in errors], [error.ticks for error in errors])
    row["fde_m"] = _mean([error.fde_m for error in errors], [error.ticks for error in errors])
    return {field: row[field] for field in ROW_FIELDS}


def _against_plain(
    drives: Sequence[Drive], name: str, seed: int, plain: str
) -> dict[str, float | None]:
    if not plain:
        empty = ("speedup_reasoning", "saved_share", "speedup_tick", "ci95_low", "ci95_high")
        return dict.fromkeys(empty)
    none_ms = [_reasoning(drive, plain) for drive in drives]
    own_ms = [_reasoning(drive, name) for drive in drives]
    interval = bootstrap_ratio(none_ms, own_ms, seed)
    saved = None
    if all("oracle" in drive.ticks for drive in drives):
        best = sum(none_ms) - sum(_reasoning(drive, "oracle") for drive in drives)
        saved = _ratio(sum(none_ms) - sum(own_ms), best)
    whole = [sum(t.tick_ms for d in drives for t in d.ticks[key]) for key in (plain, name)]
    return {
        "speedup_reasoning": _ratio(sum(none_ms), sum(own_ms)),
        "saved_share": saved,
        "speedup_tick": _ratio(whole[0], whole[1]),
        "ci95_low": interval[0] if interval else None,
        "ci95_high": interval[1] if interval else None,
    }


def _reasoning(drive: Drive, name: str) -> float:
    return sum(tick.reasoning_ms for tick in drive.ticks[name])


def _equal_text_share(drives: Sequence[Drive], name: str) -> float | None:
    """Consecutive ticks with equal tokens; no pair reaches over two drives."""
    texts = [[tick.decoded.tokens for tick in drive.ticks[name]] for drive in drives]
    pairs = [pair for of_drive in texts for pair in pairwise(of_drive)]
    return _ratio(sum(before == after for before, after in pairs), len(pairs))


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    total = sum(weights)
    if total == 0:
        return None
    pairs = zip(values, weights, strict=True)
    return sum(value * weight for value, weight in pairs if value is not None) / total
