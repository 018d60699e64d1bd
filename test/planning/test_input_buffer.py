"""The buffer refuses bad messages by name and makes the same observation of the same world."""

from __future__ import annotations

import dataclasses
import random
import time

import numpy as np
import pytest
from drives import START_NS, filled_buffer, picture, state_at
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_planner.config import ModelRequirements, PlannerSettings
from rsd_planner.planning.ego_history import OdometryTrack
from rsd_planner.planning.input_buffer import InputBuffer, NotReady
from rsd_planner.planning.input_checks import Verdict
from rsd_planner.types import NANOSECONDS, Observation

MS = 1_000_000


def observe(buffer: InputBuffer, now_ns: int) -> Observation:
    found = buffer.snapshot(now_ns, 1)
    assert isinstance(found, Observation), found
    return found


def test_t0_is_the_newest_picture_that_odometry_covers() -> None:
    buffer, now = filled_buffer()
    late = START_NS + 3_000 * MS
    buffer.add_frame(picture("front_wide", late), late)  # odometry ends at 2.98 s
    seen = observe(buffer, now)
    assert seen.t0_ns == START_NS + 2_800 * MS
    assert [f.stamp_ns for f in seen.frames] == [seen.t0_ns - k * 100 * MS for k in (3, 2, 1, 0)]
    assert seen.history.t0_ns == seen.t0_ns


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), st.floats(0.0, 12.0))
def test_arrival_order_between_inputs_and_stamp_jitter_change_nothing(rng, jitter_ms) -> None:  # type: ignore[no-untyped-def]
    stamps = [START_NS + i * 100 * MS + round(rng.uniform(0, jitter_ms) * MS) for i in range(30)]
    frames = [("frame", s) for s in stamps]
    states = [("state", START_NS + i * 20 * MS) for i in range(150)]
    now = START_NS + 3_000 * MS

    def play(events: list[tuple[str, int]]) -> Observation:
        buffer = InputBuffer(PlannerSettings.from_mapping({}), ModelRequirements())
        for kind, stamp in events:
            if kind == "frame":
                assert buffer.add_frame(picture("front_wide", stamp), now).ok
            else:
                assert buffer.add_state(state_at(stamp), now, "odom").ok
        return observe(buffer, now)

    in_order = play(sorted(frames + states, key=lambda event: event[1]))
    merged = [("x", 0)] * (len(frames) + len(states))
    places = sorted(rng.sample(range(len(merged)), len(frames)))
    sources = {True: iter(frames), False: iter(states)}
    chosen = set(places)
    shuffled = play([next(sources[i in chosen]) for i in range(len(merged))])
    assert shuffled.t0_ns == in_order.t0_ns
    assert [f.stamp_ns for f in shuffled.frames] == [f.stamp_ns for f in in_order.frames]
    assert len({f.stamp_ns for f in in_order.frames}) == 4
    assert np.array_equal(shuffled.history.position_m, in_order.history.position_m)


def test_bad_odometry_is_refused_by_name() -> None:
    buffer, now = filled_buffer()
    good = state_at(now)
    nan = np.array([np.nan, 0.0, 0.0])

    def verdict(state: object, frame: str = "odom", child: str = "base_link") -> Verdict:
        return buffer.add_state(state, now, frame, child)  # type: ignore[arg-type]

    replace = dataclasses.replace
    assert verdict(replace(good, stamp_ns=0)) is Verdict.ZERO_STAMP
    assert verdict(replace(good, stamp_ns=now + 5 * NANOSECONDS)) is Verdict.FUTURE_STAMP
    assert verdict(replace(good, stamp_ns=now - 20 * MS)) is Verdict.EQUAL_STAMP
    assert verdict(replace(good, stamp_ns=now - 200 * MS)) is Verdict.REVERSED_STAMP
    assert verdict(replace(good, position_m=nan)) is Verdict.NOT_FINITE
    assert verdict(replace(good, linear_mps=nan - np.inf)) is Verdict.NOT_FINITE
    assert verdict(replace(good, orientation_xyzw=np.zeros(4))) is Verdict.BAD_QUATERNION
    assert verdict(good, frame="map") is Verdict.WRONG_FRAME
    assert "header.frame_id is 'map', expected is 'odom'" in buffer.health(now)[-1].last_drop
    assert verdict(good, child="imu") is Verdict.WRONG_CHILD_FRAME
    assert verdict(good, frame="") is Verdict.WRONG_FRAME
    assert verdict(replace(good, stamp_ns=now - 11 * NANOSECONDS)) is Verdict.PAST_STAMP
    assert verdict(replace(good, position_m=np.full(3, 1e300))) is Verdict.OUT_OF_RANGE
    assert verdict(replace(good, linear_mps=np.full(3, 400.0))) is Verdict.OUT_OF_RANGE
    assert verdict(replace(good, angular_radps=np.full(3, 40.0))) is Verdict.OUT_OF_RANGE
    assert verdict(replace(good, orientation_xyzw=np.full(4, 1e200))) is Verdict.BAD_QUATERNION
    assert verdict(good) is Verdict.ACCEPTED
    health = {h.name: h for h in buffer.health(now)}["odometry"]
    assert (health.dropped, health.received) == (15, 166)
    assert health.last_drop == Verdict.BAD_QUATERNION.value
    assert health.rate_hz == pytest.approx(50.0)


def test_bad_pictures_are_refused_by_name() -> None:
    buffer, now = filled_buffer()
    image = picture("front_wide", now)
    replace = dataclasses.replace
    assert buffer.add_frame(picture("rear", now), now) is Verdict.UNKNOWN_CAMERA
    gray = replace(image, image=np.zeros((4, 6), np.uint8))
    assert buffer.add_frame(gray, now) is Verdict.BAD_IMAGE
    empty = replace(image, image=np.zeros((0, 6, 3), np.uint8))
    assert buffer.add_frame(empty, now) is Verdict.BAD_IMAGE
    assert buffer.add_frame(replace(image, stamp_ns=0), now) is Verdict.ZERO_STAMP
    assert buffer.add_frame(image, now) is Verdict.ACCEPTED
    assert buffer.add_frame(image, now) is Verdict.EQUAL_STAMP
    assert buffer.add_frame(picture("front_wide", now - MS), now) is Verdict.REVERSED_STAMP


def test_a_jump_of_the_pose_starts_the_history_anew() -> None:
    buffer, now = filled_buffer()
    moved = dataclasses.replace(state_at(now), position_m=np.array([500.0, 0.0, 0.0]))
    assert buffer.add_state(moved, now, "odom", "base_link") is Verdict.POSE_JUMP
    assert isinstance(buffer.snapshot(now, 1), NotReady)
    health = buffer.health(now)[-1]
    assert (health.dropped, health.last_drop) == (0, Verdict.POSE_JUMP.value)
    assert buffer.newest_state is not None
    assert buffer.newest_state.position_m[0] == 500.0


def test_a_jump_of_the_heading_is_one_of_the_pose() -> None:
    buffer, now = filled_buffer()
    good = state_at(now)
    turned = dataclasses.replace(good, orientation_xyzw=np.array([0.0, 0.0, 0.6, 0.8]))
    assert buffer.add_state(turned, now, "odom", "base_link") is Verdict.POSE_JUMP
    spinning, _ = filled_buffer()
    still = dataclasses.replace(good, orientation_xyzw=state_at(now).orientation_xyzw * -1.0)
    assert spinning.add_state(still, now, "odom", "base_link") is Verdict.ACCEPTED  # same rotation


@pytest.mark.parametrize("ahead_ms", [300, 1900])
def test_one_stamp_from_the_future_does_not_silence_its_input(ahead_ms: int) -> None:
    buffer, now = filled_buffer()
    assert buffer.add_state(state_at(now + ahead_ms * MS), now, "odom", "base_link").ok
    assert buffer.add_frame(picture("front_wide", now + ahead_ms * MS), now).ok
    for step in range(5):
        then = now + 20 * step * MS
        assert buffer.add_state(state_at(then), then, "odom", "base_link").ok
        assert buffer.add_frame(picture("front_wide", then), then).ok
    assert observe(buffer, then).t0_ns == then
    assert buffer.newest_state is not None
    assert buffer.newest_state.stamp_ns == then


def test_stamps_that_all_run_ahead_of_a_lagging_clock_are_kept() -> None:
    buffer, now = filled_buffer()
    lagging = now - 800 * MS
    assert buffer.add_frame(picture("front_wide", now), lagging).ok
    before = picture("front_wide", now - 50 * MS)
    assert buffer.add_frame(before, lagging) is Verdict.REVERSED_STAMP


def test_huge_pictures_fill_no_more_than_their_share_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rsd_planner.planning.input_buffer.MAX_CAMERA_BYTES", 300)
    buffer, now = filled_buffer()
    assert sum(f.image.nbytes for f in buffer._frames["front_wide"]) <= 300
    assert buffer.add_frame(picture("front_wide", now), now).ok


def test_a_clock_that_goes_back_empties_the_buffer_and_it_recovers() -> None:
    buffer, now = filled_buffer()
    epoch = buffer.epoch
    assert buffer.add_state(state_at(START_NS), START_NS, "odom", "base_link") is Verdict.ACCEPTED
    assert buffer.epoch == epoch + 1
    assert isinstance(buffer.snapshot(START_NS, 1), NotReady)
    again, now = filled_buffer()
    for stamp in range(START_NS + 20 * MS, now, 20 * MS):
        assert buffer.add_state(state_at(stamp), stamp, "odom", "base_link").ok
        if stamp % (100 * MS) == 0:
            assert buffer.add_frame(picture("front_wide", stamp), stamp).ok
    assert observe(buffer, now).t0_ns >= observe(again, now).t0_ns


def test_a_silent_input_is_named_with_its_age() -> None:
    buffer, now = filled_buffer()
    found = buffer.snapshot(now + 2 * NANOSECONDS, 1)
    assert isinstance(found, NotReady)
    assert any("odometry: silent for 2.02 s" in reason for reason in found.reasons)
    old = buffer.snapshot(now + 900 * NANOSECONDS, 1)
    assert isinstance(old, NotReady)
    assert any("use_sim_time" in reason for reason in old.reasons)


def test_a_silence_is_not_explained_by_an_old_refusal() -> None:
    buffer, now = filled_buffer()
    buffer.refuse("front_wide", "it was cut")
    later = now + NANOSECONDS
    found = buffer.snapshot(later, 1)
    assert isinstance(found, NotReady)
    assert any("front_wide: silent for 1.20 s (it was cut)" in reason for reason in found.reasons)
    assert buffer.add_frame(picture("front_wide", now), now).ok
    found = buffer.snapshot(later, 1)
    assert isinstance(found, NotReady)
    assert "front_wide: silent for 1.00 s" in found.reasons
    assert buffer.health(now)[0].last_drop == "it was cut"


def test_an_optional_camera_may_be_missing_and_a_required_one_may_not() -> None:
    optional = PlannerSettings.from_mapping({"optional_cameras": ["rear"]})
    buffer, now = filled_buffer(settings=optional)
    assert len(observe(buffer, now).frames) == 8
    buffer._frames["rear"].clear()
    seen = observe(buffer, now)
    assert len(seen.frames) == 4
    assert seen.missing == ("rear: no pictures in time",)
    both = PlannerSettings.from_mapping({"cameras": ["front_wide", "rear"]})
    buffer, now = filled_buffer(settings=both)
    buffer._frames["rear"].clear()
    assert isinstance(buffer.snapshot(now, 1), NotReady)


def test_skewed_cameras_do_not_freeze_t0_unseen() -> None:
    both = PlannerSettings.from_mapping({"cameras": ["left", "right"]})
    buffer, now = filled_buffer(settings=both)
    later = now + 450 * MS
    for stamp in range(now, later, 20 * MS):
        assert buffer.add_state(state_at(stamp), later, "odom", "base_link").ok
        buffer.add_frame(picture("left", stamp), later)
    found = buffer.snapshot(later, 1)
    assert isinstance(found, NotReady)
    assert "right" in found.reasons[0]


def test_the_observation_is_that_of_a_track_of_plain_states() -> None:
    buffer = InputBuffer(PlannerSettings.from_mapping({}), ModelRequirements())
    rng = np.random.default_rng(0)
    states = []
    for stamp in range(START_NS, START_NS + 70 * NANOSECONDS, 20 * MS):  # the ring wraps
        jittered = stamp + int(rng.integers(0, 9 * MS))
        made = state_at(jittered)
        q = made.orientation_xyzw / np.linalg.norm(made.orientation_xyzw)
        states.append(dataclasses.replace(made, orientation_xyzw=q))
        assert buffer.add_state(made, jittered, "odom").ok
        if stamp % (100 * MS) == 0:
            assert buffer.add_frame(picture("front_wide", stamp), jittered).ok
    seen = observe(buffer, jittered)
    expected = OdometryTrack(states).history(seen.t0_ns, 16, 0.1, 0.5)
    assert expected is not None
    assert np.array_equal(seen.history.position_m, expected.position_m)
    assert np.array_equal(seen.history.rotation, expected.rotation)
    for name in ("position_m", "orientation_xyzw", "linear_mps", "angular_radps"):
        assert np.array_equal(getattr(seen.history.now, name), getattr(expected.now, name))


def test_a_snapshot_costs_little() -> None:
    buffer, now = filled_buffer(8.0)
    took_ms = []
    for tick in range(200):
        began = time.perf_counter()
        buffer.snapshot(now, tick)
        took_ms.append(1e3 * (time.perf_counter() - began))
    assert min(took_ms) < 0.4


@pytest.mark.parametrize("seed", range(8))
def test_a_history_made_ahead_is_the_one_that_the_tick_would_make(seed: int) -> None:
    rng = random.Random(seed)
    buffer = InputBuffer(PlannerSettings.from_mapping({}), ModelRequirements())
    stamp, compared = START_NS, 0
    for _ in range(800):
        stamp += (300 if rng.random() < 0.01 else 20) * MS
        odd = rng.random()
        if odd < 0.01:
            stamp -= rng.choice([100, 900]) * MS  # out of order, or time went back
        state = state_at(stamp)
        if odd > 0.995:  # a jump of the pose
            state = dataclasses.replace(state, position_m=state.position_m + 50.0)
        buffer.add_state(state, stamp, "odom")
        if rng.random() < 0.3:
            buffer.add_frame(picture("front_wide", stamp - rng.randint(0, 50) * MS), stamp)
        found = buffer.snapshot(stamp, 1)
        if isinstance(found, Observation):
            anew = buffer._history_at(found.t0_ns)
            assert anew is not None
            assert np.array_equal(found.history.position_m, anew.position_m)
            assert np.array_equal(found.history.rotation, anew.rotation)
            compared += 1
    assert compared > 20


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-2000, 4000)), max_size=200))
def test_memory_is_bounded_and_no_stamps_break_the_buffer(events: list[tuple[bool, int]]) -> None:
    buffer = InputBuffer(PlannerSettings.from_mapping({}), ModelRequirements())
    for is_frame, offset_ms in events:
        stamp = START_NS + offset_ms * MS
        if is_frame:
            buffer.add_frame(picture("front_wide", stamp), stamp)
        else:
            buffer.add_state(state_at(stamp), stamp, "odom")
        found = buffer.snapshot(stamp, 1)
        if isinstance(found, Observation):
            assert all(f.stamp_ns <= found.t0_ns for f in found.frames)
    assert len(buffer._frames["front_wide"]) <= 48
