"""`rsd train target` makes the mini from simulated drives, stage by stage; `rsd train routine`
the routine reasoner that drafts for a target, `rsd train routine-block` the drafter that reads the
target's hidden states, `rsd train replica` a small copy that sees.

Every stage can be stopped at any moment and run again; it goes on from its last save, at
most two minutes back. `rsd train report` shows how a run is doing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rsd_planner.errors import CommandError

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd data --drives 300 --out drives/train
  rsd data --stills --drives 1500 --first-seed 20000 --out drives/stills
  rsd data --drives 40 --first-seed 100000 --out drives/heldout
  rsd train target --data drives --work work --out model
  rsd train target --data drives --work work --out model --stage language --language-steps 3000
  rsd train report work
  rsd train routine --data drives --model model --work work_routine
  rsd train routine-block --data drives --model model --work work_routine
  rsd train replica --data drives --model model --work work_routine

Several GPUs, or machines:
  torchrun --nproc-per-node 4 -m rsd_planner.cli train target --device cuda …
"""
STAGES = ("init", "perception", "language", "joint", "action", "export")
_STEPS = (
    # stage, default, what a step is
    ("perception", 3000, "batches of 64 pictures"),
    ("language", 3000, "batches of 32 ticks"),
    ("joint", 0, "batches of 32 ticks, vision tower and text together; 0 leaves it out"),
    ("action", 1500, "batches of 32 ticks"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rsd train`."""
    actions = parser.add_subparsers(dest="what", required=True)
    target = actions.add_parser("target", help="train the target, all stages or one")
    add = target.add_argument
    add("--stage", choices=["all", *STAGES], default="all", help="one stage alone (default: all)")
    add("--data", type=Path, required=True, help="drives in train, heldout and, optionally, stills")
    add("--work", type=Path, required=True, help="where the run keeps its state")
    add("--out", type=Path, required=True, help="where the checkpoint goes")
    for stage, default, what in _STEPS:
        add(f"--{stage}-steps", type=int, default=default, help=f"{what} (default {default})")
    add("--start-from", type=Path, help="an earlier checkpoint whose weights to begin with")
    add("--limit", type=int, help="most training drives")
    _add_run(target)
    _add_routine(actions.add_parser("routine", help="train the drafter that sees no picture"))
    _add_block(actions.add_parser("routine-block", help="train the drafter of target features"))
    _add_replica(actions.add_parser("replica", help="train the drafter that sees: a small copy"))
    report = actions.add_parser("report", help="write a page with the curves of a run")
    report.add_argument("work", type=Path, help="the run's --work folder")
    report.add_argument("--html", type=Path, help="the page (default: report.html in the folder)")


def _add_routine(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rsd train routine`."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="drives in train and heldout")
    add("--model", type=Path, required=True, help="the target's checkpoint")
    add("--work", type=Path, required=True, help="where the run and the target's texts are kept")
    add("--out", type=Path, help="folder of the drafter's files (default: drafters in --model)")
    add("--steps", type=int, default=6000, help="batches of 64 ticks (default %(default)s)")
    add("--limit", type=int, help="most training drives; the target reads all of them once")
    add("--heldout-limit", type=int, help="most held-out drives")
    _add_run(parser)


def _add_block(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rsd train routine-block`."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="drives in train and heldout")
    add("--model", type=Path, required=True, help="the target's checkpoint")
    add("--work", type=Path, required=True, help="where the run and what the target says are kept")
    add("--out", type=Path, help="folder of the drafter's files (default: drafters in --model)")
    add("--steps", type=int, default=3000, help="batches of 32 ticks (default %(default)s)")
    add("--rope", choices=["flat", "mrope"], default="flat", help="positions (%(default)s)")
    add(
        "--branch",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a place knows those in front of it in its block (default: it does)",
    )
    add("--limit", type=int, help="most training drives; the target reads all of them once")
    add("--heldout-limit", type=int, help="most held-out drives")
    _add_run(parser)


def _add_replica(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rsd train replica`."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="drives in train and heldout")
    add("--model", type=Path, required=True, help="the target's checkpoint")
    add("--work", type=Path, required=True, help="where the run and what the target says are kept")
    add("--out", type=Path, help="folder of the drafter's files (default: drafters in --model)")
    add("--steps", type=int, default=6000, help="batches of 32 ticks (default %(default)s)")
    add("--rope", choices=["mrope", "flat"], default="mrope", help="positions (%(default)s)")
    add("--limit", type=int, help="most training drives; the target reads all of them twice")
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
        if not (args.data / split).is_dir():
            raise CommandError(
                f"{args.data} has no folder {split} with drives; "
                f"make them with `rsd data --out {args.data / split}`."
            )
    runs = {
        "routine": _run_routine,
        "routine-block": _run_block,
        "replica": _run_replica,
        "target": _run_target,
    }
    return runs[args.what](args)


def _run_routine(args: argparse.Namespace) -> int:
    if args.steps < 1:
        raise CommandError("--steps must be at least 1")
    from rsd_planner.training.routine import SIZES, RoutineRun
    from rsd_planner.training.runtime import open_runtime

    with open_runtime(args.device) as runtime:
        job = RoutineRun(
            model=args.model,
            data=args.data,
            folder=args.work,
            output=args.out or args.model / "drafters",
            steps=args.steps,
            runtime=runtime,
            seed=args.seed,
            limit=args.limit,
            held_out_limit=args.heldout_limit,
            size=SIZES[args.size],
            save_every_s=args.save_every,
            evaluations=args.evaluations,
        )
        scores = job.run()
        if runtime.is_first:
            print(f"{job.output}: {json.dumps(scores)}")
    return 0


def _run_block(args: argparse.Namespace) -> int:
    if args.steps < 1:
        raise CommandError("--steps must be at least 1")
    from rsd_planner.training.routine_block import SIZES, BlockRun
    from rsd_planner.training.runtime import open_runtime

    with open_runtime(args.device) as runtime:
        job = BlockRun(
            model=args.model,
            data=args.data,
            folder=args.work,
            output=args.out or args.model / "drafters",
            steps=args.steps,
            rope=args.rope,
            branch=args.branch,
            runtime=runtime,
            seed=args.seed,
            limit=args.limit,
            held_out_limit=args.heldout_limit,
            size=SIZES[args.size],
            save_every_s=args.save_every,
            evaluations=args.evaluations,
        )
        scores = job.run()
        if runtime.is_first:
            print(f"{job.output}: {json.dumps(scores)}")
    return 0


def _run_replica(args: argparse.Namespace) -> int:
    if args.steps < 1:
        raise CommandError("--steps must be at least 1")
    from rsd_planner.training.replica import SIZES, ReplicaRun
    from rsd_planner.training.runtime import open_runtime

    with open_runtime(args.device) as runtime:
        job = ReplicaRun(
            model=args.model,
            data=args.data,
            folder=args.work,
            output=args.out or args.model / "drafters",
            steps=args.steps,
            rope=args.rope,
            runtime=runtime,
            seed=args.seed,
            limit=args.limit,
            held_out_limit=args.heldout_limit,
            size=SIZES[args.size],
            save_every_s=args.save_every,
            evaluations=args.evaluations,
        )
        scores = job.run()
        if runtime.is_first:
            print(f"{job.output}: {json.dumps(scores)}")
    return 0


def _run_target(args: argparse.Namespace) -> int:
    steps = {stage: getattr(args, f"{stage}_steps") for stage, _, _ in _STEPS}
    if min(steps.values()) < 0:
        raise CommandError("steps must not be negative")
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
            args.save_every,
            args.evaluations,
        )
        for stage in STAGES if args.stage == "all" else (args.stage,):
            job.run(stage)
    return 0
