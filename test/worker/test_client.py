"""The worker answers, is late, hangs, dies and comes back; the client is never stuck."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drives import START_NS
from fakes import FAIL_LOAD, LOAD_S, write_fake_worker
from worker_bench import PATIENCE_S, Bench, alive

from rsd_planner.types import Frame
from rsd_planner.worker.client import Outcome, WorkerPhase


def test_it_plans_and_keeps_the_frames_that_it_was_sent(start: Callable[..., Bench]) -> None:
    bench = start()
    assert not bench.ask()  # not ready yet: refused, not blocked
    bench.ready()
    pictures = [np.full((4, 6, 3), 40 * i, dtype=np.uint8) for i in range(4)]
    frames = [Frame("front_wide", START_NS + i, image) for i, image in enumerate(pictures)]
    bench.observation = dataclasses.replace(bench.observation, frames=tuple(frames))
    assert bench.ask()
    first = bench.answer()
    assert (first.outcome, first.tick) == (Outcome.PLAN, 1)
    assert first.result is not None
    assert "[0, 40, 80, 120]" in first.result.text
    # Same stamps with other pixels: the server must use what it kept.
    black = [dataclasses.replace(f, image=np.zeros((4, 6, 3), np.uint8)) for f in frames]
    bench.observation = dataclasses.replace(bench.observation, frames=tuple(black))
    assert bench.ask()
    second = bench.answer()
    assert second.result is not None
    assert "[0, 40, 80, 120]" in second.result.text


def test_larger_pictures_make_the_memory_grow(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    for number, side in enumerate((8, 900, 16), start=1):
        image = np.full((side, side, 3), side % 250, dtype=np.uint8)
        frame = Frame("front_wide", START_NS + number, image)
        bench.observation = dataclasses.replace(bench.observation, frames=(frame,))
        assert bench.ask()
        result = bench.answer().result
        assert result is not None
        assert f"[{side % 250}]" in result.text


def test_a_new_epoch_resets_the_planner(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    texts = []
    for epoch in (0, 0, 1, 2):
        assert bench.ask(epoch=epoch)
        result = bench.answer().result
        assert result is not None
        texts.append(result.text)
    assert [text.split(", ")[-2] for text in texts] == [f"{n} resets" for n in (0, 0, 1, 2)]


def test_a_late_answer_is_reported_at_the_deadline_and_dropped(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    began = time.monotonic()
    assert bench.ask("sleep 1.0", deadline_s=0.2)
    assert not bench.ask(tick=2)  # busy: newest observation wins later
    late = bench.answer()
    assert late.outcome is Outcome.LATE
    assert time.monotonic() - began < 0.9
    assert "within deadline_s = 0.2 s" in late.reason
    bench.ready()
    assert bench.answers.empty()
    assert bench.client.status().late_dropped == 1
    assert bench.client.status().generation == 1
    assert bench.ask(tick=3)
    assert bench.answer().tick == 3


def test_an_abandoned_answer_never_comes(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    assert bench.ask("sleep 0.2")
    bench.client.abandon()
    bench.ready()
    assert bench.ask(tick=2)
    assert bench.answer().tick == 2
    assert bench.answers.empty()


def test_a_hung_worker_is_killed_and_started_anew(start: Callable[..., Bench]) -> None:
    bench = start(hang_timeout_s=0.6)
    bench.ready()
    pid = bench.client.status().pid
    assert pid is not None
    assert bench.ask("hang", deadline_s=0.2)
    assert bench.answer().outcome is Outcome.LATE
    bench.wait(lambda: bench.client.status().generation == 2)
    bench.ready()
    assert not alive(pid)
    assert any("hung on tick 1" in line for line in bench.lines)
    assert bench.ask(tick=2)
    assert bench.answer().outcome is Outcome.PLAN


def test_a_worker_that_dies_in_a_tick_loses_it_with_its_last_words(
    start: Callable[..., Bench],
) -> None:
    bench = start()
    bench.ready()
    assert bench.ask("die")
    lost = bench.answer()
    assert lost.outcome is Outcome.LOST
    assert "exited with code 7" in lost.reason
    assert "the fake worker dies" in lost.reason
    bench.wait(lambda: bench.client.status().generation == 2)
    bench.ready()


def test_a_killed_worker_is_named_and_replaced(start: Callable[..., Bench]) -> None:
    bench = start()
    for generation in (1, 2, 3):
        bench.wait(lambda g=generation: bench.client.status().generation == g)  # type: ignore[misc]
        bench.ready()
        pid = bench.client.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    bench.wait(lambda: bench.client.status().generation == 4)
    assert any("SIGKILL" in line for line in bench.lines)


def test_a_worker_that_grows_beyond_its_limit_is_replaced(start: Callable[..., Bench]) -> None:
    bench = start(worker_memory_limit_mb=400)
    bench.ready()
    bench.wait(lambda: bench.client.status().memory_mb > 10)
    assert bench.ask("eat 600")
    bench.wait(lambda: bench.client.status().generation == 2)
    assert any("more than worker_memory_limit_mb = 400" in line for line in bench.lines)
    bench.ready()
    assert bench.client.status().restarts == 1


def test_an_answer_to_another_tick_counts_for_nothing(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    assert bench.ask("other tick", tick=5)
    lost = bench.answer()
    assert (lost.outcome, lost.tick) == (Outcome.LOST, 5)
    assert "answered tick 6 where tick 5 was asked" in lost.reason
    bench.wait(lambda: bench.client.status().generation == 2)


def test_a_stopped_worker_gives_no_sign_of_life_and_is_replaced(
    start: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsd_planner.worker.client.HEARTBEAT_TIMEOUT_S", 1.0)
    bench = start()
    bench.ready()
    status = bench.client.status()
    assert 0.0 <= status.heard_s < 1.0
    assert status.pid is not None
    os.kill(status.pid, signal.SIGSTOP)
    bench.wait(lambda: bench.client.status().generation == 2)
    assert any("no sign of life for 1 s" in line for line in bench.lines)
    assert not alive(status.pid)


def test_restarts_back_off_and_a_good_answer_ends_that(
    start: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    bench = start()
    monkeypatch.setattr(bench.client, "_stopping", _Stopping(waits))
    for generation in (1, 2, 3):
        bench.wait(lambda g=generation: bench.client.status().generation == g)  # type: ignore[misc]
        bench.ready()
        if generation == 3:
            assert bench.ask()
            assert bench.answer().outcome is Outcome.PLAN
        pid = bench.client.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    bench.wait(lambda: bench.client.status().generation == 4)
    assert waits == pytest.approx([0.4, 0.8, 0.2])


class _Stopping(threading.Event):
    """Does not wait, and tells how long it would have."""

    def __init__(self, waits: list[float]) -> None:
        super().__init__()
        self.waits = waits

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


def cycle(python: str, number: int) -> None:
    """One life of a client that ends at a moment which depends on `number`."""
    bench = Bench(worker_python=python)
    bench.client.start()
    if number % 4 == 1:
        bench.wait(lambda: bench.client.status().pid is not None)
    elif number % 4 > 1:
        bench.ready()
    if number % 4 == 3:
        assert bench.ask("sleep 5")
    began = time.monotonic()
    bench.client.close()
    assert bench.client.status().phase is WorkerPhase.STOPPED
    assert time.monotonic() - began < 3.5


def leftovers() -> tuple[int, int, set[str]]:
    """Open files and threads of this process, and what lies in shared memory."""
    files = len(list(Path("/proc/self/fd").iterdir()))
    return files, threading.active_count(), {p.name for p in Path("/dev/shm").iterdir()}


@pytest.mark.parametrize("cycles", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_start_and_stop_again_and_again_leave_nothing(tmp_path: Path, cycles: int) -> None:
    python = write_fake_worker(tmp_path)
    cycle(python, 0)
    before = leftovers()
    for number in range(cycles):
        cycle(python, number)
    after = leftovers()
    assert after[:2] == before[:2]
    assert not {name for name in after[2] - before[2] if "rsd" in name}


def test_a_planner_that_raises_costs_one_tick_only(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    assert bench.ask("raise")
    error = bench.answer()
    assert (error.outcome, error.reason) == (Outcome.ERROR, "RuntimeError: the fake planner raises")
    assert bench.ask()
    assert bench.answer().outcome is Outcome.PLAN
    assert bench.client.status().generation == 1


def test_prints_of_libraries_do_not_disturb(start: Callable[..., Bench]) -> None:
    bench = start()
    bench.ready()
    assert bench.ask("print chatter")
    assert bench.answer().outcome is Outcome.PLAN
    bench.wait(lambda: "worker: chatter" in bench.lines)


def test_a_failed_load_is_the_reason_and_is_tried_again(
    start: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAIL_LOAD, "no weights today")
    bench = start()
    bench.wait(lambda: "no weights today" in bench.client.status().reason)
    monkeypatch.delenv(FAIL_LOAD)
    bench.ready()


def test_an_interpreter_that_is_missing_or_exits_is_the_reason(start: Callable[..., Bench]) -> None:
    bench = start(worker_python="/nowhere/python")
    bench.wait(lambda: "check worker_python" in bench.client.status().reason)
    other = start(worker_python="/bin/false")
    other.wait(lambda: "exited with code 1" in other.client.status().reason)


def test_start_and_close_do_not_wait_for_a_slow_load(
    start: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOAD_S, "60")
    began = time.monotonic()
    bench = start()
    assert time.monotonic() - began < 0.5
    bench.wait(lambda: bench.client.status().pid is not None)
    pid = bench.client.status().pid
    assert pid is not None
    began = time.monotonic()
    bench.client.close()
    assert time.monotonic() - began < 3.5
    assert not alive(pid)


def test_the_worker_ends_when_its_client_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    python = write_fake_worker(tmp_path)
    program = (
        "import time\n"
        "from rsd_planner.config import PlannerSettings\n"
        "from rsd_planner.worker.client import WorkerClient, WorkerPhase\n"
        f"s = PlannerSettings.from_mapping({{'worker_python': {python!r}}})\n"
        "c = WorkerClient(s, print)\n"
        "c.start()\n"
        "while c.status().phase is not WorkerPhase.READY: time.sleep(0.01)\n"
        "print(c.status().pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    shm_before = {p.name for p in Path("/dev/shm").iterdir()}
    node = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert node.stdout is not None
    pid = int(node.stdout.readline())
    assert alive(pid)
    os.kill(pid, signal.SIGINT)  # Ctrl-C is the node's business
    time.sleep(0.1)
    assert alive(pid)
    os.kill(pid, signal.SIGSTOP)  # one that cannot notice must end too
    node.kill()
    node.wait()
    node.stdout.close()
    end = time.monotonic() + PATIENCE_S
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not {
        n
        for n in {p.name for p in Path("/dev/shm").iterdir()} - shm_before
        if "rsd" in n or "psm_" in n
    }


def test_the_client_side_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "import rsd_planner.worker.client, rsd_planner.worker.server\n"
        "import rsd_planner.planning.input_buffer, rsd_planner.planning.fallback\n"
        "import rsd_planner.planning.checks\n"
        "sys.exit(bool({'torch', 'transformers', 'rclpy'} & set(sys.modules)))\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == 0
