"""The worker with the real planner on a tiny random checkpoint: loads, warms, answers."""

from __future__ import annotations

import dataclasses
import os
import queue
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from drives import filled_buffer
from fakes import WORKER_PYTHON

from rsd_planner.config import PlannerSettings
from rsd_planner.types import Frame, Observation
from rsd_planner.worker.client import Answer, Outcome, WorkerClient, WorkerPhase

PATIENCE_S = 90.0


def make_checkpoint(folder: Path) -> None:
    """By the worker's interpreter: this one may have no torch."""
    code = (
        "import importlib.util, sys\n"
        "if importlib.util.find_spec('torch') is None: sys.exit(77)\n"
        "from rsd_planner.models.presets import write_random_checkpoint\n"
        f"write_random_checkpoint({str(folder)!r}, seed=1)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([WORKER_PYTHON, "-c", code], env={**os.environ, "PYTHONPATH": root})
    if done.returncode == 77:
        pytest.skip("the worker's interpreter has no torch")
    assert done.returncode == 0


def test_the_real_planner_answers_from_its_own_process(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    make_checkpoint(folder)
    settings = PlannerSettings.from_mapping(
        {
            "model_path": str(folder),
            "worker_python": WORKER_PYTHON,
            "hang_timeout_s": 60.0,
            "max_reasoning_tokens": 12,
        }
    )
    buffer, now = filled_buffer(settings=settings)
    seen = buffer.snapshot(now, 3)
    assert isinstance(seen, Observation)
    random = np.random.default_rng(0)
    frames = [
        Frame(f.camera, f.stamp_ns, random.integers(0, 255, (64, 128, 3), dtype=np.uint8))
        for f in seen.frames
    ]
    seen = dataclasses.replace(seen, frames=tuple(frames))
    answers: queue.Queue[Answer] = queue.Queue()
    lines: list[str] = []
    client = WorkerClient(settings, answers.put, lines.append)
    client.start()
    try:
        end = time.monotonic() + PATIENCE_S
        while client.status().phase is not WorkerPhase.READY:
            assert time.monotonic() < end, (client.status(), lines)
            time.sleep(0.05)
        texts = []
        for tick in (3, 4):
            assert client.submit(dataclasses.replace(seen, tick=tick), 0, 60.0)
            answer = answers.get(timeout=PATIENCE_S)
            assert answer.outcome is Outcome.PLAN, answer
            assert answer.result is not None
            assert (answer.result.tick, answer.result.t0_ns) == (tick, seen.t0_ns)
            assert answer.result.trajectory.position_m.shape == (64, 3)
            assert answer.plan_ms > 0.0
            texts.append(answer.result.text)
        assert texts[0] == texts[1]  # the draft of the tick before changes nothing but time
    finally:
        client.close()
