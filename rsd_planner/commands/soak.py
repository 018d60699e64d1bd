"""Drive a planner node for a long time and look for leaks, false alarms and silence.

Starts the real node with the real worker in a ROS domain of its own, and drives the bundled bag
past it without end, pictures at 10 Hz. An outside subscriber hears what the node says, and /proc
tells what its processes hold. Two ways to hurt it meanwhile: --kill-worker-every kills the worker
again and again, --fuzz sends malformed messages on every input. --starts does neither, but ends
nodes at every moment of their life. Exit code 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsd_planner.errors import CommandError

if TYPE_CHECKING:
    from rsd_planner.commands._children import Child, Children
    from rsd_planner.commands._soak_hearing import Hearing
    from rsd_planner.commands._soak_measures import Row, Sample

__all__ = ["Soak", "add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd soak                                       an hour without a fault
  rsd soak --minutes 5 --kill-worker-every 6     the worker is killed 50 times
  rsd soak --fuzz 10000                          so many malformed messages on every input
  rsd soak --starts 100 --stand-in               nodes are started and ended at all moments
  rsd soak --minutes 5 --raw 1920x1080           the node's own share of a tick, large pictures
  rsd soak --minutes 1 --json out/soak.json
"""

_NODE = "/rsd_planner"
_LOAD_S = 180.0
_STOP_S = 4.0
_OVERHEAD_MS = 5.0  # of a tick, p99, with one raw 1080p camera
_SAMPLE_S = 1.0
_MOST_TOLD = 400  # samples in the JSON file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd soak`."""
    add = parser.add_argument
    add("--minutes", type=float, default=60.0, help="how long (%(default)g)")
    add(
        "--settle",
        type=float,
        default=5.0,
        metavar="MINUTES",
        help="what is held then is compared with the end (%(default)g, at most half the time)",
    )
    add("--kill-worker-every", type=float, metavar="S", help="SIGKILL the worker every S seconds")
    add("--fuzz", type=int, metavar="N", help="N malformed messages on every input; no --minutes")
    add("--starts", type=int, metavar="N", help="start and end N nodes instead; no --minutes")
    add(
        "--raw",
        type=_size,
        metavar="WxH",
        help="raw pictures of this size, not the recorded JPEG; bounds the node's own share",
    )
    add("--seed", type=int, default=0, help="seed of the malformed messages (%(default)s)")
    add("--bag", type=Path, help="the drive that is repeated (the bundled bag)")
    add("--camera", default="front_wide", help="camera in the bag (%(default)s)")
    add("--model", default="", help="checkpoint folder (the bundled mini)")
    add(
        "--stand-in",
        action="store_true",
        help="a worker whose planner is made up: loads at once, tests all but the model",
    )
    add("--period", type=float, default=0.1, metavar="S", help="between two ticks (%(default)g)")
    add("--deadline", type=float, default=1.0, metavar="S", help="of an answer (%(default)g)")
    add("--slack", type=float, default=1.0, help="multiplies limits of time (%(default)g)")
    add("--json", type=Path, metavar="FILE", help="write figures and samples into this file")
    add("--domain", type=int, help="ROS_DOMAIN_ID (a free one is drawn)")  # fmt: skip


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and 16 <= int(width) * int(height) <= 10**8):
        raise argparse.ArgumentTypeError(f"'{text}' is no size; give one like 1920x1080")
    return int(width), int(height)


def run(arguments: argparse.Namespace) -> int:
    """The whole soak; 1 when a bound was missed or the node did not start."""
    from rsd_planner.commands._children import Children, DemoError
    from rsd_planner.commands._drives import bundled_bag_path
    from rsd_planner.commands._looped_drive import loop_of
    from rsd_planner.commands._ros import enter_domain, require_ros

    _check(arguments)
    require_ros()
    from rsd_planner.bags import open_bag

    with open_bag(arguments.bag or bundled_bag_path()) as bag:
        drive = loop_of(bag, arguments.camera)
    enter_domain(arguments.domain)
    try:
        with tempfile.TemporaryDirectory(prefix="rsd_soak_") as name, Children(Path(name)) as kids:
            soak = Soak(arguments, kids, Path(name), drive)
            rows = soak.run()
    except DemoError as error:
        print(f"rsd soak: {error}", file=sys.stderr)
        return 1
    _tell(rows)
    _write(arguments, rows, soak.samples)
    return int(not all(row.passed for row in rows))


def _check(arguments: argparse.Namespace) -> None:
    asked = (arguments.fuzz, arguments.starts, arguments.kill_worker_every)
    if sum(one is not None for one in asked) > 1:
        raise CommandError("--fuzz, --starts and --kill-worker-every are three soaks; give one.")
    if arguments.raw is not None and arguments.fuzz is not None:
        raise CommandError("--fuzz sends pictures of its own; give it without --raw.")
    for option in ("fuzz", "starts"):
        if (number := getattr(arguments, option)) is not None and number < 1:
            raise CommandError(f"--{option} is {number}; give a number from 1 on.")
    if not 0.1 <= arguments.minutes <= 10_000:
        raise CommandError(f"--minutes is {arguments.minutes:g}; choose from 0.1 to 10000.")
    every_s = arguments.kill_worker_every
    if every_s is not None and not 0.5 <= every_s <= 30.0 * arguments.minutes:
        raise CommandError(
            f"--kill-worker-every is {every_s:g}; choose from 0.5 s to half of --minutes."
        )


@dataclass
class Soak:
    """One node under watch. `samples` hold what was seen of its processes."""

    arguments: argparse.Namespace
    children: Children
    folder: Path
    drive: Any
    samples: list[Sample] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)  # every segment and port that the node had
    workers: set[int] = field(default_factory=set)  # every worker that was seen

    def run(self) -> list[Row]:
        """Start, watch, stop, judge. Raises DemoError where the node does not start or dies."""
        from rsd_planner.commands._soak_hearing import Hearing
        from rsd_planner.commands._soak_starts import run_starts
        from rsd_planner.ros.soak_rig import SoakRig
        from rsd_planner.worker.server import let_others_in

        if self.arguments.starts is not None:
            with _progress() as bar:
                return run_starts(self, self.arguments.starts, bar)
        hearing = Hearing()
        node = self.start_node()
        let_others_in()  # who listens must not take the core from the node in a tick
        asked = self.arguments
        with SoakRig(_NODE, asked.camera, self.drive, hearing, asked.raw) as rig:
            self._begin(rig, node, hearing)
            with _progress() as bar:
                rows = self._work(rig, node, hearing, bar)
        return rows + self._end(node)

    def start_node(self, name: str = _NODE) -> Child:
        """A node process with this full name, unconfigured."""
        import yaml

        from rsd_planner.commands._fault_worker import write_worker

        asked = self.arguments
        values: dict[str, Any] = {
            "cameras": [asked.camera],
            "camera_compressed": asked.raw is None,
            "period_s": asked.period,
            "deadline_s": asked.deadline,
            "worker_start_timeout_s": _LOAD_S * asked.slack,
        }
        if asked.model:
            values["model_path"] = asked.model
        if asked.stand_in:
            values["worker_python"] = write_worker(self.folder, self.folder / "order")
        file = self.folder / "parameters.yaml"
        file.write_text(yaml.safe_dump({name: {"ros__parameters": values}}), encoding="utf-8")
        command = [sys.executable, "-m", "rsd_planner.ros.node", "--ros-args"]
        command += ["-r", f"__node:={name.lstrip('/')}", "--params-file", str(file)]
        return self.children.start(name.lstrip("/"), command)

    def _begin(self, rig: Any, node: Child, hearing: Hearing) -> None:
        """Until the model plans and the status has nothing to complain of."""
        from rsd_planner.commands._children import DemoError

        for name in ("configure", "activate"):
            if not rig.transition(name):
                raise DemoError(f"the node did not {name}: {node.last_words()}")
        print("the model is loading", flush=True)
        if not self._wait(rig, node, rig.is_steady, _LOAD_S * self.arguments.slack):
            raise DemoError(f"the node did not plan within {_LOAD_S:g} s: {rig.reasons()}")
        hearing.judge()

    def _work(self, rig: Any, node: Child, hearing: Hearing, bar: Any) -> list[Row]:
        from rsd_planner.commands import _soak_hurts as hurts
        from rsd_planner.commands._soak_measures import growth_rows, overhead_rows, plan_rows

        asked = self.arguments
        duration_s = 60.0 * asked.minutes
        settled_s = min(60.0 * asked.settle, 0.5 * duration_s)
        if asked.fuzz is not None:
            fuzz = hurts.Fuzz(rig, hearing, asked.fuzz, asked.seed, asked.slack)
            watch = lambda: self.watch(rig, node)  # noqa: E731
            rows, settled_s = fuzz.run(watch, bar)
            return rows + growth_rows(self.samples, settled_s, same_worker=False)
        killer = None
        if asked.kill_worker_every is not None:
            killer = hurts.Killer(rig, hearing, asked.kill_worker_every, asked.slack)
        task = bar.add_task("soaking", total=duration_s)
        began_s = time.monotonic()
        while (elapsed_s := time.monotonic() - began_s) < duration_s:
            self.watch(rig, node, elapsed_s)
            if killer is not None:
                killer.look(elapsed_s, duration_s)
            bar.update(task, completed=elapsed_s)
            time.sleep(0.02 if killer is not None else 0.2)
        hearing.rest(time.monotonic())
        rows = killer.rows() if killer is not None else []
        timing = rig.diagnostic("timing")
        rejected = self._stop_planning(rig, hearing)
        if killer is None:
            rows += plan_rows(hearing, rejected, asked.deadline, _max_input_age_s())
            rows += overhead_rows(timing, _OVERHEAD_MS * asked.slack if asked.raw else None)
            rows.append(_restarts(hearing))
        rows += growth_rows(self.samples, settled_s, same_worker=killer is None)
        return rows

    def watch(self, rig: Any, node: Child, elapsed_s: float | None = None) -> None:
        """Takes a sample when one is due. Raises DemoError when the node has died."""
        from rsd_planner.commands._children import DemoError, raise_if_interrupted
        from rsd_planner.commands._dds_memory import files_of
        from rsd_planner.commands._soak_measures import sample

        raise_if_interrupted()
        at_s = time.monotonic() if elapsed_s is None else elapsed_s
        if self.samples and at_s - self.samples[-1].at_s < _SAMPLE_S:
            return
        pid = rig.worker_pid()
        self.workers |= {pid} - {0}
        made = sample(at_s, node.pid, pid, [os.getpid()])
        if node.code is not None or made is None:
            raise DemoError(f"the node died (code {node.code}): {node.last_words()}")
        self.samples.append(made)
        self.shared |= files_of([node.pid])

    def _wait(self, rig: Any, node: Child, condition: Any, timeout_s: float) -> bool:
        from rsd_planner.commands._children import raise_if_interrupted

        def over() -> bool:
            raise_if_interrupted()
            return node.code is not None or bool(condition())

        return bool(rig.wait(over, timeout_s)) and node.code is None

    def _stop_planning(self, rig: Any, hearing: Hearing) -> int:
        """Deactivates, so that the counts are final; how many plans were rejected."""
        rig.transition("deactivate")
        deactivated_s = time.monotonic()
        rig.wait(lambda: rig.seen("status", deactivated_s + 0.2), 3.0 * self.arguments.slack)
        return int(rig.diagnostic("plan").get("plans_rejected", "0"))

    def _end(self, node: Child) -> list[Row]:
        """SIGINT, and what is left after it."""
        from rsd_planner.commands._dds_memory import left_behind
        from rsd_planner.commands._soak_measures import Row, bounded

        log = node.log
        began_s = time.monotonic()
        node.interrupt()
        code = node.wait(30.0 * self.arguments.slack)
        stop_s = time.monotonic() - began_s
        left = left_behind(self.shared)
        orphans = workers_of(node.pid)
        return [
            bounded("stopped within", stop_s, _STOP_S * self.arguments.slack, "s"),
            Row("exit code of the node", code, 0, "", code == 0),
            bounded("orphaned processes", len(orphans), 0, "", " ".join(map(str, orphans))),
            bounded("left in /dev/shm", len(left), 0, "", " ".join(left)),
            Row("log of the node", log.stat().st_size / 1e6, 10.0, "MB",
                log.stat().st_size < 10e6),
        ]  # fmt: skip


def workers_of(node_pid: int) -> list[int]:
    """Processes that are workers of this node, by their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_bytes().split(b"\0")
            if b"--parent" in words and words[words.index(b"--parent") + 1] == b"%d" % node_pid:
                found.append(int(file.parent.name))
    return sorted(found)


def _restarts(hearing: Hearing) -> Row:
    from rsd_planner.commands._soak_measures import bounded

    return bounded("restarts of the worker", hearing.counts.get("worker_generation", 1) - 1, 0)


def _max_input_age_s() -> float:
    from rsd_planner.config import PlannerSettings

    return PlannerSettings.from_mapping({}).max_input_age_s


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: Any = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        yield bar


def _tell(rows: list[Row]) -> None:
    from rich.table import Table

    from rsd_planner.viz.terminal import make_console

    table = Table(box=None, pad_edge=False)
    for heading, justify in (("", "left"), ("measure", "left"), ("value", "right"),
                             ("bound", "right"), ("", "left")):  # fmt: skip
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        verdict = "" if row.limit is None else "ok" if row.passed else "MISSED"
        bound = "" if row.limit is None else f"{row.limit:g} {row.unit}".strip()
        table.add_row(verdict, row.measure, f"{row.value:.4g} {row.unit}".strip(), bound, row.note)
    make_console().print(table)
    missed = sum(not row.passed for row in rows)
    print(f"{missed} bounds missed" if missed else "all bounds kept")


def _write(arguments: argparse.Namespace, rows: list[Row], samples: list[Sample]) -> None:
    from rsd_planner.commands._measured import write_node_json

    step = 1 + len(samples) // _MOST_TOLD
    figures = {
        "seed": arguments.seed,
        "rows": [asdict(row) for row in rows],
        "samples": [asdict(one) for one in samples[::step]],
    }
    write_node_json(arguments.json, arguments, figures)
