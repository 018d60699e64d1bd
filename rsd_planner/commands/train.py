"""`rsd train target`: make the mini from recorded drives, stage by stage.

Every stage can be stopped at any moment and run again; it goes on from its last save, at
most two minutes back.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rsd_planner.errors import CommandError

__all__ = ["add_arguments", "run"]

STAGES = ("init", "perception", "language", "action", "export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rsd train`."""
    parser.add_argument("what", choices=["target"], help="what to train")
    parser.add_argument(
        "--stage", choices=["all", *STAGES], default="all", help="one stage alone (default: all)"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="recorded drives in the folders train and heldout"
    )
    parser.add_argument("--work", type=Path, required=True, help="where the run keeps its state")
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument("--perception-steps", type=int, default=900, help="batches of 64")
    parser.add_argument("--language-steps", type=int, default=900, help="batches of 32")
    parser.add_argument("--action-steps", type=int, default=700, help="batches of 32")
    parser.add_argument("--limit", type=int, default=None, help="most training drives")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Run the asked stages."""
    if not (args.data / "train").is_dir() or not (args.data / "heldout").is_dir():
        raise CommandError(
            f"{args.data} has no folders train and heldout with recorded drives; "
            f"make them with `rsd data --out {args.data}/train` and `…/heldout`."
        )
    from rsd_planner.training.target import TargetRun

    steps = {
        "perception": args.perception_steps,
        "language": args.language_steps,
        "action": args.action_steps,
    }
    job = TargetRun(args.data, args.work, args.out, steps, args.seed, args.limit)
    for stage in STAGES if args.stage == "all" else (args.stage,):
        job.run(stage)
    return 0
