"""The next worker: started and prepared while the present one plans, so that it takes over fast.

What takes long in a worker's start is importing torch, not loading a small model. Used by the
supervisor thread of `worker.client` alone.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from rsd_planner.config import PlannerSettings
from rsd_planner.worker import protocol
from rsd_planner.worker.process import WorkerProcess

__all__ = ["Standby"]


class Standby:
    """At most one process that waits. It never speaks up: whatever fails, `take` starts one."""

    def __init__(self, settings: PlannerSettings, log: Callable[[str], None]) -> None:
        self._settings = settings
        self._log = log
        self._process: WorkerProcess | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the one that waits."""
        process = self._process  # other threads ask, too
        return None if process is None else process.pid

    def prepare(self) -> None:
        """Starts one, if the settings want it and none waits."""
        if self._process is None and self._settings.worker_standby:
            try:
                self._process = WorkerProcess(self._settings, standby=True)
            except OSError as error:
                self._log(f"no worker stands by: {error}")

    def look(self) -> None:
        """Takes what it printed, so that it never waits for a reader; lets go of a dead one."""
        process = self._process
        if process is None:
            return
        poller = select.poll()
        poller.register(process.errors, select.POLLIN)
        poller.register(process.channel, select.POLLIN)
        try:
            ready = {fd for fd, _ in poller.poll(0)}
            over = process.errors.fileno() in ready and not process.read_errors(self._log)
            if not over and process.channel.fileno() in ready:
                over = process.receive() is None
            if over:
                self._drop("")
        except (OSError, protocol.ProtocolError) as error:
            self._drop(str(error))

    def take(self, settings: PlannerSettings) -> WorkerProcess:
        """The one that waits, or a new one. Raises OSError when none can be started."""
        self._settings = settings
        self.look()
        process, self._process = self._process, None
        return process or WorkerProcess(settings)

    def close(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _drop(self, reason: str) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._log(f"the worker that stood by is gone: {process.why_ended(reason)}")
