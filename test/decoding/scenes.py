"""Seeded prompts, targets and decodes over tiny models, shared by the decoding tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rsd_planner.decoding.acceptance import Greedy
from rsd_planner.decoding.decoder import DecodeLimits, decode
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.interfaces import Acceptance, DraftControl, Drafter
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.target import VlaTarget
from rsd_planner.models.trajectory_head import FlowHead
from rsd_planner.planning.prompt import make_prompt_builder
from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    EgoHistory,
    EgoState,
    Frame,
    Observation,
    Prompt,
    SpanSource,
    Trajectory,
)

BUDGET = 24
MAX_TOKENS = 32


def observation(seed: int, pictures: int, size: tuple[int, int] = (32, 64)) -> Observation:
    """A car on a gentle curve before noise."""
    rng = np.random.default_rng(seed)
    now = EgoState(0, np.zeros(3), np.array([0.0, 0, 0, 1]), np.array([8.0, 0, 0]), np.zeros(3))
    back = np.arange(-15, 1) * 0.1
    xyz = np.stack([8 * back, 0.2 * back**2, 0 * back], axis=1)
    turn = np.broadcast_to(np.eye(3), (16, 3, 3)).copy()
    frames = tuple(
        Frame("front_wide", i, rng.integers(0, 255, (*size, 3), dtype=np.uint8))
        for i in range(pictures)
    )
    return Observation(0, 0, frames, EgoHistory(0, 0.1, xyz, turn, now))


class Scripted:
    """Proposes given drafts one after the other, whatever the text; then nothing."""

    name = "scripted"

    def __init__(self, drafts: list[tuple[int, ...]]) -> None:
        self._drafts = drafts
        self._next = 0

    def begin(self) -> None:
        self._next = 0

    def propose(self, context: DraftContext) -> Draft:
        tokens = self._drafts[self._next] if self._next < len(self._drafts) else ()
        self._next += 1
        return Draft(tokens, (SpanSource.LOOKUP,) * len(tokens))

    def end(self, decoded: Decoded) -> None: ...

    def reset(self) -> None: ...


@dataclass
class Outcome:
    """Everything that must be the same whoever drafted."""

    decoded: Decoded
    keys: torch.Tensor
    values: torch.Tensor
    next_position: int
    trajectory: Trajectory


def run(
    checkpoint: Checkpoint, scene: Observation, drafter: Drafter | None = None,
    max_tokens: int = MAX_TOKENS, budget: int = BUDGET, rule: Acceptance | None = None,
    control: DraftControl | None = None,
) -> Outcome:  # fmt: skip
    """Decode a scene from scratch and sample a path."""
    target = VlaTarget(checkpoint.vla, checkpoint.image_processor, capacity=16)
    limits = DecodeLimits(checkpoint.codec.end, max_tokens, budget, target.vocab_size)
    prompt = make_prompt_builder(checkpoint).build(scene)
    decoded = decode(
        target, drafter or NoDrafter(), rule or Greedy(), prompt, scene.history, limits,
        control=control,
    )  # fmt: skip
    layers = [target.cache_layer(i) for i in range(len(checkpoint.vla.text.layers))]
    return Outcome(
        decoded,
        torch.stack([k.clone() for k, _ in layers]),
        torch.stack([v.clone() for _, v in layers]),
        target.next_position,
        FlowHead(checkpoint.vla, samples=2).sample(target, scene.history, seed=7),
    )


def assert_same(reference: Outcome, other: Outcome) -> None:
    """Exactness as the design defines it: tokens, cache, rope offset, path.

    A first divergence is excused where the reference's own top two logits nearly tie.
    """
    ours, theirs = other.decoded.tokens, reference.decoded.tokens
    if ours != theirs:
        first = next(
            (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
            min(len(ours), len(theirs)),
        )
        assert first < len(theirs), "the text goes on behind the reference's end"
        assert reference.decoded.top2_gaps[first] < 1e-4, f"diverges at token {first}"
        return
    assert other.next_position == reference.next_position
    assert other.decoded.finish_reason is reference.decoded.finish_reason
    assert other.keys.shape == reference.keys.shape
    torch.testing.assert_close(other.keys, reference.keys, rtol=0, atol=1e-4)
    torch.testing.assert_close(other.values, reference.values, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        other.trajectory.position_m, reference.trajectory.position_m, atol=1e-4
    )


def reference_generate(checkpoint: Checkpoint, prompt: Prompt, count: int) -> list[int]:
    """Greedy tokens by the class's own full forward passes, without any cache."""
    vla = checkpoint.vla
    batch = checkpoint.image_processor(images=[f.image for f in prompt.frames], return_tensors="pt")
    masked = slice(
        vla.config.traj_token_start_idx,
        vla.config.traj_token_start_idx + vla.config.traj_vocab_size,
    )
    ids = torch.from_numpy(prompt.token_ids)[None]
    types = (ids == vla.vlm.config.image_token_id).int()
    tokens: list[int] = []
    for _ in range(count):
        text = torch.tensor([tokens], dtype=torch.long)
        with torch.inference_mode():
            vla.vlm.model.rope_deltas = None
            out = vla.vlm(
                input_ids=torch.cat([ids, text], dim=1),
                mm_token_type_ids=torch.cat([types, torch.zeros_like(text).int()], dim=1),
                pixel_values=batch["pixel_values"],
                image_grid_thw=batch["image_grid_thw"],
                use_cache=False,
            )
        logits = out.logits[0, -1].clone()
        logits[masked] = -torch.inf
        tokens.append(int(logits.argmax()))
        if tokens[-1] == checkpoint.codec.end:
            break
    return tokens
