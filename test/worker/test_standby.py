"""One process waits; it takes over from a worker that dies, and nothing is lost if it died too."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_bench import Bench, alive

from rsd_planner.config import PlannerSettings
from rsd_planner.worker.client import Outcome, WorkerPhase
from rsd_planner.worker.standby import Standby


def stands_by(bench: Bench) -> int:
    """The process id of the one that waits, once there is one."""
    bench.wait(lambda: bench.client.status().standby_pid is not None)
    return bench.client.status().standby_pid or 0


def kill_worker(bench: Bench) -> None:
    before = bench.client.status()
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    bench.wait(lambda: bench.client.status().generation != before.generation)


def test_the_one_that_waits_takes_over(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    for number in range(3):
        waiting = stands_by(bench)
        kill_worker(bench)
        bench.ready()
        assert bench.client.status().pid == waiting
        assert bench.ask(tick=number)
        assert bench.answer().outcome is Outcome.PLAN
        bench.wait(lambda last=waiting: bench.client.status().standby_pid != last)
    assert bench.client.status().generation == 4


def test_none_is_started_before_the_worker_is_ready_or_against_the_settings(
    start: Callable[..., Bench],
) -> None:
    failing = start(worker_python="/bin/false")
    failing.wait(lambda: failing.client.status().generation > 2)
    assert failing.client.status().standby_pid is None
    bench = start(worker_standby=False)
    bench.ready()
    assert bench.ask()
    assert bench.answer().outcome is Outcome.PLAN
    assert bench.client.status().standby_pid is None
    kill_worker(bench)
    bench.ready()


def test_one_that_dies_while_it_waits_is_let_go(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    os.kill(stands_by(bench), signal.SIGKILL)
    bench.wait(lambda: bench.client.status().standby_pid is None)
    bench.wait(lambda: any("stood by is gone" in line for line in bench.lines))
    assert any("SIGKILL" in line for line in bench.lines)
    assert bench.client.status().phase is WorkerPhase.READY
    kill_worker(bench)
    bench.ready()
    assert stands_by(bench)  # the next one is made when the new worker is ready


def test_one_that_dies_with_the_worker_costs_a_start(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    os.kill(stands_by(bench), signal.SIGKILL)
    kill_worker(bench)
    bench.ready()
    assert bench.ask()
    assert bench.answer().outcome is Outcome.PLAN


def test_closing_ends_both(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    pids = [stands_by(bench), bench.client.status().pid or 0]
    bench.client.close()
    assert not any(map(alive, pids))
    assert bench.client.status().standby_pid is None


@pytest.mark.slow
def test_it_has_imported_torch_before_it_is_told_what_to_load() -> None:
    lines: list[str] = []
    standby = Standby(PlannerSettings(), lines.append)
    standby.prepare()
    assert standby.pid is not None
    maps = Path(f"/proc/{standby.pid}/maps")
    end = time.monotonic() + 120.0
    process = standby.take(PlannerSettings())
    try:
        assert standby.pid is None
        assert select.select([process.channel], [], [], end - time.monotonic())[0], lines
        hello = process.receive() or []
        assert [message["kind"] for message in hello] == ["hello"]
        assert "libtorch" in maps.read_text()
        # Only the thread that imported stood back, and it ends: the next worker runs as the first.
        while any(priority(task) for task in Path(f"/proc/{process.pid}/task").iterdir()):
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        process.kill()


def priority(task: Path) -> int:
    """The niceness of a thread; 0 of one that has just ended."""
    try:
        return os.getpriority(os.PRIO_PROCESS, int(task.name))
    except ProcessLookupError:
        return 0
