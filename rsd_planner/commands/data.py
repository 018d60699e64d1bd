"""`rsd data`: make training drives from the simulated world, one shard a drive.

Drives that are there already are kept, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rsd_planner.errors import CommandError

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd data --clips --drives 1400 --out drives/clips
  rsd data --drives 240 --out drives/train
  rsd data --drives 40 --first-seed 100000 --out drives/heldout

Seeds below 100000 drive on the training networks, the others on the held-out ones.
"""
LONGEST_S = 55


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("--drives", type=int, required=True, help="how many")
    parser.add_argument("--first-seed", type=int, default=0, help="seeds count up from here")
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--processes", type=int, default=2, help="how many at once (default 2)")
    parser.add_argument(
        "--clips",
        action="store_true",
        help="ticks seconds apart, each with its own pictures: more drives in the same time",
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="labelled length (default 30)")


def run(args: argparse.Namespace) -> int:
    """Makes what is missing; returns the exit code."""
    if not 1 <= args.seconds <= LONGEST_S:
        raise CommandError(
            f"--seconds is {args.seconds:g}; choose from 1 to {LONGEST_S}: the roads are no longer."
        )
    if args.drives < 1 or args.processes < 1:
        raise CommandError("--drives and --processes must be at least 1")
    try:  # the simulation needs the extra `sim`; --help works without it
        from rsd_planner.training.shards import make_shards
    except ImportError as error:
        raise CommandError(
            f"the simulation lacks the package {error.name}; "
            "install the extra with `pip install 'rsd_planner[sim]'`"
        ) from error
    seeds = range(args.first_seed, args.first_seed + args.drives)
    failed = make_shards(args.out, seeds, args.processes, args.seconds, args.clips)
    for seed, what in sorted(failed.items()):
        print(f"seed {seed} was left out: {what}", file=sys.stderr)
    print(f"{args.out / 'README.md'} says what the {args.drives - len(failed)} drives hold")
    return 1 if failed else 0
