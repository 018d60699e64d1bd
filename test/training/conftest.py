"""A few short drives, made once for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsd_planner.cli import main


@pytest.fixture(scope="session")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train` with two drives, `stills` and `heldout` with one, four seconds each."""
    folder = tmp_path_factory.mktemp("drives")
    common = ["--seconds", "4", "--processes", "1"]
    assert main(["data", "--drives", "2", "--out", str(folder / "train"), *common]) == 0
    stills = ["--stills", "--drives", "1", "--first-seed", "9", "--out", str(folder / "stills")]
    assert main(["data", *stills, *common]) == 0
    held_out = ["--drives", "1", "--first-seed", "100000", "--out", str(folder / "heldout")]
    assert main(["data", *held_out, *common]) == 0
    return folder
