"""The only place that turns settings into objects."""

from __future__ import annotations

import torch

from rsd_planner.config import PlannerSettings, read_requirements
from rsd_planner.decoding.acceptance import RULES
from rsd_planner.decoding.decoder import DecodeLimits
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.models.checkpoint import load_checkpoint
from rsd_planner.models.target import VlaTarget
from rsd_planner.models.trajectory_head import FlowHead
from rsd_planner.planning.planner import Planner, PlannerParts
from rsd_planner.planning.prompt import make_prompt_builder

__all__ = ["build_planner"]


def build_planner(settings: PlannerSettings) -> Planner:
    """A planner with its model loaded, not yet warm.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigError: the checkpoint's folder lacks something that can be seen without torch.
    """
    requirements = read_requirements(settings.model_path)
    torch.set_num_threads(settings.worker_threads)
    checkpoint = load_checkpoint(settings.model_path, settings.device)
    samples = settings.num_samples or int(checkpoint.settings.get("num_samples", 1))
    target = VlaTarget(checkpoint.vla, checkpoint.image_processor)
    parts = PlannerParts(
        target=target,
        head=FlowHead(checkpoint.vla, samples, settings.flow_steps or None),
        prompts=make_prompt_builder(checkpoint),
        codec=checkpoint.codec,
        limits=DecodeLimits(
            end_token=checkpoint.codec.end,
            max_tokens=settings.max_reasoning_tokens,
            draft_budget=settings.draft_budget,
            vocab_size=target.vocab_size,
        ),
        requirements=requirements,
        cameras=settings.all_cameras,
    )
    return Planner(parts, make_drafter(settings.drafter), RULES[settings.rule](), settings.seed)
