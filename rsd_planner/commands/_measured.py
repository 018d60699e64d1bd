"""What commands that measure share: the planner to measure, the JSON file and the table."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsd_planner.config import PlannerSettings, bundled_model_path

__all__ = ["add_planner_arguments", "print_rows", "settings_of", "warm_planner", "write_json"]

_COLUMNS = (
    # field, heading, format
    ("drafter", "drafter", "{}"),
    ("ticks", "ticks", "{}"),
    ("tokens_per_forward", "tokens a forward", "{:.1f}"),
    ("routine_share", "routine", "{:.0%}"),
    ("exact_ticks", "exact", "{}"),
    ("excused_ticks", "excused", "{}"),
    ("equal_text_share", "equal texts", "{:.0%}"),
    ("reasoning_ms_p50", "reasoning p50", "{:.1f} ms"),
    ("reasoning_ms_p95", "p95", "{:.1f} ms"),
    ("tick_ms_p50", "tick p50", "{:.0f} ms"),
    ("floor_ms_p50", "floor p50", "{:.0f} ms"),
    ("speedup_reasoning", "speed-up", "{:.2f}×"),
    ("saved_share", "of oracle", "{:.0%}"),
    ("speedup_tick", "whole tick", "{:.2f}×"),
    ("ade_m", "ADE", "{:.2f} m"),
    ("fde_m", "FDE", "{:.2f} m"),
)


def add_planner_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose model, rate and file."""
    add = parser.add_argument
    add("--model", default="", help="checkpoint folder (the bundled mini)")
    add("--device", default="cpu", help="cpu or cuda (%(default)s)")
    add("--threads", type=int, default=0, help="CPU threads of the model (all cores but one)")
    add("--camera", default="front_wide", help="name of the camera (%(default)s)")
    add("--image-topic", metavar="TOPIC", help="pictures in the bag (found by the camera's name)")
    add("--odometry-topic", metavar="TOPIC", help="odometry in the bag (found by type)")
    add("--hz", type=float, default=5.0, help="ticks a second of the drive (%(default)g)")
    add("--seed", type=int, default=0, help="seed of all sampling (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the figures as one JSON object")


def settings_of(arguments: argparse.Namespace, drafter: str = "previous_tick") -> PlannerSettings:
    """Checked settings from the command line. Raises ConfigError."""
    values: dict[str, Any] = {
        "model_path": arguments.model or bundled_model_path(),
        "device": arguments.device,
        "cameras": [arguments.camera],
        "seed": arguments.seed,
        "drafter": drafter,
    }
    if arguments.threads:
        values["worker_threads"] = arguments.threads
    return PlannerSettings.from_mapping(values)


def warm_planner(settings: PlannerSettings, image_size: tuple[int, int]) -> Any:
    """A planner that has run once on pictures of this (height, width)."""
    from rsd_planner.build import build_planner

    planner = build_planner(settings)
    planner.warm_up(image_size)
    return planner


def write_json(
    path: Path | None, arguments: argparse.Namespace, rows: Sequence[dict[str, Any]], threads: int
) -> None:
    """One object with `command`, `seed`, `machine` and `rows`; nothing without a path."""
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
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def print_rows(rows: Sequence[dict[str, Any]], title: str) -> None:
    """The rows as a table; columns that nothing was measured for are left out."""
    from rich.table import Table

    from rsd_planner.viz.terminal import make_console

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    shown = [c for c in _COLUMNS if any(row[c[0]] is not None for row in rows)]
    for name, heading, _ in shown:
        left = name == "drafter"
        table.add_column(heading, justify="left" if left else "right", style="bold" if left else "")
    for row in rows:
        table.add_row(*("–" if row[n] is None else form.format(row[n]) for n, _, form in shown))
    make_console().print(table)
