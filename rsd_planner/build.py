"""The only place that turns settings into objects."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from rsd_planner.config import PlannerSettings, read_requirements
from rsd_planner.decoding.acceptance import make_rule
from rsd_planner.decoding.controller import DraftController, ForwardCost
from rsd_planner.decoding.decoder import DecodeLimits
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.sampling import Sampling
from rsd_planner.interfaces import Acceptance
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.lean_layers import make_lean
from rsd_planner.models.packed_linear import pack_linears
from rsd_planner.models.target import VlaTarget
from rsd_planner.models.trajectory_head import FlowHead
from rsd_planner.planning.planner import Planner, PlannerParts
from rsd_planner.planning.prompt import make_prompt_builder

__all__ = ["acceptance_of", "build_planner", "drafter_resources"]


def build_planner(settings: PlannerSettings) -> Planner:
    """A planner with its model loaded, not yet warm.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        ConfigError: the checkpoint's folder lacks something that can be seen without torch,
            or the drafter a file of its own.
    """
    requirements = read_requirements(settings.model_path)
    torch.set_num_threads(settings.worker_threads)
    checkpoint = load_checkpoint(settings.model_path, settings.device)
    samples = settings.num_samples or int(checkpoint.settings.get("num_samples", 1))
    pack_linears(checkpoint.vla)
    for stack in (checkpoint.vla.text, checkpoint.vla.expert):
        make_lean(stack)
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
        resources=replace(drafter_resources(checkpoint), encode=target.encode),
    )
    drafter = make_drafter(settings.drafter, parts.resources)
    control = partial(DraftController, cost=ForwardCost())
    return Planner(
        parts,
        drafter,
        acceptance_of(settings),
        settings.seed,
        make_control=control if settings.draft_control == "on" else None,
    )


def acceptance_of(settings: PlannerSettings) -> Acceptance:
    """The rule that settings ask for, with the noise of its own beginning."""
    sampling = Sampling(settings.temperature, settings.top_p, settings.seed)
    return make_rule(settings.rule, sampling)


def drafter_resources(checkpoint: Checkpoint) -> DrafterResources:
    """What drafters may know of a loaded checkpoint."""
    config, codec = checkpoint.vla.config, checkpoint.codec
    return DrafterResources(
        folder=Path(checkpoint.folder) / "drafters",
        vocab_size=checkpoint.vla.text.embed_tokens.num_embeddings,
        text_vocab_size=codec.text_vocab_size,
        end_of_reasoning=codec.end_of_reasoning,
        end_token=codec.end,
        history_token_start=config.history_token_start,
        history_bins=config.history_tokens.num_bins,
        history_tokens=config.tokens_per_history_traj,
        hidden_size=checkpoint.vla.text.config.hidden_size,
        layers=len(checkpoint.vla.text.layers),
        device=str(checkpoint.vla.device),
        visual_width=checkpoint.vla.vlm.config.vision_config.out_hidden_size,
    )
