"""Clients that are closed after their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import write_fake_worker
from worker_bench import Bench

from rsd_planner.worker.client import WorkerPhase


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(**settings: object) -> Bench:
        settings.setdefault("worker_python", write_fake_worker(tmp_path))
        benches.append(Bench(**settings))
        benches[-1].client.start()
        return benches[-1]

    yield make
    for bench in benches:
        bench.client.close()
        assert bench.client.status().phase is WorkerPhase.STOPPED
