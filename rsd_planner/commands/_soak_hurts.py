"""What a soak does to a node meanwhile: kill its worker, or flood its inputs with nonsense.

Both only send signals and messages and hear what comes of it from outside.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsd_planner.commands._children import DemoError
from rsd_planner.worker.health import percentile

if TYPE_CHECKING:
    from rsd_planner.commands._soak_hearing import Hearing
    from rsd_planner.commands._soak_measures import Row

__all__ = ["Fuzz", "Killer"]

FALLBACK_S = 0.5  # the watchdog of docs/safety.md brakes then
RECOVER_S = 5.0
GONE_S = 1.0
BURST = 4  # messages at once: fewer than a camera's queue holds
PAUSE_S = 0.008
ROUNDS = 12  # of as many messages as the node has not counted yet
READY_S = 60.0


@dataclass
class Kill:
    """One kill; times since it, -1 where the thing has not happened."""

    pid: int
    at_s: float
    at_ns: int
    fallback_s: float = -1.0
    recover_s: float = -1.0
    gone_s: float = -1.0

    @property
    def over(self) -> bool:
        """Whether the model plans again and the process is gone."""
        return self.recover_s >= 0 and self.gone_s >= 0


class Killer:
    """SIGKILLs the worker every `every_s`, and looks often at what comes of it."""

    def __init__(self, rig: Any, hearing: Hearing, every_s: float, slack: float) -> None:
        self._rig, self._hearing = rig, hearing
        self._every_s, self._slack = every_s, slack
        self.kills: list[Kill] = []
        self._next_s = every_s

    def look(self, elapsed_s: float, duration_s: float) -> None:
        """Called a few times in each tenth of a second; no kill in the last seconds."""
        if self.kills and not self.kills[-1].over:
            self._note(self.kills[-1])
            return
        leave_s = min(self._every_s, RECOVER_S * self._slack)
        if elapsed_s < self._next_s or elapsed_s > duration_s - 0.5 * leave_s:
            return
        pid = self._rig.worker_pid()
        if pid <= 0 or any(kill.pid == pid for kill in self.kills):
            return  # /diagnostics does not name the next one yet
        kill = Kill(pid, time.monotonic(), time.time_ns())
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it ended by itself, and /diagnostics does not say so yet
        self.kills.append(kill)
        self._next_s += self._every_s

    def rows(self) -> list[Row]:
        """What all the kills came to."""
        from rsd_planner.commands._soak_measures import Row, bounded

        until = time.monotonic() + RECOVER_S * self._slack
        while self.kills and not self.kills[-1].over and time.monotonic() < until:
            self._note(self.kills[-1])
            time.sleep(0.02)
        kills, slack = self.kills, self._slack
        recovered = [kill.recover_s for kill in kills if kill.recover_s >= 0]
        fallbacks = [kill.fallback_s for kill in kills if kill.fallback_s >= 0]
        gone = [kill.gone_s for kill in kills if kill.gone_s >= 0]
        rows = [
            Row("kills", len(kills), 1, "", bool(kills)),
            bounded("kills without a fallback", len(kills) - len(fallbacks), 0),
            bounded("fallback after, worst", max(fallbacks, default=0), FALLBACK_S * slack, "s"),
            bounded("longest silence", self._hearing.longest_silence_s, FALLBACK_S * slack, "s"),
            bounded("kills without a recovery", len(kills) - len(recovered), 0),
            bounded("worker gone after, worst", max(gone, default=0), GONE_S * slack, "s"),
        ]
        for name, share in (("p50", 0.5), ("p90", 0.9), ("worst", 1.0)):
            value = percentile(recovered, share)
            rows.append(bounded(f"recovered after, {name}", value, RECOVER_S * slack, "s"))
        return rows

    def _note(self, kill: Kill) -> None:
        now_s = time.monotonic()
        if kill.gone_s < 0 and not os.path.exists(f"/proc/{kill.pid}"):
            kill.gone_s = now_s - kill.at_s
        fallback_s = self._hearing.first_since(kill.at_s, model=False)
        if kill.fallback_s < 0 and fallback_s is not None:
            kill.fallback_s = fallback_s - kill.at_s
        # A plan of what was seen after the kill can only be the next worker's.
        model_s = self._hearing.first_since(kill.at_s, model=True, t0_ns=kill.at_ns)
        if kill.recover_s < 0 and model_s is not None:
            kill.recover_s = model_s - kill.at_s


class Fuzz:
    """Malformed messages on all inputs of one node, while the car's good messages go on: with
    compressed pictures, then with raw ones, then with a hostile /clock. A quarter of them come
    first, so that what the node learns once is not taken for a leak."""

    def __init__(self, rig: Any, hearing: Hearing, number: int, seed: int, slack: float) -> None:
        from rsd_planner.ros.fuzz import Nonsense

        self._rig, self._hearing = rig, hearing
        self._number, self._slack = number, slack
        self._nonsense = Nonsense(rig, seed)
        self._sent: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._recovered: dict[str, float] = {}

    def run(self, watch: Callable[[], None], bar: Any) -> tuple[list[Row], float]:
        """The rows, and the time at which the node had settled."""
        phases = self._nonsense.phases
        inputs = sum(len(names) for names in phases.values())
        task = bar.add_task("fuzzing", total=inputs * self._number * 1.25)
        settled_s = 0.0
        for number in (max(1, self._number // 4), self._number):
            for phase, names in phases.items():
                self._prepare(phase)
                self._flood(phase, names, number, watch, lambda n: bar.advance(task, n))
            self._prepare("compressed")  # the same state at both looks at what is held
            settled_s = settled_s or time.monotonic()
            until_s = time.monotonic() + 3.0
            while time.monotonic() < until_s:
                watch()
                time.sleep(0.1)
        return self._rows(), settled_s

    def _prepare(self, phase: str) -> None:
        """The node takes the pictures, or the clock, of this phase, and plans."""
        rig, raw = self._rig, phase == "raw"
        rig.set_parameter("use_sim_time", False)
        since_s = time.monotonic()
        if rig.raw != raw:
            for name in ("deactivate", "cleanup"):
                rig.transition(name)
            rig.set_parameter("camera_compressed", not raw)
            rig.raw = raw
            for name in ("configure", "activate"):
                rig.transition(name)
            since_s = time.monotonic()  # what came before is of the old configuration
        if not rig.wait(lambda: rig.is_steady(since_s), READY_S * self._slack):
            raise DemoError(f"the node does not plan before the {phase} messages: {rig.reasons()}")
        if phase == "clock":
            rig.set_parameter("use_sim_time", True)

    def _flood(
        self,
        phase: str,
        names: tuple[str, ...],
        number: int,
        watch: Callable[[], None],
        advance: Callable[[int], None],
    ) -> None:
        """So many messages on each input; more where the node has not counted as many."""
        rig, before, good = self._rig, self._counted(), dict(self._rig.sent)
        missing = dict.fromkeys(names, number)
        for _ in range(ROUNDS):
            while any(missing.values()):
                for name in names:
                    burst = min(BURST, missing[name])
                    for _ in range(burst):
                        self._nonsense.send(name)
                    missing[name] -= burst
                    advance(burst)
                    self._sent[name] = self._sent.get(name, 0) + burst
                watch()
                time.sleep(PAUSE_S)
            ended_s, ended_ns = time.monotonic(), time.time_ns()
            rig.wait(lambda: rig.seen("status", ended_s + 0.3), 3.0)  # noqa: B023
            after = self._counted()
            for name in names:
                counted = self._nonsense.counted_as(name)
                if counted:
                    new = after.get(counted, 0) - before.get(counted, 0)
                    seen = max(0, new - (rig.sent[counted] - good[counted]))
                    missing[name] = max(0, number - seen)
                    self._seen[name] = seen
            if not any(missing.values()):
                break
        self._nonsense.calm()
        rig.set_parameter("use_sim_time", False)
        self._recover(phase, ended_s, ended_ns, watch)

    def _recover(
        self, phase: str, ended_s: float, ended_ns: int, watch: Callable[[], None]
    ) -> None:
        """How long after the last bad message the model planned what came after it."""
        until_s = ended_s + 4 * RECOVER_S * self._slack
        found_s = None
        while found_s is None and time.monotonic() < until_s:
            watch()
            found_s = self._hearing.first_since(ended_s, model=True, t0_ns=ended_ns)
            time.sleep(0.02)
        after_s = -1.0 if found_s is None else found_s - ended_s
        worst = self._recovered.get(phase, 0.0)
        self._recovered[phase] = after_s if after_s < 0 else max(worst, after_s)

    def _counted(self) -> dict[str, int]:
        """What the node has received of each input since configure."""
        suffix = " received"
        counts = self._hearing.counts
        return {k.removesuffix(suffix): n for k, n in counts.items() if k.endswith(suffix)}

    def _rows(self) -> list[Row]:
        from rsd_planner.commands._soak_measures import Row

        rows = []
        for name, sent in self._sent.items():
            seen = self._seen.get(name)
            note = "" if seen is None else f"{seen} of the last round counted by the node"
            rows.append(Row(f"bad messages: {name}", sent, None, "", True, note))
            if seen is not None and seen < self._number:
                rows.append(Row(f"counted: {name}", seen, self._number, "", False, "too few came"))
        limit_s = RECOVER_S * self._slack
        for phase, after_s in self._recovered.items():
            passed = 0 <= after_s <= limit_s
            rows.append(Row(f"plans again after {phase}", after_s, limit_s, "s", passed))
        return rows
