"""One worker process with its channel, and the memory through which it gets pixels.

Both are anonymous (a socket pair, a memfd): they vanish with the last process that holds
them, so there is nothing to sweep after a crash. Assumes Linux for the memfd and falls back
to an unlinked temporary file. It does not know what the messages mean.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.pictures import PackedFrame
from rsd_planner.types import Frame
from rsd_planner.worker import protocol

__all__ = ["FrameMemory", "WorkerProcess"]

PAGE = mmap.PAGESIZE
SEND_TIMEOUT_S = 0.5


class FrameMemory:
    """Anonymous shared memory for the pictures that are new in an observation.

    Only one request is in flight at a time, so each one may overwrite it. The server keeps
    exactly the frames of the last observation; those are not written again.
    """

    def __init__(self) -> None:
        self.fd = _anonymous_file()
        self.size = 0
        self._map: mmap.mmap | None = None
        self._sent: set[tuple[str, int]] = set()

    def place(self, frames: Sequence[Frame]) -> tuple[protocol.FrameReference, ...]:
        """Writes the new frames and says where each one is."""
        references: list[protocol.FrameReference] = []
        offset = 0
        for frame in frames:
            known = (frame.camera, frame.stamp_ns) in self._sent
            references.append(protocol.FrameReference.of(frame, -1 if known else offset))
            offset += 0 if known else references[-1].size
        memory = self._grown(offset)
        for frame, reference in zip(frames, references, strict=True):
            if not reference.known:
                memory[reference.offset : reference.offset + reference.size] = _bytes_of(frame)
        self._sent = {(frame.camera, frame.stamp_ns) for frame in frames}
        return tuple(references)

    def close(self) -> None:
        """Gives the memory back."""
        if self._map is not None:
            self._map.close()
            self._map = None
        os.close(self.fd)

    def _grown(self, need: int) -> mmap.mmap:
        if self._map is None or self.size < need:
            size = max(PAGE, -(-need // PAGE) * PAGE)
            os.ftruncate(self.fd, size)
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(self.fd, size)
            self.size = size
        return self._map


class WorkerProcess:
    """A started worker with the memory through which it gets pixels.

    With `standby` it prepares itself and waits for its orders. Raises OSError, with the remedy,
    when there is no memory or the interpreter cannot be run.
    """

    def __init__(self, settings: PlannerSettings, standby: bool = False) -> None:
        try:
            self.memory = FrameMemory()
        except OSError as error:
            raise OSError(f"no shared memory for the worker: {error}") from error
        try:
            self._start(settings, standby)
        except OSError as error:
            self.memory.close()
            raise OSError(
                f"the worker could not be started: {error}; check worker_python"
            ) from error

    def _start(self, settings: PlannerSettings, standby: bool) -> None:
        python = settings.worker_python or sys.executable
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(SEND_TIMEOUT_S)
        self._inbox = protocol.Inbox()
        self._lines: deque[str] = deque(maxlen=20)
        self._partial = b""
        self._cause = ""
        self._link: tempfile.TemporaryDirectory[str] | None = None
        command = [python, "-m", "rsd_planner.worker.server"]
        command += ["--channel", str(theirs.fileno()), "--memory", str(self.memory.fd)]
        command += ["--parent", str(os.getpid())] + ["--standby"] * standby
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), self.memory.fd),
                env=_environment(python, settings.worker_threads, self._package_root(python)),
                start_new_session=True,
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        assert self._process.stderr is not None
        self.errors = self._process.stderr

    @property
    def pid(self) -> int:
        """Process id; also the id of its process group."""
        return self._process.pid

    def memory_mb(self) -> float:
        """Resident memory of the worker [MB]; 0 where the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0.0
        return pages * PAGE / 1e6

    def send(self, data: bytes) -> None:
        """Writes a whole message. Raises OSError when the worker is gone or reads nothing."""
        self.channel.sendall(data)

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that arrived; None when the worker closed its end."""
        try:
            data = self.channel.recv(1 << 20)
        except (ConnectionError, TimeoutError):
            return None
        return self._inbox.feed(data) if data else None

    def read_errors(self, log: Callable[[str], None]) -> bool:
        """Takes what the worker printed; False at its end."""
        data = os.read(self.errors.fileno(), 1 << 16)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if text:
                self._lines.append(text)
                log(f"worker: {text}")
        return bool(data)

    def stop(self, grace_s: float) -> None:
        """Asks the worker to end and waits a little."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.send(protocol.encode("stop"))
            self.channel.shutdown(socket.SHUT_WR)
            self._process.wait(grace_s)

    def kill(self) -> None:
        """Ends the worker and everything it started, and gives back channel and memory."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.05)  # one that is ending on its own tells its cause
        code = self._process.poll()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._cause = "" if code is None else _exit_words(code)
        os.set_blocking(self.errors.fileno(), False)
        with contextlib.suppress(OSError):
            while self.read_errors(lambda line: None):
                pass
        self.errors.close()
        self.channel.close()
        self.memory.close()
        if self._link is not None:
            self._link.cleanup()

    def _package_root(self, python: str) -> Path:
        """A folder in which the worker finds rsd_planner, and no packages of another Python.

        Installed by pip, our package sits among those of the node's interpreter; then the
        worker gets a folder with a link to our package alone.
        """
        package = Path(__file__).resolve().parents[1]
        if python == sys.executable or not (package.parent / "numpy").exists():
            return package.parent
        self._link = tempfile.TemporaryDirectory(prefix="rsd_planner_")
        (Path(self._link.name) / package.name).symlink_to(package)
        return Path(self._link.name)

    def why_ended(self, reason: str) -> str:
        """One sentence: `reason`, or the exit code, with the last line that was printed."""
        words = reason or self._cause or "the worker closed its channel"
        tail = f": {self._lines[-1]}" if self._lines and not reason else ""
        return words + tail


def _bytes_of(frame: Frame) -> bytes | memoryview:
    if isinstance(frame, PackedFrame):
        return frame.picture.data
    return np.ascontiguousarray(frame.image).data.cast("B")


def _exit_words(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the worker was killed (SIGKILL; out of memory?)"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the worker died of {signal.Signals(-code).name}"
    return f"the worker exited with code {code}"


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rsd_planner_frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _environment(python: str, threads: int, root: Path) -> dict[str, str]:
    """The worker's environment: our package, and no packages of another interpreter.

    A sourced ROS puts its own numpy on PYTHONPATH; another interpreter must not see that.
    """
    environment = dict(os.environ)
    path = [str(root)]
    if python == sys.executable and environment.get("PYTHONPATH"):
        path.append(environment["PYTHONPATH"])
    environment["PYTHONPATH"] = os.pathsep.join(path)
    environment.pop("PYTHONHOME", None)
    environment.update(
        OMP_NUM_THREADS=str(threads),
        PYTHONUNBUFFERED="1",
        TOKENIZERS_PARALLELISM="false",
        HF_HUB_OFFLINE="1",
    )
    return environment
