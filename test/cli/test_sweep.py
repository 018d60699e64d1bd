"""What killed processes left in /dev/shm is found by its lock; what lives is left alone."""

from __future__ import annotations

import fcntl
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsd_planner.commands._children import Children
from rsd_planner.commands._dds_memory import Swept, dead, files_of, left_behind, sweep

SEGMENT, OTHER, PORT = "fastdds_0123456789abcdef", "fastrtps_fedcba9876543210", "fastdds_port7411"
LONG_AGO = time.time() - 60.0


def make(folder: Path, name: str, lock: str = "el", size: int = 8192) -> Path:
    """The memory of a participant and its lock file, a minute old."""
    (folder / name).write_bytes(os.urandom(size))
    (folder / f"sem.{name}_mutex").touch()
    file = folder / f"{name}_{lock}"
    file.touch()
    os.utime(file, (LONG_AGO, LONG_AGO))
    return file


@pytest.fixture
def held() -> Iterator[list[int]]:
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def hold(held: list[int], lock: Path, kind: int = fcntl.LOCK_EX) -> None:
    held.append(os.open(lock, os.O_RDONLY))
    fcntl.flock(held[-1], kind)


def test_the_dead_are_removed_with_their_locks_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, SEGMENT)
    make(tmp_path, OTHER)
    make(tmp_path, PORT, "sl")
    for name in ("lttng-ust-wait-6", "fastdds_not_a_segment", "somebody_el"):
        (tmp_path / name).write_bytes(b"x")
    assert set(dead(tmp_path)) == {SEGMENT, OTHER, PORT}
    swept = sweep(tmp_path)
    assert (swept.segments, swept.ports) == (2, 1)
    assert swept.megabytes == pytest.approx(3 * 8192e-6, abs=0.01)
    left = {file.name for file in tmp_path.iterdir()}
    assert left >= {"lttng-ust-wait-6", "fastdds_not_a_segment", "somebody_el"}
    assert not any("port" in name or SEGMENT in name for name in left)
    assert sweep(tmp_path) == Swept()


def test_what_is_locked_or_just_born_is_left_alone(tmp_path: Path, held: list[int]) -> None:
    hold(held, make(tmp_path, SEGMENT))
    hold(held, make(tmp_path, PORT, "sl"), fcntl.LOCK_SH)  # readers share a multicast port
    os.utime(make(tmp_path, OTHER))
    assert not dead(tmp_path)
    assert sweep(tmp_path) == Swept()
    assert (tmp_path / SEGMENT).exists() and (tmp_path / PORT).exists()


def test_a_port_that_is_still_written_to_stays(tmp_path: Path) -> None:
    make(tmp_path, PORT)
    with (tmp_path / PORT).open("r+b") as file, mmap.mmap(file.fileno(), 0):
        assert not dead(tmp_path)
    assert dead(tmp_path) == [PORT]


def test_a_file_name_that_is_no_text_hides_nothing(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.write_bytes(b"x")
    make(tmp_path, PORT)
    with odd.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        assert dead(tmp_path) == [PORT]
        with (tmp_path / PORT).open("r+b") as port, mmap.mmap(port.fileno(), 0):
            assert not dead(tmp_path)


def test_a_port_that_nobody_ever_read_goes_too(tmp_path: Path) -> None:
    make(tmp_path, PORT).unlink()
    assert not dead(tmp_path)  # just made: its writer may be about to map it
    os.utime(tmp_path / PORT, (LONG_AGO, LONG_AGO))
    assert dead(tmp_path) == [PORT]


def test_a_living_process_is_known_by_the_locks_that_it_holds(
    tmp_path: Path, held: list[int]
) -> None:
    hold(held, make(tmp_path, SEGMENT))
    os.utime(make(tmp_path, OTHER))  # also what was made just before the end
    assert files_of([os.getpid()], tmp_path) == {SEGMENT}
    assert left_behind([SEGMENT, OTHER, PORT], tmp_path) == [OTHER]


@pytest.mark.ros
def test_a_killed_participant_is_swept_and_a_living_one_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    code = "import rclpy, time; rclpy.init(); n = rclpy.create_node('left'); time.sleep(60)"
    with Children(tmp_path) as children:
        killed, living = (
            children.start(name, [sys.executable, "-c", code]) for name in ("killed", "living")
        )
        until = time.monotonic() + 40.0
        while not all(len(files_of([child.pid])) >= 2 for child in (killed, living)):
            assert time.monotonic() < until, (killed.last_words(), living.last_words())
            time.sleep(0.1)
        time.sleep(1.5)  # a lock that is younger is spared
        of_killed, of_living = files_of([killed.pid]), files_of([living.pid])
        killed.end(9)
        killed.reap()
        assert set(left_behind(of_killed)) >= {n for n in of_killed if "_port" not in n}
        subprocess.run([sys.executable, "-m", "rsd_planner.cli", "sweep"], check=True)
        assert not [name for name in left_behind(of_killed) if "_port" not in name]
        assert files_of([living.pid]) == of_living
        assert all((Path("/dev/shm") / name).exists() for name in of_living)
