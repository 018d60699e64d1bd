"""Child processes that never outlive their parent.

Each is a session of its own, so that Ctrl-C reaches the parent alone, which then ends them in
order; and the kernel kills them should the parent be killed. Output goes into log files. What
killed processes leave in /dev/shm is swept before and after.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from rsd_planner.commands._dds_memory import sweep

__all__ = ["Child", "Children", "DemoError", "raise_if_interrupted"]

_PR_SET_PDEATHSIG = 1
_GRACE_S = 3.0
_MODEST = 10  # nice


class DemoError(RuntimeError):
    """Something that was started did not do its part; the text says what and where to look."""


class Child:
    """One process with its log."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id, also after its end."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Ask it to end."""
        self.signal(signal.SIGINT)

    def signal(self, number: int) -> None:
        """Signal the process alone."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """The exit code. Raises DemoError if it does not end in time."""
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise DemoError(
                f"{self.name} did not end within {timeout_s:g} s; its log is {self.log}"
            ) from None

    def end(self, signal_number: int) -> None:
        """Signal the process and everything that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal_number)

    def reap(self) -> None:
        """Take the exit code of a process that was killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_GRACE_S)

    def last_words(self) -> str:
        """The last line of its log."""
        if not self.log.is_file():
            return f"exit code {self.code}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{lines[-1].strip() if lines else 'it said nothing'} ({self.log})"


class Children:
    """A context manager: when it ends, however it ends, no child is left."""

    def __init__(self, log_folder: Path) -> None:
        self._folder = log_folder
        self._children: list[Child] = []
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Children:
        with contextlib.suppress(OSError):  # a courtesy, which must not keep anything from starting
            sweep()
        _interrupted.clear()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, _as_interrupt)
        return self

    def start(
        self, name: str, command: list[str], *, shown: bool = False, modest: bool = False
    ) -> Child:
        """Start a process; `shown` lets it write to this terminal, errors still go to its log.

        A `modest` one steps back where cores are scarce: who watches must not slow the watched.
        """
        log = self._folder / f"{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=None if shown else file,
                stderr=file,
                start_new_session=True,
                preexec_fn=_prepare_modest if modest else _prepare,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        running = [child for child in self._children if child.code is None]
        for child in running:
            child.end(signal.SIGTERM)
        until = time.monotonic() + _GRACE_S
        while time.monotonic() < until and any(child.code is None for child in running):
            time.sleep(0.05)
        for child in self._children:
            child.end(signal.SIGKILL)  # also what a child may have left behind in its group
            child.reap()
        with contextlib.suppress(OSError):
            sweep()


_interrupted = threading.Event()


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    """To be called in loops: rclpy may swallow what a signal raises within a callback."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _prepare() -> None:
    """Runs in the child before its program: be killed when the parent dies."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prepare_modest() -> None:
    _prepare()
    os.nice(_MODEST)
