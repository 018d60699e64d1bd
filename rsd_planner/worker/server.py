"""The worker process: loads a planner, warms it and answers observations until its pipe closes.

Started by `worker.process` as `python -m rsd_planner.worker.server --channel FD --memory FD`;
speaks `worker.protocol` on the inherited socket and reads pixels from the inherited
anonymous memory. It imports torch only after it said hello, and knows nothing of ROS. One that
waits to take over (`--standby`) imports everything before it is told what to load.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import mmap
import os
import platform
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.pictures import PackedFrame, PictureError
from rsd_planner.types import Frame, Observation, PlanResult
from rsd_planner.worker import protocol

__all__ = ["Server", "let_others_in", "main"]

HEARTBEAT_S = 0.25
PR_SET_PDEATHSIG = 1


class PlannerLike(Protocol):
    """What the server needs of a planner."""

    def warm_up(self) -> None:
        """Load and run everything once, so that the first tick is as fast as the others."""

    def plan(self, observation: Observation) -> PlanResult:
        """The answer to one observation."""

    def reset(self) -> None:
        """Time jumped: forget earlier ticks."""


class BadFrameError(Exception):
    """A picture of the observation cannot be decoded."""

    def __init__(self, frame: Frame, why: PictureError) -> None:
        super().__init__(f"{frame.camera}: {why}")
        self.frame = frame


class Server:
    """Serves one client on one socket; `run` returns when the client is gone."""

    def __init__(
        self,
        channel: socket.socket,
        memory_fd: int,
        build: Callable[[PlannerSettings], PlannerLike],
    ) -> None:
        self._channel = channel
        self._memory_fd = memory_fd
        self._build = build
        self._memory: mmap.mmap | None = None
        self._known: dict[tuple[str, int], Frame] = {}
        self._epoch = 0
        self._phase = "loading"
        self._send_lock = threading.Lock()

    def run(self) -> None:
        """Says hello, loads, warms, answers."""
        self._send("hello", pid=os.getpid(), python=platform.python_version())
        planner: PlannerLike | None = None
        inbox = protocol.Inbox()
        while True:
            data = self._channel.recv(1 << 20)
            if not data:
                return
            for message in inbox.feed(data):
                if message["kind"] == "start":
                    threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()
                    planner = self._start(message)
                elif message["kind"] == "plan" and planner is not None:
                    self._answer(planner, message)
                elif message["kind"] == "stop":
                    return

    def _start(self, message: Mapping[str, Any]) -> PlannerLike:
        """Builds and warms the planner. Raises whatever it raises, after telling the client."""
        start = time.monotonic()
        try:
            planner = self._build(PlannerSettings.from_mapping(message["settings"]))
            self._phase = "warming"
            planner.warm_up()
            # Models and libraries live as long as the process: looking through them for garbage
            # would hold up a tick by 0.1 s.
            gc.collect()
            gc.freeze()
        except Exception as error:
            self._send("failed", text=_describe(error))
            raise
        self._phase = "ready"
        self._send("ready", load_s=time.monotonic() - start)
        return planner

    def _answer(self, planner: PlannerLike, message: Mapping[str, Any]) -> None:
        request = int(message["request"])
        try:
            if message["epoch"] != self._epoch:
                self._epoch = message["epoch"]
                planner.reset()
            memory = self._map(int(message["memory_bytes"]))
            observation = protocol.decode_observation(message["observation"], self._known, memory)
            self._known = {(f.camera, f.stamp_ns): f for f in observation.frames}
            start = time.perf_counter()
            observation = self._unpacked(observation)
            result = planner.plan(observation)
            plan_ms = 1e3 * (time.perf_counter() - start)
            self._send(
                "result", request=request, plan_ms=plan_ms, result=protocol.encode_result(result)
            )
        except (protocol.ProtocolError, OSError):
            raise
        except BadFrameError as error:
            bad = [error.frame.camera, error.frame.stamp_ns]
            self._send("error", request=request, text=str(error), frame=bad)
        except Exception as error:
            # One bad tick must not cost a reload of the model; the client counts them.
            traceback.print_exc()
            self._send("error", request=request, text=_describe(error))

    def _unpacked(self, observation: Observation) -> Observation:
        """With pixels in all frames; each is decoded once. Raises BadFrameError."""
        for frame in observation.frames:
            if isinstance(frame, PackedFrame):
                try:
                    self._known[(frame.camera, frame.stamp_ns)] = frame.unpacked()
                except PictureError as error:
                    raise BadFrameError(frame, error) from None
        frames = tuple(self._known[(f.camera, f.stamp_ns)] for f in observation.frames)
        return replace(observation, frames=frames)

    def _map(self, size: int) -> memoryview:
        if self._memory is None or len(self._memory) < size:
            self._memory = mmap.mmap(self._memory_fd, size, access=mmap.ACCESS_READ)
        return memoryview(self._memory)

    def _send(self, kind: str, **values: Any) -> None:
        data = protocol.encode(kind, **values)
        with self._send_lock:
            self._channel.sendall(data)

    def _beat(self) -> None:
        """Shows that the process lives; ends it, even in the middle of a tick, with its client."""
        while True:
            try:
                self._send("heartbeat", phase=self._phase)
            except OSError:
                os._exit(0)
            time.sleep(HEARTBEAT_S)


def _describe(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return (
            f"the worker's Python has no module '{error.name}'; set worker_python to an "
            "interpreter with torch (`ros2 run rsd_planner setup_worker` makes one)"
        )
    return f"{type(error).__name__}: {error}"


def _import_all() -> None:
    """What `_build_planner` needs, in a thread that takes only what others leave of the cores.

    A process could not take its own niceness back afterwards; a thread's ends with it.
    """

    def work() -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        with contextlib.suppress(Exception):  # building it meets the same, and tells
            import rsd_planner.build  # noqa: F401

    thread = threading.Thread(target=work, name="imports")
    thread.start()
    thread.join()


def _build_planner(settings: PlannerSettings) -> PlannerLike:
    import torch

    from rsd_planner.build import build_planner

    torch.set_num_threads(settings.worker_threads)
    return build_planner(settings)


def let_others_in() -> None:
    """Not to take the core from the node, which in that moment asks or publishes.

    It needs no privilege, costs no throughput, and ends what the default policy does: a task
    that has slept preempts the one that woke it.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _end_with(parent: int) -> None:
    """Has the kernel kill this process when its parent dies, even while it is stopped."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it died before


def main(
    arguments: list[str] | None = None,
    build: Callable[[PlannerSettings], PlannerLike] = _build_planner,
    prepare: Callable[[], None] = lambda: None,
) -> int:
    """Entry of the worker process. 0: the client said stop or is gone, 1: an error.

    `prepare` runs in a worker that stands by, before it waits for its orders.
    """
    parser = argparse.ArgumentParser(prog="rsd_planner.worker.server")
    parser.add_argument("--channel", type=int, required=True, help="inherited socket")
    parser.add_argument("--memory", type=int, required=True, help="inherited anonymous memory")
    parser.add_argument("--parent", type=int, default=0, help="process id of the client")
    parser.add_argument("--standby", action="store_true", help="prepare before orders come")
    options = parser.parse_args(arguments)
    # Ctrl-C reaches the whole foreground group; the node decides when the worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if options.parent:
        _end_with(options.parent)
    let_others_in()
    os.dup2(2, 1)  # what libraries print belongs with the errors
    channel = socket.socket(fileno=options.channel)
    try:
        if options.standby:
            prepare()
        Server(channel, options.memory, build).run()
    except ConnectionError:
        return 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    code = main(prepare=_import_all)
    sys.stderr.flush()
    os._exit(code)  # skips slow destructors of models and of the CUDA context
