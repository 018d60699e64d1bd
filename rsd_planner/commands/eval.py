"""Evaluate a model on held-out drives: what its text names, what it decides, where it drives.

Texts are greedy and read by a parser; causes, decisions and paths are compared with the world's
truth. The same is asked with grey pictures, with pictures of another drive and with another
drive's history, to tell seeing from guessing. Intervals are bootstrapped over drives.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsd_planner.config import bundled_model_path
from rsd_planner.errors import CommandError

if TYPE_CHECKING:
    from rsd_planner.evaluation.target import Answers, Ticks

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd eval target --data drives/heldout --json out/eval.json --html out/eval.html
  rsd eval target --data drives/heldout --drives 8 --every 5     a quick look
"""

_INPUTS = ("normal", "blank", "swapped", "history_shuffled")
_SHOWN = (
    ("ticks", "{}"),
    ("macro_f1", "{:.3f}"),
    ("min_f1", "{:.2f}"),
    ("prior_f1", "{:.3f}"),
    ("unshown_f1", "{:.3f}"),
    ("unshown_prior_f1", "{:.3f}"),
    ("recall", "{:.2f}"),
    ("decision_accuracy", "{:.3f}"),
    ("ade_3s_m", "{:.2f}"),
    ("cv_ade_3s_m", "{:.2f}"),
    ("silent_ade_3s_m", "{:.2f}"),
    ("fde_6s_m", "{:.2f}"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd eval`."""
    add = parser.add_argument
    add("what", choices=["target"], help="what to evaluate")
    add("--data", type=Path, required=True, metavar="DIR", help="held-out drives of `rsd data`")
    add("--model", default="", help="checkpoint folder (the bundled mini)")
    add("--drives", type=int, metavar="N", help="only the first N drives")
    add("--every", type=int, default=2, metavar="N", help="every n-th tick (%(default)s)")
    add("--inputs", nargs="+", choices=_INPUTS, default=list(_INPUTS), help="which to ask with")
    add(
        "--samples",
        type=int,
        default=6,
        metavar="K",
        help="paths a tick, with `normal` (%(default)s)",
    )
    add("--batch", type=int, default=32, help="ticks at once (%(default)s)")
    add("--device", default="cpu", help="cpu or cuda (%(default)s)")
    add("--threads", type=int, default=0, help="CPU threads (all cores)")
    add("--seed", type=int, default=0, help="seed of all sampling (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures as one JSON object")
    add("--html", type=Path, metavar="FILE", help="write a page with tables and the worst ticks")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print the rows, and write what was asked for."""
    _check(arguments)
    import torch

    from rsd_planner.commands._measured import write_json
    from rsd_planner.evaluation.target import select_ticks
    from rsd_planner.evaluation.target_rows import report_of
    from rsd_planner.training.data import DriveSet

    threads = arguments.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    folder = arguments.data / "heldout"
    data = DriveSet(folder if folder.is_dir() else arguments.data, arguments.drives)
    ticks = select_ticks(data, arguments.every)
    answers = _ask(arguments, ticks)
    figures = report_of(ticks, answers, arguments.seed)
    rows, more = figures["rows"], {k: v for k, v in figures.items() if k != "rows"}
    _print(rows, f"{len(ticks)} ticks of {len(data.drives)} held-out drives")
    write_json(arguments.json, arguments, rows, threads, more)
    if arguments.html is not None:
        from rsd_planner.evaluation.target_report import write_target_report

        arguments.html.parent.mkdir(parents=True, exist_ok=True)
        write_target_report(arguments.html, ticks, answers, figures, arguments.command_line)
        print(f"report: {arguments.html}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if "normal" not in arguments.inputs:
        raise CommandError("--inputs lacks `normal`, which the others are compared with.")
    for name in ("every", "samples", "batch", "drives"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise CommandError(f"--{name} must be at least 1.")
    if not arguments.data.is_dir():
        raise CommandError(f"{arguments.data} is no folder; make drives with `rsd data`.")


def _ask(arguments: argparse.Namespace, ticks: Ticks) -> list[Answers]:
    """The model's answers to each kind of input, `normal` first."""
    from rsd_planner.evaluation.target import Sampling, answer, open_model
    from rsd_planner.models.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(arguments.model or bundled_model_path(), arguments.device)
    model = open_model(checkpoint, ticks.data)
    steps = checkpoint.vla.config.flow_steps
    answers = []
    for source in (name for name in _INPUTS if name in arguments.inputs):
        with _progress(source, len(ticks)) as step:
            # Paths are most of the work; where pictures say nothing, one tells enough.
            normal = source == "normal"
            samples = arguments.samples if normal else 1
            sampling = Sampling(samples, steps, arguments.batch, arguments.seed)
            answers.append(answer(model, ticks, source, sampling, silent=normal, progress=step))
    return answers


@contextmanager
def _progress(what: str, total: int) -> Iterator[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (f"{what:<16}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda count: progress.advance(bar, count)


def _print(rows: Sequence[dict[str, Any]], title: str) -> None:
    from rich.table import Table

    from rsd_planner.viz.terminal import make_console

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("split", style="bold", no_wrap=True)
    table.add_column("input", no_wrap=True)
    for name, _ in _SHOWN:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        if row["ticks"] and (row["input"] == "normal" or not row["split"].startswith("event:")):
            cells = ["–" if row[n] is None else form.format(row[n]) for n, form in _SHOWN]
            table.add_row(row["split"], row["input"], *cells)
    make_console().print(table)
