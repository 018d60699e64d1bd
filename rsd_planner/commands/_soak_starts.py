"""Starts a planner node again and again and ends it at another moment of its life each time.

Ended are a process that still imports, an unconfigured one, one whose model loads, and so on up
to one that plans, by SIGINT, SIGTERM and SIGKILL in turn. A node must end in time whatever it
does, and leave no process and no memory; after SIGKILL no process.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsd_planner.commands._children import DemoError, raise_if_interrupted
from rsd_planner.commands._dds_memory import files_of, left_behind

if TYPE_CHECKING:
    from rsd_planner.commands._soak_measures import Row
    from rsd_planner.commands.soak import Soak

__all__ = ["MOMENTS", "run_starts"]

# What is done before the end; a node that is ended sooner than its signal handlers exist is not
# asked for exit code 0.
MOMENTS: dict[str, tuple[str, ...]] = {
    "importing": (),
    "unconfigured": ("services",),
    "loading": ("configure",),
    "loading, active": ("configure", "activate"),
    "ready": ("configure", "warm"),
    "planning": ("configure", "activate", "plan"),
    "deactivated": ("configure", "activate", "plan", "deactivate"),
    "cleaned up": ("configure", "activate", "plan", "deactivate", "cleanup"),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
STOP_S = 4.0
ORPHAN_S = 2.0
PATIENCE_S = 60.0
IMPORT_S = 0.3


@dataclass
class _Ends:
    """What the ends of all nodes came to."""

    slowest_s: float = 0.0
    slowest: str = ""
    bad_codes: int = 0
    hung: int = 0
    orphans: int = 0
    left: int = 0
    left_by_kill: int = 0
    note: str = ""


def run_starts(soak: Soak, number: int, bar: Any) -> list[Row]:
    """So many nodes, one after the other. Raises DemoError where one does not come up."""
    from rsd_planner.commands._soak_measures import Row, bounded

    ends, slack = _Ends(), soak.arguments.slack
    moments = list(MOMENTS)
    for count in bar.track(range(number), description="starting and ending"):
        raise_if_interrupted()
        moment = moments[count % len(moments)]
        _one(soak, count, moment, SIGNALS[(count // len(moments) + count) % len(SIGNALS)], ends)
    return [
        Row("starts", number),
        bounded("slowest end", ends.slowest_s, STOP_S * slack, "s", ends.slowest),
        bounded("did not end", ends.hung, 0, "", ends.note),
        bounded("exit codes other than 0", ends.bad_codes, 0, "", ends.note),
        bounded("orphaned processes", ends.orphans, 0, "", ends.note),
        bounded("left in /dev/shm", ends.left, 0, "", ends.note),
        Row("left in /dev/shm by SIGKILL", ends.left_by_kill, note="swept at the next start"),
    ]


def _one(soak: Soak, count: int, moment: str, number: signal.Signals, ends: _Ends) -> None:
    from rsd_planner.commands._soak_hearing import Hearing
    from rsd_planner.commands.soak import workers_of
    from rsd_planner.ros.soak_rig import SoakRig

    slack = soak.arguments.slack
    name = f"/rsd_planner_{count}"  # services of a killed node stay known for a while
    node = soak.start_node(name)
    shared: set[str] = set()
    if MOMENTS[moment]:
        with SoakRig(name, soak.arguments.camera, soak.drive, Hearing()) as rig:
            for step in MOMENTS[moment]:
                if not _done(rig, step, PATIENCE_S * slack):
                    raise DemoError(f"'{step}' failed at start {count}: {node.last_words()}")
            shared = files_of([node.pid])
    else:
        time.sleep(IMPORT_S)
    began_s = time.monotonic()
    node.end(number) if number == signal.SIGKILL else node.signal(number)
    try:
        code = node.wait(3.0 * STOP_S * slack)
    except DemoError:
        ends.hung += 1
        ends.note = f"{moment}, {number.name}"
        node.end(signal.SIGKILL)
        node.reap()
        return
    took_s = time.monotonic() - began_s
    if took_s > ends.slowest_s:
        ends.slowest_s, ends.slowest = took_s, f"{moment}, {number.name}"
    until_s = began_s + ORPHAN_S * slack
    while workers_of(node.pid) and time.monotonic() < until_s:
        time.sleep(0.02)
    left, orphans, killed = left_behind(shared), workers_of(node.pid), number == signal.SIGKILL
    bad = bool(MOMENTS[moment]) and not killed and code != 0
    ends.left_by_kill += len(left) if killed else 0
    ends.left += 0 if killed else len(left)
    ends.orphans += len(orphans)
    ends.bad_codes += bad
    if bad or orphans or (left and not killed):
        ends.note = f"{moment}, {number.name}: code {code}, {node.last_words()}"


def _done(rig: Any, step: str, patience_s: float) -> bool:
    if step == "services":
        return bool(rig.wait(lambda: rig.newest("status") is not None, patience_s))
    if step == "warm":
        return bool(rig.wait(lambda: rig.diagnostic("model").get("loaded") == "1", patience_s))
    if step == "plan":
        return bool(rig.wait(rig.is_steady, patience_s))
    return bool(rig.transition(step))
