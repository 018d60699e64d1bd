"""Who gets a core first: the node, which a tick must not wait for, or all the others.

By default the kernel shares cores fairly: whoever has slept may run next, but for some
milliseconds it waits behind another. A real-time priority ends that wait. It holds for threads,
so all of a process get it; children are started without.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["as_others", "let_others_in", "real_time_priority", "take_precedence"]

_THREADS = Path("/proc/self/task")
_REMEDY = (
    "permit it (ulimit -r; `rtprio` in /etc/security/limits.conf, LimitRTPRIO= of a systemd unit, "
    "CAP_SYS_NICE of a container) or set real_time_priority to 0"
)


def take_precedence(priority: int) -> str:
    """Gives all threads of this process a real-time priority (SCHED_RR, 1 to 99), and those
    that they start; 0 takes it back. Returns why that cannot be; empty when it is done.
    """
    if not hasattr(os, "SCHED_RR"):
        return "this system knows no real-time priorities; set real_time_priority to 0"
    policy = os.SCHED_RR if priority else os.SCHED_OTHER
    try:
        # A thread that begins meanwhile has what its parent had: so until all are seen to have it.
        for _ in range(3):
            for thread in [int(entry.name) for entry in _THREADS.iterdir()]:
                with contextlib.suppress(ProcessLookupError):  # it has ended
                    os.sched_setscheduler(thread, policy, os.sched_param(priority))
    except OSError as error:
        return f"no real-time priority {priority} ({error.strerror}): {_REMEDY}"
    return ""


def real_time_priority() -> int:
    """That of the calling thread; 0 when it has none."""
    try:
        return int(os.sched_getparam(0).sched_priority)
    except (AttributeError, OSError):
        return 0


@contextlib.contextmanager
def as_others() -> Iterator[None]:
    """Inside, the calling thread has no precedence: a child that it starts has none either."""
    priority = real_time_priority()
    if not priority:
        yield
        return
    policy = os.sched_getscheduler(0)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the permission may have been taken away
            os.sched_setscheduler(0, policy, os.sched_param(priority))


def let_others_in() -> None:
    """Not to take the core from the node, which in that moment asks or publishes.

    It needs no privilege, costs no throughput, and ends what the default policy does: a task
    that has slept preempts the one that woke it.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
