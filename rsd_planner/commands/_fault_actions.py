"""What fault drills do to a node: small functions on a `Drill`.

Every fault is injected from outside: by messages, signals, files, parameters or the order file
of the substituted worker. How soon a fault must be seen and over follows from a few times of the
node; see docs/faults.md.
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

__all__ = ["Drill", "Fault", "Timing"]

CAMERAS = ("front_wide", "front_tele")
MEASURE_S = 0.05  # to carry a message to the node and its words to the observer, and to note them


@dataclass(frozen=True)
class Timing:
    """The node's times, from which all limits follow [s]."""

    period_s: float = 0.1
    deadline_s: float = 0.3
    hang_s: float = 1.0
    age_s: float = 0.5  # max_input_age_s
    answer_s: float = 0.0  # of the planner at most: a tick may have to wait for the last one's
    pictures_s: float = 0.3  # from the first picture that the model looks at to the last one
    history_s: float = 1.5  # of the odometry that the model looks at
    restart_s: float = 5.0  # of the worker

    @property
    def one_tick_s(self) -> float:
        """From the first message that is wrong to the status that says so."""
        return self.period_s + self.answer_s + MEASURE_S

    @property
    def two_ticks_s(self) -> float:
        """From the first message that is right again to the next plan of the model."""
        return 2.0 * self.period_s + self.answer_s + MEASURE_S

    @property
    def silent_s(self) -> float:
        """An input is not silent before it is too old."""
        return self.age_s + self.one_tick_s

    @property
    def unanswered_s(self) -> float:
        """The next tick asks, and its deadline passes."""
        return self.deadline_s + self.one_tick_s

    @property
    def new_pictures_s(self) -> float:
        """After a hole as many pictures as the model looks at have to come first."""
        return self.pictures_s + self.two_ticks_s

    @property
    def new_history_s(self) -> float:
        """After a longer hole or a jump the odometry has to tell all of the past anew."""
        return self.history_s + self.two_ticks_s


@dataclass
class Drill:
    """One node under test and the means to hurt it."""

    rig: FaultRig
    order_file: Path
    model: Path
    worker_python: str = ""
    timing: Timing = Timing()
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
    """One drill.

    `says` is a pattern of what status or diagnostics must say. `published` are the sources that
    trajectories may have once it is detected, and at the earliest `judged_s` after its start;
    empty for no trajectory at all. Where the fault may be over before it is ended (a worker comes
    back by itself), MODEL is among them, and one of `seen` must have come since the start. It is
    held for `hold_s` from its detection, or for `lasts_s` from its start. A `sudden` one is over
    at once, and recovery counts from its start. `needs` is `stand-in` for what only the made-up
    planner can do, `model` for what only a real one can.
    """

    number: int
    name: str
    start: Action
    says: str
    published: frozenset[str]
    detect_s: float
    recover_s: float
    hold_s: float = 0.6
    lasts_s: float = 0.0
    judged_s: float = 0.0
    seen: frozenset[str] = frozenset()
    node: str = "plain"
    prepare: Action = lambda drill: None
    stop: Action = Drill.calm
    sudden: bool = False
    needs: str = ""


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


def undecodable(message: Any) -> None:
    """A table of codes that cannot be, between a sound header and a sound end."""
    spoilt = bytearray(message.data)
    at = spoilt.index(b"\xff\xc4") + 5
    spoilt[at : at + 16] = b"\xff" * 16
    message.data = bytes(spoilt)


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


def suspend(drill: Drill) -> None:
    """The worker's process stands still, whatever planner it has."""
    drill.rig.signal_worker(signal.SIGSTOP)


def shorten_deadline(drill: Drill) -> None:
    """To less than any planner needs."""
    drill.rig.set_parameter("deadline_s", 0.05)


def restore_deadline(drill: Drill) -> None:
    drill.rig.set_parameter("deadline_s", drill.timing.deadline_s)


def kill_and_cut(drill: Drill) -> None:
    alter(CAMERAS[0], cut)(drill)
    kill(drill)


def hang(drill: Drill) -> None:
    """The made-up planner hangs, and a tick of it has begun."""
    drill.order("hang")
    time.sleep(2.0 * drill.timing.period_s)


def demand_agreement(drill: Drill) -> None:
    drill.rig.set_parameter("require_agreement", True)


def agree(drill: Drill) -> None:
    drill.calm()
    drill.rig.set_parameter("require_agreement", False)


def spoil_weights(change: Callable[[bytes], bytes | None]) -> Action:
    """Replaces or removes the weights."""

    def prepare(drill: Drill) -> None:
        weights = drill.model / "model.safetensors"
        drill.kept["weights"] = weights.read_bytes()
        spoilt = change(drill.kept["weights"])
        weights.unlink()
        if spoilt is not None:
            weights.write_bytes(spoilt)

    return prepare


def mend_weights(drill: Drill) -> None:
    (drill.model / "model.safetensors").write_bytes(drill.kept["weights"])
    begin(drill)


def bad_parameter(drill: Drill) -> None:
    drill.rig.set_parameter("worker_python", "/nowhere/python")


def good_parameter(drill: Drill) -> None:
    drill.rig.set_parameter("worker_python", drill.worker_python)
    begin(drill)


def configure(drill: Drill) -> None:
    drill.rig.transition("configure")


def begin(drill: Drill) -> None:
    drill.rig.transition("configure")
    drill.rig.transition("activate")


def load(drill: Drill) -> None:
    """Configures, and comes back while the model loads and the status names its process."""
    rig, began_s = drill.rig, time.monotonic()
    drill.order("load 1.0")
    rig.transition("configure")
    rig.wait(lambda: rig.seen("diagnostics", began_s) and rig.worker_pid() > 0, 5.0)


def load_at_last(drill: Drill) -> None:
    drill.calm()
    drill.rig.transition("activate")
