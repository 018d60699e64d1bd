"""What a 1080p camera costs the node for each frame; no node is started."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from drives import START_NS, filled_buffer
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from rsd_planner.planning.pictures import raw_to_rgb
from rsd_planner.types import Frame, Observation
from rsd_planner.worker.process import FrameMemory

HEIGHT, WIDTH = 1080, 1920


def best_ms(action: Callable[[int], None], times: int = 40) -> float:
    """Processor time of the cheapest of some runs; other load changes it little."""
    took = []
    for number in range(times):
        began = time.process_time()
        action(number)
        took.append(1e3 * (time.process_time() - began))
    return min(took)


@pytest.mark.parametrize("encoding", ["bgr8", "rgb8"])
def test_a_raw_1080p_frame_costs_at_most_three_milliseconds(encoding: str) -> None:
    cv2.setNumThreads(1)  # as in the node
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=3 * WIDTH)
    message.data = np.zeros(3 * HEIGHT * WIDTH, np.uint8).tobytes()
    wire = serialize_message(message)
    buffer, now = filled_buffer()
    memory = FrameMemory()

    def frame(number: int) -> None:
        got = deserialize_message(wire, Image)
        image = raw_to_rgb(got.data, got.encoding, got.height, got.width, got.step)
        stamp = now + number * 100_000_000  # as old frames go, their memory is used again
        made = Frame("front_wide", stamp, image)
        assert buffer.add_frame(made, stamp).ok
        memory.place((made,))

    try:
        cost = best_ms(frame)
    finally:
        memory.close()
    print(f"{encoding}: {cost:.2f} ms a frame")
    assert cost < 3.0


def test_the_pictures_of_a_snapshot_are_not_copied() -> None:
    buffer, now = filled_buffer()
    made = Frame("front_wide", now - 1, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert buffer.add_frame(made, now).ok
    seen = buffer.snapshot(START_NS + (now - START_NS), 1)
    assert isinstance(seen, Observation)
    assert all(any(f is kept for kept in buffer._frames[f.camera]) for f in seen.frames)
