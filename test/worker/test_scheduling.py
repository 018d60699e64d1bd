"""A real-time priority is the node's alone, and its refusal names the remedy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, subprocess, sys, threading, time
from rsd_planner.worker.scheduling import as_others, real_time_priority, take_precedence

def priorities():
    return {os.sched_getparam(int(t)).sched_priority for t in os.listdir("/proc/self/task")}

def child():
    ask = "import os; print(os.sched_getscheduler(0))"
    return int(subprocess.check_output([sys.executable, "-c", ask]))

def begin():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

begin()
assert take_precedence(3) == ""
begin()
assert priorities() == {3}, priorities()
with as_others():
    assert real_time_priority() == 0
    assert child() == os.SCHED_OTHER
assert real_time_priority() == 3
assert take_precedence(0) == ""
assert priorities() == {0}, priorities()
"""

REFUSED = """
import os
from rsd_planner.worker.scheduling import as_others, real_time_priority, take_precedence
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print(take_precedence(1))
assert real_time_priority() == 0
with as_others():
    pass
"""


def run(program: str) -> str:
    return subprocess.check_output([sys.executable, "-c", program], text=True)


def permitted() -> bool:
    try:
        before = os.sched_getscheduler(0)
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(3))
        os.sched_setscheduler(0, before, os.sched_param(0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not permitted(), reason="this user may have no real-time priority")
def test_all_threads_have_it_and_children_do_not() -> None:
    run(PROGRAM)


@pytest.mark.skipif(
    os.getuid() != 0 and permitted(), reason="this user may have a real-time priority"
)
def test_a_refusal_says_what_to_permit() -> None:
    words = run(REFUSED)
    assert "no real-time priority 1" in words
    assert "rtprio" in words and "real_time_priority to 0" in words
