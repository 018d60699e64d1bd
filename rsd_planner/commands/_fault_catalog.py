"""The catalog of fault drills: what must be said and published, and how soon.

Numbers 1 to 20 are those of the faults table in docs/faults.md; the last ones hit during another
fault and during configure. Limits follow from the node's times, and none is set by hand.
"""

from __future__ import annotations

from typing import Any

from rsd_planner.commands import _fault_actions as do
from rsd_planner.commands._fault_actions import CAMERAS, MEASURE_S, Fault, Timing
from rsd_planner.planning.input_buffer import MAX_ODOMETRY_GAP_S
from rsd_planner.worker.client import MEMORY_S
from rsd_planner.worker.session import FROZEN_S

__all__ = ["FAULTS", "PARAMETERS", "STAND_IN", "catalog", "parameters"]

STAND_IN = Timing()
CAMERA_S = 0.1  # between two pictures of the rig
GAP_S = MAX_ODOMETRY_GAP_S - 0.1  # that the twists on its sides bridge
LATE_S = 0.5
EATEN_MB, MEMORY_MB = 150, 150
DISCOVERY_S = 1.0  # until publisher and node know of each other

MODEL, LAST_VALID, SAFE_STOP = "MODEL", "LAST_VALID", "SAFE_STOP"
FALLBACK = frozenset({LAST_VALID, SAFE_STOP})
STOPPED = frozenset({SAFE_STOP})
GOES_ON = frozenset({MODEL})
NOTHING: frozenset[str] = frozenset()


def parameters(timing: Timing) -> dict[str, Any]:
    """The node's parameters, beside the model and the worker's interpreter."""
    return {
        "cameras": list(CAMERAS),
        "camera_compressed": True,
        "period_s": timing.period_s,
        "deadline_s": timing.deadline_s,
        "hang_timeout_s": timing.hang_s,
        "max_input_age_s": timing.age_s,
    }


PARAMETERS: dict[str, Any] = {**parameters(STAND_IN), "worker_memory_limit_mb": MEMORY_MB}


def catalog(t: Timing) -> tuple[Fault, ...]:
    """All drills, for a node with these times."""
    return (
        *_cameras(t),
        *_odometry(t),
        *_clock(t),
        *_worker(t),
        *_plans(t),
        *_during_another(t),
        *_setup(t),
    )


def _cameras(t: Timing) -> tuple[Fault, ...]:
    now, back = t.one_tick_s, t.new_pictures_s
    first, second = CAMERAS
    order = "older than that of the message before"
    return (
        Fault(1, "one camera stops", do.silence(second), f"{second}: silent", FALLBACK,
              t.silent_s, back),
        Fault(2, "all cameras stop", do.silence(*CAMERAS), f"{first}: silent", FALLBACK,
              t.silent_s, back),
        Fault(3, "stamps skewed between cameras", do.alter(second, do.shift_stamp(-0.7)),
              f"{order}|skewed stamps", FALLBACK, now, back),
        # The wrong message is the third one that is tampered with.
        Fault(4, "frames out of order", do.out_of_order, f"{first}.*{order}", GOES_ON,
              2 * CAMERA_S + now, t.two_ticks_s, hold_s=1.0),
        Fault(5, "a JPEG that was cut", do.alter(first, do.cut), "was cut", FALLBACK, now, back),
        Fault(5, "a JPEG that cannot be decoded", do.alter(first, do.undecodable),
              f"{first}: the picture cannot be decoded", FALLBACK, now, back),
        Fault(6, "another encoding midway", do.alter(first, do.other_format),
              "compressedDepth is not a colour", FALLBACK, now, back),
        Fault(6, "another resolution midway", do.alter(first, do.other_size), "", GOES_ON, now,
              t.two_ticks_s),
    )  # fmt: skip


def _odometry(t: Timing) -> tuple[Fault, ...]:
    now, soon = t.one_tick_s, t.two_ticks_s
    # Until then the last valid plan holds: the last good odometry is fresh enough.
    stale_s = t.age_s + t.period_s
    return (
        Fault(7, "odometry drops out", do.silence("odometry"), "odometry: silent", NOTHING,
              t.silent_s, soon, lasts_s=GAP_S),
        Fault(7, "odometry stops", do.silence("odometry"), "odometry: silent", NOTHING,
              t.silent_s, t.new_history_s, hold_s=1.0),
        # Not hurt by it: what is seen is the first plan for a picture and odometry from then on.
        Fault(8, "odometry at 10 to 100 Hz", do.jittering, r"history is -?0\.[0-9] mm", GOES_ON,
              soon + CAMERA_S, soon, hold_s=2.0, needs="stand-in"),
        Fault(9, "the pose jumps", do.alter("odometry", do.jumped), "odometry: covers|pose jumped",
              STOPPED, now, t.new_history_s),
        Fault(10, "NaN in the odometry", do.alter("odometry", do.not_a_number), "not finite",
              NOTHING, now, soon, lasts_s=GAP_S, judged_s=stale_s),
        Fault(10, "a zero quaternion", do.alter("odometry", do.no_rotation), "no unit quaternion",
              NOTHING, now, soon, lasts_s=GAP_S, judged_s=stale_s),
        Fault(11, "wrong frame_id", do.alter("odometry", do.other_frame),
              "frame_id is 'map', expected is 'odom'",
              NOTHING, now, soon, lasts_s=GAP_S, judged_s=stale_s),
    )  # fmt: skip


def _clock(t: Timing) -> tuple[Fault, ...]:
    return (
        Fault(12, "simulated time jumps back", do.loop, "since time jumped|covers|no message",
              STOPPED, t.one_tick_s, t.new_history_s, hold_s=0.4, node="simulated", sudden=True),
        Fault(13, "simulated time freezes", do.pause, "clock stands still", NOTHING,
              FROZEN_S + t.one_tick_s, t.two_ticks_s, hold_s=1.0, node="simulated"),
    )  # fmt: skip


def _worker(t: Timing) -> tuple[Fault, ...]:
    either = FALLBACK | GOES_ON
    return (
        # The answer that is late has to be over, too.
        Fault(14, "inference past its deadline", do.order(f"late {LATE_S}"), "within deadline_s",
              either, t.unanswered_s, LATE_S + t.two_ticks_s, hold_s=1.5, seen=FALLBACK,
              needs="stand-in"),
        Fault(14, "a deadline that cannot be met", do.shorten_deadline, "within deadline_s",
              either, t.unanswered_s, t.two_ticks_s, hold_s=1.5, seen=FALLBACK, needs="model",
              stop=do.restore_deadline),
        Fault(15, "inference hangs", do.order("hang"), "within deadline_s", FALLBACK,
              t.unanswered_s, t.restart_s, hold_s=0.5, needs="stand-in"),
        Fault(15, "the worker stands still", do.suspend, "within deadline_s", either,
              t.unanswered_s, t.hang_s + t.restart_s, hold_s=0.5, seen=FALLBACK, sudden=True),
        Fault(16, "the worker is killed", do.kill, "SIGKILL", either, t.one_tick_s, t.restart_s,
              seen=FALLBACK, sudden=True),
        # A tick that eats, a look at the memory, the killing, and the next look at the status.
        Fault(16, "the worker holds too much memory", do.order(f"eat {EATEN_MB}"),
              "worker_memory_limit_mb", either, t.one_tick_s + MEMORY_S + t.two_ticks_s,
              t.restart_s, seen=FALLBACK, needs="stand-in"),
    )  # fmt: skip


def _plans(t: Timing) -> tuple[Fault, ...]:
    plans = (
        (17, "the plan is NaN", "nan", "NaN or infinity"),
        (17, "the plan is infinite", "inf", "NaN or infinity"),
        (17, "the plan is reversed", "reversed", "backwards"),
        (17, "the plan is displaced", "displaced", "from the ego pose|where the car is"),
        (18, "the plan is infeasible", "infeasible", "lateral acceleration"),
    )
    texts = (
        (19, "the text is cut", "cut", "text was cut"),
        (19, "the text is empty", "empty", "text is empty"),
        (19, "the text contradicts the path", "contrary", "decides 'stop'"),
    )
    limits = (FALLBACK, t.one_tick_s, t.two_ticks_s)
    return (
        *(Fault(number, name, do.order(order), says, *limits, needs="stand-in")
          for number, name, order, says in plans),
        *(Fault(number, name, do.order(order), says, *limits, needs="stand-in",
                prepare=do.demand_agreement, stop=do.agree)
          for number, name, order, says in texts),
    )  # fmt: skip


def _during_another(t: Timing) -> tuple[Fault, ...]:
    """Faults that hit while another one lasts."""
    first = CAMERAS[0]
    return (
        Fault(21, "one camera stops and the worker is killed", do.kill_and_silence,
              f"{first}: silent", FALLBACK, t.silent_s, t.restart_s, hold_s=1.0),
        Fault(21, "a cut JPEG while the worker starts anew", do.kill_and_cut, "was cut", FALLBACK,
              t.one_tick_s, t.restart_s),
        # Until the worker is replaced no tick looks at the inputs; the status does.
        Fault(21, "odometry stops while inference hangs", do.silence("odometry"),
              "not fresh: odometry", NOTHING, t.silent_s, t.hang_s + t.restart_s, hold_s=1.0,
              prepare=do.hang, needs="stand-in"),
    )  # fmt: skip


def _setup(t: Timing) -> tuple[Fault, ...]:
    """Faults before and during configure, and publishers that do not fit."""
    copy = "copy the weights anew"
    setup: dict[str, Any] = {"node": "setup"}
    limits = (NOTHING, t.one_tick_s, t.restart_s)
    return (
        Fault(20, "weights missing", do.configure, "is missing", *limits, **setup,
              prepare=do.spoil_weights(lambda whole: None), stop=do.mend_weights),
        Fault(20, "weights corrupt", do.configure, copy, *limits, **setup,
              prepare=do.spoil_weights(lambda whole: whole[:-1]), stop=do.mend_weights),
        Fault(20, "a bad parameter", do.configure,
              "worker_python '/nowhere/python' is no executable", *limits, **setup,
              prepare=do.bad_parameter, stop=do.good_parameter),
        Fault(22, "the worker is killed during configure", do.kill, "SIGKILL", *limits, **setup,
              prepare=do.load, stop=do.load_at_last),
        Fault(22, "a cut JPEG during configure", do.alter(CAMERAS[0], do.cut), "was cut", *limits,
              **setup, prepare=do.load, stop=do.load_at_last),
        Fault(20, "mismatched QoS", do.begin, "RELIABILITY", NOTHING, DISCOVERY_S + MEASURE_S, 0.0,
              node="mismatched", stop=lambda drill: None),
    )  # fmt: skip


FAULTS = catalog(STAND_IN)
