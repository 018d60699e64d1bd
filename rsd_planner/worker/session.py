"""One planning session: inputs in, ticks, answers checked, paths and status out.

Everything that the node decides, without ROS: what a tick does, what an answer means, when
the fallback speaks and which state that is. ROS time comes from a callable and steady time
from another; what is to be published goes to a callback. Safe to call from many threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from rsd_planner.config import ModelRequirements, PlannerSettings
from rsd_planner.planning.checks import checked_path
from rsd_planner.planning.fallback import Fallback, Followable
from rsd_planner.planning.input_buffer import InputBuffer, InputHealth, NotReady
from rsd_planner.planning.input_checks import Verdict
from rsd_planner.types import EgoState, Frame, PlanResult, PlanSource
from rsd_planner.worker.client import Answer, Outcome, WorkerClient, WorkerPhase, WorkerStatus
from rsd_planner.worker.health import ModelHealth, PlannerState, SessionHealth

__all__ = ["PlanningSession", "TickOutput"]

MAX_HINT = 1000  # characters of a route hint
FROZEN_S = 0.5  # a ROS clock that stands still for longer on the steady clock is frozen


@dataclass(frozen=True)
class TickOutput:
    """What is published of one tick. `result` is there when the path is the model's.

    `picture` is the newest one of the first camera that the model saw.
    """

    followable: Followable
    result: PlanResult | None
    frame_id: str
    picture: Frame | None = None


@dataclass
class _Counts:
    tick: int = 0
    plan_tick: int = 0
    skipped: int = 0
    late: int = 0
    rejected: int = 0


class PlanningSession:
    """Lives from configure to cleanup; `activate` and `deactivate` in between."""

    def __init__(
        self,
        settings: PlannerSettings,
        requirements: ModelRequirements,
        publish: Callable[[TickOutput], None],
        ros_now_ns: Callable[[], int],
        log: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
        undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext,
        tell: Callable[[TickOutput | None], None] = lambda output: None,
    ) -> None:
        """`publish` gets what is followed; then `tell` gets the same, for who only watches, and
        None when there is nothing to follow any more."""
        self.settings = settings = _with_clean_hint(settings)
        self._undisturbed = undisturbed
        self._publish = publish
        self._tell = tell
        self._ros_now_ns = ros_now_ns
        self._clock = clock
        self._lock = threading.RLock()
        self._new_buffer = lambda: InputBuffer(settings, requirements)
        self._buffer = self._new_buffer()
        self._fallback = Fallback(settings)
        self._client = WorkerClient(settings, self._on_answer, log, clock)
        self._active = False
        self._epoch = 0
        self._counts = _Counts()
        self._model = ModelHealth.of(settings)
        self._asked_s: dict[int, float] = {}  # steady time of the timer, by tick
        self._picture: Frame | None = None
        self._newest_t0_ns = 0  # asked for
        self._plan_t0_ns = 0  # answered
        self._reasons: tuple[str, ...] = ()
        self._missing: tuple[str, ...] = ()
        self._overhead_ms: deque[float] = deque(maxlen=512)
        self._tick_ms: deque[float] = deque(maxlen=512)
        self._seen_now_ns = 0
        self._seen_now_s = clock()

    # -- life --------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the worker; returns at once."""
        self._client.start()

    def close(self, wait_s: float) -> None:
        """Ends the worker; nothing is published any more, and no picture is kept."""
        self.deactivate()
        with self._lock:
            self._buffer, self._picture = self._new_buffer(), None
        self._client.close(wait_s)

    def activate(self) -> None:
        """Ticks count from 1 again; earlier plans are forgotten."""
        with self._lock:
            self._forget()
            self._counts = _Counts()
            self._model = ModelHealth.of(self.settings)
            self._overhead_ms.clear()
            self._tick_ms.clear()
            self._active = True

    def deactivate(self) -> None:
        """Drops what is in flight."""
        with self._lock:
            self._active = False
            self._forget()

    def update(self, settings: PlannerSettings) -> None:
        """Takes the settings that may change while active."""
        settings = _with_clean_hint(settings)
        with self._lock:
            if settings.navigation != self.settings.navigation:
                self._buffer.navigation = settings.navigation
            self.settings = settings
            self._buffer.settings = settings
            self._fallback.settings = settings
            self._client.settings = settings

    # -- inputs ------------------------------------------------------------------------

    def add_frame(self, frame: Frame) -> Verdict:
        """A picture, with its pixels or packed."""
        with self._lock:
            verdict = self._buffer.add_frame(frame, self._ros_now_ns())
            self._notice_epoch()
            return verdict

    def refuse(self, name: str, why: str) -> None:
        """A message of an input that could not be read."""
        with self._lock:
            self._buffer.refuse(name, why)

    def add_state(self, state: EgoState, frame_id: str, child_frame_id: str) -> Verdict:
        """One odometry message."""
        with self._lock:
            verdict = self._buffer.add_state(state, self._ros_now_ns(), frame_id, child_frame_id)
            self._notice_epoch()
            return verdict

    def set_navigation(self, text: str) -> None:
        """A route hint; it holds until the next one."""
        with self._lock:
            self._buffer.navigation = _clean(text)

    # -- ticks -------------------------------------------------------------------------

    def tick(self) -> None:
        """What the timer does: ask for a plan, or say what to follow without one."""
        started_s = self._clock()
        with self._undisturbed(), self._lock:
            if not self._active:
                return
            now_ns = self._ros_now_ns()
            self._counts.tick += 1
            phase = self._client.status().phase
            if phase is WorkerPhase.BUSY:
                self._skip(now_ns)
                return
            seen = self._buffer.snapshot(now_ns, self._counts.tick)
            self._notice_epoch()
            if isinstance(seen, NotReady):
                self._counts.skipped += 1
                self._fall_back(now_ns, seen.reasons)
            elif seen.t0_ns <= self._newest_t0_ns:
                self._skip(now_ns)
            elif self._client.submit(seen, self._epoch, self.settings.deadline_s):
                self._newest_t0_ns = seen.t0_ns
                self._asked_s = {seen.tick: started_s}
                first = [f for f in seen.frames if f.camera == seen.frames[0].camera]
                self._picture = first[-1]
                if self._in_fallback() or self._fallback.expired(now_ns):
                    self._fall_back(now_ns, self._reasons)
            else:
                self._counts.skipped += 1
                self._fall_back(now_ns, (self._worker_reason(),))

    def _skip(self, now_ns: int) -> None:
        """Busy, or no new picture: while the last plan is valid that changes nothing."""
        self._counts.skipped += 1
        if self._in_fallback():
            self._fall_back(now_ns, self._reasons)
        elif not self._fallback.has_plan:  # before the first answer, or after a jump of time
            self._fall_back(now_ns, self._reasons or ("no plan yet: the worker is busy",))
        elif self._fallback.expired(now_ns):
            reason = (
                f"the last plan's validity_s = {self.settings.validity_s:g} s is over and no new "
                "one has come; raise validity_s if the model is slow"
            )
            self._fall_back(now_ns, (reason,))

    def _in_fallback(self) -> bool:
        return self._fallback.source in (PlanSource.LAST_VALID, PlanSource.SAFE_STOP)

    def _on_answer(self, answer: Answer) -> None:
        """Called by the client's thread."""
        with self._undisturbed(), self._lock:
            if not self._active:
                return
            now_ns = self._ros_now_ns()
            if answer.outcome is Outcome.PLAN and answer.result is not None:
                self._take_plan(answer, answer.result, now_ns)
            else:
                if answer.bad_frame is not None:
                    self._buffer.drop_frame(*answer.bad_frame, answer.reason)
                self._counts.late += answer.outcome is Outcome.LATE
                self._fall_back(now_ns, (answer.reason,))

    def _take_plan(self, answer: Answer, result: PlanResult, now_ns: int) -> None:
        self._model = self._model.after(result, answer.plan_ms)
        faults, path = checked_path(result, self._buffer.newest_state, self.settings)
        age_s = (now_ns - result.t0_ns) / 1e9
        if faults:
            self._counts.rejected += 1
            self._fall_back(now_ns, tuple(str(fault) for fault in faults))
        elif age_s >= self.settings.validity_s:
            self._counts.rejected += 1
            self._fall_back(now_ns, (f"the plan is {age_s:.2f} s old, older than validity_s",))
        elif self._frozen():
            self._fall_back(now_ns, ())
        else:
            self._reasons = ()
            self._missing = result.missing
            self._counts.plan_tick = result.tick
            self._plan_t0_ns = result.t0_ns
            followable = self._fallback.accept(result, now_ns, path)
            frame_id = self._buffer.odometry_frame
            output = TickOutput(followable, result, frame_id, self._picture)
            self._publish(output)
            self._note_time(answer)
            self._tell(output)

    def _note_time(self, answer: Answer) -> None:
        started_s = self._asked_s.pop(answer.tick, None)
        if started_s is not None:
            tick_ms = 1e3 * (self._clock() - started_s)
            self._tick_ms.append(tick_ms)
            self._overhead_ms.append(tick_ms - answer.plan_ms)

    def _fall_back(self, now_ns: int, reasons: tuple[str, ...]) -> None:
        self._reasons = reasons
        if self._frozen():
            return  # the end of what is published would never come
        before = self._fallback.source
        followable = self._fallback.decide(self._counts.tick, now_ns, self._buffer.newest_state)
        if followable is not None:
            output = TickOutput(followable, None, self._buffer.odometry_frame)
            self._publish(output)
            self._tell(output)
        elif before is not None:
            self._tell(None)

    def _notice_epoch(self) -> None:
        """After a jump of time nothing that was planned or asked before it counts."""
        if self._buffer.epoch != self._epoch:
            self._epoch = self._buffer.epoch
            self._forget()

    def _forget(self) -> None:
        self._client.abandon()
        self._fallback.reset()
        self._asked_s = {}
        self._newest_t0_ns = 0
        self._plan_t0_ns = 0
        self._reasons = ()
        self._missing = ()

    # -- health ------------------------------------------------------------------------

    def watch(self) -> SessionHealth:
        """Looks at the clocks and tells how things are; called a few times a second."""
        with self._lock:
            now_ns, now_s = self._ros_now_ns(), self._clock()
            if now_ns != self._seen_now_ns:
                self._seen_now_ns, self._seen_now_s = now_ns, now_s
            self._buffer.notice_time(now_ns)
            self._notice_epoch()
            worker = self._client.status()
            inputs = self._buffer.health(now_ns)
            state, reasons = self._state(now_ns, worker, inputs)
            counts = self._counts
            return SessionHealth(
                state=state,
                reasons=reasons,
                tick=counts.tick,
                plan_tick=counts.plan_tick,
                ticks_skipped=counts.skipped,
                ticks_late=counts.late,
                plans_rejected=counts.rejected,
                source=self._fallback.source,
                worker=worker,
                model=self._model,
                inputs=inputs,
                overhead_ms=tuple(self._overhead_ms),
                tick_ms=tuple(self._tick_ms),
                plan_age_s=(now_ns - self._plan_t0_ns) / 1e9 if self._plan_t0_ns else -1.0,
            )

    def _frozen(self) -> bool:
        still_s = self._clock() - self._seen_now_s
        return self._ros_now_ns() == self._seen_now_ns and still_s > FROZEN_S

    def _state(
        self, now_ns: int, worker: WorkerStatus, inputs: tuple[InputHealth, ...]
    ) -> tuple[PlannerState, tuple[str, ...]]:
        source = self._fallback.source
        loading = worker.phase in (WorkerPhase.LOADING, WorkerPhase.BACK_OFF)
        reasons = list(self._reasons)
        if self._frozen():
            reasons.insert(0, self._frozen_reason(now_ns))
        reasons += [f"missing: {text}" for text in self._missing]
        if loading and self._worker_reason() not in reasons:
            reasons.append(self._worker_reason())
        if not self._active:
            state = _inactive_state(worker)
            if not loading:
                reasons.append("not active: activate the node")
        elif source is PlanSource.MODEL:
            state = PlannerState.DEGRADED if reasons else PlannerState.ACTIVE
        elif source is PlanSource.LAST_VALID:
            state = PlannerState.DEGRADED
        elif source is PlanSource.SAFE_STOP:
            state = PlannerState.SAFE_STOP
        else:
            state = self._pathless_state(worker, loading)
            reasons += [
                f"{h.name}: {h.drop_now or 'no message yet'}"
                for h in inputs
                if h.required and h.age_s < 0 and not self._reasons
            ]
        return state, tuple(reasons)

    def _pathless_state(self, worker: WorkerStatus, loading: bool) -> PlannerState:
        """Active and nothing to follow: before the first plan that is waiting, later a fault."""
        if self._plan_t0_ns:
            return PlannerState.DEGRADED if self._frozen() else PlannerState.FAULT
        if loading:
            return _inactive_state(worker)
        return PlannerState.WAITING

    def _worker_reason(self) -> str:
        status = self._client.status()
        if status.phase is WorkerPhase.BACK_OFF:
            return f"{status.reason} (restarting)"
        if status.phase is WorkerPhase.LOADING:
            again = (
                f" again, generation {status.generation}: {status.reason}"
                if (status.reason)
                else ""
            )
            return f"the model is loading{again}"
        return f"the worker is {status.phase.value}"

    def _frozen_reason(self, now_ns: int) -> str:
        if now_ns == 0:
            return "use_sim_time is set but nothing publishes /clock"
        return "the ROS clock stands still: is the simulation or bag paused?"


def _with_clean_hint(settings: PlannerSettings) -> PlannerSettings:
    return replace(settings, navigation=_clean(settings.navigation))


def _clean(text: str) -> str:
    """A route hint without what could pass for a token of the prompt, or no text at all."""
    sound = text[:MAX_HINT].encode("utf-8", "replace").decode()
    return "".join(c for c in sound if c.isprintable()).replace("<|", "").replace("|>", "")


def _inactive_state(worker: WorkerStatus) -> PlannerState:
    if worker.phase is WorkerPhase.BACK_OFF or (
        worker.phase is WorkerPhase.LOADING and worker.reason
    ):
        return PlannerState.FAULT
    if worker.phase is WorkerPhase.LOADING:
        return PlannerState.LOADING
    return PlannerState.WAITING
