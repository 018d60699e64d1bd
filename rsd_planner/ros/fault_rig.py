"""What a planner node meets in a fault drill, seen and done from outside.

Publishes cameras, odometry and /clock of a car that goes straight on, each through a function
that a fault may put in its way, and notes with steady time what the node says. It touches the
node by topics, services and signals only.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from rsd_planner.msg import PlannedTrajectory, PlannerStatus, Reasoning
from rsd_planner.types import NANOSECONDS

__all__ = ["FaultRig", "Seen"]

SPEED_MPS = 8.0
CAMERA_HZ, ODOMETRY_HZ = 10.0, 50.0
SERVICE_S = 20.0
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}

Tamper = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True)
class Seen:
    """One message of the node and the steady time at which it came."""

    at_s: float
    message: Any


class FaultRig:
    """A context manager; between its ends the car drives and the node is listened to."""

    def __init__(
        self, target: str, cameras: tuple[str, ...], *, simulated: bool, jpeg: bytes = b""
    ) -> None:
        """`target` is the node's full name; `simulated` publishes /clock and stamps by it.

        `jpeg` is what all cameras see; without it they see noise.
        """
        self._target, self._cameras, self._simulated = target, cameras, simulated
        self._context = rclpy.Context()
        self._lock = threading.Lock()
        self._seen: dict[str, list[Seen]] = {}
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self.tampers: dict[str, Tamper] = {}  # by input; what it returns is published instead
        self.odometry_step_s: Callable[[], float] = lambda: 1.0 / ODOMETRY_HZ
        self.paused = False
        self._began_s = time.monotonic()
        self._shift_ns = 1_000 * NANOSECONDS  # simulated time at the start
        self._paused_ns = 0
        self._origin_ns = self.now_ns()
        self._jpeg = jpeg or encoded(64, 32)
        self._hurt_s: dict[str, float] = {}
        self._mended_s: dict[str, float] = {}

    def __enter__(self) -> FaultRig:
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("fault_rig", context=self._context)
        self._publish_to()
        self._listen_to()
        self._change = self.node.create_client(ChangeState, f"{self._target}/change_state")
        self._set = self.node.create_client(SetParameters, f"{self._target}/set_parameters")
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        for work in (self._spin, self._drive):
            self._threads.append(threading.Thread(target=work, daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(3.0)
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    # -- what the node says ------------------------------------------------------------

    def seen(self, kind: str, since_s: float = 0.0) -> list[Seen]:
        """Messages of a kind (status, trajectory, reasoning, diagnostics) since an instant."""
        with self._lock:
            return [s for s in self._seen.get(kind, ()) if s.at_s >= since_s]

    def newest(self, kind: str) -> Any:
        """The newest message of a kind, or None."""
        found = self.seen(kind)
        return found[-1].message if found else None

    def is_steady(self, since_s: float = 0.0) -> bool:
        """Whether the newest trajectory is the model's and the newest status is ACTIVE without a
        reason, and both came since an instant."""
        statuses, trajectories = self.seen("status", since_s), self.seen("trajectory", since_s)
        if not statuses or not trajectories:
            return False
        status, trajectory = statuses[-1].message, trajectories[-1].message
        return (
            status.state == PlannerStatus.ACTIVE
            and not status.reasons
            and trajectory.source == PlannedTrajectory.MODEL
        )

    def reasons(self) -> str:
        """What the newest status says."""
        status = self.newest("status")
        return "no status" if status is None else "; ".join(status.reasons) or "no reason"

    def forget(self) -> None:
        """Keeps only the newest message of each kind."""
        with self._lock:
            self._seen = {kind: found[-1:] for kind, found in self._seen.items()}
            self._hurt_s, self._mended_s = {}, {}

    def hurt_s(self) -> float | None:
        """When the first message was tampered with since `forget`; None where none was."""
        with self._lock:
            return min(self._hurt_s.values(), default=None)

    def mended_s(self) -> float | None:
        """When all inputs that were tampered with had sent a good message again, or None."""
        with self._lock:
            mended = [self._mended_s.get(name) for name in self._hurt_s]
        known = [at_s for at_s in mended if at_s is not None]
        return max(known) if known and len(known) == len(mended) else None

    def diagnostic(self, part: str) -> dict[str, str]:
        """The newest values of one part of /diagnostics."""
        for status in self.newest("diagnostics").status if self.newest("diagnostics") else ():
            if status.name.endswith(f": {part}"):
                return {pair.key: pair.value for pair in status.values}
        return {}

    def wait(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Whether the condition came true in time."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if condition():
                return True
            time.sleep(0.005)
        return bool(condition())

    # -- what is done to it ------------------------------------------------------------

    def transition(self, name: str) -> bool:
        """Runs a transition; whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[name]
        answer = self._call(self._change, request)
        return bool(answer is not None and answer.success)

    def set_parameter(self, name: str, value: Any) -> str:
        """Sets a parameter; empty, or why it was refused."""
        request = SetParameters.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg()]
        answer = self._call(self._set, request)
        if answer is None:
            return "no answer"
        return "" if answer.results[0].successful else str(answer.results[0].reason)

    def signal_worker(self, number: int) -> None:
        """Sends a signal to the worker that /diagnostics names, if it still is there."""
        pid = self.worker_pid()
        if pid > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def worker_pid(self) -> int:
        """The process id of the worker by /diagnostics; 0 without one."""
        return int(self.diagnostic("worker").get("pid", "0"))

    def jump(self, seconds: float) -> None:
        """Moves simulated time."""
        self._shift_ns += round(seconds * NANOSECONDS)

    def now_ns(self) -> int:
        """The time that is stamped."""
        if not self._simulated:
            return time.time_ns()
        return self._shift_ns + round((time.monotonic() - self._began_s) * NANOSECONDS)

    # -- inside ------------------------------------------------------------------------

    def _publish_to(self) -> None:
        profile = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
        base, create = f"{self._target}/input", self.node.create_publisher
        self._odometry = create(Odometry, f"{base}/odometry", profile)
        self._images = {
            name: create(CompressedImage, f"{base}/camera/{name}/image/compressed", profile)
            for name in self._cameras
        }
        self._clock = create(Clock, "/clock", 10) if self._simulated else None

    def _listen_to(self) -> None:
        reliable = QoSProfile(depth=50)
        kept = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for kind, message_type, topic, profile in (
            ("status", PlannerStatus, f"{self._target}/output/status", kept),
            ("trajectory", PlannedTrajectory, f"{self._target}/output/trajectory", reliable),
            ("reasoning", Reasoning, f"{self._target}/output/reasoning", reliable),
            ("diagnostics", DiagnosticArray, "/diagnostics", reliable),
        ):
            self.node.create_subscription(
                message_type, topic, lambda m, kind=kind: self._keep(kind, m), profile
            )

    def _keep(self, kind: str, message: Any) -> None:
        with self._lock:
            self._seen.setdefault(kind, []).append(Seen(time.monotonic(), message))

    def _call(self, client: Any, request: Any) -> Any:
        if not client.wait_for_service(SERVICE_S):
            return None
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        return future.result() if done.wait(SERVICE_S) else None

    def _spin(self) -> None:
        try:
            while not self._ended.is_set():
                self._executor.spin_once(timeout_sec=0.05)
        except ExternalShutdownException:
            pass

    def _drive(self) -> None:
        """Publishes everything when it is due."""
        due = dict.fromkeys(("odometry", "camera", "clock"), time.monotonic())
        steps: dict[str, Callable[[], float]] = {
            "odometry": lambda: self.odometry_step_s(),
            "camera": lambda: 1.0 / CAMERA_HZ,
            "clock": lambda: 0.02,
        }
        sends = {
            "odometry": self._send_odometry,
            "camera": self._send_pictures,
            "clock": self._send_clock,
        }
        while not self._ended.is_set():
            name = min(due, key=lambda key: due[key])
            time.sleep(max(0.0, due[name] - time.monotonic()))
            due[name] = max(due[name] + steps[name](), time.monotonic())
            if self.paused:
                self._shift_ns -= 0 if self._paused_ns == 0 else self.now_ns() - self._paused_ns
                self._paused_ns = self.now_ns()
                continue
            self._paused_ns = 0
            sends[name](self.now_ns())

    def _send_odometry(self, now_ns: int) -> None:
        message = Odometry(child_frame_id="base_link")
        _stamp(message, now_ns, "odom")
        message.pose.pose.position.x = SPEED_MPS * (now_ns - self._origin_ns) / NANOSECONDS
        message.pose.pose.orientation.w = 1.0
        message.twist.twist.linear.x = SPEED_MPS
        self._send("odometry", self._odometry, message)

    def _send_pictures(self, now_ns: int) -> None:
        for name, publisher in self._images.items():
            message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=self._jpeg)
            _stamp(message, now_ns, name)
            self._send(name, publisher, message)

    def _send_clock(self, now_ns: int) -> None:
        if self._clock is not None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now_ns, NANOSECONDS)
            self._clock.publish(message)

    def _send(self, name: str, publisher: Any, message: Any) -> None:
        tamper = self.tampers.get(name)
        changed = (message,) if tamper is None else tuple(tamper(message))
        with self._lock:
            if tamper is not None:
                self._hurt_s.setdefault(name, time.monotonic())
            elif name in self._hurt_s:
                self._mended_s.setdefault(name, time.monotonic())
        for item in changed:
            publisher.publish(item)


def encoded(width: int, height: int) -> bytes:
    """A JPEG of noise."""
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", noise)[1].tobytes())


def _stamp(message: Any, now_ns: int, frame_id: str) -> None:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, NANOSECONDS)
    message.header.frame_id = frame_id
