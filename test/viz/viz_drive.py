"""A made-up drive for the eyes: a grey road, a car at 8 m/s, one tick every 0.2 s."""

from __future__ import annotations

import numpy as np
import pytest

from rsd_planner.types import (
    CameraModel,
    Decision,
    EgoState,
    PlanSource,
    Span,
    SpanKind,
    SpanSource,
)
from rsd_planner.viz.recording import Picture, Recording
from rsd_planner.viz.tick_view import TickView

START_NS = 1_000_000_000
TEXT = "Slow down because the car ahead is 14 m away"


def make_camera(width: int = 256, height: int = 128) -> CameraModel:
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[:3, 3] = [1.5, 0.0, 1.4]
    return CameraModel(width, height, 140.0, 140.0, width / 2 - 0.5, height / 2 - 0.5, pose)


def make_tick(number: int, **changes) -> TickView:
    cut = TEXT.index("14")
    spans = (
        Span(0, cut, 8, SpanSource.PREVIOUS_TICK, SpanKind.ACCEPTED),
        Span(cut, cut + 2, 2, SpanSource.TARGET, SpanKind.CORRECTED),
        Span(cut + 2, len(TEXT), 3, SpanSource.PREVIOUS_TICK, SpanKind.ACCEPTED),
    )
    start = np.array([8.0 * 0.2 * number, 0.0, 0.0])
    ahead = 0.8 * np.arange(1, 65)
    path = start + np.stack([ahead, np.zeros(64), np.zeros(64)], axis=1)
    pose = np.eye(4)
    pose[:3, 3] = start
    values = {
        "tick": number,
        "t0_ns": START_NS + number * 200_000_000,
        "text": TEXT,
        "spans": spans,
        "decision": Decision.SLOW,
        "source": PlanSource.MODEL,
        "path_m": path,
        "heading_rad": np.zeros(64),
        "speed_mps": np.full(64, 8.0),
        "pose_odom_from_ego": pose,
        "drafter": "previous_tick",
        "rule": "greedy",
        "tokens": 13,
        "proposed": 20,
        "accepted": 11,
        "target_forwards": 2,
        "reasoning_ms": 20.0,
        "plain_ms_estimate": 100.0,
        "total_ms": 120.0,
    }
    return TickView(**(values | changes))


@pytest.fixture()
def camera() -> CameraModel:
    return make_camera()


@pytest.fixture()
def tick() -> TickView:
    return make_tick(0)


@pytest.fixture()
def recording() -> Recording:
    image = np.full((128, 256, 3), 110, np.uint8)
    turn = np.array([0.0, 0.0, 0.0, 1.0])
    speed = np.array([8.0, 0.0, 0.0])
    made = Recording(make_camera(), "front_wide")
    for i in range(12):
        made.pictures.append(Picture.encode(START_NS + i * 100_000_000, image))
    for i in range(80):
        at = np.array([8.0 * 0.02 * i, 0.0, 0.0])
        made.ego.append(EgoState(START_NS + i * 20_000_000, at, turn, speed, np.zeros(3)))
    made.ticks = [make_tick(i) for i in range(5)]
    return made
