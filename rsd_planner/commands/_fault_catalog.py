"""The catalog of fault drills: what must be said and published, and how soon.

Numbers 1 to 20 are those of the faults table in docs/faults.md; the last ones hit during another
fault and during configure.
"""

from __future__ import annotations

from typing import Any

from rsd_planner.commands import _fault_actions as do
from rsd_planner.commands._fault_actions import (
    AT_ONCE_S,
    CAMERAS,
    PERIOD_S,
    TICKS_S,
    WATCH_S,
    Fault,
)

__all__ = ["FAULTS", "PARAMETERS"]

DEADLINE_S, HANG_S, AGE_S = 0.3, 1.0, 0.5
PARAMETERS: dict[str, Any] = {
    "cameras": list(CAMERAS),
    "camera_compressed": True,
    "period_s": PERIOD_S,
    "deadline_s": DEADLINE_S,
    "hang_timeout_s": HANG_S,
    "max_input_age_s": AGE_S,
    "worker_memory_limit_mb": 150,
}
PICTURES_S = 0.3  # four of them, 0.1 s apart
HISTORY_S = 1.6  # what the model looks at of the odometry
RESTART_S = 5.0

MODEL, LAST_VALID, SAFE_STOP = "MODEL", "LAST_VALID", "SAFE_STOP"
FALLBACK = frozenset({LAST_VALID, SAFE_STOP})
STOPPED = frozenset({SAFE_STOP})
GOES_ON = frozenset({MODEL})
NOTHING: frozenset[str] = frozenset()

_GONE = AGE_S + AT_ONCE_S
_STALE = AGE_S + PERIOD_S  # until then the last valid plan holds: the odometry is fresh enough
_RETURN = TICKS_S + PICTURES_S
_REFILL = TICKS_S + HISTORY_S
_ASKED = DEADLINE_S + PERIOD_S + WATCH_S

FAULTS: tuple[Fault, ...] = (
    Fault(
        1,
        "one camera stops",
        do.silence(CAMERAS[1]),
        "front_tele: silent",
        FALLBACK,
        _GONE,
        _RETURN,
    ),
    Fault(
        2, "all cameras stop", do.silence(*CAMERAS), "front_wide: silent", FALLBACK, _GONE, _RETURN
    ),
    Fault(
        3,
        "stamps skewed between cameras",
        do.alter(CAMERAS[1], do.shift_stamp(-0.7)),
        "older than that of the message before|skewed stamps",
        FALLBACK,
        AT_ONCE_S,
        _RETURN,
    ),
    Fault(
        4,
        "frames out of order",
        do.out_of_order,
        "older than that of the message before",
        GOES_ON,
        3 * PERIOD_S + AT_ONCE_S,
        hold_s=1.0,
    ),
    Fault(5, "corrupt JPEG", do.alter(CAMERAS[0], do.cut), "was cut", FALLBACK, AT_ONCE_S, _RETURN),
    Fault(
        6,
        "another encoding midway",
        do.alter(CAMERAS[0], do.other_format),
        "compressedDepth is not a colour",
        FALLBACK,
        AT_ONCE_S,
        _RETURN,
    ),
    Fault(6, "another resolution midway", do.alter(CAMERAS[0], do.other_size), "", GOES_ON),
    Fault(7, "odometry stops", do.silence("odometry"), "odometry: silent", NOTHING, _GONE, _REFILL),
    Fault(
        8,
        "odometry at 10 to 100 Hz",
        do.jittering,
        r"history is -?0\.[0-9] mm",
        GOES_ON,
        1.0,
        hold_s=2.0,
    ),
    Fault(
        9,
        "the pose jumps",
        do.alter("odometry", do.jumped),
        "odometry: covers|pose jumped",
        STOPPED,
        AT_ONCE_S,
        _REFILL,
        hold_s=0.6,
    ),
    Fault(
        10,
        "NaN in the odometry",
        do.alter("odometry", do.not_a_number),
        "not finite",
        NOTHING,
        AT_ONCE_S,
        _REFILL,
        hold_s=1.2,
        judged_s=_STALE,
    ),
    Fault(
        10,
        "a zero quaternion",
        do.alter("odometry", do.no_rotation),
        "no unit quaternion",
        NOTHING,
        AT_ONCE_S,
        _REFILL,
        hold_s=1.2,
        judged_s=_STALE,
    ),
    Fault(
        11,
        "wrong frame_id",
        do.alter("odometry", do.other_frame),
        "frame_id is 'map', expected is 'odom'",
        NOTHING,
        AT_ONCE_S,
        _REFILL,
        hold_s=1.2,
        judged_s=_STALE,
    ),
    Fault(
        12,
        "simulated time jumps back",
        do.loop,
        "since time jumped|covers|no message",
        STOPPED,
        AT_ONCE_S,
        _REFILL,
        hold_s=0.4,
        node="simulated",
    ),
    Fault(
        13,
        "simulated time freezes",
        do.pause,
        "clock stands still",
        NOTHING,
        0.5 + AT_ONCE_S,
        TICKS_S,
        hold_s=1.0,
        node="simulated",
    ),
    Fault(
        14,
        "inference past its deadline",
        do.order("late 0.5"),
        "within deadline_s",
        FALLBACK | GOES_ON,
        _ASKED,
        1.0,
        hold_s=1.5,
        seen=FALLBACK,
    ),
    Fault(
        15,
        "inference hangs",
        do.order("hang"),
        "within deadline_s",
        FALLBACK,
        _ASKED,
        RESTART_S,
        hold_s=0.5,
    ),
    Fault(
        16,
        "the worker is killed",
        do.kill,
        "SIGKILL|worker|loading",
        FALLBACK | GOES_ON,
        AT_ONCE_S,
        RESTART_S,
        hold_s=0.6,
        seen=FALLBACK,
    ),
    Fault(
        16,
        "the worker holds too much memory",
        do.order("eat 150"),
        "worker_memory_limit_mb",
        FALLBACK | GOES_ON,
        1.5,
        RESTART_S,
        hold_s=0.6,
        seen=FALLBACK,
    ),
    Fault(17, "the plan is NaN", do.order("nan"), "NaN or infinity", FALLBACK),
    Fault(17, "the plan is infinite", do.order("inf"), "NaN or infinity", FALLBACK),
    Fault(17, "the plan is reversed", do.order("reversed"), "backwards", FALLBACK),
    Fault(
        17,
        "the plan is displaced",
        do.order("displaced"),
        "from the ego pose|where the car is",
        FALLBACK,
    ),
    Fault(18, "the plan is infeasible", do.order("infeasible"), "lateral acceleration", FALLBACK),
    Fault(
        19, "the text is cut", do.contradict("cut"), "text was cut", FALLBACK, 1.0, stop=do.agree
    ),
    Fault(
        19,
        "the text is empty",
        do.contradict("empty"),
        "text is empty",
        FALLBACK,
        1.0,
        stop=do.agree,
    ),
    Fault(
        19,
        "the text contradicts the path",
        do.contradict("contrary"),
        "decides 'stop'",
        FALLBACK,
        1.0,
        stop=do.agree,
    ),
    Fault(
        21,
        "one camera stops and the worker is killed",
        do.kill_and_silence,
        "silent",
        FALLBACK,
        _GONE,
        RESTART_S,
        hold_s=1.0,
    ),
    Fault(
        20,
        "weights missing",
        do.spoil_weights(lambda whole: None),
        "is missing",
        NOTHING,
        1.0,
        RESTART_S,
        node="setup",
        stop=do.mend_weights,
    ),
    Fault(
        20,
        "weights corrupt",
        do.spoil_weights(lambda whole: whole[:-1]),
        "copy the weights anew",
        NOTHING,
        1.0,
        RESTART_S,
        node="setup",
        stop=do.mend_weights,
    ),
    Fault(
        20,
        "a bad parameter",
        do.bad_parameter,
        "worker_python '/nowhere/python' is no executable",
        NOTHING,
        1.0,
        RESTART_S,
        node="setup",
        stop=do.good_parameter,
    ),
    Fault(
        22,
        "the worker is killed during configure",
        do.kill_while_loading,
        "SIGKILL|worker",
        NOTHING,
        5.0,
        RESTART_S,
        node="setup",
        stop=do.load_at_last,
    ),
    Fault(
        20,
        "mismatched QoS",
        do.begin,
        "RELIABILITY",
        NOTHING,
        3.0,
        0.0,
        node="mismatched",
        stop=lambda drill: None,
    ),
)
