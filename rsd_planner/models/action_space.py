"""Unicycle action space: a path as 64 pairs of acceleration and curvature.

The reference's convention (NVlabs/alpamayo, `UnicycleAccelCurvatureActionSpace`): actions
are normalised by mean and standard deviation, held constant over a step, and integrated by
the trapezoidal rule from the speed at t0, which is estimated from the ego history. Going
from a path to actions solves small regularised least-squares problems.

Everything is in the ego frame at t0 (x forward, y left), metres, seconds and radians.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["UnicycleActionSpace", "UnicycleConfig", "yaw_of"]


@dataclass(frozen=True)
class UnicycleConfig:
    """The fields of `action_space_cfg`, named as in the reference's `config.json`."""

    accel_mean: float = 0.0
    accel_std: float = 1.0
    curvature_mean: float = 0.0
    curvature_std: float = 1.0
    accel_bounds: tuple[float, float] = (-9.8, 9.8)
    curvature_bounds: tuple[float, float] = (-0.2, 0.2)
    dt: float = 0.1
    n_waypoints: int = 64
    theta_lambda: float = 1e-6
    theta_ridge: float = 1e-8
    v_lambda: float = 1e-6
    v_ridge: float = 1e-4
    a_lambda: float = 1e-4
    a_ridge: float = 1e-4
    kappa_lambda: float = 1e-4
    kappa_ridge: float = 1e-4

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> UnicycleConfig:
        """From a checkpoint's `action_space_cfg`; keys that start with `_` are ignored."""
        known = {k: v for k, v in values.items() if not k.startswith("_")}
        for bounds in ("accel_bounds", "curvature_bounds"):
            if bounds in known:
                known[bounds] = tuple(known[bounds])
        return cls(**known)


class UnicycleActionSpace(nn.Module):
    """Paths to normalised actions and back."""

    accel_mean: Tensor
    accel_std: Tensor
    curvature_mean: Tensor
    curvature_std: Tensor

    def __init__(self, config: UnicycleConfig) -> None:
        super().__init__()
        self.config = config
        for name in ("accel_mean", "accel_std", "curvature_mean", "curvature_std"):
            self.register_buffer(name, torch.tensor(float(getattr(config, name))))

    @property
    def shape(self) -> tuple[int, int]:
        """(waypoints, 2)."""
        return (self.config.n_waypoints, 2)

    def physical(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Acceleration (m/s²) and curvature (1/m), each (..., waypoints), of an action."""
        accel = action[..., 0] * self.accel_std + self.accel_mean
        kappa = action[..., 1] * self.curvature_std + self.curvature_mean
        return accel, kappa

    def within_bounds(self, action: Tensor) -> Tensor:
        """Whether all waypoints of (..., waypoints, 2) keep the bounds; (...,) bool."""
        accel, kappa = self.physical(action)
        low_a, high_a = self.config.accel_bounds
        low_k, high_k = self.config.curvature_bounds
        inside = (accel >= low_a) & (accel <= high_a) & (kappa >= low_k) & (kappa <= high_k)
        return inside.all(dim=-1)

    @torch.no_grad()
    def speed_at_t0(self, history_xyz: Tensor, history_rot: Tensor) -> Tensor:
        """Speed at t0 (...,) from history (..., steps, 3) and (..., steps, 3, 3).

        Each displacement is the mean of the velocity vectors at its two ends; the speeds
        that explain all displacements best, with small third differences, are solved for.
        """
        theta = _unwrap(yaw_of(history_rot))
        dxy = history_xyz[..., 1:, :2] - history_xyz[..., :-1, :2]
        design, target = _velocity_equations(dxy, theta, self.config.dt)
        smooth = self._smoothness(theta.shape[-1], 3, self.config.v_lambda, theta)
        lhs = design.mT @ design + smooth + self.config.v_ridge * _eye_like(smooth)
        return _solve(lhs, _apply(design.mT, target))[..., -1]

    @torch.no_grad()
    def action_to_path(self, action: Tensor, speed_t0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Integrate (..., waypoints, 2) from the origin at `speed_t0` (...,).

        Returns positions (..., waypoints, 2), headings and speeds (..., waypoints).
        """
        accel, kappa = self.physical(action)
        dt = self.config.dt
        v0 = speed_t0.unsqueeze(-1)
        speed = torch.cat([v0, v0 + torch.cumsum(accel * dt, dim=-1)], dim=-1)  # (..., N+1)
        turn = kappa * (speed[..., :-1] * dt + 0.5 * dt * dt * accel)
        theta = torch.cat([torch.zeros_like(v0), torch.cumsum(turn, dim=-1)], dim=-1)
        velocity = torch.stack([speed * theta.cos(), speed * theta.sin()], dim=-1)
        steps = 0.5 * dt * (velocity[..., :-1, :] + velocity[..., 1:, :])
        return torch.cumsum(steps, dim=-2), theta[..., 1:], speed[..., 1:]

    @torch.no_grad()
    def without_reversing(self, action: Tensor, speed_t0: Tensor) -> Tensor:
        """The action with braking cut where it would go on behind a standstill.

        `action` is (..., waypoints, 2) and `speed_t0` (...,). A car that stands would
        otherwise creep backwards by the noise of the flow.
        """
        accel, _ = self.physical(action)
        speed, kept = speed_t0.clamp(min=0.0), []
        for wanted in accel.unbind(dim=-1):
            kept.append(torch.maximum(wanted, -speed / self.config.dt))
            speed = speed + kept[-1] * self.config.dt
        held = (torch.stack(kept, dim=-1) - self.accel_mean) / self.accel_std
        return torch.stack([held, action[..., 1]], dim=-1)

    @torch.no_grad()
    def path_to_action(self, speed_t0: Tensor, future_xyz: Tensor, future_rot: Tensor) -> Tensor:
        """Normalised actions (..., waypoints, 2) that drive along a future.

        `future_xyz` is (..., waypoints, 3) and `future_rot` (..., waypoints, 3, 3), row i at
        t0 + (i + 1)·dt.

        Raises:
            ValueError: the future does not have `n_waypoints` rows.
        """
        config = self.config
        if future_xyz.shape[-2] != config.n_waypoints:
            raise ValueError(
                f"a future of {future_xyz.shape[-2]} rows; this action space has "
                f"{config.n_waypoints}: resample it at {config.dt} s"
            )
        theta = self._smooth_heading(_unwrap(yaw_of(future_rot)))  # (..., N+1)
        origin = torch.zeros_like(future_xyz[..., :1, :2])
        xy = torch.cat([origin, future_xyz[..., :2]], dim=-2)
        speed = self._speeds(xy[..., 1:, :] - xy[..., :-1, :], theta, speed_t0)
        slope = (speed[..., 1:] - speed[..., :-1]) / config.dt
        smooth = self._smoothness(config.n_waypoints, 2, config.a_lambda, slope)
        accel = _solve((1 + config.a_ridge) * _eye_like(smooth) + smooth, slope)
        arc = config.dt * speed[..., :-1] + 0.5 * config.dt**2 * accel
        smooth = self._smoothness(config.n_waypoints, 2, config.kappa_lambda, slope)
        lhs = torch.diag_embed(arc * arc) + smooth + config.kappa_ridge * _eye_like(smooth)
        kappa = _solve(lhs, arc * (theta[..., 1:] - theta[..., :-1]))
        return torch.stack(
            [
                (accel - self.accel_mean) / self.accel_std,
                (kappa - self.curvature_mean) / self.curvature_std,
            ],
            dim=-1,
        )

    def _smooth_heading(self, theta: Tensor) -> Tensor:
        """Headings with the zero at t0 in front and small third differences."""
        count = theta.shape[-1]
        smooth = self._smoothness(count + 1, 3, self.config.theta_lambda, theta)
        inner = smooth[1:, 1:]  # the first heading is zero, so its column drops out
        solved = _solve((1 + self.config.theta_ridge) * _eye_like(inner) + inner, theta)
        return torch.cat([torch.zeros_like(solved[..., :1]), solved], dim=-1)

    def _speeds(self, dxy: Tensor, theta: Tensor, speed_t0: Tensor) -> Tensor:
        """Speeds (..., N+1) that explain the displacements, the first one given."""
        design, target = _velocity_equations(dxy, theta, self.config.dt)
        smooth = self._smoothness(theta.shape[-1], 3, self.config.v_lambda, theta)
        full = design.mT @ design + smooth
        rhs = _apply(design.mT, target)[..., 1:] - full[..., 1:, 0] * speed_t0.unsqueeze(-1)
        inner = full[..., 1:, 1:]
        rest = _solve(inner + self.config.v_ridge * _eye_like(inner), rhs)
        return torch.cat([speed_t0.unsqueeze(-1), rest], dim=-1)

    def _smoothness(self, size: int, order: int, weight: float, like: Tensor) -> Tensor:
        """weight/dt^(2·order) · DᵀD for the finite differences D of an order; (size, size)."""
        difference = np.diff(np.eye(size), n=order, axis=0)
        penalty = weight / self.config.dt ** (2 * order) * (difference.T @ difference)
        return torch.as_tensor(penalty, dtype=like.dtype, device=like.device)


def yaw_of(rotation: Tensor) -> Tensor:
    """Heading (...,) in radians of rotation matrices (..., 3, 3)."""
    return torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])


def _velocity_equations(dxy: Tensor, theta: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    """The linear system of the trapezoidal rule: v_t·u_t + v_{t+1}·u_{t+1} = 2/dt·Δp_t.

    Returns the design (..., 2N, N+1) and its right-hand side (..., 2N).
    """
    count = dxy.shape[-2]
    unit = torch.stack([theta.cos(), theta.sin()], dim=-1)  # (..., N+1, 2)
    design = dxy.new_zeros(*dxy.shape[:-2], count, 2, count + 1)
    rows = torch.arange(count, device=dxy.device)
    # Two index arrays with a slice between them put the indexed axis in front.
    design[..., rows, :, rows] = unit[..., :-1, :].movedim(-2, 0)
    design[..., rows, :, rows + 1] = unit[..., 1:, :].movedim(-2, 0)
    return design.flatten(-3, -2), (2 / dt * dxy).flatten(-2)


def _unwrap(angle: Tensor) -> Tensor:
    step = torch.diff(angle, dim=-1)
    step = torch.remainder(step + torch.pi, 2 * torch.pi) - torch.pi
    return torch.cat([angle[..., :1], angle[..., :1] + torch.cumsum(step, dim=-1)], dim=-1)


def _eye_like(matrix: Tensor) -> Tensor:
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _solve(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Solve symmetric positive definite systems (..., N, N) for (..., N)."""
    factor = torch.linalg.cholesky(lhs)
    return torch.cholesky_solve(rhs.unsqueeze(-1), factor).squeeze(-1)
