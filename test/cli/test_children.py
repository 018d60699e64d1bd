"""No child process outlives the command that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from rsd_planner.commands._children import Children, DemoError

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(60)\n",
]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def soon(condition) -> bool:
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_children_end_with_the_block(tmp_path):
    with Children(tmp_path) as children:
        child = children.start("sleeper", SLEEPER)
    assert child.code == -signal.SIGTERM


def test_what_cannot_be_swept_stops_nothing(tmp_path, monkeypatch):
    def sweep():
        raise PermissionError("/dev/shm")

    monkeypatch.setattr("rsd_planner.commands._children.sweep", sweep)
    with Children(tmp_path) as children:
        child = children.start("sleeper", SLEEPER)
    assert child.code == -signal.SIGTERM


def test_grandchildren_of_a_stubborn_child_end_too(tmp_path):
    with pytest.raises(RuntimeError, match="broken"), Children(tmp_path) as children:
        child = children.start("stubborn", STUBBORN)
        assert soon(lambda: child.log.read_text().strip())
        raise RuntimeError("broken")
    assert child.code == -signal.SIGKILL
    assert soon(lambda: not alive(int(child.log.read_text())))


def test_children_die_with_a_killed_parent(tmp_path):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from rsd_planner.commands._children import Children\n"
        "with Children(Path(sys.argv[1])) as children:\n"
        "    child = children.start('sleeper', [sys.executable, '-c', "
        "'import time; time.sleep(60)'])\n"
        "    print(child._process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    assert soon(lambda: not alive(pid))


def test_a_child_that_does_not_end_is_named(tmp_path):
    with Children(tmp_path) as children:
        child = children.start("sleeper", SLEEPER)
        with pytest.raises(DemoError, match="sleeper did not end within"):
            child.wait(timeout_s=0.1)


def test_last_words_come_from_the_log(tmp_path):
    with Children(tmp_path) as children:
        child = children.start("talker", [sys.executable, "-c", "print('first'); print('last')"])
        child.wait(timeout_s=20.0)
        assert child.last_words().startswith("last")
