"""What fault drills do to a node: small functions on a `Drill`.

Every fault is injected from outside: by messages, signals, files, parameters or the order file
of the substituted worker.
"""

from __future__ import annotations

import copy
import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsd_planner.ros.fault_rig import FaultRig

__all__ = ["Drill", "Fault"]

CAMERAS = ("front_wide", "front_tele")
PERIOD_S = 0.1
WATCH_S = 0.1  # the node looks at its status ten times a second
AT_ONCE_S = 2 * PERIOD_S + WATCH_S  # the next message, the next tick, the next look
TICKS_S = 3 * PERIOD_S + WATCH_S  # the next pictures and two ticks


@dataclass
class Drill:
    """One node under test and the means to hurt it."""

    rig: FaultRig
    order_file: Path
    model: Path
    kept: dict[str, bytes] = field(default_factory=dict)

    def order(self, text: str = "") -> None:
        """Tells the substituted worker's planner how to behave."""
        fresh = self.order_file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.order_file)

    def calm(self) -> None:
        """Ends everything that was done."""
        self.rig.tampers.clear()
        self.rig.paused = False
        self.rig.odometry_step_s = lambda: 0.02
        self.order()


Action = Callable[[Drill], None]


@dataclass(frozen=True)
class Fault:
    """One drill. `says` is a pattern of what status or diagnostics must say; `published` are the
    sources that trajectories may have once it is detected, and at the earliest `judged_s` after
    its start; empty for no trajectory at all. Where the fault may be over before it is ended (a
    worker comes back by itself), MODEL is among them, and one of `seen` must have come since the
    start.
    """

    number: int
    name: str
    start: Action
    says: str
    published: frozenset[str]
    detect_s: float = AT_ONCE_S
    recover_s: float = TICKS_S
    hold_s: float = 0.6
    judged_s: float = 0.0
    seen: frozenset[str] = frozenset()
    node: str = "plain"
    stop: Action = Drill.calm


def silence(*names: str) -> Action:
    def start(drill: Drill) -> None:
        for name in names:
            drill.rig.tampers[name] = lambda message: ()

    return start


def alter(name: str, change: Callable[[Any], None]) -> Action:
    """Every message of an input is changed before it is published."""

    def tamper(message: Any) -> Iterable[Any]:
        altered = copy.deepcopy(message)
        change(altered)
        return (altered,)

    def start(drill: Drill) -> None:
        drill.rig.tampers[name] = tamper

    return start


def order(text: str) -> Action:
    return lambda drill: drill.order(text)


def shift_stamp(seconds: float) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        stamp = message.header.stamp
        total = stamp.sec * 10**9 + stamp.nanosec + round(seconds * 1e9)
        stamp.sec, stamp.nanosec = divmod(total, 10**9)

    return change


def out_of_order(drill: Drill) -> None:
    """Of each three pictures the second comes after the third."""
    waiting: list[Any] = []

    def tamper(message: Any) -> Iterable[Any]:
        waiting.append(message)
        if len(waiting) < 3:
            return waiting[:1] if len(waiting) == 1 else ()
        first_late, newest = waiting[1], waiting[2]
        waiting.clear()
        return (newest, first_late)

    drill.rig.tampers[CAMERAS[0]] = tamper


def cut(message: Any) -> None:
    message.data = message.data[: len(message.data) // 2]


def other_format(message: Any) -> None:
    message.format = "16UC1; compressedDepth png"


def other_size(message: Any) -> None:
    from rsd_planner.ros.fault_rig import encoded

    message.data = encoded(96, 48)


def jittering(drill: Drill) -> None:
    drill.order("history")
    shaken = random.Random(0)
    drill.rig.odometry_step_s = lambda: shaken.uniform(0.01, 0.1)


def jumped(message: Any) -> None:
    message.pose.pose.position.y += 30.0


def not_a_number(message: Any) -> None:
    message.pose.pose.position.x = float("nan")


def no_rotation(message: Any) -> None:
    message.pose.pose.orientation.w = 0.0


def other_frame(message: Any) -> None:
    message.header.frame_id = "map"


def loop(drill: Drill) -> None:
    drill.rig.jump(-20.0)


def pause(drill: Drill) -> None:
    drill.rig.paused = True


def kill(drill: Drill) -> None:
    drill.rig.signal_worker(signal.SIGKILL)


def kill_and_silence(drill: Drill) -> None:
    silence(CAMERAS[0])(drill)
    kill(drill)


def contradict(order: str) -> Action:
    def start(drill: Drill) -> None:
        drill.rig.set_parameter("require_agreement", True)
        drill.order(order)

    return start


def agree(drill: Drill) -> None:
    drill.calm()
    drill.rig.set_parameter("require_agreement", False)


def spoil_weights(change: Callable[[bytes], bytes | None]) -> Action:
    """Replaces or removes the weights, and tries to configure."""

    def start(drill: Drill) -> None:
        weights = drill.model / "model.safetensors"
        drill.kept["weights"] = weights.read_bytes()
        spoilt = change(drill.kept["weights"])
        weights.unlink()
        if spoilt is not None:
            weights.write_bytes(spoilt)
        drill.rig.transition("configure")

    return start


def mend_weights(drill: Drill) -> None:
    (drill.model / "model.safetensors").write_bytes(drill.kept["weights"])
    begin(drill)


def bad_parameter(drill: Drill) -> None:
    drill.rig.set_parameter("worker_python", "/nowhere/python")
    drill.rig.transition("configure")


def good_parameter(drill: Drill) -> None:
    drill.rig.set_parameter("worker_python", str(drill.order_file.parent / "drill_worker"))
    begin(drill)


def begin(drill: Drill) -> None:
    drill.rig.transition("configure")
    drill.rig.transition("activate")


def kill_while_loading(drill: Drill) -> None:
    rig, began_s = drill.rig, time.monotonic()
    drill.order("load 1.0")
    rig.transition("configure")
    rig.wait(lambda: rig.seen("diagnostics", began_s) and rig.worker_pid() > 0, 5.0)
    kill(drill)


def load_at_last(drill: Drill) -> None:
    drill.calm()
    drill.rig.transition("activate")
