"""The trajectory head: flow matching over actions, conditioned on the target's KV cache.

K samples in one batch by Euler steps from seeded noise; the medoid is the path and the
others' mean distance its spread. Reads the cache of everything committed and leaves it as
it was.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rsd_planner.models.kv_cache import PrefixView
from rsd_planner.models.target import VlaTarget
from rsd_planner.models.vla import Vla
from rsd_planner.types import EgoHistory, Trajectory

__all__ = ["FlowHead", "integrate_flow"]


class FlowHead:
    """Samples paths from a `Vla`'s expert."""

    def __init__(self, vla: Vla, samples: int = 1, steps: int | None = None) -> None:
        self.vla = vla
        self._samples = samples
        self._steps = steps or vla.config.flow_steps

    @torch.inference_mode()
    def sample(self, target: VlaTarget, history: EgoHistory, seed: int) -> Trajectory:
        """The medoid of K sampled paths in the ego frame at t0."""
        vla = self.vla
        # Drawn on the CPU, so that a seed means the same path on every device.
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(self._samples, *vla.action_space.shape, generator=generator)
        prefix = target.prefix_view(self._samples)
        actions = integrate_flow(vla, prefix, target.next_position, noise, self._steps)
        xyz = torch.as_tensor(history.position_m, dtype=torch.float32, device=vla.device)
        rot = torch.as_tensor(history.rotation, dtype=torch.float32, device=vla.device)
        speed = vla.action_space.speed_at_t0(xyz, rot)
        speed = speed.clamp(min=0.0).expand(len(actions))
        actions = vla.action_space.without_reversing(actions, speed)
        xy, heading, speeds = vla.action_space.action_to_path(actions, speed)
        index, spread = _medoid(xy)
        accel, kappa = vla.action_space.physical(actions[index])
        planar = xy[index].double().cpu().numpy()
        return Trajectory(
            step_s=vla.config.action_space.dt,
            position_m=np.concatenate([planar, np.zeros((len(planar), 1))], axis=1),
            heading_rad=heading[index].double().cpu().numpy(),
            speed_mps=speeds[index].clamp(min=0.0).double().cpu().numpy(),
            acceleration_mps2=accel.double().cpu().numpy(),
            curvature_1pm=kappa.double().cpu().numpy(),
            spread_m=spread,
        )


def integrate_flow(
    vla: Vla, prefix: PrefixView, start_position: int, noise: Tensor, steps: int
) -> Tensor:
    """Euler integration of the flow from noise to actions, both (samples, waypoints, 2)."""
    samples, points, _ = noise.shape
    x = noise.to(vla.device)
    positions = torch.arange(start_position, start_position + points, device=vla.device)
    positions = positions.expand(3, samples, points)
    for step in range(steps):
        time = torch.full((samples,), step / steps, device=vla.device)
        x = x + vla.velocity(x, time, positions, prefix) / steps
    return x


def _medoid(xy: Tensor) -> tuple[int, float]:
    """Index of the path that is nearest to all others, and the others' mean distance (m)."""
    if len(xy) == 1:
        return 0, 0.0
    distance = (xy[:, None] - xy[None]).norm(dim=-1).mean(dim=-1)  # (samples, samples)
    total = distance.sum(dim=1)
    index = int(total.argmin())
    return index, float(total[index] / (len(xy) - 1))
