"""The stages that make a target from drives, one after the other.

Each stage starts from what the ones before it saved and can be run again after a kill. The
last step writes a checkpoint in half precision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rsd_planner.errors import CommandError
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rsd_planner.models.presets import MINI, PROMPT_TEXTS, ModelSize, build_vla
from rsd_planner.models.tokenizer import TextCodec, extend_tokenizer, train_tokenizer
from rsd_planner.training.action import action_statistics, train_action
from rsd_planner.training.data import DriveSet
from rsd_planner.training.examples import Examples
from rsd_planner.training.features import cached_features
from rsd_planner.training.language import train_jointly, train_language
from rsd_planner.training.loop import Schedule, load_weights
from rsd_planner.training.perception import Perception, train_perception
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.warm_start import start_from

__all__ = ["SIZES", "STAGES", "TargetRun"]

STAGES = ("init", "perception", "language", "joint", "action", "export")
# Small enough to go through all stages within a test.
TOY = ModelSize(64, 2, 4, 2, 16, 96, 32, 2, 2, 32, 4, 64, 256 * 128, 64, flow_steps=2)
SIZES = {"mini": MINI, "toy": TOY}
WORD_PIECES = 1200
SETTINGS = {"frames_per_camera": 4, "frame_interval_s": 0.2, "num_samples": 1}


@dataclass(frozen=True)
class TargetRun:
    """A training run: where its data is, where it writes, how long each stage is."""

    data: Path  # shards in folders: `heldout`; `train`, `clips` or both; `unseen` if there are any
    folder: Path  # where the run keeps its state
    output: Path  # the checkpoint
    steps: dict[str, int]  # of perception, language, joint, action; 0 leaves a stage out
    runtime: Runtime = field(default_factory=Runtime)
    seed: int = 0
    limit: int | None = None  # most training drives
    size: ModelSize = MINI
    start: Path | None = None  # an earlier checkpoint to start from
    go_on: bool = False  # with its very tokens and statistics too, so that its drafters fit
    save_every_s: float = 90.0
    evaluations: int = 6  # of each stage, on held-out drives

    def run(self, stage: str) -> None:
        """Run one stage by its name."""
        stages: dict[str, Callable[[], None]] = {
            "init": self._init,
            "perception": self._perception,
            "language": self._language,
            "joint": self._joint,
            "action": self._action,
            "export": self._export,
        }
        if self.steps.get(stage, 1) > 0:
            stages[stage]()
            self.runtime.wait()

    def _drives(self, split: str) -> DriveSet:
        """`heldout`, `tower` (what the vision tower learns from) or `text` (all else does)."""
        if split == "heldout":
            return DriveSet(self.data / split)
        names = ("train", "clips") if split == "tower" else ("train", "clips", "unseen")
        folders = [self.data / name for name in names if (self.data / name).is_dir()]
        first, *others = folders or [self.data / "train"]
        return DriveSet(first, self.limit, also=others)

    def _schedule(self, stage: str, rate: float, warmup: int) -> Schedule:
        steps = self.steps[stage]
        return Schedule(
            steps,
            rate,
            min(warmup, steps // 4),
            save_every_s=self.save_every_s,
            evaluations=self.evaluations,
            seed=self.seed,
        )

    def _init(self) -> None:
        """Tokenizer, action statistics and an untrained model; kept if they are there."""
        note = self.folder / "init.json"
        if note.exists() or not self.runtime.is_first:
            return
        if self.start is not None and self.go_on:
            self._copy(self.start)
            note.write_text(json.dumps({"goes_on_from": str(self.start)}) + "\n")
            return
        data = self._drives("text")
        tokenizer = train_tokenizer([*PROMPT_TEXTS * 50, *data.texts], WORD_PIECES)
        extend_tokenizer(tokenizer, self.size.history_bins)
        vla = build_vla(self.size, tokenizer, action_statistics(data), seed=self.seed)
        codec = TextCodec(tokenizer)
        taken = start_from(vla, codec, self.start) if self.start else None
        save_checkpoint(self.folder / "init", vla, tokenizer, SETTINGS, dtype=torch.float32)
        lengths = [len(codec.encode_reasoning(data.texts[i])) for i in data.ticks()[:, -1]]
        facts = {
            "parameters": {
                name: sum(p.numel() for p in module.parameters())
                for name, module in vla.named_children()
            },
            "vocabulary": len(tokenizer),
            "drives": len(data.drives),
            "tokens_a_text": {
                "mean": round(float(np.mean(lengths)), 2),
                "least": min(lengths),
                "most": max(lengths),
            },
        }
        if taken is not None:
            facts["taken_over"] = {"tensors": taken.tensors, "tokens": taken.tokens}
            facts["fresh"] = list(taken.fresh)
        note.write_text(json.dumps(facts, indent=2) + "\n")
        print(json.dumps(facts))

    def _copy(self, folder: Path) -> None:
        earlier = load_checkpoint(folder)
        tokenizer = earlier.codec.tokenizer
        save_checkpoint(self.folder / "init", earlier.vla, tokenizer, SETTINGS, torch.float32)

    def _model(self, *stages: str) -> Checkpoint:
        """The untrained model with what some stages have learned put in."""
        if not (self.folder / "init.json").exists():
            raise CommandError(f"{self.folder} holds no model yet: run the stage init first.")
        checkpoint = load_checkpoint(self.folder / "init")
        vla = checkpoint.vla
        modules = {
            "visual": vla.vlm.model.visual,
            "text": vla.text,
            "expert": vla.expert,
            "action_in_proj": vla.action_in_proj,
            "action_out_proj": vla.action_out_proj,
        }
        for stage in stages:
            if self.steps.get(stage, 1) > 0:
                load_weights(self._state(stage), modules)
        vla.to(self.runtime.device)
        return checkpoint

    def _state(self, stage: str) -> Path:
        file = self.folder / f"{stage}.safetensors"
        if not file.exists():
            raise CommandError(f"{self.folder} has no stage {stage} yet: run that first.")
        return file

    def _examples(self, checkpoint: Checkpoint) -> Examples:
        data = self._drives("text")
        return Examples(checkpoint, data, self.runtime, self._features(checkpoint, data, "train"))

    def _features(self, checkpoint: Checkpoint, data: DriveSet, split: str) -> NDArray[np.float16]:
        return cached_features(checkpoint.vla, data, self.folder, split, self.runtime)

    def _perception(self) -> None:
        train_perception(
            self._model().vla,
            self._drives("tower"),
            self._drives("heldout"),
            self.folder,
            self._schedule("perception", 1.5e-3, 200),
            self.runtime,
        )

    def _language(self) -> None:
        checkpoint, held_out = self._model("perception"), self._drives("heldout")
        train_language(
            checkpoint,
            self._examples(checkpoint),
            held_out,
            self._features(checkpoint, held_out, "heldout"),
            self.folder,
            self._schedule("language", 2e-3, 100),
            self.runtime,
        )

    def _joint(self) -> None:
        checkpoint = self._model("perception", "language")
        data = self._drives("text")
        perception = Perception(checkpoint.vla, data, self.runtime, np.ones(len(data)))
        if self.steps.get("perception", 1) > 0:
            load_weights(self._state("perception"), {"heads": perception.heads})
        train_jointly(
            checkpoint,
            Examples(checkpoint, data, self.runtime),
            perception,
            self._drives("heldout"),
            self.folder,
            self._schedule("joint", 5e-4, 50),
            self.runtime,
        )

    def _action(self) -> None:
        checkpoint = self._model("perception", "language", "joint")
        train_action(
            checkpoint,
            self._examples(checkpoint),
            self._drives("heldout"),
            self.folder,
            self._schedule("action", 1.5e-3, 100),
            self.runtime,
        )

    def _export(self) -> None:
        if not self.runtime.is_first:
            return
        checkpoint = self._model("perception", "language", "joint", "action")
        save_checkpoint(self.output, checkpoint.vla, checkpoint.codec.tokenizer, SETTINGS)
        size = (self.output / "model.safetensors").stat().st_size / 1e6
        print(f"{self.output}: {size:.1f} MB")
