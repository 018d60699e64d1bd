"""A killed run goes on as if it had not been killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from made_drives import KilledError
from torch import Tensor, nn

from rsd_planner.training.loop import Schedule, train
from rsd_planner.training.runtime import Runtime


def make_module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def loss_of(module: nn.Module, step: int) -> Tensor:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return (module(x).squeeze(1) - x.sum(1)).square().mean()


def run(
    folder: Path, stop_at: int | None = None, rates: dict[str, float] | None = None
) -> nn.Module:
    module = make_module()

    def step_loss(step: int) -> tuple[Tensor, dict[str, float]]:
        if step == stop_at:
            raise KilledError
        return loss_of(module, step), {}

    def evaluate() -> dict[str, float]:
        return {"error": float(loss_of(module, 99).detach())}

    schedule = Schedule(30, 5e-2, warmup=3, save_every_s=0.0, evaluations=3)
    train("stage", folder, {"net": module}, step_loss, schedule, Runtime(), evaluate, rates)
    return module


def entries(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "stage.jsonl").read_text().splitlines()]


def test_a_killed_run_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KilledError):
        run(tmp_path / "killed", stop_at=17)
    resumed = run(tmp_path / "killed")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        assert loss_of(resumed, 99) < 0.5 * loss_of(make_module(), 99)


def test_scores_come_at_even_intervals_and_at_the_end(tmp_path: Path) -> None:
    run(tmp_path)
    scored = [e for e in entries(tmp_path) if "held_out" in e]
    assert [e["step"] for e in scored] == [10, 20, 30]


def test_a_run_killed_while_it_evaluates_is_scored_later(tmp_path: Path) -> None:
    run(tmp_path)
    log = tmp_path / "stage.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join(line for line in lines if '"step": 30, "held' not in line) + "\n")
    run(tmp_path)
    assert entries(tmp_path)[-1]["step"] == 30 and "held_out" in entries(tmp_path)[-1]
    before = len(entries(tmp_path))
    run(tmp_path)
    assert len(entries(tmp_path)) == before


def test_a_module_of_rate_zero_stays(tmp_path: Path) -> None:
    still = run(tmp_path, rates={"net": 0.0})
    for a, b in zip(still.parameters(), make_module().parameters(), strict=True):
        torch.testing.assert_close(a, b)
