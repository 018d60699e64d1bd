"""A short made-up bag and a tiny random model, so that whole commands run in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rsd_planner.bags import BagWriter
from rsd_planner.models.presets import write_random_checkpoint
from rsd_planner.types import CameraModel, EgoState

START_NS = 1_700_000_000_000_000_000
SECONDS = 4.0


def write_bag(path: Path, *, odometry: bool = True, pictures: bool = True) -> Path:
    """A car at 5 m/s on a straight line before changing noise."""
    mount = np.eye(4)
    mount[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    mount[:3, 3] = [1.5, 0.0, 1.4]
    camera = CameraModel(64, 32, 40.0, 40.0, 31.5, 15.5, mount)
    topic, frame = "/camera/front_wide", "camera_front_wide_optical"
    with BagWriter(path) as bag:
        bag.static_transform(START_NS, START_NS, "base_link", frame, mount)
        for i in range(int(SECONDS * 10) if pictures else 0):
            stamp = START_NS + i * 100_000_000
            image = np.random.default_rng(i // 8).integers(0, 255, (32, 64, 3), dtype=np.uint8)
            data = cv2.imencode(".jpg", image)[1].tobytes()
            bag.jpeg(stamp + 20_000_000, f"{topic}/image/compressed", stamp, frame, data)
            if i == 0:
                bag.camera_info(stamp + 20_000_000, f"{topic}/camera_info", stamp, frame, camera)
        for i in range(int(SECONDS * 50) if odometry else 0):
            stamp = START_NS + i * 20_000_000
            state = EgoState(
                stamp,
                np.array([5.0 * i * 0.02, 0.0, 0.0]),
                np.array([0.0, 0.0, 0.0, 1.0]),
                np.array([5.0, 0.0, 0.0]),
                np.zeros(3),
            )
            bag.odometry(stamp + 2_000_000, "/odometry", state, "odom", "base_link")
    return path


@pytest.fixture(scope="session")
def bag(tmp_path_factory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "short")


@pytest.fixture(scope="session")
def bag_without_odometry(tmp_path_factory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "blind", odometry=False)


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("models") / "tiny", seed=3)
