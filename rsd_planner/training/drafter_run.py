"""What the trainings of all drafters share: whose state it is, how a run goes, what a card says.

A state goes on only for the target and the settings that it was begun with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rsd_planner.errors import CommandError
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.training.data import DriveSet
from rsd_planner.training.features import cached_features
from rsd_planner.training.loop import Metrics, Schedule
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.said_ticks import SaidTicks
from rsd_planner.training.target_texts import TargetTexts, checkpoint_digest, target_texts

__all__ = ["DrafterRun", "round_to_half"]


@dataclass(frozen=True)
class DrafterRun:
    """A training run: the target, its drives, and where things go."""

    model: Path  # the target's checkpoint
    data: Path  # shards, in the folders `train` and `heldout`
    folder: Path  # where the run keeps its state and what the target says
    output: Path  # the folder of the drafter's files
    steps: int
    runtime: Runtime = field(default_factory=Runtime)
    seed: int = 0
    limit: int | None = None  # most training drives
    held_out_limit: int | None = None
    learning_rate: float = 1.5e-3
    save_every_s: float = 90.0
    evaluations: int = 6
    max_tokens: int = 64  # of a text

    @property
    def schedule(self) -> Schedule:
        """How long and how fast."""
        return Schedule(
            self.steps,
            self.learning_rate,
            min(200, self.steps // 4),
            save_every_s=self.save_every_s,
            evaluations=self.evaluations,
            seed=self.seed,
        )

    def texts(self, checkpoint: Checkpoint, split: str) -> tuple[DriveSet, TargetTexts]:
        """The drives of `train` or `heldout`, and what the target says there."""
        training = split == "train"
        data = DriveSet(self.data / split, self.limit if training else self.held_out_limit)
        data.require_whole_drives()
        label = "training texts" if training else "held-out texts"
        said = target_texts(checkpoint, data, self.folder, self.runtime, self.max_tokens, label)
        return data, said

    def ticks(self, checkpoint: Checkpoint, split: str) -> SaidTicks:
        """The same with the target's features of the pictures, which all drafters share."""
        data, said = self.texts(checkpoint, split)
        name = f"replica_{split}"
        features = cached_features(checkpoint.vla, data, self.folder, name, self.runtime)
        return SaidTicks(checkpoint, data, said, features)

    def claim(self, name: str, config: Any, batch: int, ticks: int) -> None:
        """Note what the state of a name is made for; the first peer writes.

        `config` is the network's, a dataclass. A state without a note is an older one and goes
        on as it is.

        Raises:
            CommandError: the state in the folder was made for another target or other settings.
        """
        made_for = {
            "checkpoint": checkpoint_digest(self.model),
            "config": asdict(config),
            "seed": self.seed,
            "batch": batch,
            "ticks": ticks,
        }
        now = json.loads(json.dumps(made_for))
        note = self.folder / f"{name}.made_for.json"
        if (self.folder / f"{name}.safetensors").exists():
            then = json.loads(note.read_text(encoding="utf-8")) if note.exists() else now
            others = [key for key in now if then.get(key) != now[key]]
            if others:
                raise CommandError(
                    f"{self.folder} holds a training of {name} with another {', '.join(others)}; "
                    "take another --work."
                )
        elif self.runtime.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            part = note.with_suffix(".part")
            part.write_text(json.dumps(now, separators=(",", ":")) + "\n", encoding="utf-8")
            part.replace(note)

    def card(self, scores: Metrics, batch: int, drives: int, ticks: int) -> Mapping[str, object]:
        """How the drafter's files were made."""
        return {
            "checkpoint": checkpoint_digest(self.model),
            "steps": self.steps,
            "batch": batch,
            "seed": self.seed,
            "drives": drives,
            "ticks": ticks,
            "held_out": {name: round(float(value), 4) for name, value in scores.items()},
        }


def round_to_half(net: nn.Module) -> None:
    """Make the weights what their file will hold, so that this is what is scored."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter.half())
