"""Finds and removes what killed processes left of Fast DDS in /dev/shm.

A participant holds an flock on the lock file of each of its segments (`fastdds_<id>_el`) and of
each port that it reads (`fastdds_port<n>_el`, `_sl`); the kernel drops it with the process, and
nobody drops the memory: 70 MB for each killed process with config/fastdds.xml. So a lock that can
be taken belongs to the dead. A port may still be written to by the living, who would never learn
that another one took its place: it stays as long as any process maps it. Assumes Linux.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SHARED_MEMORY", "Swept", "dead", "files_of", "held_bytes", "left_behind", "sweep"]

SHARED_MEMORY = Path("/dev/shm")
_PORT = re.compile(r"fast(?:dds|rtps)_port\d+")  # a writer makes it where no reader is, unlocked
_LOCK = re.compile(r"(fast(?:dds|rtps)_(?:port\d+|[0-9a-f]{16}))_(?:el|sl)")
# A process creates a file and locks or maps it a moment later; in between it looks dead.
_UNBORN_S = 1.0


@dataclass(frozen=True)
class Swept:
    """What was removed."""

    segments: int = 0
    ports: int = 0
    megabytes: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.segments} segments and {self.ports} ports of dead processes, "
            f"{self.megabytes:.0f} MB"
        )


def dead(folder: Path = SHARED_MEMORY) -> list[str]:
    """Names of the segments and ports whose owner is gone and that may be removed."""
    return [name for name, _ in _dead(folder)]


def sweep(folder: Path = SHARED_MEMORY) -> Swept:
    """Removes them, with their locks. What another user owns is left alone."""
    segments = ports = held = 0
    for name, locks in _dead(folder):
        with _all_taken(locks) as taken:
            if not taken:
                continue
            memory = folder / name
            held += held_bytes(memory)
            for file in (memory, folder / f"sem.{name}_mutex", *locks):
                with contextlib.suppress(OSError):
                    file.unlink()
        ports += "_port" in name
        segments += "_port" not in name
    return Swept(segments, ports, held / 1e6)


def files_of(pids: Iterable[int], folder: Path = SHARED_MEMORY) -> set[str]:
    """Names of the segments and ports of processes that live, by the locks that they hold."""
    names: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = Path(os.readlink(descriptor))
                    found = _LOCK.fullmatch(target.name)
                    if found and target.parent == folder:
                        names.add(found[1])
    return names


def left_behind(names: Iterable[str], folder: Path = SHARED_MEMORY) -> list[str]:
    """Those of the names whose owner is gone and whose memory is not, however young they are."""
    found = _candidates(folder, unborn_s=0.0)
    gone = {name for name, locks in found.items() if not _any_held(locks, unborn_s=0.0)}
    return sorted(name for name in names if name in gone and (folder / name).exists())


def _dead(folder: Path) -> list[tuple[str, list[Path]]]:
    found = [(name, locks) for name, locks in _candidates(folder).items() if not _any_held(locks)]
    mapped = _mapped(folder) if any("_port" in name for name, _ in found) else set()
    return [(name, locks) for name, locks in found if "_port" not in name or name not in mapped]


def _candidates(folder: Path, unborn_s: float = _UNBORN_S) -> dict[str, list[Path]]:
    """What may be dead of this user's, by name, with the lock files that guard it."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            status = file.stat()
            if status.st_uid != os.getuid():
                continue
            if match := _LOCK.fullmatch(file.name):
                found.setdefault(match[1], []).append(file)
            elif _PORT.fullmatch(file.name) and time.time() - status.st_mtime >= unborn_s:
                found.setdefault(file.name, [])
    return found


def _any_held(locks: list[Path], unborn_s: float = _UNBORN_S) -> bool:
    with _all_taken(locks, unborn_s) as taken:
        return not taken


@contextmanager
def _all_taken(locks: list[Path], unborn_s: float = _UNBORN_S) -> Iterator[bool]:
    """Whether all the locks could be had; they are ours until the end of the block."""
    with contextlib.ExitStack() as stack:
        try:
            for file in locks:
                descriptor = os.open(file, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(descriptor).st_mtime < unborn_s:
                    raise BlockingIOError
        except OSError:
            yield False
            return
        yield True


def _mapped(folder: Path) -> set[str]:
    """Names in the folder that some process has mapped."""
    names: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            text = maps.read_text(encoding="utf-8", errors="surrogateescape")
            for line in text.split("\n"):
                path = line.split(maxsplit=5)[5:]
                if path and path[0].startswith(f"{folder}/"):
                    names.add(Path(path[0]).name)
    return names


def held_bytes(file: Path) -> int:
    """Bytes that a file really holds; 0 where it is gone."""
    try:
        return 512 * file.stat().st_blocks
    except OSError:
        return 0
