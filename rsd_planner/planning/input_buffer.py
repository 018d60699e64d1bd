"""What the cameras and the odometry delivered, and the observation that can be made of it.

Bounded rings per camera and for the odometry. A message is accepted or refused with a
reason, as a value; nothing is logged and no clock is read: `now_ns` is passed in and is on
the clock of the stamps. It does not know ROS, nor what a model does with the pictures.
"""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from rsd_planner.config import ModelRequirements, PlannerSettings
from rsd_planner.planning.ego_history import OdometryRing
from rsd_planner.planning.input_checks import (
    Verdict,
    check_frame_id,
    check_numbers,
    check_stamp,
    is_picture,
    pose_jumped,
)
from rsd_planner.planning.pictures import PackedFrame
from rsd_planner.types import NANOSECONDS, EgoHistory, EgoState, Frame, Observation

__all__ = ["InputBuffer", "InputHealth", "NotReady", "Verdict"]

MAX_FRAMES = 48  # per camera; 30 Hz for the oldest instant that a model looks at
MAX_STATES = 2048
# A longer hole interpolation would have to invent; in this one the car is known to 0.1 m.
MAX_ODOMETRY_GAP_S = 1.0
JUMP_BACK_S = 0.5  # less is a message out of order
AHEAD_S = 0.1  # a newest stamp that is further ahead of the clock gives way to a sound one
MAX_CAMERA_BYTES = 1 << 30


@dataclass(frozen=True)
class NotReady:
    """Why there is no observation, worst first, in words that name the remedy."""

    reasons: tuple[str, ...]


@dataclass(frozen=True)
class InputHealth:
    """Counts of one input. `age_s` is -1 before the first message."""

    name: str
    required: bool
    age_s: float
    rate_hz: float
    received: int
    dropped: int
    last_drop: str
    ok: bool
    drop_now: str = ""  # why messages are refused since the last good one; empty if none is


@dataclass
class _Stream:
    """Counts of one input, and the stamps of its newest messages for the rate."""

    received: int = 0
    dropped: Counter[Verdict] = field(default_factory=Counter)
    last_drop: str = ""
    drop_now: str = ""
    stamps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=32))

    def note(self, verdict: Verdict, stamp_ns: int, why: str = "") -> Verdict:
        self.received += 1
        if verdict is not Verdict.ACCEPTED:
            self.last_drop = why or verdict.value
        self.drop_now = "" if verdict.ok else self.last_drop
        if not verdict.ok:
            self.dropped[verdict] += 1
        if verdict.ok:
            self.stamps_ns.append(stamp_ns)
        return verdict

    def withdraw(self, stamp_ns: int, why: str) -> None:
        """A message that was accepted turned out to be unreadable."""
        self.last_drop = self.drop_now = why
        self.dropped[Verdict.UNREADABLE] += 1
        with suppress(ValueError):
            self.stamps_ns.remove(stamp_ns)

    def rate_hz(self, now_ns: int) -> float:
        recent = [s for s in self.stamps_ns if now_ns - s < 3 * NANOSECONDS]
        span_ns = recent[-1] - recent[0] if len(recent) > 1 else 0
        return (len(recent) - 1) * NANOSECONDS / span_ns if span_ns > 0 else 0.0


class InputBuffer:
    """Collects frames and ego states; `snapshot` makes the observation of a tick.

    Not thread safe: the caller holds a lock around every method.
    """

    def __init__(self, settings: PlannerSettings, requirements: ModelRequirements) -> None:
        self.settings = settings
        self.requirements = requirements
        self.epoch = 0  # counts jumps of time; what was learnt before one is void
        self.navigation = settings.navigation
        self.odometry_frame = settings.odometry_frame
        self._child_frame = settings.odometry_child_frame
        self._streams = {name: _Stream() for name in (*settings.all_cameras, "odometry")}
        self._frames: dict[str, deque[Frame]] = {
            name: deque(maxlen=MAX_FRAMES) for name in settings.all_cameras
        }
        self._states = OdometryRing(MAX_STATES)
        self._foreseen: tuple[tuple[int, int], EgoHistory | None] | None = None
        self._now_ns = 0

    # -- messages in ------------------------------------------------------------------

    def add_frame(self, frame: Frame, now_ns: int) -> Verdict:
        """Takes a picture, RGB (height, width, 3) or packed and checked, or says why not."""
        self.notice_time(now_ns)
        if frame.camera not in self._frames:
            return Verdict.UNKNOWN_CAMERA
        ring = self._frames[frame.camera]
        if ring and self._is_relic(ring[-1].stamp_ns, frame.stamp_ns, now_ns):
            while ring and ring[-1].stamp_ns > frame.stamp_ns:
                ring.pop()
        verdict = check_stamp(frame.stamp_ns, ring[-1].stamp_ns if ring else 0, now_ns)
        usable = isinstance(frame, PackedFrame) or is_picture(frame.image)
        if verdict is Verdict.ACCEPTED and not usable:
            verdict = Verdict.BAD_IMAGE
        if verdict is Verdict.ACCEPTED:
            ring.append(frame)
            self._forget_frames(ring, now_ns)
            self._foresee()
        return self._streams[frame.camera].note(verdict, frame.stamp_ns)

    def drop_frame(self, camera: str, stamp_ns: int, why: str) -> None:
        """Takes out a packed picture that turned out to be undecodable, and counts it."""
        ring = self._frames.get(camera, deque())
        found = next((i for i, f in enumerate(ring) if f.stamp_ns == stamp_ns), None)
        if found is not None:
            del ring[found]
            self._streams[camera].withdraw(stamp_ns, why)

    def refuse(self, name: str, why: str) -> None:
        """Counts a message of an input that could not even be read, and remembers why."""
        if name in self._streams:
            self._streams[name].note(Verdict.UNREADABLE, 0, why)

    def add_state(
        self, state: EgoState, now_ns: int, frame_id: str = "", child_frame_id: str = ""
    ) -> Verdict:
        """Takes one odometry message or says why not.

        After a jump of the pose the message is kept, and it alone: a history across the
        jump would be a motion that never was.
        """
        self.notice_time(now_ns)
        newest = self._states.newest
        if newest is not None and self._is_relic(newest.stamp_ns, state.stamp_ns, now_ns):
            self._states.forget_after(state.stamp_ns)
        verdict, why = self._check_state(state, now_ns, frame_id, child_frame_id)
        if verdict.ok:
            unit = state.orientation_xyzw / float(np.linalg.norm(state.orientation_xyzw))
            if verdict is Verdict.POSE_JUMP:
                self._states.clear()
            self._states.append(replace(state, orientation_xyzw=unit))
            self._foresee()
            self.odometry_frame = self.odometry_frame or frame_id
            self._child_frame = self._child_frame or child_frame_id
        return self._streams["odometry"].note(verdict, state.stamp_ns, why)

    def notice_time(self, now_ns: int) -> bool:
        """Empties everything when the clock went back (a bag loops); True if it did."""
        jumped = now_ns < self._now_ns - JUMP_BACK_S * NANOSECONDS
        if jumped:
            self.clear()
        self._now_ns = now_ns if jumped else max(self._now_ns, now_ns)
        return jumped

    def clear(self) -> None:
        """Forgets all messages, not the counts."""
        self.epoch += 1
        self._now_ns = 0
        self._states.clear()
        for ring in self._frames.values():
            ring.clear()
        for stream in self._streams.values():
            stream.stamps_ns.clear()
        self.navigation = self.settings.navigation

    # -- observations out ---------------------------------------------------------------

    @property
    def newest_state(self) -> EgoState | None:
        """The newest odometry, whatever its age."""
        return self._states.newest

    def snapshot(self, now_ns: int, tick: int) -> Observation | NotReady:
        """The observation at the newest instant for which every required input exists."""
        self.notice_time(now_ns)
        reasons = self._silent(now_ns)
        t0_ns = self._newest_common_instant()
        if t0_ns is None or reasons:
            return NotReady(tuple(reasons) or ("inputs do not overlap in time yet",))
        age_s = (now_ns - t0_ns) / NANOSECONDS
        if age_s > self.settings.max_input_age_s:
            return NotReady(
                (f"the newest common instant of the inputs is {age_s:.2f} s old (skewed stamps?)",)
            )
        frames: list[Frame] = []
        missing: list[str] = []
        for camera in self.settings.all_cameras:
            chosen = self._choose_frames(camera, t0_ns)
            if chosen is not None:
                frames.extend(chosen)
            elif camera in self.settings.cameras:
                reasons.append(self._too_few(camera))
            else:
                missing.append(f"{camera}: no pictures in time")
        history = self._history(t0_ns)
        if history is None:
            reasons.append(self._short_history(t0_ns))
        if reasons or history is None:
            return NotReady(tuple(reasons))
        return Observation(tick, t0_ns, tuple(frames), history, self.navigation, tuple(missing))

    def health(self, now_ns: int) -> tuple[InputHealth, ...]:
        """Counts of every input, cameras in the order of the settings, odometry last."""
        return tuple(self._health(name, now_ns) for name in self._streams)

    # -- details ------------------------------------------------------------------------

    def _health(self, name: str, now_ns: int) -> InputHealth:
        stream = self._streams[name]
        newest = stream.stamps_ns[-1] if stream.stamps_ns else None
        age_s = -1.0 if newest is None else (now_ns - newest) / NANOSECONDS
        fresh = newest is not None and age_s <= self.settings.max_input_age_s
        return InputHealth(
            name=name,
            required=name not in self.settings.optional_cameras,
            age_s=age_s,
            rate_hz=stream.rate_hz(now_ns),
            received=stream.received,
            dropped=sum(stream.dropped.values()),
            last_drop=stream.last_drop,
            ok=fresh,
            drop_now=stream.drop_now,
        )

    def _silent(self, now_ns: int) -> list[str]:
        """A sentence for each required input that has nothing fresh."""
        reasons = []
        for name in ("odometry", *self.settings.cameras):
            health = self._health(name, now_ns)
            if health.ok:
                continue
            if health.age_s < 0:
                why = "no message since time jumped" if health.received else "no message yet"
                reasons.append(f"{name}: {health.drop_now or why}")
            elif health.age_s > 60.0:
                reasons.append(
                    f"{name}: stamps are {health.age_s:.0f} s behind the clock; "
                    "set use_sim_time for recorded data"
                )
            else:
                drop = f" ({health.drop_now})" if health.drop_now else ""
                reasons.append(f"{name}: silent for {health.age_s:.2f} s{drop}")
        return reasons

    def _newest_common_instant(self) -> int | None:
        """The newest picture of a required camera that no required input is older than."""
        rings = [self._frames[name] for name in self.settings.cameras]
        newest = self._states.newest
        if newest is None or not all(rings):
            return None
        limit_ns = min(newest.stamp_ns, *(ring[-1].stamp_ns for ring in rings))
        stamps = [f.stamp_ns for ring in rings for f in ring if f.stamp_ns <= limit_ns]
        return max(stamps, default=None)

    def _choose_frames(self, camera: str, t0_ns: int) -> list[Frame] | None:
        """The newest frame not after each instant t0 − k·dt, oldest first; None if one lacks.

        Stamps jitter, so for k > 0 a frame may also be up to half an interval newer than its
        instant, never newer than t0.
        """
        count = self.requirements.frames_per_camera
        interval_ns = round(self.requirements.frame_interval_s * NANOSECONDS)
        tolerance_ns = round(self.settings.frame_tolerance_s * NANOSECONDS)
        chosen: list[Frame] = []
        for k in range(count - 1, -1, -1):
            instant_ns = t0_ns - k * interval_ns
            latest_ns = min(t0_ns, instant_ns + (interval_ns // 2 if k else 0))
            fitting = [
                f
                for f in self._frames[camera]
                if instant_ns - tolerance_ns <= f.stamp_ns <= latest_ns
            ]
            if not fitting:
                return None
            chosen.append(min(fitting, key=lambda f: (abs(f.stamp_ns - instant_ns), f.stamp_ns)))
        return chosen

    def _foresee(self) -> None:
        """Has the history ready when the tick comes that would have to wait for it."""
        t0_ns = self._newest_common_instant()
        if t0_ns is not None:
            self._history(t0_ns)

    def _history(self, t0_ns: int) -> EgoHistory | None:
        known = t0_ns, self._states.cuts  # what only comes later changes nothing up to t0
        if self._foreseen is None or self._foreseen[0] != known:
            self._foreseen = known, self._history_at(t0_ns)
        return self._foreseen[1]

    def _history_at(self, t0_ns: int) -> EgoHistory | None:
        need = self.requirements
        span_ns = round((need.history_steps * need.history_step_s + 1.0) * NANOSECONDS)
        track = self._states.track_since(t0_ns - span_ns)
        return track.history(t0_ns, need.history_steps, need.history_step_s, MAX_ODOMETRY_GAP_S)

    def _too_few(self, camera: str) -> str:
        need = self.requirements
        return (
            f"{camera}: {need.frames_per_camera} pictures {need.frame_interval_s:g} s apart are "
            f"needed, each within {self.settings.frame_tolerance_s:g} s"
        )

    def _short_history(self, t0_ns: int) -> str:
        need_s = (self.requirements.history_steps - 1) * self.requirements.history_step_s
        have_s = (t0_ns - self._states.first_ns()) / NANOSECONDS if len(self._states) else 0.0
        if have_s >= need_s:
            return (
                f"odometry: a gap in the history, of more than {MAX_ODOMETRY_GAP_S:g} s or not "
                "explained by the twists on both sides"
            )
        return f"odometry: covers {max(have_s, 0.0):.2f} of {need_s:.1f} s"

    def _check_state(
        self, state: EgoState, now_ns: int, frame_id: str, child_frame_id: str
    ) -> tuple[Verdict, str]:
        """The verdict, and its words where they hold more than the verdict's own."""
        newest = self._states.newest
        verdict = check_stamp(state.stamp_ns, newest.stamp_ns if newest else 0, now_ns)
        if verdict is Verdict.ACCEPTED:
            verdict = check_numbers(state)
        if verdict is not Verdict.ACCEPTED:
            return verdict, ""
        if wrong := check_frame_id(frame_id, self.odometry_frame, "header.frame_id"):
            return Verdict.WRONG_FRAME, wrong
        if wrong := check_frame_id(child_frame_id, self._child_frame, "child_frame_id"):
            return Verdict.WRONG_CHILD_FRAME, wrong
        jumped = newest is not None and pose_jumped(newest, state)
        return Verdict.POSE_JUMP if jumped else Verdict.ACCEPTED, ""

    def _is_relic(self, newest_ns: int, stamp_ns: int, now_ns: int) -> bool:
        """Whether the newest stamp was one from the future, and a sound one comes after it.

        Without this, one such message would silence its input until its time has come.
        """
        ahead_ns = now_ns + round(AHEAD_S * NANOSECONDS)
        return 0 < stamp_ns <= ahead_ns < newest_ns

    def _forget_frames(self, ring: deque[Frame], now_ns: int) -> None:
        """Drops pictures that no tick can ask for any more: they are megabytes."""
        need = self.requirements
        span_s = need.frames_per_camera * need.frame_interval_s + self.settings.frame_tolerance_s
        oldest_ns = min(now_ns, ring[-1].stamp_ns) - round(
            (span_s + self.settings.max_input_age_s) * NANOSECONDS
        )
        newest = ring[-1]
        size = len(newest.picture.data) if isinstance(newest, PackedFrame) else newest.image.nbytes
        most = max(1, MAX_CAMERA_BYTES // size)
        while ring[0].stamp_ns < oldest_ns or len(ring) > most:
            ring.popleft()
