"""What a text decides, and whether a path does it.

Reads the first clause, where the family states its decision. Knows only words; a text it
cannot read is UNKNOWN, which agrees with every path.
"""

from __future__ import annotations

import re

from rsd_planner.types import Decision, Trajectory

__all__ = ["agrees", "decision_of"]

_ASIDE = r"(turn|change lanes?|move|steer|keep|bear|nudge|swing|pass)( over| out)?( to| on)?( the)?"
# The first pattern that matches the beginning of the text decides.
_PATTERNS: tuple[tuple[str, Decision], ...] = (
    (r"(keep|stay|remain) (waiting|stopped|standing|still)|wait\b|stand still", Decision.WAIT),
    (r"(come to a )?(stop|halt)|brake\b.{0,30}\b(stop|halt)", Decision.STOP),
    (r"yield|give way|let \w+ (go|pass|cross)", Decision.YIELD),
    (r"slow|brake|decelerate|ease off|reduce the speed", Decision.SLOW),
    (
        r"accelerate|speed up|start|pull away|(move|set|drive) off|go now|(gain|gather) speed",
        Decision.ACCELERATE,
    ),
    (rf"{_ASIDE} left", Decision.LEFT),
    (rf"{_ASIDE} right", Decision.RIGHT),
    (r"keep|continue|maintain|follow|cruise|drive|hold", Decision.KEEP),
)
_COMPILED = tuple((re.compile(pattern), decision) for pattern, decision in _PATTERNS)

STANDING_MPS = 0.5


def decision_of(text: str) -> Decision:
    """The decision that a reasoning text opens with."""
    opening = text.strip().lower()
    for pattern, decision in _COMPILED:
        if pattern.match(opening):
            return decision
    return Decision.UNKNOWN


def agrees(decision: Decision, trajectory: Trajectory, speed_mps: float) -> bool:
    """Whether a path from `speed_mps` does what was decided, with generous tolerances."""
    speeds = trajectory.speed_mps
    soon = speeds[: max(1, round(3.0 / trajectory.step_s))]
    lateral = float(trajectory.position_m[len(soon) - 1, 1])
    if decision is Decision.STOP:
        return float(speeds.min()) < max(1.0, 0.7 * speed_mps)
    if decision is Decision.WAIT:
        return float(soon[: len(soon) // 3 or 1].max()) < 2.0
    if decision in (Decision.SLOW, Decision.YIELD):
        return float(soon.min()) < speed_mps + STANDING_MPS
    if decision is Decision.ACCELERATE:
        return float(speeds.max()) > speed_mps - STANDING_MPS
    if decision is Decision.LEFT:
        return lateral > -0.5
    if decision is Decision.RIGHT:
        return lateral < 0.5
    return True
