"""What processes hold, sampled from /proc, and the bounds that a soak must keep.

Pure functions on samples and counts; nothing here knows ROS. Assumes Linux.
"""

from __future__ import annotations

import mmap
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rsd_planner.commands._dds_memory import SHARED_MEMORY, files_of, held_bytes
from rsd_planner.commands._soak_hearing import MODEL, Hearing
from rsd_planner.worker.health import percentile

__all__ = [
    "Row",
    "Sample",
    "Usage",
    "bounded",
    "growth_rows",
    "overhead_rows",
    "plan_rows",
    "sample",
    "usage_of",
]

RSS_GROWTH = 0.05
MODEL_SHARE = 0.99
LONGEST_WINDOW_S = 60.0
MORE_DESCRIPTORS, MORE_THREADS = 2, 2  # what comes and goes, such as a file that is being read
STANDBY_DESCRIPTORS = 4  # after a kill there is none for a while


@dataclass(frozen=True)
class Usage:
    """What one process holds."""

    rss_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Sample:
    """All processes at one moment. `shared_mb` is what they hold in /dev/shm, `shared_files` in
    how many segments and ports; `worker` is None while there is none."""

    at_s: float
    node: Usage
    worker: Usage | None
    worker_pid: int
    shared_mb: float
    shared_files: int


@dataclass(frozen=True)
class Row:
    """One measured figure. Without a limit it is only told."""

    measure: str
    value: float
    limit: float | None = None
    unit: str = ""
    passed: bool = True
    note: str = ""


def bounded(measure: str, value: float, most: float | None, unit: str = "", note: str = "") -> Row:
    """A row that passes if the value is at most `most`."""
    return Row(measure, value, most, unit, most is None or value <= most, note)


def usage_of(pid: int) -> Usage | None:
    """None for a process that is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        descriptors = len(list((folder / "fd").iterdir()))
        threads = len(list((folder / "task").iterdir()))
    except (OSError, IndexError, ValueError):
        return None
    return Usage(pages * mmap.PAGESIZE / 1e6, descriptors, threads) if pages else None


def sample(at_s: float, node_pid: int, worker_pid: int, others: Iterable[int]) -> Sample | None:
    """None when the node is gone. `others` are processes whose shared memory counts, too."""
    node = usage_of(node_pid)
    if node is None:
        return None
    names = files_of({node_pid, worker_pid, *others} - {0})
    held = sum(held_bytes(SHARED_MEMORY / name) for name in names)
    worker = usage_of(worker_pid) if worker_pid > 0 else None
    return Sample(at_s, node, worker, worker_pid, held / 1e6, len(names))


def growth_rows(samples: Sequence[Sample], settled_s: float, *, same_worker: bool) -> list[Row]:
    """What node and worker held after `settled_s` and at the end.

    Medians over a minute each, or over a quarter of the time between where that is shorter.
    Without `same_worker` the worker was replaced meanwhile and is not compared.
    """
    later = [one for one in samples if one.at_s >= settled_s]
    if len(later) < 2:
        return [Row("samples after settling", len(later), 2, "", False, "too short to say")]
    span_s = min(LONGEST_WINDOW_S, (later[-1].at_s - settled_s) / 4)
    first = [one for one in later if one.at_s <= settled_s + span_s]
    last = [one for one in later if one.at_s >= later[-1].at_s - span_s]
    more = MORE_DESCRIPTORS + (0 if same_worker else STANDBY_DESCRIPTORS)
    rows = _process_rows("node", [one.node for one in first], [one.node for one in last], more)
    if same_worker:
        before, after = ([o.worker for o in some if o.worker] for some in (first, last))
        rows += _process_rows("worker", before, after, MORE_DESCRIPTORS)
    files = [_median(some, lambda one: one.shared_files) for some in (first, last)]
    memory = [_median(some, lambda one: one.shared_mb) for some in (first, last)]
    rows.append(Row("shared memory", memory[1], None, "MB", True, f"{memory[0]:.1f} MB before"))
    rows.append(bounded("shared-memory files", files[1], files[0], "", f"{files[0]:.0f} before"))
    return rows


def _process_rows(
    name: str, before: Sequence[Usage], after: Sequence[Usage], more_descriptors: int
) -> list[Row]:
    if not before or not after:
        return [Row(f"{name} samples", 0, 1, "", False, "it was not there")]
    old, new = (_median(some, lambda one: one.rss_mb) for some in (before, after))
    growth = 100.0 * (new / old - 1.0)
    files = [_median(some, lambda one: one.descriptors) for some in (before, after)]
    threads = [_median(some, lambda one: one.threads) for some in (before, after)]
    return [
        bounded(
            f"{name} memory growth", growth, 100 * RSS_GROWTH, "%", f"{old:.1f} → {new:.1f} MB"
        ),
        bounded(f"{name} descriptors", files[1], files[0] + more_descriptors, "",
                f"{files[0]:.0f} before"),
        bounded(f"{name} threads", threads[1], threads[0] + MORE_THREADS, "",
                f"{threads[0]:.0f} before"),
    ]  # fmt: skip


def plan_rows(
    hearing: Hearing, rejected: int, deadline_s: float, max_input_age_s: float
) -> list[Row]:
    """Whether the model planned all the time, and no tick went missing or was late unsaid.

    Ticks count from the activation on, read after the deactivation: one may have been in flight.
    The share of the model counts while the node was judged.
    """
    trajectories = hearing.judged.total()
    models = max(hearing.sources[MODEL], len(hearing.total_ms))
    share = 100.0 * hearing.judged[MODEL] / trajectories if trajectories else 0.0
    counts = hearing.counts
    told = counts.get("ticks_skipped", 0) + counts.get("ticks_late", 0) + rejected + models
    unsaid = max(0, counts.get("ticks_total", 0) - told - 1)
    over = sum(value > 1e3 * deadline_s for value in hearing.total_ms)
    oldest_s = deadline_s + max_input_age_s + hearing.longest_delay_s
    late = int(hearing.oldest_model_s > oldest_s)
    false = hearing.of_kind("false")
    return [
        Row("ticks", counts.get("ticks_total", 0)),
        Row(
            "plans of the model", share, 100 * MODEL_SHARE, "%", share >= 100 * MODEL_SHARE,
            f"{hearing.judged[MODEL]} of {trajectories} trajectories",
        ),
        bounded("false alarms", len(false), 0, "", false[0].reason if false else ""),
        bounded("messages refused", counts.get("dropped", 0), 0),
        bounded(
            "late ticks not reported", over + late + unsaid, 0, "",
            f"{over} beyond the deadline, {unsaid} of which nothing was heard",
        ),
        Row("late ticks reported", counts.get("ticks_late", 0)),
        Row("alarms while the inputs were late", len(hearing.of_kind("delay"))),
        Row("inputs published late by", hearing.longest_delay_s, None, "s"),
        Row("oldest plan on arrival", hearing.oldest_model_s, None, "s"),
        Row("planner p50", percentile(hearing.total_ms, 0.5), None, "ms"),
        Row("planner p99", percentile(hearing.total_ms, 0.99), None, "ms"),
    ]  # fmt: skip


def overhead_rows(timing: Mapping[str, str], most_ms: float | None) -> list[Row]:
    """The node's own share of a tick, as its `/diagnostics` tell it of the last 512 plans: from
    the timer to the published plan, less the planner's own time."""
    if not timing:
        return [Row("node overhead", 0, 1, "ms", False, "/diagnostics told nothing of it")]
    plans = f"{timing['ticks_measured']} plans"
    return [
        Row("node overhead p50", float(timing["overhead_ms_p50"]), None, "ms", True, plans),
        bounded("node overhead p99", float(timing["overhead_ms_p99"]), most_ms, "ms", plans),
    ]


def _median(some: Sequence[object], value: Callable[..., float]) -> float:
    return float(statistics.median(value(one) for one in some))
