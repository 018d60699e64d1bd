"""One tick as a person sees it: the text and its origins, the path, the times.

The views (terminal, video, report) read this and nothing else, whether a tick came over ROS
topics or straight from the planner. Rates are computed here, from counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import Decision, EgoState, PlanResult, PlanSource, Span, SpanKind, SpanSource

__all__ = [
    "Piece",
    "Summary",
    "TickView",
    "describe_path",
    "pieces",
    "pose_matrix",
    "speed_at",
    "summarise",
    "view_of_result",
]


@dataclass(frozen=True)
class Piece:
    """A run of text of one kind."""

    text: str
    routine: bool  # drafted, then verified
    new: bool  # and not copied from the last tick


@dataclass(frozen=True)
class TickView:
    """What is shown of one tick. Durations are milliseconds in the worker."""

    tick: int
    t0_ns: int
    text: str
    spans: tuple[Span, ...]
    decision: Decision
    source: PlanSource
    path_m: NDArray[np.float64]  # (points, 3) in the odometry frame
    heading_rad: NDArray[np.float64]  # (points,) in the odometry frame
    speed_mps: NDArray[np.float64]  # (points,)
    pose_odom_from_ego: NDArray[np.float64]  # (4, 4) at t0
    step_s: float = 0.1
    skipped_points: int = 0  # row i of the path is at t0 + (skipped_points + i + 1)·step_s
    agrees_with_trajectory: bool = True
    drafter: str = ""
    rule: str = ""
    tokens: int = 0
    proposed: int = 0
    accepted: int = 0
    target_forwards: int = 0
    vision_ms: float = 0.0
    prefill_ms: float = 0.0
    reasoning_ms: float = 0.0
    head_ms: float = 0.0
    total_ms: float = 0.0
    plain_ms_estimate: float = 0.0

    @property
    def deliberative(self) -> int:
        """Tokens that the target chose itself."""
        return self.tokens - self.accepted

    @property
    def speedup(self) -> float:
        """Estimated plain reasoning time over this tick's; 0 where there is no estimate."""
        return self.plain_ms_estimate / self.reasoning_ms if self.reasoning_ms > 0 else 0.0

    @property
    def path_in_ego_m(self) -> NDArray[np.float64]:
        """The path (points, 3) in the ego frame at t0."""
        rotation, origin = self.pose_odom_from_ego[:3, :3], self.pose_odom_from_ego[:3, 3]
        return (self.path_m - origin) @ rotation


@dataclass(frozen=True)
class Summary:
    """A drive in a few numbers; sums are kept, the rates follow from them."""

    ticks: int = 0
    model_ticks: int = 0
    tokens: int = 0
    accepted: int = 0
    target_forwards: int = 0
    reasoning_ms: float = 0.0
    plain_ms: float = 0.0
    equal_texts: int = 0
    different_texts: int = 0
    tick_ms_p50: float = 0.0
    tick_ms_p99: float = 0.0
    drafter: str = ""
    rule: str = ""

    @property
    def routine_share(self) -> float:
        """Accepted draft tokens over all tokens."""
        return self.accepted / self.tokens if self.tokens else 0.0

    @property
    def speedup(self) -> float:
        """Σ plain reasoning (estimated) over Σ reasoning."""
        return self.plain_ms / self.reasoning_ms if self.reasoning_ms else 0.0

    @property
    def tokens_per_forward(self) -> float:
        """Acceptance length over the drive."""
        return self.tokens / self.target_forwards if self.target_forwards else 0.0

    @property
    def equal_text_share(self) -> float:
        """Share of consecutive ticks whose texts are equal."""
        return self.equal_texts / (self.model_ticks - 1) if self.model_ticks > 1 else 0.0


def pieces(text: str, spans: Sequence[Span]) -> tuple[Piece, ...]:
    """The text cut where it turns from copied to foreseen (routine and new) or to deliberative.

    Text that no span covers counts as deliberative: the target is the author of what nobody
    else claims. What cannot be printed (an untrained model writes such) becomes a dot.
    """
    text = "".join(c if c.isprintable() else "·" for c in text)
    flags = [(False, True)] * len(text)
    for span in spans:
        routine = span.kind == SpanKind.ACCEPTED
        copied = routine and span.source == SpanSource.PREVIOUS_TICK
        for i in range(max(0, span.start), min(len(text), span.end)):
            flags[i] = routine, not copied
    found: list[Piece] = []
    start = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or flags[i] != flags[start]:
            found.append(Piece(text[start:i], *flags[start]))
            start = i
    return tuple(found)


def pose_matrix(ego: EgoState) -> NDArray[np.float64]:
    """The (4, 4) pose of the ego frame in the odometry frame."""
    x, y, z, w = ego.orientation_xyzw
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = ego.position_m
    return pose


def view_of_result(result: PlanResult) -> TickView:
    """The view of a plan that comes straight from the planner."""
    pose = pose_matrix(result.ego)
    yaw = float(np.arctan2(pose[1, 0], pose[0, 0]))
    decoded, spent, path = result.decoded, result.durations, result.trajectory
    return TickView(
        tick=result.tick,
        t0_ns=result.t0_ns,
        text=result.text,
        spans=result.spans,
        decision=result.decision,
        source=PlanSource.MODEL,
        path_m=path.position_m @ pose[:3, :3].T + pose[:3, 3],
        heading_rad=path.heading_rad + yaw,
        speed_mps=path.speed_mps,
        pose_odom_from_ego=pose,
        step_s=path.step_s,
        agrees_with_trajectory=result.agrees_with_trajectory,
        drafter=result.drafter,
        rule=result.rule,
        tokens=len(decoded.tokens),
        proposed=decoded.proposed,
        accepted=decoded.accepted,
        target_forwards=decoded.target_forwards,
        vision_ms=spent.vision_ms,
        prefill_ms=spent.prefill_ms,
        reasoning_ms=spent.reasoning_ms,
        head_ms=spent.head_ms,
        total_ms=spent.total_ms,
        plain_ms_estimate=result.plain_ms_estimate,
    )


def speed_at(view: TickView, after_s: float) -> float:
    """Planned speed in m/s in `after_s` seconds (or at the end of a shorter plan)."""
    if len(view.speed_mps) == 0:
        return 0.0
    return float(view.speed_mps[_row_at(view, after_s)])


def describe_path(view: TickView, after_s: float = 3.0) -> str:
    """Where the path goes, in words: `in 3 s: 24.1 m ahead, 0.3 m left, 29 km/h`."""
    path = view.path_in_ego_m
    if len(path) == 0:
        return "no path"
    index = _row_at(view, after_s)
    x, y = float(path[index, 0]), float(path[index, 1])
    side = "" if abs(y) < 0.05 else f", {abs(y):.1f} m {'left' if y > 0 else 'right'}"
    return (
        f"in {(index + 1) * view.step_s:.0f} s: {x:.1f} m ahead{side}, "
        f"{speed_at(view, after_s) * 3.6:.0f} km/h"
    )


def _row_at(view: TickView, after_s: float) -> int:
    """The row of the path nearest to a time from now: after t0, or after what has passed."""
    return min(len(view.path_m) - 1, max(0, round(after_s / view.step_s) - 1))


def summarise(views: Sequence[TickView]) -> Summary:
    """The drive in numbers; only ticks whose plan is the model's own count in the rates."""
    own = [view for view in views if view.source == PlanSource.MODEL]
    totals = [view.total_ms for view in own]
    texts = [view.text for view in own]
    return Summary(
        ticks=len(views),
        model_ticks=len(own),
        tokens=sum(view.tokens for view in own),
        accepted=sum(view.accepted for view in own),
        target_forwards=sum(view.target_forwards for view in own),
        reasoning_ms=sum(view.reasoning_ms for view in own),
        plain_ms=sum(view.plain_ms_estimate for view in own),
        equal_texts=sum(a == b for a, b in pairwise(texts)),
        different_texts=len(set(texts)),
        tick_ms_p50=float(np.percentile(totals, 50)) if totals else 0.0,
        tick_ms_p99=float(np.percentile(totals, 99)) if totals else 0.0,
        drafter=own[-1].drafter if own else "",
        rule=own[-1].rule if own else "",
    )
