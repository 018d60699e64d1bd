"""The soak's measures are strict, and its drive goes on without a jump."""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rsd_planner.bags import open_bag
from rsd_planner.cli import main
from rsd_planner.commands._drives import bundled_bag_path
from rsd_planner.commands._looped_drive import LoopedDrive, Picture, loop_of
from rsd_planner.commands._soak_hearing import Hearing
from rsd_planner.commands._soak_hurts import Kill, Killer
from rsd_planner.commands._soak_measures import (
    Row,
    Sample,
    Usage,
    growth_rows,
    overhead_rows,
    plan_rows,
    usage_of,
)
from rsd_planner.commands.soak import Soak, workers_of
from rsd_planner.planning.ego_history import yaw_of
from rsd_planner.planning.input_checks import pose_jumped
from rsd_planner.types import EgoState

ACTIVE, DEGRADED = 2, 3
MODEL, LAST_VALID, SAFE_STOP = 0, 1, 2
USAGE = Usage(100.0, 30, 20)
S = 10**9


# -- the drive -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drive() -> LoopedDrive:
    with open_bag(bundled_bag_path()) as bag:
        return loop_of(bag, "front_wide")


def test_the_car_goes_on_where_the_bag_begins_anew(drive: LoopedDrive) -> None:
    rounds = 3
    played = list(itertools.islice(drive.play(), rounds * len(drive.events)))
    states = [event for _, event in played if isinstance(event, EgoState)]
    assert states[-1].stamp_ns > (rounds - 0.1) * drive.length_ns
    for last, new in itertools.pairwise(states):
        dt_s = (new.stamp_ns - last.stamp_ns) / S
        moved_m = float(np.linalg.norm(new.position_m[:2] - last.position_m[:2]))
        assert 0.0 < dt_s < 0.05
        assert moved_m == pytest.approx(last.linear_mps[0] * dt_s, abs=0.05)
        assert abs(np.sin(yaw_of(new.orientation_xyzw) - yaw_of(last.orientation_xyzw))) < 0.05
        assert abs(new.linear_mps[0] - last.linear_mps[0]) < 0.5
        assert not pose_jumped(last, new)
        assert np.linalg.norm(new.orientation_xyzw) == pytest.approx(1.0)


def test_its_pictures_keep_their_rhythm_over_the_seam(drive: LoopedDrive) -> None:
    played = itertools.islice(drive.play(), 2 * len(drive.events))
    stamps = [at_ns for at_ns, event in played if isinstance(event, Picture)]
    assert all(0.09 * S < gap < 0.11 * S for gap in np.diff(stamps))
    assert drive.length_ns > 20 * S


def test_later_rounds_are_turned_as_the_first_one_ended() -> None:
    """A quarter of a turn each round: four rounds make a square and end where they began."""
    ego = EgoState(0, np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3), np.zeros(3))
    start = replace(ego, position_m=np.array([5.0, 7.0, 1.0]))
    drive = LoopedDrive(S, (start,), np.pi / 2, (10.0, 0.0), (5.0, 7.0))
    places = [event for _, event in itertools.islice(drive.play(), 5)]
    found = np.array([state.position_m for state in places if isinstance(state, EgoState)])
    corners = [[5, 7, 1], [15, 7, 1], [15, 17, 1], [5, 17, 1], [5, 7, 1]]
    np.testing.assert_allclose(found, corners, atol=1e-9)


# -- what is heard -------------------------------------------------------------------------


def status(state: int = ACTIVE, *reasons: str, **counts: int) -> Any:
    values = dict.fromkeys(("ticks_total", "ticks_skipped", "ticks_late"), 0) | counts
    inputs = [SimpleNamespace(name="odometry", received=7, dropped=counts.get("dropped", 0))]
    return SimpleNamespace(
        state=state, reasons=reasons, inputs=inputs, worker_generation=1, **values
    )


@pytest.fixture
def heard() -> Hearing:
    """A minute at 10 Hz, all of it the model's."""
    hearing = Hearing()
    hearing.judge()
    for tick in range(1, 601):
        at_ns = tick * S // 10
        hearing.note_trajectory(0.1 * tick, at_ns + S // 20, at_ns, tick, MODEL)
        hearing.note_stats(60.0)
    hearing.note_status(60.0, status(ticks_total=620, ticks_skipped=20))
    return hearing


def missed(rows: list[Row]) -> set[str]:
    return {row.measure for row in rows if not row.passed}


def judged(hearing: Hearing, rejected: int = 0) -> set[str]:
    return missed(plan_rows(hearing, rejected, deadline_s=1.0, max_input_age_s=0.5))


def test_a_good_minute_keeps_all_bounds(heard: Hearing) -> None:
    assert not judged(heard)
    assert heard.longest_silence_s == pytest.approx(0.1)
    assert heard.oldest_model_s == pytest.approx(0.05)


def test_seven_fallbacks_in_six_hundred_ticks_are_too_many(heard: Hearing) -> None:
    for tick in range(601, 608):
        heard.note_trajectory(0.1 * tick, 0, 0, tick, LAST_VALID)
    assert judged(heard) == {"plans of the model"}


def test_a_stop_while_the_model_loads_is_not_held_against_it(heard: Hearing) -> None:
    hearing = Hearing()
    for tick in range(50):
        hearing.note_trajectory(0.1 * tick, 0, 0, tick, SAFE_STOP)
    hearing.judge()
    for tick in range(50, 150):
        at_ns = tick * S // 10
        hearing.note_trajectory(0.1 * tick, at_ns, at_ns, tick, MODEL)
    hearing.note_status(15.0, status(ticks_total=100))
    hearing.rest(15.0)
    hearing.note_trajectory(15.1, 0, 0, 151, SAFE_STOP)
    assert not judged(hearing)
    row = next(r for r in plan_rows(hearing, 0, 1.0, 0.5) if r.measure == "plans of the model")
    assert row.value == 100.0 and row.note == "100 of 100 trajectories"


def test_an_alarm_is_false_unless_something_was_late(heard: Hearing) -> None:
    def alarm(at_s: float, reason: str) -> None:
        heard.note_status(at_s, status(DEGRADED, reason, ticks_total=620, ticks_skipped=20))
        heard.note_status(at_s + 1.0, status(ticks_total=620, ticks_skipped=20))

    alarm(61.0, "no answer to tick 9 within deadline_s = 1 s")
    heard.note_delay(63.0, 0.3)
    alarm(63.5, "front_wide: silent for 0.60 s")
    assert not judged(heard)
    alarm(70.0, "front_wide: silent for 0.60 s")
    assert judged(heard) == {"false alarms"}
    assert [a.began_s for a in heard.of_kind("false")] == [70.0]
    assert (len(heard.of_kind("late")), len(heard.of_kind("delay"))) == (1, 1)


def test_lateness_that_nobody_reported_is_found(heard: Hearing) -> None:
    heard.note_status(61.0, status(ticks_total=622, ticks_skipped=20))
    assert judged(heard) == {"late ticks not reported"}  # of two ticks nothing was heard
    heard.note_status(61.0, status(ticks_total=622, ticks_skipped=20, ticks_late=1))
    assert not judged(heard)  # one of them was late and said so, the other was in flight
    heard.note_stats(1001.0)
    assert judged(heard) == {"late ticks not reported"}


def test_a_plan_that_came_too_old_is_found(heard: Hearing) -> None:
    heard.note_trajectory(60.1, 61 * S, 61 * S - 16 * S // 10, 601, MODEL)
    assert judged(heard) == {"late ticks not reported"}
    heard.note_delay(60.1, 0.2)  # unless whoever published the picture was late himself
    assert not judged(heard)


def test_refused_messages_count(heard: Hearing) -> None:
    heard.note_status(61.0, status(ticks_total=620, ticks_skipped=20, dropped=1))
    assert judged(heard) == {"messages refused"}


def test_a_repeated_trajectory_is_silence(heard: Hearing) -> None:
    for step in range(10):
        heard.note_trajectory(60.1 + 0.1 * step, 0, 60 * S, 600, MODEL)
    heard.rest(61.5)
    assert heard.longest_silence_s == pytest.approx(1.5)


# -- what is held --------------------------------------------------------------------------


def samples(node: Callable[[float], Usage], files: Callable[[float], int]) -> list[Sample]:
    return [Sample(float(s), node(s), USAGE, 7, 140.0, files(s)) for s in range(3600)]


def grown(
    node: Callable[[float], Usage] = lambda s: USAGE, files: Callable[[float], int] = lambda s: 8
) -> set[str]:
    return missed(growth_rows(samples(node, files), 300.0, same_worker=True))


def test_what_grows_after_settling_is_found() -> None:
    assert not grown()
    assert not grown(lambda s: replace(USAGE, rss_mb=60.0 + min(s, 290.0)))  # before: no matter
    assert grown(lambda s: replace(USAGE, rss_mb=100 + 0.002 * s)) == {"node memory growth"}
    assert not grown(lambda s: replace(USAGE, rss_mb=100 + 0.001 * s))  # 3 %
    assert grown(lambda s: replace(USAGE, descriptors=30 + s // 600)) == {"node descriptors"}
    assert grown(lambda s: replace(USAGE, threads=20 + s // 600)) == {"node threads"}
    assert grown(files=lambda s: 8 + (s > 2000)) == {"shared-memory files"}


def test_a_worker_that_vanished_and_a_soak_that_was_too_short_are_no_success() -> None:
    gone = [replace(one, worker=None) for one in samples(lambda s: USAGE, lambda s: 8)]
    assert missed(growth_rows(gone, 300.0, same_worker=True)) == {"worker samples"}
    assert not missed(growth_rows(gone, 300.0, same_worker=False))
    assert missed(growth_rows(gone[:300], 300.0, same_worker=False))


def test_this_process_is_measured_and_a_dead_one_is_not() -> None:
    mine = usage_of(os.getpid())
    assert mine is not None and mine.rss_mb > 10 and mine.descriptors >= 3 and mine.threads >= 1
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert usage_of(child.pid) is None


def test_orphans_are_found_by_whose_workers_they_are() -> None:
    code = "import time; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, "--parent", "4194303"])
    try:
        until_s = time.monotonic() + 60.0
        while not workers_of(4194303) and time.monotonic() < until_s:
            time.sleep(0.05)  # until the fork has become the program
        assert workers_of(4194303) == [child.pid]
        assert not workers_of(419430)
    finally:
        child.kill()
        child.wait()


# -- kills ---------------------------------------------------------------------------------


def killed(**changes: float) -> set[str]:
    killer = Killer(None, Hearing(), 6.0, 0.01)
    good = Kill(1, 10.0, 10 * S, fallback_s=0.001, recover_s=0.02, gone_s=0.005)
    killer.kills = [good, good, replace(good, **changes)]  # type: ignore[arg-type]
    return missed(killer.rows())


def test_each_kill_needs_a_fallback_and_a_recovery_in_time() -> None:
    assert not killed()
    assert killed(fallback_s=-1.0) == {"kills without a fallback"}
    assert killed(fallback_s=0.006) == {"fallback after, worst"}
    assert "kills without a recovery" in killed(recover_s=-1.0)
    assert killed(recover_s=0.06) == {"recovered after, p90", "recovered after, worst"}
    assert killed(gone_s=0.02) == {"worker gone after, worst"}


def test_a_plan_of_what_was_seen_before_the_kill_is_no_recovery() -> None:
    hearing = Hearing()
    killer = Killer(None, hearing, 6.0, 1.0)
    kill = Kill(2**22 - 1, 10.0, 10 * S)
    hearing.note_trajectory(10.02, 10 * S, 10 * S - 1, 100, MODEL)  # it was on its way
    hearing.note_trajectory(10.10, 10 * S, 9 * S, 101, LAST_VALID)
    killer._note(kill)
    assert kill.recover_s < 0 and kill.fallback_s == pytest.approx(0.10)
    hearing.note_trajectory(12.0, 12 * S, 12 * S - 1, 120, MODEL)
    killer._note(kill)
    assert kill.recover_s == pytest.approx(2.0) and kill.over


def test_a_worker_that_ended_by_itself_is_no_kill() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    killer = Killer(SimpleNamespace(worker_pid=lambda: child.pid), Hearing(), 6.0, 1.0)
    killer.look(7.0, 60.0)
    assert not killer.kills


# -- the command line ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fuzz", "5", "--kill-worker-every", "6"], "three soaks"),
        (["--fuzz", "0"], "--fuzz is 0"),
        (["--starts", "0"], "--starts is 0"),
        (["--minutes", "0"], "--minutes is 0"),
        (["--fuzz", "9", "--raw", "64x32"], "without --raw"),
        (["--minutes", "1", "--kill-worker-every", "40"], "half of --minutes"),
    ],
)
def test_mistakes_end_with_a_sentence(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["soak", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_node_that_is_named_otherwise_gets_its_parameters(tmp_path: Path) -> None:
    started: list[list[str]] = []
    children = SimpleNamespace(start=lambda name, command: started.append(command))
    asked = argparse.Namespace(
        camera="front_wide", period=0.1, deadline=0.5, model="", stand_in=True, slack=1.0, raw=None
    )
    Soak(asked, children, tmp_path, None).start_node("/another")  # type: ignore[arg-type]
    assert "__node:=another" in started[0]
    assert "/another:" in (tmp_path / "parameters.yaml").read_text()


@pytest.mark.parametrize("size", ["1080p", "1920", "0x9", "x", "-4x-5", "99999x99999"])
def test_a_size_that_is_none_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soak", f"--raw={size}"]) == 2
    assert "give one like 1920x1080" in capsys.readouterr().err


def test_the_share_of_the_node_is_bounded_where_large_pictures_were_sent() -> None:
    told = {"overhead_ms_p50": "3.25", "overhead_ms_p99": "7.5", "ticks_measured": "512"}
    assert [row.passed for row in overhead_rows(told, 5.0)] == [True, False]
    assert [row.value for row in overhead_rows(told, None)] == [3.25, 7.5]
    assert all(row.passed for row in overhead_rows(told, None))
    assert not overhead_rows({}, None)[0].passed  # nothing heard is no good news
