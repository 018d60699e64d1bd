"""One tick: prompt, vision, decode, head, result.

Holds the models and the drafter, and knows neither ROS nor processes. `plan` is what the
node's worker calls; `decode` and `sample` are its parts, for who measures them apart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np

from rsd_planner.decoding.decoder import DecodeLimits, decode
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.provenance import spans_of
from rsd_planner.interfaces import Acceptance, DraftControl, Drafter
from rsd_planner.model_requirements import ModelRequirements
from rsd_planner.models.target import VlaTarget
from rsd_planner.models.tokenizer import TextCodec
from rsd_planner.models.trajectory_head import FlowHead
from rsd_planner.models.vision_cache import VisionFeatures
from rsd_planner.planning.decision import agrees, decision_of
from rsd_planner.planning.prompt import PromptBuilder
from rsd_planner.types import (
    Decoded,
    Draft,
    Durations,
    EgoHistory,
    EgoState,
    Frame,
    Observation,
    PlanResult,
    Prompt,
    Trajectory,
)

__all__ = ["Planner", "PlannerParts", "blank_observation"]

_WARM_UP_ROUNDS = 5


@dataclass(frozen=True)
class PlannerParts:
    """What a planner is made of; `build` puts it together."""

    target: VlaTarget
    head: FlowHead
    prompts: PromptBuilder
    codec: TextCodec
    limits: DecodeLimits
    requirements: ModelRequirements
    cameras: tuple[str, ...]
    resources: DrafterResources  # for who makes further drafters


class Planner:
    """Plans tick by tick with one target, one drafter and one rule."""

    def __init__(
        self,
        parts: PlannerParts,
        drafter: Drafter,
        acceptance: Acceptance,
        seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
        make_control: Callable[[Callable[[], float]], DraftControl] | None = None,
    ) -> None:
        """`make_control` makes the control of each drafter that is decoded with, if any."""
        self.parts = parts
        self.drafter = drafter
        self.acceptance = acceptance
        self._seed = seed
        self._clock = clock
        self._make_control = make_control
        self._controls: WeakKeyDictionary[Drafter, DraftControl] = WeakKeyDictionary()
        self._bare_prefill_ms = 0.0
        self._one_token_ms = 0.0

    @property
    def requirements(self) -> ModelRequirements:
        """What the checkpoint wants to see in an observation."""
        return self.parts.requirements

    def plan(self, observation: Observation) -> PlanResult:
        """The answer to one observation.

        Raises:
            ValueError: the observation does not have the shape that `requirements` asks for.
        """
        start = self._clock()
        prompt = self.parts.prompts.build(observation)
        prepared = self._clock()
        features = self.parts.target.encode(prompt.frames)
        encoded = self._clock()
        decoded = self.decode(prompt, observation.history, self.drafter, features)
        reasoned = self._clock()
        trajectory = self.sample(observation.history)
        done = self._clock()
        decode_ms = 1e3 * (reasoned - encoded)
        prefill_ms = min(self._bare_prefill_ms or decoded.prefill_ms, decode_ms)
        durations = Durations(
            prepare_ms=1e3 * (prepared - start),
            vision_ms=1e3 * (encoded - prepared),
            prefill_ms=prefill_ms,
            reasoning_ms=decode_ms - prefill_ms,
            head_ms=1e3 * (done - reasoned),
            total_ms=1e3 * (done - start),
        )
        return self._result(observation, decoded, trajectory, durations)

    def decode(
        self,
        prompt: Prompt,
        history: EgoHistory,
        drafter: Drafter,
        features: list[VisionFeatures] | None = None,
    ) -> Decoded:
        """Reason about a prompt; afterwards the target's cache holds prompt and text."""
        target = self.parts.target
        prefill = partial(target.prefill, features=features)
        return decode(
            target,
            drafter,
            self.acceptance,
            prompt,
            history,
            self.parts.limits,
            prefill,
            self._clock,
            self._control_of(drafter),
        )

    def sample(self, history: EgoHistory) -> Trajectory:
        """The path that follows from what the target's cache holds."""
        return self.parts.head.sample(self.parts.target, history, self._seed)

    def reset(self) -> None:
        """Time jumped: forget earlier ticks."""
        self.drafter.reset()
        self.parts.target.forget_pictures()

    def warm_up(self, image_size: tuple[int, int] = (320, 640)) -> None:
        """Run on blank pictures until caches are warm, and measure a bare prefill and a token.

        `image_size` is (height, width).
        """
        observation = blank_observation(self.requirements, self.parts.cameras, image_size)
        prompt = self.parts.prompts.build(observation)
        features = self.parts.target.encode(prompt.frames)
        prefills, tokens = [], []
        for _ in range(_WARM_UP_ROUNDS):
            start = self._clock()
            step = self.parts.target.prefill(prompt, Draft(), features)
            prefills.append(self._clock() - start)
            token = int(step.logits[-1].argmax())
            start = self._clock()
            self.parts.target.verify(token, Draft())
            tokens.append(self._clock() - start)
        self._bare_prefill_ms = 1e3 * statistics.median(prefills)
        self._one_token_ms = 1e3 * statistics.median(tokens)
        self.parts.target.warm_up(self.parts.limits.draft_budget)
        self.plan(observation)
        self.reset()

    def _control_of(self, drafter: Drafter) -> DraftControl | None:
        """Each drafter's own, since it learns from that one's drafts.

        A yardstick (plain decoding, an oracle) has none: a bound that is held back is no bound.
        """
        if self._make_control is None or getattr(drafter, "yardstick", False):
            return None
        if drafter not in self._controls:
            self._controls[drafter] = self._make_control(self._clock)
        return self._controls[drafter]

    def _result(
        self,
        observation: Observation,
        decoded: Decoded,
        trajectory: Trajectory,
        durations: Durations,
    ) -> PlanResult:
        text, spans = spans_of(decoded, self.parts.codec.pieces(decoded.tokens))
        decision = decision_of(text)
        speed = float(np.linalg.norm(observation.history.now.linear_mps))
        return PlanResult(
            tick=observation.tick,
            t0_ns=observation.t0_ns,
            ego=observation.history.now,
            trajectory=trajectory,
            text=text,
            spans=spans,
            decision=decision,
            agrees_with_trajectory=agrees(decision, trajectory, speed),
            decoded=decoded,
            durations=durations,
            drafter=self.drafter.name,
            rule=self.acceptance.name,
            plain_ms_estimate=self._one_token_ms * len(decoded.tokens),
            missing=observation.missing,
        )


def blank_observation(
    requirements: ModelRequirements, cameras: tuple[str, ...], image_size: tuple[int, int]
) -> Observation:
    """A standing car before black pictures."""
    steps = requirements.history_steps
    now = EgoState(0, np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3), np.zeros(3))
    history = EgoHistory(
        0,
        requirements.history_step_s,
        np.zeros((steps, 3)),
        np.broadcast_to(np.eye(3), (steps, 3, 3)).copy(),
        now,
    )
    image = np.zeros((*image_size, 3), dtype=np.uint8)
    frames = tuple(
        Frame(camera, index, image)
        for camera in cameras
        for index in range(requirements.frames_per_camera)
    )
    return Observation(0, 0, frames, history)
