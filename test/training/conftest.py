"""A few short drives, made once for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_drives import write_drive

from rsd_planner.cli import main
from rsd_planner.models.presets import write_random_checkpoint


@pytest.fixture(scope="session")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train` with two drives, `clips` and `heldout` with one, four seconds each."""
    folder = tmp_path_factory.mktemp("drives")
    common = ["--seconds", "4", "--processes", "1"]
    assert main(["data", "--drives", "2", "--out", str(folder / "train"), *common]) == 0
    clips = ["--clips", "--drives", "1", "--first-seed", "9", "--out", str(folder / "clips")]
    assert main(["data", *clips, *common]) == 0
    held_out = ["--drives", "1", "--first-seed", "100000", "--out", str(folder / "heldout")]
    assert main(["data", *held_out, *common]) == 0
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target with random weights, for the trainings of drafters."""
    return write_random_checkpoint(tmp_path_factory.mktemp("target"), seed=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drives that cost nothing to make, in `train` and `heldout`, for the same."""
    folder = tmp_path_factory.mktemp("drives")
    for split, seeds in (("train", (0, 1)), ("heldout", (1,))):  # what it saw, it must know
        for seed in seeds:
            write_drive(folder / split, seed)
    return folder
