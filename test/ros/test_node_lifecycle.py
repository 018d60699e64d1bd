"""Nodes from outside: transitions, parameters, time, signals. The worker's planner is made up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import FAIL_LOAD, LOAD_S

from rsd_planner.config import SettingInfo, setting_infos
from rsd_planner.types import NANOSECONDS

pytest.importorskip("rclpy")
pytest.importorskip("rsd_planner.msg")

from nav_msgs.msg import Odometry
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import PATIENCE_S, ROOT, Harness, alive, crowding, stamp_of
from rsd_planner.msg import PlannerStatus
from sensor_msgs.msg import CompressedImage

from rsd_planner.ros.wait_warm import is_warm

pytestmark = pytest.mark.ros
Start = Callable[..., Harness]


def test_transitions_go_round_twice_and_loading_delays_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOAD_S, "1.5")
    node = start()
    assert node.lifecycle_state() == "unconfigured"
    for _ in range(2):
        began = time.monotonic()
        assert node.transition("configure"), node.explain()
        assert time.monotonic() - began < 2.0 * crowding()
        node.wait(lambda: node.state() == PlannerStatus.LOADING)
        assert node.transition("activate")
        assert node.lifecycle_state() == "active"
        if not node.messages("trajectory"):
            node.feed()
        waits = []
        while node.state() != PlannerStatus.ACTIVE and len(waits) < 300:
            began = time.monotonic()
            node.lifecycle_state()
            waits.append(time.monotonic() - began)
            time.sleep(0.02)
        assert node.state() == PlannerStatus.ACTIVE, node.explain()
        assert sorted(waits)[len(waits) // 2] < 0.1 * crowding()
        assert node.transition("deactivate")
        node.wait(lambda: node.state() == PlannerStatus.WAITING)
        time.sleep(0.3)
        count = len(node.messages("trajectory"))
        time.sleep(0.4)
        assert len(node.messages("trajectory")) == count
        pid = node.worker_pid()
        assert node.transition("cleanup")
        node.wait(lambda pid=pid: not alive(pid), 4.0 * crowding())
        node.wait(lambda: "not configured" in node.reasons())
    loading = [m for m in node.messages("status") if any("is loading" in r for r in m.reasons)]
    assert PlannerStatus.SAFE_STOP in {m.state for m in loading}
    assert not any(is_warm(m) for m in loading)
    assert {m.state for m in node.messages("status") if is_warm(m)} >= {PlannerStatus.ACTIVE}
    assert not node.transition("activate")
    assert node.transition("shutdown")
    assert node.lifecycle_state() == "finalized"


def test_missing_weights_fail_configure_with_the_remedy_and_can_be_mended(start: Start) -> None:
    node = start()
    good = str(node.log.parent / "model")
    assert node.set_parameter("model_path", "/nowhere").successful
    assert not node.transition("configure")
    assert node.lifecycle_state() == "unconfigured"
    node.wait(lambda: node.state() == PlannerStatus.FAULT)
    assert "'/nowhere' is not a folder" in node.reasons()
    assert node.set_parameter("model_path", good).successful
    assert node.transition("configure"), node.explain()


def test_a_bad_parameter_at_start_is_named_at_configure(start: Start) -> None:
    node = start(validity_s=6.0, period_s=1)
    assert not node.transition("configure")
    node.wait(lambda: "validity_s" in node.reasons())
    assert node.set_parameter("validity_s", 0.5).successful
    assert node.transition("configure"), node.explain()


def test_parameters_say_whether_they_may_change(start: Start) -> None:
    node = start()
    assert node.transition("configure")
    assert node.set_parameter("validity_s", 0.7).successful
    fixed = node.set_parameter("drafter", "none")
    assert not fixed.successful
    assert "cleanup first" in fixed.reason
    wrong = node.set_parameter("drafter", "previous_tic")
    assert "Did you mean 'previous_tick'" in wrong.reason
    assert not node.set_parameter("deadline_s", 100.0).successful


def other_value(info: SettingInfo) -> Any:
    """A value that is allowed and not the default."""
    if info.name == "device":
        return "cuda"
    if info.choices:
        return next(choice for choice in info.choices if choice != info.default)
    if info.kind in ("int", "float"):
        return info.low if info.default == info.high else info.high
    kinds: dict[str, Any] = {"bool": not info.default, "str": "other", "list": ["other"]}
    return kinds.get(info.kind, [0.1] * 6)


def test_every_parameter_changes_while_active_or_says_what_to_do(start: Start) -> None:
    node = start()
    assert node.transition("configure"), node.explain()
    assert node.transition("activate")
    for info in setting_infos():
        name = "camera_poses.front_wide" if info.kind == "poses" else info.name
        result = node.set_parameter(name, other_value(info))
        assert result.successful == info.dynamic, f"{name}: {result.reason}"
        if not info.dynamic:
            assert result.reason.startswith(f"{name} takes effect at configure")
            assert "cleanup first" in result.reason
    together = node.node.create_client(
        SetParametersAtomically, f"{node.node_name}/set_parameters_atomically"
    )
    changes = [Parameter("validity_s", value=0.9), Parameter("drafter", value="none")]
    request = SetParametersAtomically.Request(parameters=[c.to_parameter_msg() for c in changes])
    assert not node.call(together, request).result.successful
    asked = node.node.create_client(GetParameters, f"{node.node_name}/get_parameters")
    answer = node.call(asked, GetParameters.Request(names=["validity_s", "drafter"]))
    assert answer.values[0].double_value == 2.0
    assert answer.values[1].string_value == "cascade"
    assert node.transition("deactivate")
    assert node.transition("cleanup")
    assert node.set_parameter("drafter", "none").successful


def test_a_hint_that_is_set_as_parameter_holds_at_once(start: Start) -> None:
    node = start()
    node.start_planning()
    assert node.set_parameter("navigation", "raise").successful
    node.wait(lambda: "the fake planner raises" in node.reasons())
    assert node.set_parameter("navigation", "").successful
    node.wait(lambda: node.state() == PlannerStatus.ACTIVE)


def test_a_misspelt_parameter_is_not_ignored(start: Start) -> None:
    node = start(validty_s=0.3, robot_description="of another node")
    assert not node.transition("configure")
    node.wait(lambda: "'validty_s'. Did you mean 'validity_s'?" in node.reasons())


def test_a_bad_camera_pose_fails_configure_each_time_and_can_be_mended(start: Start) -> None:
    node = start(**{"camera_poses.front_wide": [1.0] * 5})
    for _ in range(2):
        assert not node.transition("configure")
        node.wait(lambda: "six numbers" in node.reasons())
    assert not node.set_parameter("camera_poses.front_wide", [1.0] * 7).successful
    assert node.set_parameter("camera_poses.front_wide", [1.0] * 6).successful
    assert node.transition("configure"), node.explain()


def autostart(node: Harness) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rsd_planner.ros.autostart", node.node_name]
    command += ["--timeout", str(PATIENCE_S)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_autostart_brings_it_up_also_after_a_respawn_and_gives_up_where_it_must(
    start: Start,
) -> None:
    node = start()
    both = [autostart(node), autostart(node)]
    assert [process.wait() for process in both] == [0, 0]
    assert node.lifecycle_state() == "active"
    node.process.kill()
    node.process.wait()
    node.start_process()  # as launch does with use_respawn
    assert autostart(node).wait() == 0
    node.wait(lambda: "front_wide: no message yet" in node.reasons())
    assert node.trigger(7)
    late = autostart(node)
    assert late.wait() == 1
    assert late.stdout is not None
    assert "is finalized: end its process" in late.stdout.read()


def test_autostart_says_when_the_node_refuses(start: Start) -> None:
    process = autostart(start(model_path="/nowhere"))
    assert process.wait() == 1
    assert process.stdout is not None
    assert "refused to configure; its log says why" in process.stdout.read()


def test_jpeg_pictures_are_decoded(start: Start) -> None:
    node = start(camera_compressed=True)
    assert node.transition("configure")
    assert node.transition("activate")
    node.feed()
    _, jpeg = cv2.imencode(".jpg", np.full((32, 64, 3), 90, np.uint8))

    def send(now: int) -> None:
        message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=jpeg.tobytes())
        node.stamp(message, now, "front_wide")
        node.compressed.publish(message)

    node._run(lambda: node._every(10.0, send))
    node.wait(lambda: node.newest("reasoning") is not None)
    assert "[90, 90, 90, 90]" in node.newest("reasoning").text


def test_dry_run_keeps_off_the_real_topics(start: Start) -> None:
    node = start(dry_run=True)
    node.start_planning()
    node.wait_for_new("dry trajectory")
    assert not node.messages("trajectory")
    assert not node.messages("path")


def test_mismatched_qos_is_named_with_the_topic(start: Start) -> None:
    topic = "/rsd_planner/input/odometry"
    node = start(**{f"qos_overrides.{topic}.subscription.reliability": "reliable"})
    node.node.destroy_publisher(node.odometry)
    node.odometry = node.node.create_publisher(
        Odometry, topic, QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    assert node.transition("configure"), node.explain()
    assert node.transition("activate")
    node.wait(lambda: topic in node.reasons())
    assert "RELIABILITY" in node.reasons().upper()


def test_simulated_time_pauses_jumps_back_and_goes_on(start: Start) -> None:
    node = start(use_sim_time=True)
    assert node.transition("configure")
    assert node.transition("activate")
    begin = 1_000 * NANOSECONDS

    def play(start_s: float, until: Callable[[], bool]) -> float:
        """Plays a drive from `start_s` on at the speed of the wall; returns where it stopped."""
        step, end = round(start_s * 50), time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < end, node.explain()
            now = begin + step * 20_000_000
            node.send_clock(now)
            node.send_odometry(now)
            if step % 5 == 0:
                node.send_picture(now)
            step += 1
            time.sleep(0.018)
        return step / 50

    def newest_s() -> float:
        reasoning = node.newest("reasoning")
        return -1.0 if reasoning is None else (stamp_of(reasoning) - begin) / NANOSECONDS

    begin_s = 10.0  # far behind any moment that is reached once the bag has looped
    paused_s = play(begin_s, lambda: newest_s() >= 0.0)
    assert newest_s() < paused_s
    node.wait(lambda: "clock stands still" in node.reasons())
    assert node.state() == PlannerStatus.DEGRADED
    play(paused_s, lambda: newest_s() > paused_s)
    play(0.0, lambda: newest_s() < begin_s)  # the bag loops
    assert "1 resets" in node.newest("reasoning").text


def test_a_model_that_does_not_load_is_a_fault_with_its_reason(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAIL_LOAD, "these weights are for another model")
    node = start()
    assert node.transition("configure")
    node.wait(lambda: "another model" in node.reasons())
    node.wait(lambda: node.state() == PlannerStatus.FAULT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_node_and_worker_in_time(start: Start, number: signal.Signals) -> None:
    node = start()
    node.start_planning()
    pid = node.worker_pid()
    began = time.monotonic()
    node.process.send_signal(number)
    assert node.process.wait(10.0) == 0, node.explain()
    assert time.monotonic() - began < 4.0 * crowding()
    assert not alive(pid)
    assert "Traceback" not in node.log.read_text()


def test_a_signal_while_the_model_loads_ends_node_and_worker(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOAD_S, "60")
    node = start()
    assert node.transition("configure")
    assert node.transition("activate")
    pid = node.worker_pid()
    began = time.monotonic()
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(20.0 * crowding()) == 0, node.explain()
    assert time.monotonic() - began < 4.0 * crowding()
    # It ends by itself once the node has gone; while its interpreter starts, from a disk that
    # may be slow, it cannot know yet.
    end = time.monotonic() + 20.0 * crowding()
    while alive(pid):
        assert time.monotonic() < end, Path(f"/proc/{pid}/cmdline").read_text()
        time.sleep(0.02)
