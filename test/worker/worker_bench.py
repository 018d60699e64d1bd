"""A worker client whose answers are kept, and what tells whether a process lives."""

from __future__ import annotations

import dataclasses
import queue
import time
from collections.abc import Callable
from pathlib import Path

from drives import filled_buffer

from rsd_planner.config import PlannerSettings
from rsd_planner.types import Observation
from rsd_planner.worker.client import Answer, WorkerClient, WorkerPhase

__all__ = ["PATIENCE_S", "Bench", "alive"]

PATIENCE_S = 30.0


class Bench:
    """A client with its answers in a queue."""

    def __init__(self, **settings: object) -> None:
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.lines: list[str] = []
        self.client = WorkerClient(
            PlannerSettings.from_mapping(settings), self.answers.put, self.lines.append
        )
        buffer, now = filled_buffer()
        seen = buffer.snapshot(now, 1)
        assert isinstance(seen, Observation)
        self.observation = seen

    def ask(self, hint: str = "", tick: int = 1, deadline_s: float = 10.0, epoch: int = 0) -> bool:
        seen = dataclasses.replace(self.observation, navigation=hint, tick=tick)
        return self.client.submit(seen, epoch, deadline_s)

    def answer(self) -> Answer:
        return self.answers.get(timeout=PATIENCE_S)

    def ready(self) -> None:
        self.wait(lambda: self.client.status().phase is WorkerPhase.READY)

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, (self.client.status(), self.lines)
            time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
