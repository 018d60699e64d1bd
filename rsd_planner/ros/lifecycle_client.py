"""Drives a lifecycle node's transitions from another process, through its services.

Every call has a timeout and says in words what did not answer. Knows nothing of what the node
does in its states.
"""

from __future__ import annotations

import time
from typing import Any

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

__all__ = ["LifecycleClient", "RefusedError", "TransitionError"]

_TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


class TransitionError(RuntimeError):
    """A transition was refused or did not answer in time."""


class RefusedError(TransitionError):
    """The node answered that the transition failed; trying again is of no use."""


class LifecycleClient:
    """Asks one lifecycle node, through a node that the caller owns."""

    def __init__(self, node: Node, target: str) -> None:
        """`target` is the other node's full name, such as `/rsd_planner`."""
        self._node = node
        self._target = target
        self._change = node.create_client(ChangeState, f"{target}/change_state")
        self._get = node.create_client(GetState, f"{target}/get_state")

    def wait(self, timeout_s: float) -> bool:
        """Whether the node's services appear in time."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self._change.service_is_ready() and self._get.service_is_ready():
                return True
            rclpy.spin_once(self._node, timeout_sec=0.05)
        return False

    def transition(self, name: str, timeout_s: float) -> None:
        """Run one transition by name. Raises TransitionError."""
        request = ChangeState.Request()
        request.transition.id = _TRANSITIONS[name]
        answer = self._call(self._change, request, name, timeout_s)
        if not answer.success:
            raise RefusedError(f"{self._target} refused to {name}; its log says why.")

    def state(self, timeout_s: float = 5.0) -> str:
        """The label of the node's state, such as `active`. Raises TransitionError."""
        answer = self._call(self._get, GetState.Request(), "say its state", timeout_s)
        return str(answer.current_state.label)

    def _call(self, client: Any, request: Any, what: str, timeout_s: float) -> Any:
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=timeout_s)
        if not future.done():
            client.remove_pending_request(future)
            raise TransitionError(f"{self._target} did not {what} within {timeout_s:g} s.")
        return future.result()
