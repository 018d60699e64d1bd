"""Leads a planner node in another process through its states and watches its status."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rsd_planner.commands._children import Child, DemoError, raise_if_interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PlannerControl"]

_LOADING, _FAULT = 0, 5
_SERVICES_S = 40.0
_TRANSITION_S = 10.0


class PlannerControl:
    """A context manager around a small ROS node: transitions by service, status by topic."""

    def __init__(self, target: str, process: Child) -> None:
        self._target = target
        self._process = process
        self._status: Any = None

    def __enter__(self) -> PlannerControl:
        import rclpy
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
        from rclpy.signals import SignalHandlerOptions

        from rsd_planner.msg import PlannerStatus
        from rsd_planner.ros.lifecycle_client import LifecycleClient

        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("rsd_demo")
        kept = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        topic = f"{self._target}/output/status"
        self._node.create_subscription(PlannerStatus, topic, self._on_status, kept)
        self._client = LifecycleClient(self._node, self._target)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import rclpy

        self._node.destroy_node()
        rclpy.try_shutdown()

    def configure(self) -> None:
        """Wait for the node and configure it. Raises DemoError."""
        until = time.monotonic() + _SERVICES_S
        while not self._client.wait(0.5):
            self._check_alive([self._process])
            if time.monotonic() > until:
                raise DemoError(
                    f"the node did not appear within {_SERVICES_S:g} s: "
                    f"{self._process.last_words()}"
                )
        self._transition("configure")

    def activate(self) -> None:
        """Raises DemoError."""
        self._transition("activate")

    def deactivate(self) -> None:
        """Raises DemoError."""
        self._transition("deactivate")
        self._transition("cleanup")

    def wait_until_loaded(self, timeout_s: float) -> float:
        """Seconds until the model was warm. Raises DemoError."""
        import rclpy

        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            rclpy.spin_once(self._node, timeout_sec=0.1)
            self._check_alive([self._process])
            status = self._status
            # Without a worker's generation it is what the node said before it was configured.
            if status is None or status.worker_generation == 0 or status.state == _LOADING:
                continue
            if status.state != _FAULT or not self._loading_failed():
                return time.monotonic() - began
            raise DemoError(f"the planner reports a fault: {self._reason()}")
        raise DemoError(
            f"the model was not loaded within {timeout_s:g} s: {self._reason()} "
            f"({self._process.log})"
        )

    def watch(self, player: Child, others: Sequence[Child], timeout_s: float) -> None:
        """Wait for the player's end while the others live. Raises DemoError."""
        import rclpy

        until = time.monotonic() + timeout_s
        while player.code is None:
            rclpy.spin_once(self._node, timeout_sec=0.1)
            self._check_alive(others)
            if time.monotonic() > until:
                raise DemoError(f"the player did not end within {timeout_s:.0f} s ({player.log})")
        if player.code != 0:
            raise DemoError(f"the player failed: {player.last_words()}")

    def _transition(self, name: str) -> None:
        from rsd_planner.ros.lifecycle_client import TransitionError

        try:
            self._client.transition(name, _TRANSITION_S)
        except TransitionError as error:
            self._check_alive([self._process])
            raise DemoError(f"{error} Last line: {self._process.last_words()}") from None

    def _check_alive(self, children: Sequence[Child]) -> None:
        raise_if_interrupted()
        for child in children:
            if child.code is not None:
                raise DemoError(f"{child.name} ended with code {child.code}: {child.last_words()}")

    def _loading_failed(self) -> bool:
        """A fault before the first input means the worker; missing inputs come later."""
        return any("worker" in reason for reason in self._status.reasons)

    def _reason(self) -> str:
        reasons = list(self._status.reasons) if self._status is not None else []
        return reasons[0] if reasons else "it gave no reason"

    def _on_status(self, message: Any) -> None:
        self._status = message
