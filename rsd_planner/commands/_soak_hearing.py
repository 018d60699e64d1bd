"""What an outside subscriber heard of a planner node, as counts that stay small for hours.

Knows messages by their fields only, and no ROS: tests feed it plain objects. Times are seconds
of the subscriber's steady clock if nothing else is said.
"""

from __future__ import annotations

import threading
from array import array
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

__all__ = ["Alarm", "Hearing"]

MODEL = 0
ACTIVE = 2
RECENT = 2000
MOST_ALARMS = 1000
DELAY_S = 0.1  # the subscriber's own car came later than that: what is said of it is true
AFTER_S = 1.0  # … and for so long after it
LATE_WORDS = ("within deadline_s", "older than validity_s", "validity_s =")


@dataclass
class Alarm:
    """A time in which the status was not ACTIVE, with its first reason.

    `kind` is "late" where the node reports a tick beyond its deadline, "delay" where whoever
    published the inputs was late itself, and "false" otherwise.
    """

    began_s: float
    ended_s: float
    reason: str
    kind: str


class Hearing:
    """Filled by a subscriber's thread, read by another. Counts from its making on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sources: Counter[int] = Counter()
        self.judged: Counter[int] = Counter()  # those of the sources that came while judging
        self.recent: deque[tuple[float, int, int]] = deque(maxlen=RECENT)  # time, source, t0
        self.total_ms = array("f")
        self.alarms: list[Alarm] = []
        self.longest_silence_s = 0.0
        self.oldest_model_s = 0.0  # a plan's t0 against the wall clock, when it came
        self.longest_delay_s = 0.0
        self.judging = False  # alarms, silences and shares count from `judge` on
        self.counts: dict[str, int] = {}
        self._alarm: Alarm | None = None
        self._last: tuple[int, int] | None = None
        self._last_s = 0.0
        self._delayed_s = -1e9

    def judge(self) -> None:
        """From now on the node must be well."""
        with self._lock:
            self.judging = True
            self.judged = Counter()
            self.longest_silence_s = self.longest_delay_s = self.oldest_model_s = 0.0
            self.alarms, self._alarm = [], None

    def rest(self, now_s: float) -> None:
        """What comes from now on is not judged."""
        with self._lock:
            self.judging = False
            if self._last is not None:
                self.longest_silence_s = max(self.longest_silence_s, now_s - self._last_s)

    def note_trajectory(self, at_s: float, now_ns: int, t0_ns: int, tick: int, source: int) -> None:
        """A trajectory that came at `at_s`, at `now_ns` of the clock that stamps t0."""
        with self._lock:
            self.sources[source] += 1
            self.recent.append((at_s, source, t0_ns))
            self.judged[source] += self.judging
            if source == MODEL and self.judging:
                self.oldest_model_s = max(self.oldest_model_s, (now_ns - t0_ns) / 1e9)
            if (t0_ns, tick) == self._last:
                return
            if self._last is not None and self.judging:
                self.longest_silence_s = max(self.longest_silence_s, at_s - self._last_s)
            self._last, self._last_s = (t0_ns, tick), at_s

    def note_status(self, at_s: float, status: Any) -> None:
        """A PlannerStatus."""
        with self._lock:
            self.counts = {
                name: int(getattr(status, name))
                for name in ("ticks_total", "ticks_skipped", "ticks_late", "worker_generation")
            }
            self.counts["dropped"] = sum(int(item.dropped) for item in status.inputs)
            self.counts.update({f"{i.name} received": int(i.received) for i in status.inputs})
            if not self.judging:
                return
            if status.state == ACTIVE:
                self._alarm = None
            elif self._alarm is None:
                reason = "; ".join(status.reasons) or "no reason"
                self._alarm = Alarm(at_s, at_s, reason, self._kind(at_s, reason))
                if len(self.alarms) < MOST_ALARMS:
                    self.alarms.append(self._alarm)
            else:
                self._alarm.ended_s = at_s

    def note_stats(self, total_ms: float) -> None:
        """How long the planner took for a plan that was published."""
        with self._lock:
            self.total_ms.append(total_ms)

    def note_delay(self, at_s: float, delay_s: float) -> None:
        """How late a message to the node was published."""
        with self._lock:
            self.longest_delay_s = max(self.longest_delay_s, delay_s)
            if delay_s > DELAY_S:
                self._delayed_s = at_s

    def first_since(self, since_s: float, *, model: bool, t0_ns: int = 0) -> float | None:
        """When the first trajectory came that is the model's, or is not, with a later t0."""
        with self._lock:
            for at_s, source, stamp_ns in self.recent:
                if at_s >= since_s and (source == MODEL) == model and stamp_ns > t0_ns:
                    return at_s
        return None

    def of_kind(self, kind: str) -> list[Alarm]:
        """Alarms of a kind."""
        with self._lock:
            return [alarm for alarm in self.alarms if alarm.kind == kind]

    def _kind(self, at_s: float, reason: str) -> str:
        if any(words in reason for words in LATE_WORDS):
            return "late"
        return "delay" if at_s - self._delayed_s < AFTER_S else "false"
