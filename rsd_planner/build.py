"""The only place that turns settings into objects."""

from __future__ import annotations

import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from rsd_planner.config import PlannerSettings, read_requirements
from rsd_planner.decoding.acceptance import RULES
from rsd_planner.decoding.decoder import DecodeLimits
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.target import VlaTarget
from rsd_planner.models.trajectory_head import FlowHead
from rsd_planner.planning.planner import Planner, PlannerParts
from rsd_planner.planning.prompt import PromptBuilder

__all__ = ["build_planner", "make_prompt_builder"]


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


def make_prompt_builder(checkpoint: Checkpoint) -> PromptBuilder:
    """Prompts in the form that a checkpoint was trained on."""
    config, processor = checkpoint.vla.config, checkpoint.image_processor
    unit = processor.patch_size * processor.merge_size

    def image_tokens(size: tuple[int, int]) -> int:
        height, width = smart_resize(
            size[0],
            size[1],
            factor=unit,
            min_pixels=processor.size["shortest_edge"],
            max_pixels=processor.size["longest_edge"],
        )
        return (height // unit) * (width // unit)

    return PromptBuilder(
        checkpoint.codec,
        config.history_tokens.encode,
        config.history_token_start,
        config.tokens_per_history_traj,
        image_tokens,
        names_cameras=config.model_type == "alpamayo1_5",
    )
