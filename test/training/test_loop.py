"""A killed run goes on as if it had not been killed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rsd_planner.training.loop import Schedule, batches, train


def make_module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def loss_of(module: nn.Module, step: int) -> Tensor:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return (module(x).squeeze(1) - x.sum(1)).square().mean()


class KilledError(Exception):
    pass


def run(folder: Path, stop_at: int | None = None) -> nn.Module:
    module = make_module()

    def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        if step == stop_at:
            raise KilledError
        return loss_of(module, step), {}

    schedule = Schedule(steps=30, learning_rate=5e-2, warmup=3, save_every_s=0.0)
    train("stage", folder, {"net": module}, step_loss, schedule)
    return module


def test_a_killed_run_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "killed", stop_at=17)
    resumed = run(tmp_path / "killed")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert float(loss_of(resumed, 99)) < 0.5 * float(loss_of(make_module(), 99))


def test_batches_depend_on_seed_and_step_alone() -> None:
    start = batches(100, 32, seed=5)
    first = [next(start) for _ in range(8)]
    later = batches(100, 32, seed=5, start=6)
    assert torch.equal(next(later), first[6])
    assert torch.equal(next(later), first[7])
    epoch = torch.cat(first[:3])
    assert len(set(epoch.tolist())) == len(epoch)
