"""`rsd record bag`: write one simulated drive as a ROS 2 bag."""

from __future__ import annotations

import argparse
from pathlib import Path

from rsd_planner.errors import CommandError, suggest

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd record bag --seed 100037 --out street_30s

Seeds below 100000 drive on the training networks, the others on the held-out ones.
"""
_LONGEST_S = 55


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    actions = parser.add_subparsers(dest="action", required=True)
    bag = actions.add_parser("bag", help="write one drive as a ROS 2 bag (MCAP)")
    bag.add_argument("--seed", type=int, required=True, help="which drive")
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
    known = network.NETWORKS + network.HELD_OUT
    if args.network is not None and args.network not in known:
        raise CommandError(
            f"there is no network {args.network!r}; choose from {', '.join(known)}."
            + suggest(args.network, known)
        )
    from rsd_planner.bags import BagWriter

    with BagWriter(args.out) as writer:
        recorded = record.record_drive(args.seed, args.seconds, network=args.network)
        record.write_drive(recorded, writer)
    print(record.describe(recorded))
    return 0
