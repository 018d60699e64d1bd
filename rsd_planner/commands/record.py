"""`record data` makes training drives, `record bag` writes one simulated drive as a ROS 2 bag.

python -m rsd_planner.commands.record data --drives 60 --first-seed 0 --out drives
python -m rsd_planner.commands.record bag --seed 100000 --out street_30s
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

from rsd_planner.errors import CommandError, suggest

__all__ = ["add_arguments", "run"]

_LONGEST_S = 55


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    actions = parser.add_subparsers(dest="action", required=True)
    data = actions.add_parser("data", help="make training drives, one .npz file each")
    data.add_argument("--drives", type=int, required=True, help="how many")
    data.add_argument("--first-seed", type=int, default=0, help="seeds count up from here")
    data.add_argument("--out", type=Path, required=True, help="folder; finished drives are kept")
    data.add_argument("--processes", type=int, default=2, help="how many at once (default 2)")
    data.add_argument("--seconds", type=float, default=30.0, help="labelled length (default 30)")
    bag = actions.add_parser("bag", help="write one drive as a ROS 2 bag (MCAP)")
    bag.add_argument("--seed", type=int, required=True, help="training used seeds below 10000")
    bag.add_argument("--out", type=Path, required=True, help="folder of the new bag")
    bag.add_argument("--seconds", type=float, default=30.0, help="length (default 30)")
    bag.add_argument("--network", default=None, help="road network (default: by the seed)")


def run(args: argparse.Namespace) -> int:
    """Does it; returns the exit code."""
    if not 1 <= args.seconds <= _LONGEST_S:
        raise CommandError(
            f"--seconds is {args.seconds:g}; choose from 1 to {_LONGEST_S}: "
            "the streets are no longer."
        )
    try:  # the simulation needs the extra `sim`; --help works without it
        from rsd_planner.simulation import network, record
    except ImportError as error:
        raise CommandError(
            f"the simulation lacks the package {error.name}; "
            "install the extra with `pip install 'rsd_planner[sim]'`"
        ) from error
    if args.action == "data":
        return _data(args, record)
    if args.network is not None and args.network not in network.NETWORKS:
        raise CommandError(
            f"there is no network {args.network!r}; choose from {', '.join(network.NETWORKS)}."
            + suggest(args.network, network.NETWORKS)
        )
    from rsd_planner.bags import BagWriter

    with BagWriter(args.out) as writer:
        recorded = record.record_drive(args.seed, args.seconds, network=args.network)
        record.write_drive(recorded, writer)
    print(record.describe(recorded))
    return 0


def _data(args: argparse.Namespace, record: ModuleType) -> int:
    if args.drives < 1 or args.processes < 1:
        raise CommandError("--drives and --processes must be at least 1")
    seeds = range(args.first_seed, args.first_seed + args.drives)
    record.generate(args.out, seeds, args.processes, args.seconds)
    return 0


def main() -> int:
    """Runs it as a module."""
    parser = argparse.ArgumentParser(prog="record", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
