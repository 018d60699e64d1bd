"""Compare drafters on the same work: same ticks, same process, alternating tick by tick.

Rows: none (plain decoding), the drafters, oracle (a draft that is always right: the bound),
floor (a tick without any text) and, with --controls, transformers' own decoding by the same
weights. Reasoning time is what a tick spends beyond pictures, bare prefill and path head; the
bare prefill is measured in the same tick. The speed-up is the sum of plain reasoning over the
sum of the drafter's. How often consecutive texts are equal stands beside it, because that is
what copying the last text can save at most.

Splits: streaming (every tick in order), isolated (drafters forget the last tick), novel (ticks
less than a second after the set of causes changed). Drives of `rsd data` know their causes; for
a bag they are read from the text that plain decoding writes.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsd_planner.commands._bench_drives import Drafters, MeasurableDrive
    from rsd_planner.config import PlannerSettings
    from rsd_planner.evaluation.controls import TransformersControls
    from rsd_planner.evaluation.report import Drive
    from rsd_planner.interfaces import Acceptance
    from rsd_planner.planning.planner import Planner

__all__ = ["add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd bench                                   the bundled bag at 5 Hz
  rsd bench --quick --html out/bench.html     its first 40 ticks, and a page of them
  rsd bench A_BAG ANOTHER_BAG --hz 2 10 --json out/bench.json
  rsd bench --drives drives/heldout --limit 20 --controls --hz 5 2
"""

_QUICK_TICKS, _QUICK_DRIVES = 40, 2
_SPLITS = ("streaming", "isolated", "novel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd bench`."""
    from rsd_planner.commands._measured import add_planner_arguments
    from rsd_planner.config import RULES

    add = parser.add_argument
    add("bags", nargs="*", type=Path, metavar="BAG", help="bags to drive (the bundled one)")
    add("--drives", type=Path, metavar="DIR", help="drives of `rsd data` instead of bags")
    add("--limit", type=int, metavar="N", help="only the first N drives")
    add("--ticks", type=int, metavar="N", help="only the first N ticks of each drive")
    add(
        "--drafter",
        action="append",
        metavar="NAME",
        help="a drafter to measure; may be given again (all whose files are there)",
    )
    add("--rules", nargs="+", choices=RULES, help="measure with each of these (--rule)")
    add("--splits", nargs="+", choices=_SPLITS, default=list(_SPLITS), help="(all three)")
    add("--controls", action="store_true", help="measure transformers' generate beside them")
    add(
        "--sparsely",
        type=int,
        default=1,
        metavar="N",
        help="controls and isolated drafters at every n-th tick only (%(default)s)",
    )
    add("--costs", action="store_true", help="how costs grow with text, pictures and cameras")
    add(
        "--quick",
        action="store_true",
        help=f"only the first {_QUICK_TICKS} ticks of {_QUICK_DRIVES} drives",
    )
    add("--html", type=Path, metavar="FILE", help="write a page with tables and plots")
    add_planner_arguments(parser, rates=True)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print one row for each drafter; 1 if a text was not the plain one."""
    from rsd_planner.commands._bench_drives import make_drafters
    from rsd_planner.commands._measured import settings_of, warm_planner, write_json
    from rsd_planner.evaluation.report import bench_tables

    _check(arguments)
    settings = settings_of(arguments, "none")
    for name in arguments.drafter or ():
        settings_of(arguments, name)  # says which name is unknown
    drives = _open(arguments)
    planner = warm_planner(settings, drives[0].image_size())
    isolated = "isolated" in arguments.splits
    drafters = make_drafters(planner, arguments.drafter, isolated=isolated)
    for reason in drafters.missing:
        print(f"without {reason}", file=sys.stderr)
    controls = _controls(planner) if arguments.controls else None
    tables: dict[str, list[dict[str, Any]]] = {}
    for rule in dict.fromkeys(arguments.rules or [arguments.rule]):
        acceptance = _acceptance(arguments, rule)
        beside = controls if rule == "greedy" else None
        # The fastest first: what a drive cannot give is told before anything is measured.
        for rate_hz in sorted(set(arguments.hz), reverse=True):
            ruled = [_with_rule(planner, _again(acceptance, arguments)) for _ in drives]
            measured = _measure(arguments, ruled, drives, drafters, beside, rate_hz)
            found = bench_tables(measured, arguments.splits, arguments.seed)
            _print(found["rows"], measured, rule, settings)
            for key, rows in found.items():
                tables.setdefault(key, []).extend(rows)
    if arguments.costs:
        from rsd_planner.evaluation.costs import cost_rows

        tables["costs"] = cost_rows(planner, drives[0].image_size())
    rows, more = tables["rows"], {key: tables[key] for key in tables if key != "rows"}
    write_json(arguments.json, arguments, rows, settings.worker_threads, more)
    _write_page(arguments, tables, drives, settings)
    wrong = [
        r
        for r in rows
        if r["exact_ticks"] is not None and r["exact_ticks"] + r["excused_ticks"] < r["ticks"]
    ]
    for name in dict.fromkeys(row["drafter"] for row in wrong):
        print(f"{name} wrote a text that plain decoding did not.", file=sys.stderr)
    return 1 if wrong else 0


def _print(
    rows: Sequence[dict[str, Any]], measured: Sequence[Drive], rule: str, settings: PlannerSettings
) -> None:
    from rsd_planner.commands._measured import print_rows

    ticks = sum(len(drive.ticks["none"]) for drive in measured)
    plural = "s" if len(measured) > 1 else ""
    print_rows(
        rows,
        f"{ticks} ticks of {len(measured)} drive{plural} at {measured[0].hz:g} Hz, "
        f"{_threads(settings)}, rule {rule}",
    )


def _threads(settings: PlannerSettings) -> str:
    return f"{settings.worker_threads} thread{'s' if settings.worker_threads > 1 else ''}"


def _write_page(
    arguments: argparse.Namespace,
    tables: dict[str, list[dict[str, Any]]],
    drives: Sequence[MeasurableDrive],
    settings: PlannerSettings,
) -> None:
    if arguments.html is None:
        return
    from rsd_planner.evaluation.bench_page import write_bench_page

    what = drives[0].name if len(drives) == 1 else f"{len(drives)} drives"
    arguments.html.parent.mkdir(parents=True, exist_ok=True)
    subtitle = f"{what}, {_threads(settings)} on {arguments.device}"
    write_bench_page(arguments.html, tables, subtitle, arguments.command_line)
    print(f"report: {arguments.html}")


def _check(arguments: argparse.Namespace) -> None:
    from rsd_planner.commands._drives import check_rate
    from rsd_planner.errors import CommandError

    for rate_hz in arguments.hz:
        check_rate(rate_hz)
    if arguments.drives is not None and arguments.bags:
        raise CommandError("give bags or --drives, not both.")
    for name in ("limit", "ticks", "sparsely"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise CommandError(f"--{name} must be at least 1.")


def _open(arguments: argparse.Namespace) -> Sequence[MeasurableDrive]:
    from rsd_planner.commands._drives import bundled_bag_path, open_drive
    from rsd_planner.commands._shard_drives import open_shards

    limit = min(arguments.limit or 10**6, _QUICK_DRIVES if arguments.quick else 10**6)
    if arguments.drives is not None:
        return open_shards(arguments.drives, limit)
    topics = (arguments.camera, arguments.image_topic, arguments.odometry_topic)
    paths = arguments.bags or [bundled_bag_path()]
    return [open_drive(path, *topics) for path in paths[:limit]]


def _controls(planner: Planner) -> TransformersControls:
    """transformers' own decoding with the planner's weights."""
    from rsd_planner.evaluation.controls import TransformersControls, assistant_of

    parts = planner.parts
    assistant = assistant_of(parts.resources)
    return TransformersControls(
        parts.head.vla, parts.limits.end_token, parts.limits.max_tokens, assistant
    )


def _measure(
    arguments: argparse.Namespace,
    planners: Sequence[Planner],
    drives: Sequence[MeasurableDrive],
    drafters: Drafters,
    controls: TransformersControls | None,
    rate_hz: float,
) -> list[Drive]:
    """The drives at one rate, each by its own planner."""
    from rsd_planner.commands._bench_drives import measure
    from rsd_planner.commands._measured import settings_of
    from rsd_planner.evaluation.benchmark import Sparsely

    settings = settings_of(arguments, "none")
    limit = min(arguments.ticks or 10**6, _QUICK_TICKS if arguments.quick else 10**6)
    every = Sparsely(arguments.sparsely, arguments.sparsely)
    return [
        measure(planner, drive, drafters, settings, rate_hz, limit, controls=controls, every=every)
        for planner, drive in zip(planners, drives, strict=True)
    ]


def _acceptance(arguments: argparse.Namespace, rule: str) -> Acceptance:
    from rsd_planner.build import acceptance_of
    from rsd_planner.commands._measured import settings_of

    return acceptance_of(settings_of(argparse.Namespace(**{**vars(arguments), "rule": rule})))


def _again(rule: Acceptance, arguments: argparse.Namespace) -> Acceptance:
    """The rule as at its beginning: one that draws makes a drive depend on those before it."""
    return rule if rule.repeatable else _acceptance(arguments, rule.name)


def _with_rule(planner: Planner, rule: Acceptance) -> Planner:
    """The same planner with another rule."""
    other = copy.copy(planner)
    other.acceptance = rule
    return other
