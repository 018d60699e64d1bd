"""Compare drafters on the same work: same ticks, same process, alternating tick by tick.

Rows: none (plain decoding), the drafters, and oracle (a draft that is always right: the
bound). Reasoning time is what a tick spends beyond pictures, bare prefill and path head; the
bare prefill is measured in the same tick. The speed-up is the sum of plain reasoning over the
sum of the drafter's. How often consecutive texts are equal stands beside it, because that is
what copying the last text can save at most.

Splits: streaming (every tick in order), isolated (drafters forget the last tick), novel (ticks
less than a second after the set of causes changed). A bag says nothing of causes: they are read
from the text that plain decoding writes, so novel is what is new to the model.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsd_planner.commands._drives import BagDrive
    from rsd_planner.evaluation.report import Drive

__all__ = ["add_arguments", "measure", "run"]

EXAMPLES = """\
examples:
  rsd bench                                   the bundled bag at 5 Hz
  rsd bench --quick                           its first 40 ticks
  rsd bench A_BAG ANOTHER_BAG --hz 2 --json out/bench.json
"""

_QUICK_TICKS = 40
_SPLITS = ("streaming", "isolated", "novel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd bench`."""
    from rsd_planner.commands._measured import add_planner_arguments

    add = parser.add_argument
    add("bags", nargs="*", type=Path, metavar="BAG", help="bags to drive (the bundled one)")
    add(
        "--drafter",
        action="append",
        metavar="NAME",
        help="a drafter to measure beside none and oracle; may be given again (previous_tick)",
    )
    add("--splits", nargs="+", choices=_SPLITS, default=list(_SPLITS), help="(all three)")
    add("--quick", action="store_true", help=f"only the first {_QUICK_TICKS} ticks of each bag")
    add_planner_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print one row for each drafter; 1 if a text was not the plain one."""
    from rsd_planner.commands._drives import bundled_bag_path, check_rate, open_drive
    from rsd_planner.commands._measured import print_rows, settings_of, warm_planner, write_json
    from rsd_planner.evaluation.report import bench_rows

    check_rate(arguments.hz)
    names = ["none", *(arguments.drafter or ["previous_tick"])]
    for name in names:
        settings_of(arguments, name)  # says which name is unknown
    settings = settings_of(arguments, names[-1])
    topics = (arguments.camera, arguments.image_topic, arguments.odometry_topic)
    drives = [open_drive(path, *topics) for path in arguments.bags or [bundled_bag_path()]]
    planner = warm_planner(settings, drives[0].image_size())
    limit = _QUICK_TICKS if arguments.quick else None
    alone = "isolated" in arguments.splits
    measured = [
        measure(planner, drive, names, settings, arguments.hz, limit, isolated=alone)
        for drive in drives
    ]
    rows = [
        row
        for split in arguments.splits
        for row in bench_rows(measured, split=split, seed=arguments.seed)
    ]
    ticks = sum(len(drive.ticks["none"]) for drive in measured)
    print_rows(
        rows,
        f"{ticks} ticks of {len(drives)} drive{'s' if len(drives) > 1 else ''} at "
        f"{arguments.hz:g} Hz, {settings.worker_threads} thread"
        f"{'s' if settings.worker_threads > 1 else ''}, rule {settings.rule}",
    )
    write_json(arguments.json, arguments, rows, settings.worker_threads)
    wrong = [r for r in rows if r["exact_ticks"] + r["excused_ticks"] < r["ticks"]]
    for name in dict.fromkeys(row["drafter"] for row in wrong):
        print(f"{name} wrote a text that plain decoding did not.", file=sys.stderr)
    return 1 if wrong else 0


def measure(
    planner: Any,
    drive: BagDrive,
    names: list[str],
    settings: Any,
    rate_hz: float,
    limit: int | None = None,
    *,
    oracle: bool = True,
    isolated: bool = False,
) -> Drive:
    """The measured ticks of one bag, with the errors of the paths against the driven one.

    With `isolated` every drafter is measured without a past too.
    """
    from rsd_planner.decoding.drafters.catalog import make_drafter
    from rsd_planner.errors import CommandError
    from rsd_planner.evaluation.benchmark import OracleDrafter, measure_drive, novel_by_text
    from rsd_planner.evaluation.report import Drive
    from rsd_planner.evaluation.trajectory import PathError, driven_path
    from rsd_planner.planning.ego_history import OdometryTrack

    drafters = [make_drafter(name, planner.parts.resources) for name in names]
    if oracle:
        drafters.append(OracleDrafter())
    track = OdometryTrack(drive.states())
    found = Drive(
        {drafter.name: [] for drafter in drafters},
        {drafter.name: PathError() for drafter in drafters},
        {name: [] for name in names[1:]} if isolated else {},
    )
    forgetful = [make_drafter(name, planner.parts.resources) for name in found.isolated]
    made = itertools.islice(drive.observations(settings, planner.requirements, rate_hz), limit)
    egos: dict[int, Any] = {}

    def remember() -> Any:
        for observation in made:
            egos[observation.t0_ns] = observation.history.now
            yield observation

    with _Progress(f"measuring {drive.name}") as progress:
        for tick in measure_drive(planner, remember(), drafters, isolated=forgetful):
            for one in tick:
                if one.isolated:
                    found.isolated[one.drafter].append(one)
                    continue
                path = one.trajectory
                driven = driven_path(
                    track, egos[one.t0_ns], one.t0_ns, len(path.position_m), path.step_s
                )
                found.ticks[one.drafter].append(one)
                found.path_errors[one.drafter].add(path, driven)
            progress.step()
    if not found.ticks["none"]:
        reason = drive.skipped.most_common(1)
        raise CommandError(
            f"{drive.path} gives no tick that can be planned"
            + (f" ({reason[0][0]})." if reason else ".")
        )
    plain, codec = found.ticks["none"], planner.parts.codec
    texts = ["".join(codec.pieces(tick.decoded.tokens)) for tick in plain]
    return replace(found, novel=novel_by_text([tick.t0_ns for tick in plain], texts))


class _Progress:
    """A counter on the terminal's last line, silent elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def step(self) -> None:
        """One tick more."""
        self._count += 1
        if self._shown:
            print(f"\r{self._what}: {self._count} ticks ", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
