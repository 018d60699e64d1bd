"""The expert learns to drive by flow matching on the frozen VLM's KV cache.

Noise and data are joined by straight lines; the expert predicts the velocity along them
(Lipman 2023; the reference's beta-distributed times). The VLM's cache of prompt and true
reasoning is computed once for each batch and read several times. Some ticks get an empty
reasoning, so that a path without one can be asked for and compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsd_planner.evaluation.batched import BatchedModel
from rsd_planner.models.action_space import UnicycleActionSpace, UnicycleConfig
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.vla import Vla, run_text_stack
from rsd_planner.training.data import FRAMES, DriveSet
from rsd_planner.training.examples import Batch, Examples
from rsd_planner.training.loop import Schedule, train
from rsd_planner.training.perception import frame_weights
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.sampling import step_batches
from rsd_planner.training.text_stack import KeyValues, last_states

__all__ = ["action_statistics", "evaluate_paths", "train_action", "true_actions"]

DRAWS = 2  # noise draws for each cached context; each costs as much as the context
SILENT_SHARE = 0.2  # of the ticks get an empty reasoning
EVALUATED = 384  # held-out ticks


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
    mean = flat.mean(0).tolist()
    std = flat.std(0).clamp(min=1e-4).tolist()  # on a straight road nothing ever turns
    return UnicycleConfig(
        accel_mean=mean[0], accel_std=std[0], curvature_mean=mean[1], curvature_std=std[1]
    )


def train_action(
    checkpoint: Checkpoint,
    examples: Examples,
    held_out: DriveSet,
    folder: Path,
    schedule: Schedule,
    runtime: Runtime,
    batch: int = 32,
) -> None:
    """Train the expert and its projections; resumable."""
    vla = checkpoint.vla
    vla.requires_grad_(False)
    modules = {
        "expert": vla.expert,
        "action_in_proj": vla.action_in_proj,
        "action_out_proj": vla.action_out_proj,
    }
    for module in modules.values():
        module.requires_grad_(True)
    actions, _ = true_actions(vla.action_space, examples.data)
    weights = frame_weights(examples.data, examples.frames[: len(examples), -1])
    step_ticks = step_batches(len(examples), batch, schedule.batch_seed(3), weights)

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
        ticks = runtime.share(step_ticks(step))
        seed = schedule.noise_seed(step, runtime.rank)
        silent = np.random.default_rng(seed).random(len(ticks)) < SILENT_SHARE
        context = _Context(vla, examples.batch(ticks, silent=silent), examples.text_start, runtime)
        wanted = actions[examples.frames[ticks, -1]].to(runtime.device)
        noise = torch.Generator().manual_seed(seed)
        losses = [_flow_loss(context, wanted, noise) for _ in range(DRAWS)]
        return torch.stack(losses).mean(), {}

    def evaluate() -> Mapping[str, float]:
        return evaluate_paths(checkpoint, held_out)

    train("action", folder, modules, step_loss, schedule, runtime, evaluate)


class _Context:
    """The frozen VLM's keys and values of a batch, with room for waypoints behind them."""

    def __init__(self, vla: Vla, ready: Batch, text_start: int, runtime: Runtime) -> None:
        self._vla, self._runtime = vla, runtime
        batch, points, device = len(ready.lengths), vla.action_space.shape[0], runtime.device
        cache = KeyValues()
        with torch.no_grad(), runtime.autocast():
            last_states(vla.text, ready.embeds, ready.positions, 1, cache)
        self._pairs = [(k.float(), v.float()) for k, v in cache.pairs]
        width = ready.prompt + ready.tokens.shape[1]
        ends = ready.prompt + ready.lengths
        valid = torch.arange(width, device=device)[None] < ends[:, None]
        waypoints = torch.ones(batch, points, dtype=torch.bool, device=device)
        keys = torch.cat([valid, waypoints], dim=1)
        self._mask = keys[:, None, None].expand(-1, 1, points, -1)
        start = text_start + ready.lengths
        places = start[:, None] + torch.arange(points, device=device)
        self._positions = places.expand(3, -1, -1)

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of the context, with those of the waypoints behind."""
        context_keys, context_values = self._pairs[layer]
        return torch.cat([context_keys, keys], 2), torch.cat([context_values, values], 2)

    def velocity(self, noisy: Tensor, time: Tensor) -> Tensor:
        """The flow's velocity (batch, waypoints, 2) at times (batch,)."""
        hidden = run_text_stack(
            self._vla.expert,
            self._vla.action_in_proj(noisy, time),
            self._positions,
            self,  # type: ignore[arg-type]
            mask=self._mask,
        )
        return self._vla.action_out_proj(hidden)


def _flow_loss(context: _Context, wanted: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(wanted.shape, generator=generator)
    # Beta(1.5, 1) is the largest of uniform draws in law u^(1/1.5); early times weigh more.
    time = 0.999 * (1 - torch.rand(len(wanted), generator=generator) ** (1 / 1.5))
    noise, time = noise.to(wanted.device), time.to(wanted.device)
    mix = time[:, None, None]
    velocity = context.velocity(mix * wanted + (1 - mix) * noise, time)
    return (velocity - (wanted - noise)).square().mean()


@torch.inference_mode()
def evaluate_paths(
    checkpoint: Checkpoint, data: DriveSet, count: int = EVALUATED
) -> Mapping[str, float]:
    """Mean errors (m) of one path behind the model's own text, and behind an empty one."""
    model = BatchedModel(checkpoint, data.picture_size, pictures=FRAMES)
    steps = checkpoint.vla.config.flow_steps
    ticks = data.ticks()
    ticks = ticks[np.linspace(0, len(ticks) - 1, min(count, len(ticks))).astype(int)]
    paths: dict[str, list[NDArray[np.float64]]] = {"": [], "silent_": []}
    for start in range(0, len(ticks), 48):
        part = ticks[start : start + 48]
        frames, place = np.unique(part, return_inverse=True)
        now = part[:, -1]
        xyz, rot = (v[now].astype(np.float64) for v in (data.history_xyz, data.history_rot))
        model.read(model.encode(data.pictures(frames)), place.reshape(part.shape), xyz)
        model.write()
        paths[""].append(model.drive(xyz, rot, 1, steps, 0)[:, 0])
        model.say(model.empty_text)
        paths["silent_"].append(model.drive(xyz, rot, 1, steps, 0)[:, 0])
    truth = data.future_xyz[ticks[:, -1], :, :2]
    scores = {}
    for name, parts in paths.items():
        offset = np.concatenate(parts) - truth  # (ticks, waypoints, 2)
        error = np.linalg.norm(offset, axis=-1)
        scores[f"{name}ade_3s_m"] = float(error[:, :30].mean())
        scores[f"{name}fde_6s_m"] = float(error[:, 59].mean())
        scores[f"{name}lateral_2s_m"] = float(np.abs(offset[:, 19, 1]).mean())
    return scores
