"""The values that flow through the planner.

Frozen dataclasses over numpy arrays: no behaviour beyond small conveniences, no torch,
no ROS. Times are integer nanoseconds on the clock of the message stamps (`_ns`) or
seconds (`_s`); lengths are metres; frames follow REP-103 and REP-105: the ego frame is
x forward, y left, z up with its origin at `base_link`; the odometry frame is the
`frame_id` of the odometry messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CameraModel",
    "Decision",
    "Decoded",
    "Draft",
    "DraftContext",
    "Durations",
    "EgoHistory",
    "EgoState",
    "FinishReason",
    "Frame",
    "Observation",
    "PlanResult",
    "PlanSource",
    "Prompt",
    "Span",
    "SpanKind",
    "SpanSource",
    "Trajectory",
    "Verdict",
    "Verification",
]

NANOSECONDS = 1_000_000_000


class SpanSource(IntEnum):
    """Who wrote a token first. Values equal the constants of `ReasoningSpan.msg`."""

    TARGET = 0
    PREVIOUS_TICK = 1
    ROUTINE = 2
    LOOKUP = 3


class SpanKind(IntEnum):
    """What verification made of a token. Values equal those of `ReasoningSpan.msg`."""

    ACCEPTED = 0
    CORRECTED = 1
    UNDRAFTED = 2


class FinishReason(IntEnum):
    """Why a text ended. Values equal those of `Reasoning.msg`."""

    COMPLETE = 0
    LENGTH = 1


class Decision(IntEnum):
    """What a text decides, read from its first words. Values equal those of `Reasoning.msg`."""

    UNKNOWN = 0
    KEEP = 1
    ACCELERATE = 2
    SLOW = 3
    STOP = 4
    LEFT = 5
    RIGHT = 6
    YIELD = 7
    WAIT = 8


class PlanSource(IntEnum):
    """Where a published plan comes from. Values equal those of `PlannedTrajectory.msg`."""

    MODEL = 0
    LAST_VALID = 1
    SAFE_STOP = 2


@dataclass(frozen=True)
class Frame:
    """One picture of one camera."""

    camera: str
    stamp_ns: int
    image: NDArray[np.uint8]  # (height, width, 3) RGB


@dataclass(frozen=True)
class CameraModel:
    """A pinhole camera and where it sits on the car."""

    width: int
    height: int
    focal_x_px: float
    focal_y_px: float
    center_x_px: float
    center_y_px: float
    pose_ego_from_camera: NDArray[np.float64]  # (4, 4); optical frame: z forward, x right, y down


@dataclass(frozen=True)
class EgoState:
    """One odometry message: pose in the odometry frame, twist in the ego frame."""

    stamp_ns: int
    position_m: NDArray[np.float64]  # (3,)
    orientation_xyzw: NDArray[np.float64]  # (4,) unit quaternion, odometry from ego
    linear_mps: NDArray[np.float64]  # (3,)
    angular_radps: NDArray[np.float64]  # (3,)


@dataclass(frozen=True)
class EgoHistory:
    """The past on a uniform time grid that ends at t0, seen from the ego pose at t0."""

    t0_ns: int
    step_s: float
    position_m: NDArray[np.float64]  # (steps, 3), oldest first; the last row is zero
    rotation: NDArray[np.float64]  # (steps, 3, 3); the last one is the identity
    now: EgoState  # interpolated at t0, in the odometry frame


@dataclass(frozen=True)
class Observation:
    """Everything that one tick may look at."""

    tick: int
    t0_ns: int
    frames: tuple[Frame, ...]  # camera by camera in the order of the settings, oldest first
    history: EgoHistory
    navigation: str = ""
    missing: tuple[str, ...] = ()  # what an optional camera did not deliver, in words


@dataclass(frozen=True)
class Prompt:
    """Token ids with the image placeholders already expanded, and the pictures they stand for."""

    token_ids: NDArray[np.int64]  # (prompt,)
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Draft:
    """Proposed tokens, a chain or a tree, and for each who proposed it.

    `parents` says behind which earlier token each one stands, −1 for the committed text; it is
    empty where each stands behind the one before.

    Raises:
        ValueError: the fields do not fit together, or a parent comes after its child.
    """

    tokens: tuple[int, ...] = ()
    sources: tuple[SpanSource, ...] = ()
    parents: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.sources):
            raise ValueError(f"{len(self.tokens)} draft tokens with {len(self.sources)} sources")
        if not self.parents:
            return
        if len(self.tokens) != len(self.parents):
            raise ValueError(f"{len(self.tokens)} draft tokens with {len(self.parents)} parents")
        if any(not -1 <= parent < node for node, parent in enumerate(self.parents)):
            raise ValueError(f"a draft's parents must come before their children: {self.parents}")
        if self.parents == tuple(range(-1, len(self.tokens) - 1)):
            object.__setattr__(self, "parents", ())  # a chain has one form

    def __len__(self) -> int:
        return len(self.tokens)

    def cut(self, length: int) -> Draft:
        """The first `length` tokens."""
        return Draft(self.tokens[:length], self.sources[:length], self.parents[:length])


@dataclass(frozen=True)
class DraftContext:
    """What a drafter may read: never a picture that has not been encoded yet."""

    prompt: Prompt
    history: EgoHistory
    committed: tuple[int, ...]  # the text so far in this tick
    budget: int  # most tokens that the target will verify
    features: Any = None  # `interfaces.Features` for who asks; None before the first forward


@dataclass(frozen=True)
class Verification:
    """What the target says to a draft.

    Row 0 of `logits` is the target's distribution for the token after the committed text, row
    i + 1 for the one after draft token i; trajectory tokens are already masked to −inf.
    `logits` is a torch tensor (draft + 1, vocab); this module does not import torch.
    """

    logits: Any
    features: Any = None  # `interfaces.Features` where layers are watched; `keep` changes it


@dataclass(frozen=True)
class Verdict:
    """What an acceptance rule makes of a draft."""

    path: tuple[int, ...]  # indices of the accepted draft tokens, in the order of the text
    token: int  # the target's own, behind them
    gaps: tuple[float, ...]  # (path + 1,) by how much each of these tokens was preferred


@dataclass(frozen=True)
class Span:
    """A run of tokens of one origin; `start` and `end` index characters of the text."""

    start: int
    end: int
    tokens: int
    source: SpanSource
    kind: SpanKind


@dataclass(frozen=True)
class Durations:
    """Where a tick's time went, in milliseconds of a monotonic clock.

    `prefill_ms` is a bare prefill's time (measured at warm-up for this prompt length, or
    in the same tick by the benchmark); `reasoning_ms` is everything of the decode beyond it.
    """

    prepare_ms: float = 0.0
    vision_ms: float = 0.0
    prefill_ms: float = 0.0
    reasoning_ms: float = 0.0
    head_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True)
class Decoded:
    """One text with the counts of how it came about."""

    tokens: tuple[int, ...]  # the whole committed sequence, end tokens included
    sources: tuple[SpanSource, ...]
    kinds: tuple[SpanKind, ...]
    finish_reason: FinishReason
    target_forwards: int  # the fused prefill and `close` count
    drafter_calls: int
    proposed: int
    accepted: int
    top2_gaps: tuple[float, ...] = ()  # how far each token was from being another one
    drafter_ms: float = 0.0
    prefill_ms: float = 0.0  # the fused forward
    decode_ms: float = 0.0  # the whole loop, fused forward and close included

    @property
    def acceptance_length(self) -> float:
        """Tokens committed for each target forward."""
        return len(self.tokens) / self.target_forwards if self.target_forwards else 0.0


@dataclass(frozen=True)
class Trajectory:
    """A path from the ego pose at t0, in the ego frame at t0.

    Row i is at t0 + (i + 1)·step_s.
    """

    step_s: float
    position_m: NDArray[np.float64]  # (points, 3)
    heading_rad: NDArray[np.float64]  # (points,)
    speed_mps: NDArray[np.float64]  # (points,)
    acceleration_mps2: NDArray[np.float64]  # (points,)
    curvature_1pm: NDArray[np.float64]  # (points,)
    spread_m: float = 0.0  # mean distance of the other samples' end points from this one's


@dataclass(frozen=True)
class PlanResult:
    """One tick's answer. Every message of the tick is made from it."""

    tick: int
    t0_ns: int
    ego: EgoState  # at t0, in the odometry frame
    trajectory: Trajectory
    text: str
    spans: tuple[Span, ...]
    decision: Decision
    agrees_with_trajectory: bool
    decoded: Decoded
    durations: Durations
    drafter: str
    rule: str
    plain_ms_estimate: float = 0.0  # what plain decoding would spend on this text's reasoning
    missing: tuple[str, ...] = ()
    extra: Mapping[str, float] = field(default_factory=dict)
