"""Seeds whose process dies or stands still are left out; all others are done."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path

import pytest

from rsd_planner.training.drive_pool import run_seeds

# A module of its own: a spawned process must be able to import it.
WORK = """
import os, signal, time
def work(seed, folder):
    if seed == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if seed == 5:
        time.sleep(60.0)
    if seed == 7:
        raise ValueError("no room")
    (folder / str(seed)).touch()
"""


def test_every_seed_ends_once_and_the_sound_ones_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drive_pool_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("drive_pool_work").work
    out = tmp_path / "out"
    out.mkdir()
    ended = dict(run_seeds(partial(work, folder=out), range(10), 2, patience_s=6.0))
    assert sorted(ended) == list(range(10))
    assert "died with exit code -11" in ended[3]
    assert "longer than 6 s" in ended[5]
    assert ended[7] == "ValueError: no room"
    sound = {seed for seed, what in ended.items() if not what}
    assert sound == set(range(10)) - {3, 5, 7}
    assert {int(path.name) for path in out.iterdir()} == sound
