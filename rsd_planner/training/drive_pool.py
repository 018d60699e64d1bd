"""Runs a task for many seeds in processes that may die.

The simulator is C++ and can take its process down, or stand still. Such a seed is reported and
left out; the others go on. A process serves some seeds and then makes way for a fresh one.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

__all__ = ["run_seeds"]

SEEDS_A_PROCESS = 20

Task = Callable[[int], None]


def run_seeds(
    task: Task, seeds: Sequence[int], processes: int, patience_s: float
) -> Iterator[tuple[int, str]]:
    """Each seed once it is done, with what went wrong with it, or nothing.

    `task` must be importable from a spawned process. A seed that takes longer than
    `patience_s` seconds is given up.
    """
    # Spawned, not forked: libsumo and the renderer keep state in the process.
    context = multiprocessing.get_context("spawn")
    waiting = deque(seeds)
    running: list[_Helper] = []
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                running.append(_Helper(context, task))
                running[-1].give(waiting.popleft())
            wait([h.channel for h in running], timeout=1.0)
            for helper in list(running):
                ended = helper.poll(patience_s)
                if ended is None:
                    continue
                yield helper.seed, ended
                if helper.usable and waiting:
                    helper.give(waiting.popleft())
                else:
                    helper.end()
                    running.remove(helper)
    finally:
        for helper in running:
            helper.end()


class _Helper:
    """One process and the seed that it works on."""

    def __init__(self, context: multiprocessing.context.SpawnContext, task: Task) -> None:
        self.channel, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_serve, args=(theirs, task), daemon=True
        )
        self._process.start()
        theirs.close()  # so that its death is seen here
        self.seed = -1
        self._served = 0
        self._since_s = 0.0
        self._failed = False

    @property
    def usable(self) -> bool:
        """Whether it may be given another seed."""
        return not self._failed and self._served < SEEDS_A_PROCESS

    def give(self, seed: int) -> None:
        """Starts a seed."""
        self.seed, self._since_s = seed, time.monotonic()
        self._served += 1
        self.channel.send(seed)

    def poll(self, patience_s: float) -> str | None:
        """None while it works, then what went wrong or an empty text."""
        if self.channel.poll():
            try:
                return str(self.channel.recv())
            except (EOFError, OSError):
                self._failed = True
                self._process.join(5.0)
                return f"its process died with exit code {self._process.exitcode}"
        if time.monotonic() - self._since_s > patience_s:
            self._failed = True
            return f"it took longer than {patience_s:g} s"
        return None

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self.channel.close()
        if self._failed:
            self._process.kill()
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()


def _serve(channel: Connection, task: Task) -> None:
    while True:
        try:
            seed = channel.recv()
        except EOFError:
            return
        try:
            task(seed)
        except Exception as error:  # the next seed may be well
            channel.send(f"{type(error).__name__}: {error}")
        else:
            channel.send("")
