"""One resumable training loop for every stage.

A stage is a list of parameters and a function that gives the loss of a step. Step k always
sees the same batch, so that a run that was killed goes on as if it had not been. State is
written as safetensors and JSON, never pickled.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

__all__ = ["Schedule", "batches", "step_batches", "train"]

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    steps: int
    learning_rate: float
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    save_every_s: float = 90.0
    log_every: int = 20

    def rate(self, step: int) -> float:
        """Linear warm-up, then cosine to 2 % of the peak."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def batches(count: int, size: int, seed: int, start: int = 0) -> Iterator[Tensor]:
    """Endless shuffled batches of indices below `count`; the k-th is a function of the seed."""
    per_epoch = max(1, count // size)
    step = start
    order, shuffled = torch.empty(0), -1
    while True:
        epoch, index = divmod(step, per_epoch)
        if epoch != shuffled:
            generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
            order, shuffled = torch.randperm(count, generator=generator), epoch
        yield order[index * size : (index + 1) * size]
        step += 1


def step_batches(count: int, size: int, seed: int) -> Callable[[int], NDArray[np.int64]]:
    """The batch of indices of each step, for steps asked in order from any start."""
    order, expected = batches(count, size, seed), 0

    def indices(step: int) -> NDArray[np.int64]:
        nonlocal order, expected
        if step != expected:
            order = batches(count, size, seed, start=step)
        expected = step + 1
        return next(order).numpy()

    return indices


def train(
    name: str,
    folder: Path,
    modules: Mapping[str, nn.Module],
    step_loss: Callable[[int], tuple[Tensor, Metrics]],
    schedule: Schedule,
    evaluate: Callable[[], Metrics] | None = None,
) -> None:
    """Run a stage to its end, from where an earlier run of it stopped.

    `modules` are trained and saved together under their names. Losses go to
    `folder/name.jsonl`, the state to `folder/name.safetensors`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = {
        f"{prefix}.{key}": parameter
        for prefix, module in modules.items()
        for key, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    decayed = [p for p in named.values() if p.ndim > 1]
    plain = [p for p in named.values() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": schedule.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
    )
    state_file = folder / f"{name}.safetensors"
    start = _restore(state_file, named, optimizer) if state_file.exists() else 0
    log = (folder / f"{name}.jsonl").open("a")
    saved = time.monotonic()
    with _progress() as progress:
        task = progress.add_task(name, total=schedule.steps, completed=start, note="")
        for step in range(start, schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            loss, metrics = step_loss(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(named.values(), schedule.clip)
            optimizer.step()
            if step % schedule.log_every == 0 or step == schedule.steps - 1:
                value = float(loss.detach())
                entry = {"step": step, "loss": round(value, 5), **_rounded(metrics)}
                log.write(json.dumps(entry) + "\n")
                log.flush()
                progress.update(task, note=f"loss {value:.3f}")
            progress.update(task, completed=step + 1)
            if time.monotonic() - saved > schedule.save_every_s or step == schedule.steps - 1:
                _save(state_file, named, optimizer, step + 1)
                saved = time.monotonic()
    if evaluate is not None:
        scores = _rounded(evaluate())
        log.write(json.dumps({"step": schedule.steps, "held_out": scores}) + "\n")
        print(f"{name}: {scores}")
    log.close()


def _rounded(metrics: Metrics) -> dict[str, float]:
    return {key: round(float(value), 5) for key, value in metrics.items()}


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )


def _save(
    file: Path, named: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, step: int
) -> None:
    tensors: dict[str, Tensor] = {"step": torch.tensor(step)}
    for key, parameter in named.items():
        tensors[f"weight.{key}"] = parameter.detach().contiguous()
        for field, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{field}.{key}"] = torch.as_tensor(value).contiguous()
    # A kill while writing must leave the older state readable.
    temporary = file.with_suffix(".tmp")
    save_file(tensors, str(temporary))
    temporary.replace(file)


def _restore(
    file: Path, named: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> int:
    tensors = load_file(str(file))
    with torch.no_grad():
        for key, parameter in named.items():
            parameter.copy_(tensors[f"weight.{key}"])
            state = {
                field: tensors[f"{field}.{key}"].to(parameter.device if field != "step" else "cpu")
                for field in ("step", "exp_avg", "exp_avg_sq")
                if f"{field}.{key}" in tensors
            }
            if state:
                optimizer.state[parameter] = state
    return int(tensors["step"])
