"""`rsd train replica`: a small copy of the target learns what its target says, and how surely.

Distilled from the target's own greedy texts on simulated drives: cross-entropy with each token of
the text, and with the chances that the target gave to all of them. Half and half, since a
draft is accepted when it is the target's choice, and chances teach more of each example
(Hinton 2015, DistillSpec 2023). Resumable; the files go beside the checkpoint's weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsd_planner.decoding.drafters.replica import REPLICA_WEIGHTS
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.replica import ReplicaConfig, ReplicaNet, save_replica
from rsd_planner.training.asked_target import TargetLabels, target_labels
from rsd_planner.training.drafter_run import DrafterRun, round_to_half
from rsd_planner.training.loop import Metrics, train
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.said_ticks import SaidBatch, SaidTicks
from rsd_planner.training.sampling import step_batches
from rsd_planner.training.text_stack import last_states

__all__ = ["SIZES", "ReplicaRun", "ReplicaSize", "Told", "count_forwards", "distillation"]

STAGE = 6  # of `Schedule.batch_seed`
SOFT = 0.5  # share of the loss that looks at the target's chances
EVALUATED = 2048  # held-out ticks on the way
_AT_ONCE = 32


@dataclass(frozen=True)
class ReplicaSize:
    """The dimensions of the network, and of a step."""

    hidden: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 384
    batch: int = 32


SIZES = {"mini": ReplicaSize(), "toy": ReplicaSize(32, 1, 2, 1, 12, 64, 8)}


@dataclass(frozen=True)
class ReplicaRun(DrafterRun):
    """A training of the replica."""

    rope: str = "mrope"
    size: ReplicaSize = field(default_factory=ReplicaSize)

    def run(self) -> Metrics:
        """Train from where an earlier run stopped, write the files; the held-out scores."""
        checkpoint = load_checkpoint(self.model, str(self.runtime.device))
        ticks = self.ticks(checkpoint, "train")
        held_out = self.ticks(checkpoint, "heldout")
        config, name = self._config(checkpoint), f"replica_{self.rope}"
        self.claim(name, config, self.size.batch, len(ticks))
        labels = target_labels(
            checkpoint, ticks, self.folder, self.runtime, config.unwritable, "training chances"
        )
        torch.manual_seed(self.seed)
        net = ReplicaNet(config).to(self.runtime.device)
        known = _Student(net, ticks, self.runtime)
        tested = _Student(net, held_out, self.runtime)

        def evaluate(count: int | None = EVALUATED) -> Metrics:
            return tested.scores(count)

        schedule = self.schedule
        batches = step_batches(len(ticks), self.size.batch, schedule.batch_seed(STAGE))

        def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
            return known.loss(self.runtime.share(batches(step)), labels)

        train(name, self.folder, {"net": net}, step_loss, schedule, self.runtime, evaluate)
        round_to_half(net)
        scores = evaluate(None)
        if self.runtime.is_first:
            stem = (self.output / REPLICA_WEIGHTS).with_suffix("")
            card = self.card(scores, self.size.batch, len(ticks.data.drives), len(ticks))
            save_replica(stem, net, card)
        return scores

    def _config(self, checkpoint: Checkpoint) -> ReplicaConfig:
        vla, size = checkpoint.vla, self.size
        vlm, start = vla.vlm.config, vla.config.traj_token_start_idx
        pictures = (vlm.image_token_id, vlm.video_token_id)
        return ReplicaConfig(
            vocab_size=vla.text.embed_tokens.num_embeddings,
            end_token=checkpoint.codec.end,
            image_token=vlm.image_token_id,
            unwritable=(
                (start, start + vla.config.traj_vocab_size),
                *((token, token + 1) for token in pictures),
            ),
            visual_width=vlm.vision_config.out_hidden_size,
            merge=vlm.vision_config.spatial_merge_size,
            rope=self.rope,
            hidden=size.hidden,
            layers=size.layers,
            heads=size.heads,
            kv_heads=size.kv_heads,
            head_dim=size.head_dim,
            intermediate=size.intermediate,
        )


class _Student:
    """A replica over the ticks of a drive set, given the target's texts."""

    def __init__(self, net: ReplicaNet, ticks: SaidTicks, runtime: Runtime) -> None:
        self._net, self._ticks, self._runtime = net, ticks, runtime
        self._prompt = net.config.positions(
            ticks.prompt.is_image, ticks.prompt.grids
        )  # (3, prompt)
        self._where = torch.from_numpy(np.flatnonzero(ticks.prompt.is_image)).to(runtime.device)

    def loss(
        self, which: NDArray[np.int64], labels: TargetLabels
    ) -> tuple[Tensor, Mapping[str, float]]:
        """The mean loss of some ticks, and the share of tokens that would be drafted right."""
        device = self._runtime.device
        batch = self._ticks.batch(which).to(device)
        likeliest, chances = labels.batch(which, batch.tokens.shape[1])
        with self._runtime.autocast():
            logits = self._logits(batch)
        counted = batch.tokens >= 0
        counted &= self._net.never[batch.tokens.clamp(min=0)] == 0
        losses = distillation(
            logits.float(), batch.tokens.clamp(min=0), likeliest.to(device), chances.to(device)
        )
        right = (logits.argmax(-1) == batch.tokens) & counted
        loss = (losses * counted).sum() / counted.sum().clamp(min=1)
        return loss, {"token_accuracy": float(right.sum() / counted.sum().clamp(min=1))}

    def scores(self, count: int | None) -> Metrics:
        """What the drafter would do on the first `count` ticks, or all; and on novel ones."""
        told = list(self.told(count))
        config = self._net.config
        novel = self._ticks.data.novel[self._ticks.said.frames[: len(told)]]
        everything = np.ones(len(told), np.bool_)
        counts = [count_forwards(one, config.least_chance, config.block) for one in told]
        first, forwards = (np.array(part) for part in zip(*counts, strict=True))
        length = np.array([len(one.right) for one in told])
        right = np.array([sum(one.right) for one in told])
        found: dict[str, float] = {}
        for split, rows in (("", everything), ("novel_", novel)):
            if rows.any():
                found[f"{split}first"] = float(first[rows].mean())
                found[f"{split}whole"] = float((first == length)[rows].mean())
                per_forward = length[rows].sum() / forwards[rows].sum()
                found[f"{split}tokens_per_forward"] = float(per_forward)
                found[f"{split}token_accuracy"] = float(right[rows].sum() / length[rows].sum())
        return found

    @torch.inference_mode()
    def told(self, count: int | None = None) -> Iterator[Told]:
        """Every token of the texts of the first `count` ticks, drafted behind those before it."""
        ticks = np.arange(len(self._ticks))[:count]
        for start in range(0, len(ticks), _AT_ONCE):
            batch = self._ticks.batch(ticks[start : start + _AT_ONCE]).to(self._runtime.device)
            best, choice = torch.softmax(self._logits(batch).float(), dim=-1).max(dim=-1)
            for tokens, chances, chosen in zip(
                batch.tokens.tolist(), best.tolist(), choice.tolist(), strict=True
            ):
                length = sum(token >= 0 for token in tokens)
                pairs = zip(tokens[:length], chosen, strict=False)
                yield Told([ours == its for ours, its in pairs], chances[:length])

    def _logits(self, batch: SaidBatch) -> Tensor:
        """(batch, text, vocab) of each place of the text, given what stands before it."""
        net, text = self._net, batch.tokens.shape[1]
        places = self._ticks.places(self._prompt, text).to(batch.ids.device)
        embeds = net.embed(batch.ids, self._where, net.see(batch.pictures))
        states = last_states(
            net.text, embeds, places[:, None].expand(3, len(batch.ids), -1), text + 1
        )
        return net.logits(states[:, :-1])


@dataclass(frozen=True)
class Told:
    """A text's tokens as a drafter would write each, given those before it."""

    right: Sequence[bool]
    chances: Sequence[float]  # of what it would write


def count_forwards(told: Told, least: float, block: int) -> tuple[int, int]:
    """How many tokens of the first draft are right, and the target's forwards for the text.

    The decoder's loop, counted: a draft of at most `block` tokens ends where its chance falls
    below `least`; behind what is right of it the target writes a token of its own, and a last
    one of those is fed once more.
    """
    place = forwards = first = 0
    length = len(told.right)
    while place < length:
        start, so_far = place, 1.0
        while place < min(length, start + block) and told.right[place]:
            so_far *= told.chances[place]
            if so_far < least:
                break
            place += 1
        first = first if forwards else place
        forwards += 1
        if place < length:
            place += 1
            forwards += place == length
    return first, forwards


def distillation(logits: Tensor, tokens: Tensor, likeliest: Tensor, chances: Tensor) -> Tensor:
    """Cross-entropies (batch, text) with the text's tokens and with the target's chances.

    `logits` is (batch, text, vocab), `tokens` (batch, text); `likeliest` and `chances`
    (batch, text, LIKELIEST) are the target's. All other tokens count as one.
    """
    logs = torch.log_softmax(logits, dim=-1)
    hard = -logs.gather(-1, tokens[..., None]).squeeze(-1)
    known = logs.gather(-1, likeliest)  # (batch, text, LIKELIEST)
    others = (1.0 - known.exp().sum(-1)).clamp(min=1e-6).log()
    soft = -(chances * known).sum(-1) - (1.0 - chances.sum(-1)).clamp(min=0.0) * others
    return torch.lerp(hard, soft, SOFT)
