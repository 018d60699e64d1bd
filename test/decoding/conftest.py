"""Tiny random models, made once for each run."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.presets import write_random_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(write_random_checkpoint(tmp_path_factory.mktemp("tiny"), seed=3))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("tiny_planner"), seed=5)
