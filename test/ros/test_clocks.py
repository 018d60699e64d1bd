"""Time as it comes in a simulator, a bag and a car: slow, fast, paused, looped, put back.

The test is the player: it publishes /clock, odometry and pictures over DDS, at a rate that is
so much slower as the machine is crowded.
"""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rsd_planner.types import NANOSECONDS

pytest.importorskip("rclpy")
pytest.importorskip("rsd_planner.msg")

from ros_harness import PATIENCE_S, Harness, crowding, stamp_of
from rsd_planner.msg import PlannedTrajectory, PlannerStatus

pytestmark = pytest.mark.ros
BEGIN_NS = 1_000 * NANOSECONDS
STEP_NS = 20_000_000
CLOCK_S = 0.05  # between two messages on /clock, on the wall
REAL_NS = time.time_ns
MODEL, LAST_VALID, SAFE_STOP = (
    PlannedTrajectory.MODEL,
    PlannedTrajectory.LAST_VALID,
    PlannedTrajectory.SAFE_STOP,
)


class Player:
    """Plays one drive, from any second of it, at any rate."""

    def __init__(self, node: Harness) -> None:
        self.node = node
        self.slower = crowding()
        self.now_ns = BEGIN_NS

    def play(
        self, rate: float, until: Callable[[], object], at_s: float | None = None, most_s: float = 0
    ) -> None:
        """From second `at_s` on (else from where it is) until it is so, or for `most_s`."""
        if at_s is not None:
            self.now_ns = BEGIN_NS + round(at_s * NANOSECONDS)
        step_s = STEP_NS / NANOSECONDS / rate * self.slower
        begin_ns, due = self.now_ns, time.monotonic()
        end = due + PATIENCE_S
        while not until() and (not most_s or self.second_since(begin_ns) < most_s):
            assert time.monotonic() < end, self.node.explain()
            parts = int(step_s / CLOCK_S) + 1  # a slow player's clock is as smooth as a fast one's
            for part in range(1, parts):
                self.node.send_clock(self.now_ns + part * STEP_NS // parts)
                time.sleep(max(0.0, due + part * step_s / parts - time.monotonic()))
            self.now_ns += STEP_NS
            self.send()
            due = max(due + step_s, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def send(self) -> None:
        self.node.send_clock(self.now_ns)
        self.node.send_odometry(self.now_ns)
        if self.now_ns % (5 * STEP_NS) == 0:
            self.node.send_picture(self.now_ns)

    def second_since(self, begin_ns: int) -> float:
        return (self.now_ns - begin_ns) / NANOSECONDS

    def planned_since(self, begin_ns: int) -> bool:
        """Whether the model planned for an instant after this one, of the present lap."""
        plan = self.node.newest("trajectory")
        good = plan is not None and plan.source == MODEL
        return good and begin_ns <= stamp_of(plan) <= self.now_ns

    def until_planned(self, rate: float, at_s: float | None = None) -> None:
        begin_ns = self.now_ns if at_s is None else BEGIN_NS + round(at_s * NANOSECONDS)
        self.play(rate, lambda: self.planned_since(begin_ns), at_s)

    def until_active(self, rate: float) -> None:
        self.play(rate, lambda: self.node.state() == PlannerStatus.ACTIVE)


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    """A node on simulated time that has planned once."""
    settings = {"use_sim_time": True, "max_input_age_s": 1.0, "validity_s": 2.0}
    node = Harness(tmp_path_factory.mktemp("clocks"), settings, name="timed")
    assert node.transition("configure"), node.explain()
    assert node.transition("activate")
    node.wait(lambda: "nothing publishes /clock" in node.reasons())
    player = Player(node)
    player.until_planned(1.0)
    yield player
    node.close()


@pytest.fixture
def player(playing: Player) -> Player:
    """That node, planning."""
    playing.node.send_hint("")
    assert playing.node.set_parameter("deadline_s", 10.0).successful
    playing.until_planned(1.0)
    playing.until_active(1.0)
    return playing


def resets(node: Harness) -> int:
    """How often the planner forgot everything, by the newest text."""
    return int(node.newest("reasoning").text.split(", ")[-2].split()[0])


def followed(node: Harness, seen: int) -> list[tuple[int, int, int]]:
    """Source, t0 and end of validity of the trajectories since."""
    return [
        (
            m.source,
            stamp_of(m),
            m.valid_until.sec * NANOSECONDS + m.valid_until.nanosec,
        )
        for m in node.messages("trajectory")[seen:]
    ]


@pytest.mark.parametrize("rate", [pytest.param(0.1, marks=pytest.mark.exhaustive), 5.0])
def test_at_any_rate_every_tick_of_simulated_time_plans(player: Player, rate: float) -> None:
    node = player.node
    begin_ns, seen = player.now_ns, len(node.messages("trajectory"))
    lasts_s = 0.6 if rate < 1 else 3.0
    player.play(rate, lambda: False, most_s=lasts_s)
    node.wait(lambda: len(node.messages("trajectory")) > seen + 2)
    plans = followed(node, seen)
    sources = [source for source, _, _ in plans]
    # Five seconds in one: a moment without a core is half a second there, and no more than late.
    assert sources.count(MODEL) >= (1.0 if rate <= 1 else 0.8) * len(sources)
    assert SAFE_STOP not in sources
    assert all(0 < until - t0 <= 2 * NANOSECONDS for _, t0, until in plans)
    assert player.planned_since(begin_ns)
    status = node.wait_for_new("status")
    assert status.state == PlannerStatus.ACTIVE or "stands still" in node.reasons()


def test_a_pause_of_any_length_publishes_nothing_and_goes_on_by_itself(player: Player) -> None:
    node = player.node
    node.wait(lambda: "clock stands still" in node.reasons())
    assert node.state() == PlannerStatus.DEGRADED
    seen, paused_ns = len(node.messages("trajectory")), player.now_ns
    for _ in range(3):  # a paused player may repeat its time
        node.send_clock(paused_ns)
        time.sleep(0.2)
    assert len(node.messages("trajectory")) == seen
    player.until_planned(1.0)
    player.until_active(1.0)
    assert all(source == MODEL for source, _, _ in followed(node, seen))


def test_a_bag_that_loops_is_forgotten_each_time(player: Player) -> None:
    node = player.node
    for lap in range(2):
        seen = len(node.messages("trajectory"))
        player.until_planned(2.0, at_s=0.0)
        begun = [(s, t0) for s, t0, _ in followed(node, seen)]
        stops = [t0 for source, t0 in begun if source == SAFE_STOP]
        assert stops, "a car that moves and has no plan yet is stopped"
        assert all(source != LAST_VALID for source, _ in begun), lap
        first = next(t0 for source, t0 in begun if source == MODEL and t0 <= player.now_ns)
        assert first >= BEGIN_NS + 1_400_000_000, "a history from before the jump"
        node.wait(lambda lap=lap: resets(node) > lap)
        player.play(2.0, lambda: False, most_s=1.0)


@pytest.mark.parametrize(
    "jump_s", [-30.0, *(pytest.param(s, marks=pytest.mark.exhaustive) for s in (30.0, -0.3, 0.3))]
)
def test_a_jump_of_time_needs_no_help(player: Player, jump_s: float) -> None:
    node = player.node
    player.until_planned(1.0, at_s=100.0)
    seen = len(node.messages("trajectory"))
    player.until_planned(1.0, at_s=player.second_since(BEGIN_NS) + jump_s)
    player.until_active(1.0)
    for source, t0, until in followed(node, seen):
        assert until - t0 <= 2 * NANOSECONDS or source == SAFE_STOP
        assert until <= player.now_ns + 2 * NANOSECONDS or jump_s < 0


def test_a_model_of_700_ms_at_10_hz_stays_active(player: Player) -> None:
    node = player.node
    assert node.set_parameter("hang_timeout_s", 100.0).successful
    node.send_hint(f"sleep {0.7 * min(player.slower, 13.0):.2f}")  # deadline_s is 10 s at most
    slow = len(node.messages("reasoning")) + 1
    player.play(1.0, lambda: len(node.messages("reasoning")) > slow)
    seen, states = len(node.messages("trajectory")), len(node.messages("status"))
    skipped = node.newest("status").ticks_skipped
    player.play(1.0, lambda: False, most_s=4.0)
    plans = followed(node, seen)
    assert len(plans) >= 3
    assert {source for source, _, _ in plans} == {MODEL}
    others = [m for m in node.messages("status")[states:] if m.state != PlannerStatus.ACTIVE]
    # A player without a core for half a second is a clock that stands.
    assert not [m.reasons for m in others if "stands still" not in "; ".join(m.reasons)]
    assert node.wait_for_new("status").ticks_skipped > skipped + 10


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
/* The system's clock, moved by the seconds in a file. */
static long *offset;
__attribute__((constructor)) static void open_offset(void) {
  int file = open(getenv("RSD_TEST_CLOCK"), O_RDONLY);
  offset = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
}
int clock_gettime(clockid_t id, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, now);
  if (id == CLOCK_REALTIME && offset && offset != MAP_FAILED) now->tv_sec += *offset;
  return result;
}
"""


class MovedClock:
    """The system's clock of a node, which the test moves."""

    def __init__(self, folder: Path) -> None:
        (folder / "shim.c").write_text(SHIM)
        (folder / "clock").write_bytes(bytes(8))
        library = folder / "shim.so"
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(folder / "shim.c")]
        subprocess.run([*command, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "RSD_TEST_CLOCK": str(folder / "clock")}
        with (folder / "clock").open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)
        self._seconds = ctypes.c_long.from_buffer(self._memory)

    def move(self, seconds: int) -> None:
        self._seconds.value = seconds

    def now_ns(self) -> int:
        return REAL_NS() + self._seconds.value * NANOSECONDS


@pytest.mark.parametrize("hours", [-1, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_a_system_clock_that_is_put_back_or_forth_needs_no_help(
    tmp_path: Path, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MovedClock(tmp_path)
    node = Harness(tmp_path, {"max_input_age_s": 2.0}, environment=clock.environment)
    try:
        monkeypatch.setattr("ros_harness.time.time_ns", clock.now_ns)
        node.start_planning()
        moved_ns = clock.now_ns() + hours * 3600 * NANOSECONDS
        clock.move(hours * 3600)

        def fresh(message: Any) -> bool:
            return (
                message.source == MODEL and abs(stamp_of(message) - moved_ns) < 1800 * NANOSECONDS
            )

        node.wait_for_new("trajectory", fresh)
        node.wait(lambda: node.state() == PlannerStatus.ACTIVE)
    finally:
        node.close()
