"""rclpy's multi-threaded executor without its busy loop.

The stock one hands out a task again and again until a thread of its pool has begun it, and
never waits meanwhile: on a free core it holds the interpreter's lock against the very thread
that would begin, floods the pool with copies, and inputs grow seconds old. Here a task is
handed to the pool once. And while a tick is asked for or answered no turn is begun: each
costs a millisecond of Python, for which that thread would have to wait.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from rclpy.exceptions import InvalidHandle
from rclpy.executors import MultiThreadedExecutor

from rsd_planner.ros.lean_images import taker_of

__all__ = ["PatientExecutor"]

YIELD_S = 0.0002  # lets a thread of the pool have the interpreter's lock
QUIET_S = 0.02  # the longest that turns wait
RESUME_S = 0.05  # a task that still waits after this long is a suspended coroutine


class PatientExecutor(MultiThreadedExecutor):
    """Submits each task once, and holds still when asked to."""

    def __init__(self, num_threads: int, **keywords: Any) -> None:
        super().__init__(num_threads, **keywords)
        self._submitted: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._quiet = 0
        self._quiet_lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Inside, no new turn is begun; messages wait in the middleware. Several may nest."""
        with self._quiet_lock:
            self._quiet += 1
            self._open.clear()
        try:
            yield
        finally:
            with self._quiet_lock:
                self._quiet -= 1
                if not self._quiet:
                    self._open.set()

    def wait_for_ready_callbacks(self, *arguments: Any, **keywords: Any) -> Any:
        """The next task that is not in the pool already."""
        while True:
            self._open.wait(QUIET_S)
            try:
                work = super().wait_for_ready_callbacks(*arguments, **keywords)
            except InvalidHandle:
                # A transition in the pool has destroyed what was about to be waited for.
                if self._is_shutdown or not self._context.ok():
                    raise
                continue
            self._open.wait(QUIET_S)  # what came ready in a tick is begun behind it
            now_s = time.monotonic()
            since_s = now_s - self._submitted.get(work[0], float("-inf"))
            if since_s > RESUME_S:
                self._submitted[work[0]] = now_s
                return work
            time.sleep(YIELD_S)

    def _take_waitable(self, waitable: Any) -> Any:
        # Left to raise, it would hold its callback group for ever.
        try:
            return super()._take_waitable(waitable)
        except InvalidHandle:
            return None

    def _take_subscription(self, subscription: Any) -> Any:
        return super()._take_subscription(taker_of(subscription))
