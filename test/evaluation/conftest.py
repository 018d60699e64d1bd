"""A tiny random model and a few drives, for all tests of the evaluation.

The drives are real shards, but nothing is simulated or rendered for them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rsd_planner.models.presets import write_random_checkpoint
from rsd_planner.simulation.labels import LABELS
from rsd_planner.simulation.narrator import Cause, Narration, View
from rsd_planner.simulation.phrases import Phrases, cause_clause, decision_clause, sentence
from rsd_planner.simulation.record import START_NS, RecordedDrive
from rsd_planner.simulation.scene import Drive, EgoTrack, Snapshot, Weather
from rsd_planner.simulation.text_changes import novel_frames
from rsd_planner.training.shards import TICK_HZ, write_shard

FIRST = 10  # frames of lead-in
_SCENES = (
    ("keep", (Cause("road_free"),)),
    ("slow", (Cause("lead_braking", {"kind": "van", "distance_m": 12}),)),
    (
        "yield",
        (
            Cause("pedestrian_crossing", {"side": "left", "distance_m": 20}),
            Cause("light_green", {"distance_m": 33}),
        ),
    ),
    ("left", (Cause("cones", {"distance_m": 27}),)),
)


def narrate(decision: str, causes: tuple[Cause, ...]) -> Narration:
    """A text in the narrator's words."""
    quantities = {"speed": 30, "goal": 20, "room": 12}
    opening = decision_clause(Phrases.CLEAR, decision, quantities)
    clauses = [cause_clause(Phrases.CLEAR, c.name, c.attributes) for c in causes]
    return Narration(sentence(Phrases.CLEAR, opening, clauses), decision, causes)


def make_drive(seed: int, frames: int) -> RecordedDrive:
    """A drive that speeds up on a bend; the scene changes every six frames."""
    time = np.arange(0.0, frames / TICK_HZ + 8.0, 0.05)
    speed = 4.0 + 0.3 * time + seed % 7
    yaw = 0.03 * time
    steps = 0.05 * speed[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    track = EgoTrack(time, np.cumsum(steps, axis=0), yaw, speed, np.full_like(time, 0.03))
    start = Snapshot(0.0, 0.0, 0.0, 0.0, float(speed[0]), 0.3, (), ())
    drive = Drive(seed, "made", 14.0, Weather.CLEAR, (start,), track, ())
    rng = np.random.default_rng(seed)
    jpegs = [
        cv2.imencode(".jpg", rng.integers(0, 255, (64, 128, 3), dtype=np.uint8))[1].tobytes()
        for _ in range(frames)
    ]
    told = [narrate(*_SCENES[(i // 6 + seed) % len(_SCENES)]) for i in range(frames)]
    stamps = START_NS + np.arange(frames, dtype=np.int64) * (10**9 // TICK_HZ)
    return RecordedDrive(
        drive,
        stamps,
        tuple(jpegs),
        np.arange(frames) >= FIRST,
        np.zeros((frames, 128, 256), np.uint8),
        np.full((frames, len(LABELS)), np.nan, np.float32),
        tuple(told),
        tuple(View(float(v), 0.3) for v in speed[:frames]),
        novel_frames(stamps, [[cause.name for cause in n.causes] for n in told]),
    )


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights."""
    return write_random_checkpoint(tmp_path_factory.mktemp("tiny"), seed=3)


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shards of three drives."""
    folder = tmp_path_factory.mktemp("drives")
    for seed in range(100_000, 100_003):
        write_shard(make_drive(seed, frames=28), folder)
    return folder
