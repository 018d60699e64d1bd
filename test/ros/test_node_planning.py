"""A node that plans, from outside: outputs and faults. The worker's planner is made up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from rsd_planner.types import NANOSECONDS

pytest.importorskip("rclpy")
pytest.importorskip("rsd_planner.msg")

from nav_msgs.msg import Odometry
from ros_harness import Harness, stamp_of
from rsd_planner.msg import PlannedTrajectory, PlannerStatus
from sensor_msgs.msg import CameraInfo, Image
from visualization_msgs.msg import MarkerArray

pytestmark = pytest.mark.ros
Start = Callable[..., Harness]


def test_one_result_feeds_all_messages_of_a_tick_stamped_t0(node: Harness) -> None:
    node.wait(lambda: len(node.messages("trajectory")) > 5)
    plan: PlannedTrajectory = node.wait_for_new(
        "trajectory", lambda m: m.source == PlannedTrajectory.MODEL
    )
    t0 = stamp_of(plan)
    node.wait(lambda: any(m.tick == plan.tick for m in node.messages("reasoning")))
    node.wait(lambda: any(m.tick == plan.tick for m in node.messages("stats")))
    node.wait(lambda: any(stamp_of(m) == t0 for m in node.messages("path")))
    reasoning = next(m for m in node.messages("reasoning") if m.tick == plan.tick)
    stats = next(m for m in node.messages("stats") if m.tick == plan.tick)
    path = next(m for m in node.messages("path") if stamp_of(m) == t0)
    assert stamp_of(reasoning) == stamp_of(stats) == t0
    assert 0 < time.time_ns() - t0 < 5 * NANOSECONDS
    assert plan.header.frame_id == path.header.frame_id == "odom"
    assert plan.plan_tick == plan.tick
    assert len(plan.points) == len(path.poses) == 64
    assert plan.points[0].time_from_start.nanosec == 100_000_000
    assert plan.points[0].longitudinal_velocity_mps == pytest.approx(8.0, abs=0.1)
    assert plan.valid_until.sec * NANOSECONDS + plan.valid_until.nanosec == t0 + NANOSECONDS
    assert reasoning.text.startswith("keep speed: [7, 7, 7, 7]")
    assert reasoning.spans[0].end == reasoning.spans[1].start
    assert stats.acceptance_length == pytest.approx(1.5)
    node.wait(lambda: all(i.ok for i in node.newest("status").inputs))
    inputs = {i.name: i for i in node.newest("status").inputs}
    assert inputs["front_wide"].topic == "/rsd_planner/input/camera/front_wide/image"


def test_a_late_model_means_last_valid_then_safe_stop_then_recovery(node: Harness) -> None:
    assert node.set_parameter("deadline_s", 0.3).successful
    node.send_hint("sleep 2.5")
    last = node.wait_for_new("trajectory", lambda m: m.source == PlannedTrajectory.LAST_VALID)
    assert last.plan_tick < last.tick
    assert len(last.points) < 64
    stop = node.wait_for_new("trajectory", lambda m: m.source == PlannedTrajectory.SAFE_STOP)
    model = next(m for m in node.messages("trajectory") if m.tick == stop.plan_tick)
    assert model.source == PlannedTrajectory.MODEL
    assert stamp_of(stop) == stamp_of(model)
    assert stop.points[-1].longitudinal_velocity_mps == 0.0
    node.wait(lambda: node.state() == PlannerStatus.SAFE_STOP)
    assert "deadline_s = 0.3" in node.reasons() or "validity" in node.reasons()
    assert node.newest("status").ticks_late >= 1
    node.recover()


def test_a_killed_worker_is_replaced_while_the_fallback_holds(node: Harness) -> None:
    generation = node.newest("status").worker_generation
    os.kill(node.worker_pid(), signal.SIGKILL)
    node.wait(lambda: node.state() in (PlannerStatus.DEGRADED, PlannerStatus.SAFE_STOP))
    assert "worker" in node.reasons() or "model" in node.reasons()
    node.wait(lambda: node.state() == PlannerStatus.ACTIVE)
    assert node.newest("status").worker_generation > generation


@pytest.mark.parametrize(("hint", "words"), [("nan", "NaN"), ("displaced", "m from")])
def test_a_bad_plan_is_not_published(node: Harness, hint: str, words: str) -> None:
    node.send_hint(hint)
    fallback = (PlannerStatus.DEGRADED, PlannerStatus.SAFE_STOP)
    node.wait(lambda: words in node.reasons() and node.state() in fallback)
    plan = node.wait_for_new("trajectory")
    assert plan.source != PlannedTrajectory.MODEL
    assert all(np.isfinite(p.pose.position.x) for p in plan.points)


def test_without_odometry_there_is_no_path_and_a_fault(node: Harness) -> None:
    node.silent.add("odometry")
    node.wait(lambda: node.state() == PlannerStatus.FAULT)
    assert "odometry: silent" in node.reasons()
    count = len(node.messages("trajectory"))
    time.sleep(0.5)
    assert len(node.messages("trajectory")) == count
    node.silent.clear()
    node.wait(lambda: node.state() == PlannerStatus.ACTIVE)


def test_a_silent_camera_is_named(node: Harness) -> None:
    node.silent.add("camera")
    node.wait(lambda: "front_wide: silent" in node.reasons())
    node.silent.clear()
    node.wait(lambda: node.state() == PlannerStatus.ACTIVE)


def test_malformed_messages_do_not_end_the_node(node: Harness) -> None:
    wrong = Image(height=9, width=9, encoding="bayer_rggb8", step=9, data=bytes(81))

    def refused() -> bool:
        now = time.time_ns()
        node.stamp(wrong, now, "c")
        node.camera.publish(Image())
        node.camera.publish(wrong)
        node.odometry.publish(Odometry())
        node.send_odometry(now + 10**9 // 4, position_m=np.full(3, np.nan))
        node.send_odometry(now, orientation_xyzw=np.zeros(4))
        node.send_odometry(now - 10 * NANOSECONDS)
        node.send_hint("x" * 100_000)
        time.sleep(0.1)
        dropped = sum(i.dropped for i in node.newest("status").inputs)
        return dropped >= 5 and "bayer_rggb8" in node.log.read_text()

    node.wait(refused)
    node.send_hint("")
    node.wait_for_new("trajectory", lambda m: m.source == PlannedTrajectory.MODEL)
    assert node.process.poll() is None


def test_views_are_drawn_for_whoever_subscribes(node: Harness) -> None:
    info = node.node.create_publisher(
        CameraInfo, "/rsd_planner/input/camera/front_wide/camera_info", 10
    )
    for kind, message_type in (("markers", MarkerArray), ("overlay", Image)):
        node.node.create_subscription(
            message_type,
            f"/rsd_planner/debug/{kind}",
            lambda m, kind=kind: node._keep(kind, m),
            5,
        )
    message = CameraInfo(width=64, height=32)
    message.k = [40.0, 0.0, 32.0, 0.0, 40.0, 16.0, 0.0, 0.0, 1.0]

    def ready() -> bool:
        info.publish(message)
        return node.newest("overlay") is not None and node.newest("markers") is not None

    node.wait(ready)
    overlay = node.newest("overlay")
    assert (overlay.height, overlay.width, overlay.encoding) == (32, 64, "rgb8")
    pixels = np.frombuffer(overlay.data, np.uint8)
    assert 0 < np.count_nonzero(pixels != 7) < len(pixels)
    line, text = node.newest("markers").markers
    assert len(line.points) == 64
    assert text.text.startswith("keep speed")


def test_overhead_over_the_planner_is_reported(
    node: Harness, record_property: Callable[[str, object], None]
) -> None:
    node.send_hint("sleep 0.05")
    node.wait(lambda: int(node.diagnostic("timing").get("ticks_measured", "0")) > 30)
    timing = node.diagnostic("timing")
    print(f"overhead over the planner's own time: {timing}")
    for key, value in timing.items():
        record_property(key, value)
    # The bound of 10 ms at p99 holds for a machine of its own; this one may be crowded.
    assert float(timing["overhead_ms_p50"]) > 0.0
