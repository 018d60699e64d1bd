"""Turns measured ticks into the rows of the benchmark: sums first, rates from them.

One row for each drafter and split. Field names are fixed: other tools and the docs read them.
Splits are `streaming` (every tick of a drive in order), `isolated` (the drafter knows no earlier
tick) and `novel` (ticks of the first within a second after the set of causes changed). What is
compared is compared on the ticks at which both were measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsd_planner.evaluation.acceptance import Exactness
from rsd_planner.evaluation.benchmark import FLOOR, ORACLE, TickMeasurement
from rsd_planner.evaluation.intervals import bootstrap
from rsd_planner.evaluation.latency import bootstrap_ratio, percentile
from rsd_planner.evaluation.proposals import acceptance_rows, route_row
from rsd_planner.evaluation.trajectory import PathError

__all__ = [
    "PARTS",
    "ROW_FIELDS",
    "SPLITS",
    "Drive",
    "accepted_rows",
    "bench_rows",
    "bench_tables",
    "edits",
    "pair_rows",
    "route_rows",
    "time_rows",
]

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
    "hz",
    "drives",
    "saved_low",
    "saved_high",
    "tick_over_floor_p50",
    "tick_over_floor_p95",
)
SPLITS = ("streaming", "isolated", "novel")
PARTS = ("vision", "prefill", "drafter", "verify", "head")


@dataclass(frozen=True)
class Drive:
    """The measured ticks of one drive, by drafter, and the path errors of some of them.

    `isolated` and the controls may have been measured at some of the ticks only.
    """

    ticks: dict[str, list[TickMeasurement]]
    path_errors: dict[str, PathError]
    isolated: dict[str, list[TickMeasurement]] = field(default_factory=dict)
    novel: tuple[bool, ...] = ()  # for each tick
    hz: float | None = None

    def of(self, split: str) -> Drive:
        """The part that belongs to a split; plain decoding and oracle are never isolated."""
        if split == "isolated":
            known = [name for name, ticks in self.ticks.items() if name in self.isolated]
            stamps = {tick.t0_ns for name in known[:1] for tick in self.isolated[name]}
            part = self._at(stamps)
            return replace(part, ticks={**part.ticks, **self.isolated})
        if split == "novel":
            return self._at({t.t0_ns for t, is_novel in zip(self._all, self.novel) if is_novel})
        return self

    def pairs(self, name: str, split: str) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Consecutive texts as tokens; of `novel` ticks with the tick before."""
        texts = [tick.decoded.tokens for tick in self.ticks[name]]
        wanted = self.novel[1:] if split == "novel" else (True,) * len(texts)
        return [pair for pair, is_wanted in zip(pairwise(texts), wanted) if is_wanted]

    def reasoning_ms(self, name: str, stamps: Collection[int]) -> float:
        """The sum over the ticks at some instants."""
        return sum(t.reasoning_ms for t in self.ticks[name] if t.t0_ns in stamps)

    def common(self, *names: str) -> set[int]:
        """The instants at which all of these were measured."""
        return set.intersection(*({tick.t0_ns for tick in self.ticks[name]} for name in names))

    @property
    def _all(self) -> list[TickMeasurement]:
        return max(self.ticks.values(), key=len, default=[])

    def _at(self, stamps: Collection[int]) -> Drive:
        mask = [tick.t0_ns in stamps for tick in self._all]
        return replace(
            self,
            ticks={
                name: [tick for tick in ticks if tick.t0_ns in stamps]
                for name, ticks in self.ticks.items()
            },
            path_errors={name: errors.at(mask) for name, errors in self.path_errors.items()},
        )


def bench_rows(
    drives: Sequence[Drive], *, split: str, seed: int = 0, plain: str = "none"
) -> list[dict[str, Any]]:
    """One row for each drafter, in the order in which they were measured.

    What needs plain decoding beside it (speed-ups, exactness) is None where it was not
    measured; so is what needs an oracle. How predictable the text is, is plain decoding's.
    """
    rows = []
    parts = [drive.of(split) for drive in drives]
    for name in _names(drives, split):
        row = _row(parts, name, split, seed, plain)
        writer = plain if all(plain in drive.ticks for drive in drives) else name
        pairs = [pair for drive in drives for pair in drive.pairs(writer, split)]
        row["equal_text_share"] = _ratio(sum(a == b for a, b in pairs), len(pairs))
        row["changed_tokens"] = _ratio(sum(edits(a, b) for a, b in pairs), len(pairs))
        rows.append({key: row[key] for key in ROW_FIELDS})
    return rows


def bench_tables(
    drives: Sequence[Drive], splits: Sequence[str], seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """All tables of drives that were measured with one rule at one rate.

    `rows`, `pairs`, `times`, `acceptance` and `routes`; every row says its rule and rate.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for split in splits:
        rows = bench_rows(drives, split=split, seed=seed)
        others = {
            "pairs": pair_rows(drives, split=split, seed=seed),
            "times": time_rows(drives, split=split),
            "acceptance": accepted_rows(drives, split=split),
            "routes": route_rows(drives, split=split),
        }
        found.setdefault("rows", []).extend(rows)
        how = {key: rows[0][key] for key in ("rule", "hz")} if rows else {}
        for key, table in others.items():
            found.setdefault(key, []).extend({**how, **row} for row in table)
    return found


def pair_rows(drives: Sequence[Drive], *, split: str, seed: int = 0) -> list[dict[str, Any]]:
    """How many times less reasoning than each other one a drafter needs, with intervals."""
    parts = [drive.of(split) for drive in drives]
    names = [name for name in _names(drives, split) if name != FLOOR]
    rows = []
    for name in names:
        for other in (other for other in names if other != name):
            shared = [part.common(name, other) for part in parts]
            sums = [
                [part.reasoning_ms(key, stamps) for part, stamps in zip(parts, shared)]
                for key in (other, name)
            ]
            interval = bootstrap_ratio(sums[0], sums[1], seed) or (None, None)
            rows.append(
                {
                    "drafter": name,
                    "against": other,
                    "split": split,
                    "ticks": sum(map(len, shared)),
                    "times_faster": _ratio(sum(sums[0]), sum(sums[1])),
                    "ci95_low": interval[0],
                    "ci95_high": interval[1],
                }
            )
    return rows


def time_rows(drives: Sequence[Drive], *, split: str) -> list[dict[str, Any]]:
    """Where a tick's time goes, in milliseconds: means over ticks, which add up.

    `vision` holds making the prompt too; `verify` is all of the reasoning but the drafter.
    """
    parts = [drive.of(split) for drive in drives]
    rows = []
    for name in _names(drives, split):
        ticks = [t for part in parts for t in part.ticks[name] if not t.reasoning_only]
        if not ticks:
            continue
        drafting = [tick.decoded.drafter_ms for tick in ticks]
        spent = {
            "vision": [tick.vision_ms for tick in ticks],
            "prefill": [tick.prefill_ms for tick in ticks],
            "drafter": drafting,
            "verify": [tick.reasoning_ms - own for tick, own in zip(ticks, drafting)],
            "head": [tick.head_ms for tick in ticks],
        }
        means = {f"{part}_ms": sum(spent[part]) / len(ticks) for part in PARTS}
        rows.append({"drafter": name, "split": split, "ticks": len(ticks), **means})
    return rows


def accepted_rows(drives: Sequence[Drive], *, split: str) -> list[dict[str, Any]]:
    """Counts of reached and accepted draft tokens, by source and place in the draft."""
    parts = [drive.of(split) for drive in drives]
    return [
        row
        for name in _names(drives, split)
        for row in acceptance_rows(
            name,
            split,
            ((t.proposals, t.decoded.tokens) for part in parts for t in part.ticks[name]),
        )
    ]


def route_rows(drives: Sequence[Drive], *, split: str) -> list[dict[str, Any]]:
    """Who wrote the text, for each drafter of ours."""
    parts = [drive.of(split) for drive in drives]
    rows = []
    for name in (name for name in _names(drives, split) if name != FLOOR):
        ticks = [t for part in parts for t in part.ticks[name] if not t.reasoning_only]
        if ticks:
            rows.append(route_row(name, split, ((t.proposals, t.decoded) for t in ticks)))
    return rows


def _names(drives: Sequence[Drive], split: str) -> list[str]:
    if not drives or (split == "isolated" and not all(drive.isolated for drive in drives)):
        return []
    return list(drives[0].ticks)


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
    beside = all(plain in drive.ticks for drive in drives) and name != FLOOR
    compared = beside and all(tick.exactness is not None for tick in ticks)
    counted = {kind: sum(tick.exactness is kind for tick in ticks) for kind in Exactness}
    errors = [drive.path_errors[name] for drive in drives if name in drive.path_errors]
    reasoning = [tick.reasoning_ms for tick in ticks]
    row: dict[str, Any] = {
        "drafter": name,
        "rule": ticks[0].rule if ticks else "",
        "split": split,
        "hz": drives[0].hz,
        "drives": len(drives),
        "ticks": len(ticks),
        "tokens": tokens,
        "target_forwards": forwards,
        "tokens_per_forward": _ratio(tokens, forwards) if tokens else None,
        "routine_share": _ratio(sum(tick.decoded.accepted for tick in ticks), tokens),
        "exact_ticks": counted[Exactness.EXACT] if compared else None,
        "excused_ticks": counted[Exactness.EXCUSED] if compared else None,
        "reasoning_ms_p50": percentile(reasoning, 50),
        "reasoning_ms_p95": percentile(reasoning, 95),
        "background_ms": _ratio(sum(tick.background_ms for tick in ticks), len(ticks)),
    }
    row.update(_whole_ticks([tick for tick in ticks if not tick.reasoning_only]))
    row.update(_against_plain(drives, name, seed, plain if beside and ticks else ""))
    row["speedup_tick"] = _tick_ratio(drives, name, plain)
    row["ade_m"] = _mean([error.ade_m for error in errors], [error.ticks for error in errors])
    row["fde_m"] = _mean([error.fde_m for error in errors], [error.ticks for error in errors])
    return row


def _whole_ticks(ticks: Sequence[TickMeasurement]) -> dict[str, float | None]:
    totals = [tick.tick_ms for tick in ticks]
    over = [tick.tick_ms / tick.floor_ms for tick in ticks if tick.floor_ms > 0]
    return {
        "tick_ms_p50": percentile(totals, 50),
        "tick_ms_p99": percentile(totals, 99),
        "floor_ms_p50": percentile([tick.floor_ms for tick in ticks], 50),
        "reasoning_share": _ratio(sum(tick.reasoning_ms for tick in ticks), sum(totals)),
        "head_ms_p50": percentile([tick.head_ms for tick in ticks if tick.head_ms > 0], 50),
        "ticks_per_s": _ratio(1e3 * len(totals), sum(totals)),
        "tick_over_floor_p50": percentile(over, 50),
        "tick_over_floor_p95": percentile(over, 95),
    }


def _against_plain(
    drives: Sequence[Drive], name: str, seed: int, plain: str
) -> dict[str, float | None]:
    empty = ("speedup_reasoning", "saved_share", "ci95_low", "ci95_high", "saved_low", "saved_high")
    found: dict[str, float | None] = dict.fromkeys(empty)
    if not plain:
        return found
    shared = [drive.common(plain, name) for drive in drives]
    none_ms, own_ms = (
        [drive.reasoning_ms(key, stamps) for drive, stamps in zip(drives, shared)]
        for key in (plain, name)
    )
    found["speedup_reasoning"] = _ratio(sum(none_ms), sum(own_ms))
    found["ci95_low"], found["ci95_high"] = bootstrap_ratio(none_ms, own_ms, seed) or (None, None)
    if all(ORACLE in drive.ticks for drive in drives):
        best_ms = [drive.reasoning_ms(ORACLE, stamps) for drive, stamps in zip(drives, shared)]
        found["saved_share"] = _ratio(sum(none_ms) - sum(own_ms), sum(none_ms) - sum(best_ms))
        sums = np.array([none_ms, own_ms, best_ms]).T  # (drives, 3)
        interval = bootstrap(sums[sums.any(axis=1)], _saved, seed) or (None, None)
        found["saved_low"], found["saved_high"] = interval
    return found


def _saved(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws,) shares of what could be saved, of sums (draws, 3): plain, own, oracle."""
    most = sums[:, 0] - sums[:, 2]
    return np.divide(sums[:, 0] - sums[:, 1], most, out=np.full(len(sums), np.nan), where=most > 0)


def _tick_ratio(drives: Sequence[Drive], name: str, plain: str) -> float | None:
    """Whole ticks of plain decoding over own ones."""
    if not all(plain in drive.ticks for drive in drives):
        return None
    whole = [0.0, 0.0]
    for drive in drives:
        stamps = drive.common(plain, name)
        for index, key in enumerate((plain, name)):
            ticks = [t for t in drive.ticks[key] if t.t0_ns in stamps]
            if any(tick.reasoning_only for tick in ticks):
                return None
            whole[index] += sum(tick.tick_ms for tick in ticks)
    return _ratio(whole[0], whole[1])


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    total = sum(weights)
    if total == 0:
        return None
    pairs = zip(values, weights, strict=True)
    return sum(value * weight for value, weight in pairs if value is not None) / total
