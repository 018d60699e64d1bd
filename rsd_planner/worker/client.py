"""The node's side of the worker: starts it, asks, watches, kills and restarts it.

One supervisor thread owns the process and its channel; nothing here blocks the caller. A
generation is one process with its own socket and its own anonymous memory, so that nothing
of a killed one can reach the next, and nothing is left behind in /dev/shm. Imports no torch
and reads steady time only; ROS time means nothing here.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rsd_planner.config import PlannerSettings
from rsd_planner.types import Observation, PlanResult
from rsd_planner.worker import protocol
from rsd_planner.worker.process import WorkerProcess
from rsd_planner.worker.standby import Standby

__all__ = ["Answer", "Outcome", "WorkerClient", "WorkerPhase", "WorkerStatus"]

HEARTBEAT_TIMEOUT_S = 5.0  # after it is ready; while it loads, imports hold the interpreter
POLL_S = 0.05
MEMORY_S = 0.25  # between two looks at the worker's memory
FIRST_BACK_OFF_S = 0.2
MOST_BACK_OFF_S = 30.0  # of a worker that never became ready
MOST_BACK_OFF_READY_S = 2.0
STOP_GRACE_S = 1.0


class WorkerPhase(Enum):
    """Where the worker is in its life."""

    STOPPED = "stopped"
    LOADING = "loading"
    READY = "ready"
    BUSY = "busy"
    BACK_OFF = "waiting to restart"


class Outcome(Enum):
    """How a request ended."""

    PLAN = "plan"
    LATE = "late"  # the deadline passed; the answer, if it comes, is dropped
    ERROR = "error"  # the planner raised
    LOST = "lost"  # the worker died or was killed


@dataclass(frozen=True)
class Answer:
    """How the request of a tick ended. `result` is there for PLAN alone."""

    outcome: Outcome
    tick: int
    result: PlanResult | None = None
    reason: str = ""
    plan_ms: float = 0.0  # decoding pictures, and in the planner
    round_trip_ms: float = 0.0  # from submit to here
    bad_frame: tuple[str, int] | None = None  # camera and stamp of what could not be decoded


@dataclass(frozen=True)
class WorkerStatus:
    """A picture of the worker. `reason` says why it is not ready, or why it was restarted."""

    phase: WorkerPhase
    generation: int
    reason: str
    pid: int | None
    load_s: float
    late_dropped: int
    memory_mb: float = 0.0
    heard_s: float = -1.0  # since the last sign of life; -1 without a worker
    restarts: int = 0
    standby_pid: int | None = None  # of the process that takes over from this one


@dataclass
class _Request:
    number: int
    tick: int
    started_s: float
    deadline_s: float
    reported: bool = False  # late, or abandoned: the answer is dropped


class WorkerClient:
    """Asks a planner in another process. Callbacks come from the supervisor thread.

    `on_answer` gets exactly one `Answer` for each accepted `submit` that is not abandoned.
    """

    def __init__(
        self,
        settings: PlannerSettings,
        on_answer: Callable[[Answer], None],
        log: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._on_answer = on_answer
        self._log = log
        self._clock = clock
        self._lock = threading.RLock()
        self._phase = WorkerPhase.STOPPED
        self._generation = 0
        self._reason = ""
        self._load_s = 0.0
        self._late_dropped = 0
        self._memory_mb = 0.0
        self._heard_s: float | None = None
        self._requests = 0
        self._request: _Request | None = None
        self._process: WorkerProcess | None = None
        self._standby = Standby(settings, log)
        self._stopping = threading.Event()
        self._wake_receive, self._wake_send = socket.socketpair()
        self._thread = threading.Thread(target=self._supervise, daemon=True, name="worker-client")

    # -- for the caller ---------------------------------------------------------------

    def start(self) -> None:
        """Starts the worker in the background; returns at once."""
        with self._lock:
            self._phase = WorkerPhase.LOADING
        self._thread.start()

    def submit(self, observation: Observation, epoch: int, deadline_s: float) -> bool:
        """Asks for a plan; False when the worker is not ready for it.

        A new `epoch` makes the planner forget earlier ticks. `deadline_s` counts from now.
        """
        with self._lock:
            process = self._process
            if self._phase is not WorkerPhase.READY or process is None:
                return False
            self._requests += 1
            try:
                references = process.memory.place(observation.frames)
                data = protocol.encode(
                    "plan",
                    request=self._requests,
                    epoch=epoch,
                    memory_bytes=process.memory.size,
                    observation=protocol.encode_observation(observation, references),
                )
                process.send(data)
            except (OSError, MemoryError):
                return False  # of a worker that is gone the supervisor finds out why
            now_s = self._clock()
            self._request = _Request(self._requests, observation.tick, now_s, now_s + deadline_s)
            self._phase = WorkerPhase.BUSY
        self._wake()
        return True

    def abandon(self) -> None:
        """Drops the answer to what is in flight; the worker stays busy until it is done."""
        with self._lock:
            if self._request is not None:
                self._request.reported = True

    def status(self) -> WorkerStatus:
        """Where the worker is now."""
        with self._lock:
            return WorkerStatus(
                self._phase,
                self._generation,
                self._reason,
                self._process.pid if self._process else None,
                self._load_s,
                self._late_dropped,
                self._memory_mb,
                -1.0 if self._heard_s is None else self._clock() - self._heard_s,
                max(0, self._generation - 1),
                self._standby.pid,
            )

    def close(self, wait_s: float = 3.0) -> None:
        """Ends the worker: politely, then by force. With `wait_s` = 0 it ends behind our back."""
        self._stopping.set()
        self._wake()
        if self._thread.ident is None:
            self._close_wakers()
        elif wait_s > 0:
            self._thread.join(wait_s)

    # -- supervisor thread ------------------------------------------------------------

    def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            reason, watch = self._run_generation()
            failures = 0 if watch.answered else failures + 1
            self._lose_request(reason)
            if self._stopping.is_set():
                break
            self._log(reason)
            with self._lock:
                self._phase, self._reason = WorkerPhase.BACK_OFF, reason
            most_s = MOST_BACK_OFF_READY_S if watch.ready else MOST_BACK_OFF_S
            self._stopping.wait(min(FIRST_BACK_OFF_S * 2 ** min(failures, 10), most_s))
        self._standby.close()
        with self._lock:
            self._phase = WorkerPhase.STOPPED
        self._close_wakers()

    def _close_wakers(self) -> None:
        with self._lock:
            self._wake_receive.close()
            self._wake_send.close()

    def _run_generation(self) -> tuple[str, _Watch]:
        """One process from start to end: why it ended, and what was seen of it."""
        with self._lock:
            self._generation += 1
            self._phase = WorkerPhase.LOADING
        watch = _Watch(self._clock())
        try:
            process = self._standby.take(self.settings)
        except OSError as error:
            return str(error), watch
        with self._lock:
            self._process = process
            self._heard_s = watch.heard_s = self._clock()
        try:
            process.send(protocol.encode("start", settings=self.settings.to_mapping()))
            reason = self._watch(process, watch)
        except (OSError, protocol.ProtocolError) as error:
            reason = f"the worker's channel broke: {error}"
        with self._lock:
            self._process = None
            self._heard_s, self._memory_mb = None, 0.0
        if self._stopping.is_set():
            process.stop(STOP_GRACE_S)
        process.kill()
        return watch.failure or process.why_ended(reason), watch

    def _watch(self, process: WorkerProcess, watch: _Watch) -> str:
        """Handles messages and clocks until the process must end; returns why."""
        poller = select.poll()
        poller.register(process.channel, select.POLLIN)
        poller.register(process.errors, select.POLLIN)
        poller.register(self._wake_receive, select.POLLIN)
        while not self._stopping.is_set():
            ready = {fd for fd, _ in poller.poll(1e3 * POLL_S)}
            if self._wake_receive.fileno() in ready:
                self._wake_receive.recv(4096)
            if process.errors.fileno() in ready and not process.read_errors(self._log):
                poller.unregister(process.errors)
            if process.channel.fileno() in ready:
                messages = process.receive()
                if messages is None:
                    return ""
                for message in messages:
                    self._handle(message, watch)
            reason = self._overdue(watch) or self._too_large(process, watch)
            if reason:
                return reason
            self._standby.look()
        return "stopped"

    def _handle(self, message: dict[str, Any], watch: _Watch) -> None:
        self._heard_s = watch.heard_s = self._clock()
        kind = message["kind"]
        if kind == "ready":
            watch.ready = True
            self._standby.prepare()
            with self._lock:
                self._phase = WorkerPhase.READY
                self._reason = ""
                self._load_s = float(message["load_s"])
        elif kind == "failed":
            watch.failure = str(message["text"])
        elif kind in ("result", "error"):
            watch.answered |= kind == "result"
            self._finish(message)

    def _finish(self, message: dict[str, Any]) -> None:
        """The worker is free again; its answer counts if it is the one waited for, in time."""
        with self._lock:
            request = self._request
            if request is None or message["request"] != request.number:
                return
            self._request = None
            self._phase = WorkerPhase.READY
            if request.reported:
                self._late_dropped += 1
                return
        elapsed_s = self._clock() - request.started_s
        if message["kind"] == "error":
            camera, stamp_ns = message.get("frame") or ("", 0)
            bad = (str(camera), int(stamp_ns)) if camera else None
            reason = str(message["text"])
            answer = Answer(Outcome.ERROR, request.tick, reason=reason, bad_frame=bad)
        elif request.started_s + elapsed_s > request.deadline_s:
            answer = self._late(request)
        else:
            try:
                answer = self._plan(request, message, elapsed_s)
            except protocol.ProtocolError as error:
                self._deliver(Answer(Outcome.LOST, request.tick, reason=str(error)))
                raise  # a worker that speaks nonsense is replaced
        self._deliver(answer)

    @staticmethod
    def _plan(request: _Request, message: dict[str, Any], elapsed_s: float) -> Answer:
        result = protocol.decode_result(message["result"])
        if result.tick != request.tick:
            raise protocol.ProtocolError(
                f"the worker answered tick {result.tick} where tick {request.tick} was asked"
            )
        return Answer(
            Outcome.PLAN,
            request.tick,
            result,
            plan_ms=float(message["plan_ms"]),
            round_trip_ms=1e3 * elapsed_s,
        )

    def _too_large(self, process: WorkerProcess, watch: _Watch) -> str:
        """Looks at the worker's memory now and then; why it must be killed, if it must."""
        now_s = self._clock()
        if now_s - watch.measured_s < MEMORY_S:
            return ""
        watch.measured_s = now_s
        held_mb, limit_mb = process.memory_mb(), self.settings.worker_memory_limit_mb
        with self._lock:
            self._memory_mb = held_mb
        if not limit_mb or held_mb <= limit_mb:
            return ""
        return (
            f"the worker held {held_mb:.0f} MB, more than worker_memory_limit_mb = {limit_mb}; "
            "raise it or take a smaller model"
        )

    def _overdue(self, watch: _Watch) -> str:
        """Reports a passed deadline once; returns why the worker must be killed, if it must."""
        now_s = self._clock()
        with self._lock:
            request = self._request
        if request is not None and not request.reported and now_s > request.deadline_s:
            request.reported = True
            self._deliver(self._late(request))
        if request is not None and now_s - request.started_s > self.settings.hang_timeout_s:
            waited_s = now_s - request.started_s
            return f"the worker hung on tick {request.tick}: no answer for {waited_s:.1f} s"
        if not watch.ready and now_s - watch.started_s > self.settings.worker_start_timeout_s:
            return (
                f"the worker was not ready after {self.settings.worker_start_timeout_s:g} s; "
                "raise worker_start_timeout_s if the model is large"
            )
        if watch.ready and now_s - watch.heard_s > HEARTBEAT_TIMEOUT_S:
            return f"the worker gave no sign of life for {HEARTBEAT_TIMEOUT_S:g} s"
        return ""

    def _late(self, request: _Request) -> Answer:
        allowed_s = request.deadline_s - request.started_s
        return Answer(
            Outcome.LATE,
            request.tick,
            reason=f"no answer to tick {request.tick} within deadline_s = {allowed_s:g} s",
        )

    def _lose_request(self, reason: str) -> None:
        with self._lock:
            request, self._request = self._request, None
        if request is not None and not request.reported:
            self._deliver(Answer(Outcome.LOST, request.tick, reason=reason))

    def _deliver(self, answer: Answer) -> None:
        try:
            self._on_answer(answer)
        except Exception as error:  # the supervisor must outlive what its caller does
            self._log(f"handling the answer to tick {answer.tick} failed: {error!r}")

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: it has ended
            self._wake_send.send(b"w", socket.MSG_DONTWAIT)


@dataclass
class _Watch:
    """What the supervisor knows of one generation."""

    started_s: float
    heard_s: float = 0.0
    measured_s: float = 0.0
    ready: bool = False
    answered: bool = False
    failure: str = ""
