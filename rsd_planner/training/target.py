"""The stages that make the mini from recorded drives, one after the other.

Each stage starts from what the one before it saved and can be run again after a kill. The
last step writes a checkpoint in half precision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerFast

from rsd_planner.models.checkpoint import load_checkpoint, save_checkpoint
from rsd_planner.models.presets import MINI, PROMPT_TEXTS, build_vla
from rsd_planner.models.tokenizer import TextCodec, extend_tokenizer, train_tokenizer
from rsd_planner.models.vla import Vla
from rsd_planner.planning.prompt import make_prompt_builder
from rsd_planner.training.action import action_statistics, train_action
from rsd_planner.training.data import FRAMES, DriveSet
from rsd_planner.training.language import Examples, cache_features, train_language
from rsd_planner.training.loop import Schedule
from rsd_planner.training.perception import train_perception

__all__ = ["STAGES", "TargetRun"]

STAGES = ("init", "perception", "language", "action", "export")
WORD_PIECES = 700
SETTINGS = {"frames_per_camera": 4, "frame_interval_s": 0.2, "num_samples": 1}


@dataclass(frozen=True)
class TargetRun:
    """A training run: where its data is, where it writes, how long each stage is."""

    data: Path  # recorded drives, with `train` and `heldout` inside
    folder: Path
    output: Path
    steps: dict[str, int]
    seed: int = 0
    limit: int | None = None  # most training drives

    def run(self, stage: str) -> None:
        """Run one stage by its name."""
        stages: dict[str, Callable[[], None]] = {
            "init": self._init,
            "perception": self._perception,
            "language": self._language,
            "action": self._action,
            "export": self._export,
        }
        stages[stage]()

    def _set(self, split: str) -> DriveSet:
        return DriveSet(self.data / split, self.limit if split == "train" else None)

    def _init(self) -> None:
        """Tokenizer, action statistics and an untrained model."""
        data = self._set("train")
        texts = [*PROMPT_TEXTS * 50, *data.texts]
        tokenizer = extend_tokenizer(train_tokenizer(texts, WORD_PIECES), MINI.history_bins)
        vla = build_vla(MINI, tokenizer, action_statistics(data), seed=self.seed)
        save_checkpoint(self.folder / "init", vla, tokenizer, SETTINGS, dtype=torch.float32)
        parts = {name: sum(p.numel() for p in m.parameters()) for name, m in vla.named_children()}
        print(json.dumps({"parameters": parts, "vocabulary": len(tokenizer)}))

    def _model(self, *stages: str) -> tuple[Vla, TextCodec, PreTrainedTokenizerFast]:
        """The untrained model with what some stages have learned put in."""
        checkpoint = load_checkpoint(self.folder / "init")
        vla = checkpoint.vla
        modules: dict[str, nn.Module] = {
            "visual": vla.vlm.model.visual,
            "text": vla.text,
            "expert": vla.expert,
            "action_in_proj": vla.action_in_proj,
            "action_out_proj": vla.action_out_proj,
        }
        for stage in stages:
            state = load_file(str(self.folder / f"{stage}.safetensors"))
            for name, module in modules.items():
                prefix = f"weight.{name}."
                found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
                if found:
                    module.load_state_dict(found, strict=False)
        return vla, checkpoint.codec, checkpoint.codec.tokenizer

    def _examples(self, vla: Vla, codec: TextCodec, split: str) -> Examples:
        data = self._set(split)
        features = cache_features(vla, data, self.folder / f"features_{split}.npy")
        checkpoint = load_checkpoint(self.folder / "init")
        builder = make_prompt_builder(checkpoint)
        template = builder.template((("front_wide", features.shape[1]),) * FRAMES)
        return Examples(vla, codec, template, data, features)

    def _perception(self) -> None:
        vla, _, _ = self._model()
        schedule = Schedule(self.steps["perception"], 1.5e-3, warmup=200)
        train_perception(vla, self._set("train"), self._set("heldout"), self.folder, schedule)

    def _language(self) -> None:
        vla, codec, _ = self._model("perception")
        train, held_out = (self._examples(vla, codec, s) for s in ("train", "heldout"))
        schedule = Schedule(self.steps["language"], 2e-3, warmup=100)
        train_language(train, held_out, codec, self.folder, schedule)

    def _action(self) -> None:
        vla, codec, _ = self._model("perception", "language")
        train, held_out = (self._examples(vla, codec, s) for s in ("train", "heldout"))
        schedule = Schedule(self.steps["action"], 1.5e-3, warmup=100)
        train_action(train, held_out, self.folder, schedule)

    def _export(self) -> None:
        vla, _, tokenizer = self._model("perception", "language", "action")
        save_checkpoint(self.output, vla, tokenizer, SETTINGS)
        size = (self.output / "model.safetensors").stat().st_size / 1e6
        print(f"{self.output}: {size:.1f} MB")
