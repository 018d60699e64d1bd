"""What commands that measure share: the planner to measure, the JSON file and the table."""

from __future__ import annotations

import argparse
import gc
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsd_planner.config import RULES, PlannerSettings, bundled_model_path

if TYPE_CHECKING:
    from rsd_planner.evaluation.columns import Column

__all__ = [
    "add_planner_arguments",
    "print_rows",
    "settings_of",
    "warm_planner",
    "write_json",
    "write_node_json",
]


def add_planner_arguments(parser: argparse.ArgumentParser, *, rates: bool = False) -> None:
    """The options that choose model, rate and file; with `rates`, --hz takes several."""
    add = parser.add_argument
    add("--model", default="", help="checkpoint folder (the bundled mini)")
    add("--device", default="cpu", help="cpu or cuda (%(default)s)")
    add("--threads", type=int, default=0, help="CPU threads of the model (all cores but one)")
    add("--camera", default="front_wide", help="name of the camera (%(default)s)")
    add("--image-topic", metavar="TOPIC", help="pictures in the bag (found by the camera's name)")
    add("--odometry-topic", metavar="TOPIC", help="odometry in the bag (found by type)")
    if rates:
        add("--hz", type=float, nargs="+", default=[5.0], help="ticks a second of the drive (5)")
    else:
        add("--hz", type=float, default=5.0, help="ticks a second of the drive (%(default)g)")
    add("--rule", default="greedy", choices=RULES, help="how drafts are accepted (%(default)s)")
    add("--temperature", type=float, help="of sampled texts (the node's default)")
    add("--top-p", type=float, metavar="P", help="nucleus of sampled texts (the node's default)")
    add(
        "--draft-control",
        default="off",
        choices=("off", "on"),
        help="draft what pays (%(default)s)",
    )
    add("--seed", type=int, default=0, help="seed of all sampling (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures as one JSON object")


def settings_of(
    arguments: argparse.Namespace, drafter: str = PlannerSettings.drafter
) -> PlannerSettings:
    """Checked settings from the command line. Raises ConfigError."""
    values: dict[str, Any] = {
        "model_path": arguments.model or bundled_model_path(),
        "device": arguments.device,
        "cameras": [arguments.camera],
        "seed": arguments.seed,
        "drafter": drafter,
        "rule": arguments.rule,
        "draft_control": arguments.draft_control,
    }
    for name in ("temperature", "top_p"):
        if (value := getattr(arguments, name)) is not None:
            values[name] = value
    if arguments.threads:
        values["worker_threads"] = arguments.threads
    return PlannerSettings.from_mapping(values)


def warm_planner(settings: PlannerSettings, image_size: tuple[int, int]) -> Any:
    """A planner that has run once on pictures of this (height, width)."""
    from rsd_planner.build import build_planner

    planner = build_planner(settings)
    planner.warm_up(image_size)
    gc.collect()
    gc.freeze()  # as the worker does
    return planner


def write_json(
    path: Path | None,
    arguments: argparse.Namespace,
    rows: Sequence[dict[str, Any]],
    threads: int,
    more: Mapping[str, Any] | None = None,
) -> None:
    """One object with `command`, `seed`, `machine`, `rows` and `more`; nothing without a path."""
    if path is None:
        return
    import torch

    value = {
        "command": arguments.command_line,
        "seed": arguments.seed,
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "torch": torch.__version__,
            "threads": threads,
            "device": arguments.device,
        },
        "rows": list(rows),
        **(more or {}),
    }
    _write(path, value, 2)


def write_node_json(
    path: Path | None, arguments: argparse.Namespace, figures: Mapping[str, Any]
) -> None:
    """One object with `command`, `machine` and what a node was found to do; nothing without a
    path."""
    if path is None:
        return
    machine = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}
    _write(path, {"command": arguments.command_line, "machine": machine, **figures}, 1)


def _write(path: Path, value: Mapping[str, Any], indent: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def print_rows(rows: Sequence[dict[str, Any]], title: str) -> None:
    """The rows as two tables, work and time; what nothing was measured for is left out."""
    from rsd_planner.evaluation.columns import TIME, WORK
    from rsd_planner.viz.terminal import make_console

    console = make_console()
    rows = [row for row in rows if row["ticks"]]
    console.print(_table(rows, f"{title}: the work", WORK))
    console.print()
    console.print(_table(rows, "The time, of reasoning if nothing else is said", TIME))


def _table(rows: Sequence[dict[str, Any]], title: str, columns: Sequence[Column]) -> Any:
    from rich.table import Table

    from rsd_planner.evaluation.columns import known, shown

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("drafter", style="bold", no_wrap=True)
    splits = dict.fromkeys(row["split"] for row in rows)
    if len(splits) > 1:
        table.add_column("split", no_wrap=True)
    columns = known(columns, rows)
    for _, heading, _ in columns:
        table.add_column(heading, justify="right")
    for row in rows:
        split = [row["split"]] if len(splits) > 1 else []
        table.add_row(row["drafter"], *split, *shown(row, columns))
    return table
