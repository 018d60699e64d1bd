"""`rsd train target` makes the mini from simulated drives, stage by stage; `rsd train routine`
the routine reasoner that drafts for a target, `rsd train routine-block` the drafter that reads the
target's hidden states, `rsd train glance` the one that looks at encoded pictures, `rsd train
replica` a small copy that sees.

Every stage can be stopped at any moment and run again; it goes on from its last save, at
most two minutes back. `rsd train report` shows how a run is doing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsd_planner.errors import CommandError

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd data --clips --drives 1400 --out drives/clips
  rsd data --drives 40 --first-seed 100000 --out drives/heldout
  rsd train target --data drives --work work --out model
  rsd train target --data drives --work work --out model --stage language --language-steps 3000
  rsd train report work
  rsd data --drives 240 --out drives/train
  rsd train routine --data drives --model model --work work_routine
  rsd train routine-block --data drives --model model --work work_routine
  rsd train glance --data drives --model model --work work_routine
  rsd train replica --data drives --model model --work work_routine

Several GPUs, or machines:
  torchrun --nproc-per-node 4 -m rsd_planner.cli train target --device cuda …
"""
STAGES = ("init", "perception", "language", "joint", "action", "export")
_STEPS = (
    # stage, default, what a step is
    ("perception", 3000, "batches of 64 pictures"),
    ("language", 3000, "batches of 32 ticks"),
    ("joint", 0, "batches of 24 ticks, vision tower and text together; 0 leaves it out"),
    ("action", 1500, "batches of 32 ticks"),
)


@dataclass(frozen=True)
class _Drafter:
    """What is a drafter's own in its training."""

    what: str
    steps: int  # by default
    batch: int  # ticks a step
    readings: str = "once"  # how often the target goes over the drives
    ropes: tuple[str, ...] = ()  # to choose from, the default first
    branches: bool = False  # whether it may do without


_DRAFTERS = {
    "routine": _Drafter("the drafter that sees no picture", 6000, 64),
    "routine-block": _Drafter(
        "the drafter of target features", 3000, 32, ropes=("flat", "mrope"), branches=True
    ),
    "glance": _Drafter("the drafter that looks at the encoded pictures", 3000, 192),
    "replica": _Drafter(
        "the drafter that sees: a small copy", 6000, 32, "twice", ropes=("mrope", "flat")
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rsd train`."""
    actions = parser.add_subparsers(dest="what", required=True)
    target = actions.add_parser("target", help="train the target, all stages or one")
    add = target.add_argument
    add("--stage", choices=["all", *STAGES], default="all", help="one stage alone (default: all)")
    add(
        "--data",
        type=Path,
        required=True,
        help="drives in heldout and in train, clips or both; in unseen if any",
    )
    add("--work", type=Path, required=True, help="where the run keeps its state")
    add("--out", type=Path, required=True, help="where the checkpoint goes")
    for stage, default, what in _STEPS:
        add(f"--{stage}-steps", type=int, default=default, help=f"{what} (default {default})")
    add("--start-from", type=Path, help="an earlier checkpoint whose weights to begin with")
    add(
        "--go-on",
        action="store_true",
        help="keep the tokens and statistics of --start-from too: its drafters still fit then",
    )
    add("--limit", type=int, help="most training drives")
    _add_run(target)
    for name, drafter in _DRAFTERS.items():
        _add_drafter(actions.add_parser(name, help=f"train {drafter.what}"), drafter)
    report = actions.add_parser("report", help="write a page with the curves of a run")
    report.add_argument("work", type=Path, help="the run's --work folder")
    report.add_argument("--html", type=Path, help="the page (default: report.html in the folder)")


def _add_drafter(parser: argparse.ArgumentParser, drafter: _Drafter) -> None:
    """The arguments of a drafter's training."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="drives in train and heldout")
    add("--model", type=Path, required=True, help="the target's checkpoint")
    add("--work", type=Path, required=True, help="where the run and what the target says are kept")
    add("--out", type=Path, help="folder of the drafter's files (default: drafters in --model)")
    steps = f"batches of {drafter.batch} ticks (default %(default)s)"
    add("--steps", type=int, default=drafter.steps, help=steps)
    if drafter.ropes:
        ropes = drafter.ropes
        add("--rope", choices=ropes, default=ropes[0], help="positions (%(default)s)")
    if drafter.branches:
        add(
            "--branch",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="a place knows those in front of it in its block (default: it does)",
        )
    limit = f"most training drives; the target reads all of them {drafter.readings}"
    add("--limit", type=int, help=limit)
    add("--heldout-limit", type=int, help="most held-out drives")
    _add_run(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    """The arguments of any training run."""
    add = parser.add_argument
    add("--size", choices=["mini", "toy"], default="mini", help="toy is for tests")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--seed", type=int, default=0)
    add("--save-every", type=float, default=90.0, metavar="S", help="seconds between saves")
    add("--evaluations", type=int, default=6, metavar="N", help="on held-out drives, a stage")


def run(args: argparse.Namespace) -> int:
    """Run the asked stages, or report."""
    if args.what == "report":
        from rsd_planner.training.report import write_report

        print(write_report(args.work, args.html or args.work / "report.html"))
        return 0
    for split in ("train", "heldout"):
        instead = args.what == "target" and split == "train" and (args.data / "clips").is_dir()
        if not (args.data / split).is_dir() and not instead:
            raise CommandError(
                f"{args.data} has no folder {split} with drives; "
                f"make them with `rsd data --out {args.data / split}`."
            )
    return _run_drafter(args) if args.what in _DRAFTERS else _run_target(args)


def _run_drafter(args: argparse.Namespace) -> int:
    if args.steps < 1:
        raise CommandError("--steps must be at least 1")
    from rsd_planner.training.runtime import open_runtime

    run_of, sizes = _training_of(args.what)
    switches = {name: getattr(args, name) for name in ("rope", "branch") if hasattr(args, name)}
    with open_runtime(args.device) as runtime:
        job = run_of(
            model=args.model,
            data=args.data,
            folder=args.work,
            output=args.out or args.model / "drafters",
            steps=args.steps,
            runtime=runtime,
            seed=args.seed,
            limit=args.limit,
            held_out_limit=args.heldout_limit,
            size=sizes[args.size],
            save_every_s=args.save_every,
            evaluations=args.evaluations,
            **switches,
        )
        scores = job.run()
        if runtime.is_first:
            print(f"{job.output}: {json.dumps(scores)}")
    return 0


def _training_of(drafter: str) -> tuple[type[Any], Mapping[str, Any]]:
    """The class of a drafter's run, and its sizes by name."""
    if drafter == "routine":
        from rsd_planner.training import routine

        return routine.RoutineRun, routine.SIZES
    if drafter == "routine-block":
        from rsd_planner.training import routine_block

        return routine_block.BlockRun, routine_block.SIZES
    if drafter == "glance":
        from rsd_planner.training import glance

        return glance.GlanceRun, glance.SIZES
    from rsd_planner.training import replica

    return replica.ReplicaRun, replica.SIZES


def _run_target(args: argparse.Namespace) -> int:
    steps = {stage: getattr(args, f"{stage}_steps") for stage, _, _ in _STEPS}
    if min(steps.values()) < 0:
        raise CommandError("steps must not be negative")
    if args.go_on and args.start_from is None:
        raise CommandError("--go-on needs --start-from: the checkpoint to go on from")
    from rsd_planner.training.runtime import open_runtime
    from rsd_planner.training.target import SIZES, TargetRun

    with open_runtime(args.device) as runtime:
        job = TargetRun(
            args.data,
            args.work,
            args.out,
            steps,
            runtime,
            args.seed,
            args.limit,
            SIZES[args.size],
            args.start_from,
            args.go_on,
            args.save_every,
            args.evaluations,
        )
        for stage in STAGES if args.stage == "all" else (args.stage,):
            job.run(stage)
    return 0
