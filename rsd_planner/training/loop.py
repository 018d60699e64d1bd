"""One resumable training loop for every stage.

A stage is a list of parameters and a function that gives the loss of a step. Step k always
sees the same batch, so that a run that was killed goes on as if it had not been. State is
written as safetensors, never pickled; losses and held-out scores as lines of JSON.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rsd_planner.training.runtime import Runtime

__all__ = ["Metrics", "Schedule", "load_weights", "train"]

Metrics = Mapping[str, float]
_SHOWN = 6  # scores on the terminal; all are in the log


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
    evaluations: int = 6  # on the way, the one at the end included
    seed: int = 0

    def rate(self, step: int) -> float:
        """Linear warm-up, then cosine to 2 % of the peak."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def batch_seed(self, stage: int) -> int:
        """Seed of the order in which a stage sees its examples."""
        return 16 * self.seed + stage

    def noise_seed(self, step: int, rank: int) -> int:
        """Seed of what is drawn within a step by one of several peers."""
        return (self.seed << 40) + (step << 10) + rank

    def evaluates_after(self, step: int) -> bool:
        """Whether the model is to be evaluated when this step is done."""
        share = self.steps / max(1, self.evaluations)
        return step + 1 == self.steps or int((step + 1) / share) > int(step / share)


def train(
    name: str,
    folder: Path,
    modules: Mapping[str, nn.Module],
    step_loss: Callable[[int], tuple[Tensor, Metrics]],
    schedule: Schedule,
    runtime: Runtime,
    evaluate: Callable[[], Metrics] | None = None,
    rates: Mapping[str, float] | None = None,
) -> None:
    """Run a stage to its end, from where an earlier run of it stopped.

    `modules` are trained and saved together under their names; `rates` are factors on the
    learning rate of some of them. Losses and scores go to `folder/name.jsonl`, the state to
    `folder/name.safetensors`.

    Raises:
        FloatingPointError: a gradient is not finite; what was saved before is left as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = _trained(modules)
    optimizer = _optimizer(named, schedule, rates or {})
    state_file = folder / f"{name}.safetensors"
    start, trained_s = _restore(state_file, named, optimizer) if state_file.exists() else (0, 0.0)
    runtime.wait()  # nobody saves before all have read
    clock = saved = time.monotonic()
    log = (folder / f"{name}.jsonl").open("a") if runtime.is_first else None

    def score(step: int) -> None:
        """Evaluate on the first peer while the others wait."""
        if evaluate is not None and runtime.is_first:
            scores = _rounded(evaluate())
            _write(log, {"step": step, "held_out": scores})
            progress.console.print(f"{name} {step}: {dict(list(scores.items())[:_SHOWN])}")
        runtime.wait()

    with _progress(runtime) as progress:
        task = progress.add_task(name, total=schedule.steps, completed=start, note="")
        for step in range(start, schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step) * group["factor"]
            loss, metrics = step_loss(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            runtime.average([p.grad for p in named.values() if p.grad is not None])
            norm = float(torch.nn.utils.clip_grad_norm_(named.values(), schedule.clip))
            if not math.isfinite(norm):
                raise FloatingPointError(f"the gradient of {name}'s step {step} is not finite")
            optimizer.step()
            is_last = step == schedule.steps - 1
            elapsed_s = trained_s + time.monotonic() - clock
            if step % schedule.log_every == 0 or is_last:
                entry = {"loss": float(loss.detach()), "gradient": norm, **metrics}
                _write(log, {"step": step, "minutes": round(elapsed_s / 60, 2), **_rounded(entry)})
                progress.update(task, note=f"loss {entry['loss']:.3f}")
            progress.update(task, completed=step + 1)
            evaluates = schedule.evaluates_after(step)
            if time.monotonic() - saved > schedule.save_every_s or is_last or evaluates:
                if runtime.is_first:
                    _save(state_file, named, optimizer, step + 1, elapsed_s)
                saved = time.monotonic()
            if evaluates:
                score(step + 1)
        if start >= schedule.steps and not _is_scored(folder / f"{name}.jsonl", schedule.steps):
            score(schedule.steps)  # the run was killed while it evaluated
    if log is not None:
        log.close()


def load_weights(file: Path, modules: Mapping[str, nn.Module]) -> None:
    """Puts what a stage has learned into the modules of these names; others stay as they are."""
    state = load_file(str(file))
    for name, module in modules.items():
        prefix = f"weight.{name}."
        found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        if found:
            module.load_state_dict(found, strict=False)


def _trained(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    return {
        f"{prefix}.{key}": parameter
        for prefix, module in modules.items()
        for key, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def _optimizer(
    named: Mapping[str, nn.Parameter], schedule: Schedule, rates: Mapping[str, float]
) -> torch.optim.AdamW:
    """AdamW with decay of matrices alone; a group has its factor on the learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for key, parameter in named.items():
        decay = schedule.weight_decay if parameter.ndim > 1 else 0.0
        factor = rates.get(key.split(".")[0], 1.0)
        groups.setdefault((decay, factor), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (decay, factor), parameters in groups.items()
        ],
        lr=schedule.learning_rate,
        betas=(0.9, 0.98),
    )


def _is_scored(log: Path, step: int) -> bool:
    start = f'{{"step": {step}, "held_out"'
    return any(line.startswith(start) for line in log.read_text().splitlines())


def _write(log: TextIO | None, entry: Mapping[str, object]) -> None:
    if log is not None:
        log.write(json.dumps(entry) + "\n")
        log.flush()


def _rounded(metrics: Metrics) -> dict[str, float]:
    return {key: round(float(value), 5) for key, value in metrics.items()}


def _progress(runtime: Runtime) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        disable=not runtime.is_first,
    )


def _save(
    file: Path,
    named: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    step: int,
    elapsed_s: float,
) -> None:
    tensors = {"step": torch.tensor(step), "elapsed_s": torch.tensor(elapsed_s)}
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
) -> tuple[int, float]:
    """Steps done and seconds spent."""
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
    return int(tensors["step"]), float(tensors["elapsed_s"])
