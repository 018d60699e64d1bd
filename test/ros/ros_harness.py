"""A planner node in a process of its own, and what a test does to it from outside.

Publishes cameras, odometry and clock, subscribes to all outputs, and drives the node's
transitions through its services.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from drives import START_NS, state_at
from fakes import write_fake_worker
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from rsd_planner.msg import DecodeStats, PlannedTrajectory, PlannerStatus, Reasoning
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from test_config import write_checkpoint

from rsd_planner.types import NANOSECONDS

ROOT = Path(__file__).resolve().parents[2]


def crowding() -> float:
    """How many times slower than alone this machine runs now; at least 1."""
    wall, cpu = time.monotonic(), time.process_time()
    while time.process_time() - cpu < 0.1:
        pass
    return max(1.0, (time.monotonic() - wall) / (time.process_time() - cpu))


PATIENCE_S = 40.0 * crowding()
ASKED = 4  # times, in that time
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "shutdown": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
}


class Harness:
    """Everything around one node process. `program` is what runs instead of the plain node."""

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, Any],
        program: Sequence[str] = ("-m", "rsd_planner.ros.node"),
        environment: Mapping[str, str] | None = None,
        name: str = "rsd_planner",
    ) -> None:
        values = {
            "worker_python": write_fake_worker(folder),
            "model_path": str(write_checkpoint(folder / "model")),
            "period_s": 0.1,
            "worker_start_timeout_s": 3600.0,  # on a crowded machine an import takes minutes
            **parameters,
        }
        self.parameters = values
        self.node_name = f"/{name}"
        params = folder / "params.yaml"
        params.write_text(yaml.safe_dump({self.node_name: {"ros__parameters": values}}))
        self.log = folder / "node.log"
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("outside", context=self.context)
        self.got: dict[str, list[Any]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._subscribe()
        self._publishers()
        self._change = self.node.create_client(ChangeState, f"{self.node_name}/change_state")
        self._get = self.node.create_client(GetState, f"{self.node_name}/get_state")
        self._set = self.node.create_client(SetParameters, f"{self.node_name}/set_parameters")
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._run(self._spin)
        self._command = [sys.executable, *program, "--ros-args", "--params-file", str(params)]
        self._command += ["-r", f"__node:={name}"]
        self._environment = {**os.environ, **(environment or {})}
        self.start_process()
        try:
            self.wait(lambda: self._change.service_is_ready() and self._get.service_is_ready())
        except BaseException:
            self.close()
            raise

    # -- the node ----------------------------------------------------------------------

    def start_process(self) -> None:
        """The node, also once more after its end."""
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self._environment,
            )

    def transition(self, name: str) -> bool:
        return self.trigger(TRANSITIONS[name])

    def trigger(self, number: int, label: str = "") -> bool:
        """A transition by its number, or by its label where one is given."""
        request = ChangeState.Request()
        request.transition.id, request.transition.label = number, label
        return bool(self.call(self._change, request).success)

    def trigger_at_once(self, numbers: Sequence[int]) -> list[bool]:
        """Transitions asked for without waiting for the answers; the answers."""
        futures = [
            self._change.call_async(ChangeState.Request(transition=Transition(id=number)))
            for number in numbers
        ]
        self.wait(lambda: all(future.done() for future in futures))
        return [bool(future.result().success) for future in futures]

    def lifecycle_state(self) -> str:
        return str(self.call(self._get, GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: Any) -> Any:
        request = SetParameters.Request()
        message: ParameterMessage = Parameter(name, value=value).to_parameter_msg()
        request.parameters = [message]
        return self.call(self._set, request).results[0]

    def call(self, client: Any, request: Any) -> Any:
        """Asks again where nobody answers: after a SIGKILL the middleware may still send to the
        dead."""
        done, futures = threading.Event(), []
        for _ in range(ASKED):
            futures.append(client.call_async(request))
            futures[-1].add_done_callback(lambda _: done.set())
            if done.wait(PATIENCE_S / ASKED):
                break
        assert done.is_set(), self.explain()
        return next(future.result() for future in futures if future.done())

    def start_planning(self) -> None:
        """Configured, active, fed, and the first plan of the model has come."""
        assert self.transition("configure"), self.explain()
        assert self.transition("activate")
        if not hasattr(self, "feeding"):
            self.feed()
        self.wait(lambda: self.state() == PlannerStatus.ACTIVE)

    def recover(self) -> None:
        """Ends all that a test did to a planning node, and waits until it plans again."""
        assert self.set_parameter("deadline_s", 1.0).successful
        self.send_hint("")
        self.silent.clear()
        seen = len(self.messages("reasoning"))
        self.wait(lambda: self.state() == PlannerStatus.ACTIVE)
        self.wait(lambda: len(self.messages("reasoning")) > seen)

    def worker_pid(self) -> int:
        self.wait(lambda: int(self.diagnostic("worker").get("pid", "0")) > 0)
        return int(self.diagnostic("worker")["pid"])

    # -- what came ---------------------------------------------------------------------

    def messages(self, kind: str) -> list[Any]:
        with self._lock:
            return list(self.got.get(kind, []))

    def newest(self, kind: str) -> Any:
        messages = self.messages(kind)
        return messages[-1] if messages else None

    def state(self) -> int:
        status = self.newest("status")
        return -1 if status is None else int(status.state)

    def reasons(self) -> str:
        status = self.newest("status")
        return "" if status is None else "; ".join(status.reasons)

    def diagnostic(self, part: str) -> dict[str, str]:
        for message in reversed(self.messages("diagnostics")):
            for status in message.status:
                if status.name.endswith(f": {part}"):
                    return {pair.key: pair.value for pair in status.values}
        return {}

    def wait(self, condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        end = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < end, self.explain()
            time.sleep(0.01)

    def wait_for_new(self, kind: str, good: Callable[[Any], bool] = lambda m: True) -> Any:
        """The next message of a kind that is good."""
        seen = len(self.messages(kind))
        found: list[Any] = []

        def look() -> bool:
            found.extend(m for m in self.messages(kind)[seen:] if good(m))
            return bool(found)

        self.wait(look)
        return found[0]

    def explain(self) -> str:
        code = self.process.poll() if hasattr(self, "process") else None
        log = self.log.read_text()[-3000:] if self.log.exists() else ""
        return f"state {self.state()}: {self.reasons()} (exit code {code})\n{log}"

    # -- what goes in ------------------------------------------------------------------

    def feed(self, camera_hz: float = 10.0, odometry_hz: float = 50.0) -> None:
        """Publishes a drive on the wall clock until `pause`."""
        self.feeding = threading.Event()
        self.feeding.set()
        self.silent: set[str] = set()
        self._run(lambda: self._every(odometry_hz, lambda now: self.send_odometry(now)))
        self._run(lambda: self._every(camera_hz, lambda now: self.send_picture(now)))

    def send_odometry(self, stamp_ns: int, **changes: Any) -> None:
        if "odometry" in getattr(self, "silent", ()):
            return
        state = dataclasses.replace(state_at(START_NS + stamp_ns % (10**13)), **changes)
        message = Odometry()
        self.stamp(message, stamp_ns, "odom")
        message.child_frame_id = "base_link"
        pose, twist = message.pose.pose, message.twist.twist
        pose.position.x, pose.position.y, pose.position.z = state.position_m.tolist()
        q = pose.orientation
        q.x, q.y, q.z, q.w = state.orientation_xyzw.tolist()
        twist.linear.x = float(state.linear_mps[0])
        twist.angular.z = float(state.angular_radps[2])
        self.odometry.publish(message)

    def send_picture(self, stamp_ns: int, height: int = 32, width: int = 64) -> None:
        if "camera" in getattr(self, "silent", ()):
            return
        message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
        self.stamp(message, stamp_ns, "front_wide")
        message.data = np.full(3 * height * width, 7, np.uint8).tobytes()
        self.camera.publish(message)

    def send_hint(self, text: str) -> None:
        self.navigation.publish(String(data=text))

    def send_clock(self, now_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(now_ns, NANOSECONDS)
        self.clock.publish(message)

    @staticmethod
    def stamp(message: Any, stamp_ns: int, frame_id: str) -> None:
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, NANOSECONDS)
        message.header.frame_id = frame_id

    # -- inside ------------------------------------------------------------------------

    def close(self) -> None:
        self._stop.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def _subscribe(self) -> None:
        reliable = QoSProfile(depth=50)
        kept = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        name = self.node_name
        for kind, message_type, topic, profile in (
            ("status", PlannerStatus, f"{name}/output/status", kept),
            ("trajectory", PlannedTrajectory, f"{name}/output/trajectory", reliable),
            ("dry trajectory", PlannedTrajectory, f"{name}/dry_run/trajectory", reliable),
            ("path", PathMessage, f"{name}/output/path", reliable),
            ("reasoning", Reasoning, f"{name}/output/reasoning", reliable),
            ("stats", DecodeStats, f"{name}/debug/decode_stats", reliable),
            ("diagnostics", DiagnosticArray, "/diagnostics", reliable),
        ):
            self.node.create_subscription(
                message_type, topic, lambda m, kind=kind: self._keep(kind, m), profile
            )

    def _publishers(self) -> None:
        create, name = self.node.create_publisher, f"{self.node_name}/input"
        self.camera = create(Image, f"{name}/camera/front_wide/image", 10)
        self.compressed = create(CompressedImage, f"{name}/camera/front_wide/image/compressed", 10)
        self.odometry = create(Odometry, f"{name}/odometry", 50)
        self.navigation = create(String, f"{name}/navigation", 1)
        self.clock = create(Clock, "/clock", 10)

    def _keep(self, kind: str, message: Any) -> None:
        with self._lock:
            self.got.setdefault(kind, []).append(message)

    def _run(self, target: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=target, daemon=True))
        self._threads[-1].start()

    def _spin(self) -> None:
        try:
            while not self._stop.is_set():
                self._executor.spin_once(timeout_sec=0.05)
        except ExternalShutdownException:
            pass

    def _every(self, rate_hz: float, publish: Callable[[int], None]) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            if self.feeding.is_set():
                publish(time.time_ns())
            due = max(due + 1.0 / rate_hz, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))


def alive(pid: int) -> bool:
    """Whether a process runs, zombies not counted."""
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def stamp_of(message: Any) -> int:
    """Nanoseconds of a message's header."""
    stamp = message.header.stamp
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)
