"""Turns measured ticks into the rows of the benchmark: sums first, rates from them.

One row for each drafter and split. Field names are fixed: other tools and the docs read them.
Splits are `streaming` (every tick of a drive in order), `isolated` (the drafter knows no earlier
tick) and `novel` (ticks of the first within a second after the set of causes changed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from rsd_planner.evaluation.acceptance import Exactness
from rsd_planner.evaluation.benchmark import TickMeasurement
from rsd_planner.evaluation.latency import bootstrap_ratio, percentile
from rsd_planner.evaluation.trajectory import PathError

__all__ = ["ROW_FIELDS", "SPLITS", "Drive", "bench_rows", "edits"]

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
    "changed_tokens",
    "reasoning_share",
    "head_ms_p50",
    "ticks_per_s",
)
SPLITS = ("streaming", "isolated", "novel")


@dataclass(frozen=True)
class Drive:
    """The measured ticks of one drive, by drafter, and the path errors of each."""

    ticks: dict[str, list[TickMeasurement]]
    path_errors: dict[str, PathError]
    isolated: dict[str, list[TickMeasurement]] = field(default_factory=dict)
    novel: tuple[bool, ...] = ()  # for each tick

    def of(self, split: str) -> Drive:
        """The part that belongs to a split; plain decoding and oracle are never isolated."""
        if split == "isolated":
            return replace(self, ticks={**self.ticks, **self.isolated})
        if split == "novel":
            return Drive(
                {
                    name: [tick for tick, is_novel in zip(ticks, self.novel) if is_novel]
                    for name, ticks in self.ticks.items()
                },
                {name: errors.at(self.novel) for name, errors in self.path_errors.items()},
            )
        return self

    def pairs(self, name: str, split: str) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Consecutive texts as tokens; of `novel` ticks with the tick before."""
        texts = [tick.decoded.tokens for tick in self.ticks[name]]
        wanted = self.novel[1:] if split == "novel" else (True,) * len(texts)
        return [pair for pair, is_wanted in zip(pairwise(texts), wanted) if is_wanted]


def bench_rows(
    drives: Sequence[Drive], *, split: str, seed: int = 0, plain: str = "none"
) -> list[dict[str, Any]]:
    """One row for each drafter, in the order in which they were measured.

    What needs plain decoding beside it (speed-ups, exactness) is None where it was not
    measured; so is what needs an oracle.
    """
    names = list(drives[0].ticks) if drives else []
    if split == "isolated" and not all(drive.isolated for drive in drives):
        names = []
    rows = []
    for name in names:
        row = _row([drive.of(split) for drive in drives], name, split, seed, plain)
        pairs = [pair for drive in drives for pair in drive.pairs(name, split)]
        row["equal_text_share"] = _ratio(sum(a == b for a, b in pairs), len(pairs))
        row["changed_tokens"] = _ratio(sum(edits(a, b) for a, b in pairs), len(pairs))
        rows.append({key: row[key] for key in ROW_FIELDS})
    return rows


def edits(before: Sequence[int], after: Sequence[int]) -> int:
    """How many tokens are replaced, inserted or removed from one text to the next, at least."""
    row = list(range(len(after) + 1))
    for i, old in enumerate(before, start=1):
        corner, row[0] = row[0], i
        for j, new in enumerate(after, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (old != new))
    return row[-1]


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
        "reasoning_ms_p50": percentile(reasoning, 50),
        "reasoning_ms_p95": percentile(reasoning, 95),
        "background_ms": _ratio(sum(tick.background_ms for tick in ticks), len(ticks)),
        "tick_ms_p50": percentile(totals, 50),
        "tick_ms_p99": percentile(totals, 99),
        "floor_ms_p50": percentile([tick.floor_ms for tick in ticks], 50),
        "reasoning_share": _ratio(sum(reasoning), sum(totals)),
        "head_ms_p50": percentile([tick.head_ms for tick in ticks if tick.head_ms > 0], 50),
        "ticks_per_s": _ratio(1e3 * len(totals), sum(totals)),
    }
    row.update(_against_plain(drives, name, seed, plain if compared and ticks else ""))
    row["ade_m"] = _mean([error.ade_m for error in errors], [error.ticks for error in errors])
    row["fde_m"] = _mean([error.fde_m for error in errors], [error.ticks for error in errors])
    return row


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


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    total = sum(weights)
    if total == 0:
        return None
    pairs = zip(values, weights, strict=True)
    return sum(value * weight for value, weight in pairs if value is not None) / total
