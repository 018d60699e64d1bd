"""Stage 3: the expert learns to drive by flow matching on the frozen VLM's KV cache.

Noise and data are joined by straight lines; the expert predicts the velocity along them
(Lipman 2023; the reference's beta-distributed times). The VLM's cache of prompt and true
reasoning is computed once for each batch and read several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rsd_planner.models.action_space import UnicycleActionSpace, UnicycleConfig
from rsd_planner.models.vla import run_text_stack
from rsd_planner.training.data import DriveSet
from rsd_planner.training.language import Batch, Examples, _BatchCache
from rsd_planner.training.loop import Schedule, step_batches, train

__all__ = ["action_statistics", "train_action", "true_actions"]

DRAWS = 4  # noise draws for each cached context


def true_actions(space: UnicycleActionSpace, data: DriveSet) -> tuple[Tensor, Tensor]:
    """Normalised actions (frames, waypoints, 2) of the driven futures, and speeds at t0."""
    actions, speeds = [], []
    for start in range(0, len(data), 2048):
        part = slice(start, start + 2048)
        # Double: the third differences of the smoothing are scaled by 1/dt⁶.
        xyz, rot = (
            torch.from_numpy(v[part]).double() for v in (data.history_xyz, data.history_rot)
        )
        ahead, turned = (
            torch.from_numpy(v[part]).double() for v in (data.future_xyz, data.future_rot)
        )
        speed = space.speed_at_t0(xyz, rot)
        actions.append(space.path_to_action(speed, ahead, turned).float())
        speeds.append(speed.float())
    return torch.cat(actions), torch.cat(speeds)


def action_statistics(data: DriveSet) -> UnicycleConfig:
    """An action space whose actions have mean 0 and deviation 1 on these drives."""
    actions, _ = true_actions(UnicycleActionSpace(UnicycleConfig()), data)
    flat = actions[torch.from_numpy(data.learned)].flatten(0, 1).double()
    mean, std = flat.mean(0).tolist(), flat.std(0).tolist()
    return UnicycleConfig(
        accel_mean=mean[0], accel_std=std[0], curvature_mean=mean[1], curvature_std=std[1]
    )


def train_action(
    examples: Examples, held_out: Examples, folder: Path, schedule: Schedule, batch: int = 32
) -> None:
    """Train the expert and its projections; resumable."""
    vla = examples.vla
    vla.requires_grad_(False)
    modules = {
        "expert": vla.expert,
        "action_in_proj": vla.action_in_proj,
        "action_out_proj": vla.action_out_proj,
    }
    for module in modules.values():
        module.requires_grad_(True)
    actions, _ = true_actions(vla.action_space, examples.data)
    step_indices = step_batches(len(examples), batch, seed=3)

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
        ticks = step_indices(step)
        generator = torch.Generator().manual_seed(step)
        context = _Context(examples, examples.batch(ticks))
        wanted = actions[examples.frames[ticks, -1]]
        losses = [_flow_loss(context, wanted, generator) for _ in range(DRAWS)]
        return torch.stack(losses).mean(), {}

    def evaluate() -> Mapping[str, float]:
        return evaluate_paths(held_out)

    train("action", folder, modules, step_loss, schedule, evaluate)


class _Context:
    """The frozen VLM's keys and values of a batch, with room for waypoints behind them."""

    def __init__(self, examples: Examples, ready: Batch) -> None:
        vla = examples.vla
        self.vla = vla
        self.batch = len(ready.lengths)
        points = vla.action_space.shape[0]
        cache = _BatchCache(len(vla.text.layers))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            run_text_stack(vla.text, ready.embeds, ready.positions, cache)  # type: ignore[arg-type]
        self.pairs = [(k.float(), v.float()) for k, v in cache.pairs]  # type: ignore[misc]
        width = ready.prompt + ready.tokens.shape[1]
        valid = torch.arange(width)[None] < (ready.prompt + ready.lengths)[:, None]
        keys = torch.cat([valid, torch.ones(self.batch, points, dtype=torch.bool)], dim=1)
        self.mask = keys[:, None, None].expand(-1, 1, points, -1)
        start = int(examples.positions.max()) + 1 + ready.lengths
        self.positions = (start[:, None] + torch.arange(points)).expand(3, -1, -1)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object):  # type: ignore[no-untyped-def]
        prefix_keys, prefix_values = self.pairs[layer]
        return (
            torch.cat([prefix_keys, keys.float()], 2).to(keys.dtype),
            torch.cat([prefix_values, values.float()], 2).to(values.dtype),
        )

    def velocity(self, noisy: Tensor, time: Tensor) -> Tensor:
        """The flow's velocity (batch, waypoints, 2) at times (batch,)."""
        hidden = run_text_stack(
            self.vla.expert,
            self.vla.action_in_proj(noisy, time),
            self.positions,
            self,  # type: ignore[arg-type]
            mask=self.mask,
        )
        return self.vla.action_out_proj(hidden)


def _flow_loss(context: _Context, wanted: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(wanted.shape, generator=generator)
    # Beta(1.5, 1) is the largest of uniform draws in law u^(1/1.5); early times weigh more.
    time = 0.999 * (1 - torch.rand(len(wanted), generator=generator) ** (1 / 1.5))
    mix = time[:, None, None]
    velocity = context.velocity(mix * wanted + (1 - mix) * noise, time)
    return (velocity - (wanted - noise)).square().mean()


@torch.inference_mode()
def evaluate_paths(examples: Examples, count: int = 256, steps: int = 5) -> Mapping[str, float]:
    """Mean errors (m) of one sampled path against the driven one, on true reasoning."""
    vla, data = examples.vla, examples.data
    ticks = np.linspace(0, len(examples) - 1, min(count, len(examples))).astype(int)
    errors, lateral = [], []
    for start in range(0, len(ticks), 32):
        part = ticks[start : start + 32]
        context = _Context(examples, examples.batch(part))
        now = examples.frames[part, -1]
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, *vla.action_space.shape, generator=generator).repeat(len(part), 1, 1)
        for step in range(steps):
            x = x + context.velocity(x, torch.full((len(part),), step / steps)) / steps
        history = [torch.from_numpy(v[now]) for v in (data.history_xyz, data.history_rot)]
        speed = vla.action_space.speed_at_t0(*history)
        xy, _, _ = vla.action_space.action_to_path(x, speed)
        truth = torch.from_numpy(data.future_xyz[now][..., :2])
        errors.append((xy - truth).norm(dim=-1))
        lateral.append((xy - truth)[:, 19, 1].abs())
    error = torch.cat(errors)
    return {
        "ade_3s_m": float(error[:, :30].mean()),
        "fde_6s_m": float(error[:, 59].mean()),
        "lateral_2s_m": float(torch.cat(lateral).mean()),
        "lateral_2s_p95_m": float(torch.cat(lateral).quantile(0.95)),
    }
