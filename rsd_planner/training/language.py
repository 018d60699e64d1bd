"""The text stack learns to reason from picture features and history.

First on cached features with the tower frozen; then, if asked for, jointly with the tower,
whose perception loss stays. The reasoning's tokens carry loss, and the state behind the prompt,
which must know the scene's labels. The first part of the schedule shows the newest picture
alone, which costs half as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rsd_planner.evaluation.batched import BatchedModel, PictureFeatures
from rsd_planner.evaluation.causes import parse_reasoning
from rsd_planner.evaluation.grounding import CANONICAL_CAUSES, cause_table, count_causes, macro
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.training.data import FRAMES, DriveSet
from rsd_planner.training.examples import Batch, Examples
from rsd_planner.training.loop import Schedule, train
from rsd_planner.training.perception import Perception, frame_weights
from rsd_planner.training.picture_labels import LabelTargets, loss_of_labels
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.sampling import step_batches
from rsd_planner.training.text_stack import last_states

__all__ = ["TextLoss", "evaluate_texts", "train_jointly", "train_language"]

ONE_PICTURE_SHARE = 0.4  # of the steps that show the newest picture alone
# Of the steps that see rare causes more often. What is learned last is how rare they are: else
# the text names some of them nearly twice as often as they are true.
RARE_SHARE = 0.6
BLUR, LEFT_OUT = 0.15, 0.08  # of the features' spread; of the pictures' tokens
RUN = 4  # consecutive ticks that a joint step takes together where they share pictures
EVALUATED = 384  # held-out ticks
JOINT_PERCEPTION_WEIGHT = 0.3
SCENE_WEIGHT = 0.3


class SceneHead(nn.Module):
    """Reads the labels of the newest picture off the text stack's state behind the prompt.

    One place that must know all of the scene, motion included, before a word is said. It is
    thrown away afterwards.
    """

    def __init__(self, examples: Examples, weights: NDArray[np.float64], runtime: Runtime) -> None:
        """`weights` (ticks,) say how often each tick will be seen."""
        super().__init__()
        data, hidden = examples.data, examples.vla.text.config.hidden_size
        torch.manual_seed(0)
        self.out = nn.Linear(hidden, len(data.label_table))
        self.to(runtime.device)
        self._truth = data.labels
        drawn = np.zeros(len(data))
        drawn[examples.frames[:, -1]] = weights
        self._targets = LabelTargets.of(data, drawn, runtime.device)

    def loss(self, states: Tensor, frames: NDArray[np.int64]) -> Tensor:
        """Loss of states (batch, hidden) behind the prompts of some frames."""
        truth = torch.from_numpy(self._truth[frames]).to(states.device)
        return loss_of_labels(self.out(states.float()), truth, self._targets)


class TextLoss:
    """Weighted cross-entropy of the reasonings of a batch, and the loss of the scene's labels."""

    def __init__(self, examples: Examples, scene: SceneHead, runtime: Runtime) -> None:
        self._vla, self._frames, self._runtime = examples.vla, examples.frames, runtime
        self._scene = scene

    def __call__(
        self, ready: Batch, ticks: NDArray[np.int64]
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Mean loss, the labels' part of it, and the share of tokens that the model would have
        chosen."""
        count = ready.tokens.shape[1] + 1  # from the prompt's last token on
        with self._runtime.autocast():
            states = last_states(self._vla.text, ready.embeds, ready.positions, count)
            logits: Tensor = self._vla.vlm.lm_head(states[:, :-1])
        losses = functional.cross_entropy(
            logits.float().flatten(0, 1),
            ready.tokens.flatten(),
            ignore_index=-100,
            reduction="none",
        )
        loss = (losses * ready.weights.flatten()).sum() / ready.weights.sum()
        labels = self._scene.loss(states[:, 0], self._frames[ticks, -1])
        known = ready.tokens >= 0
        right = (logits.argmax(-1) == ready.tokens) & known
        metrics = {
            "token_accuracy": float(right.sum() / known.sum()),
            "scene": float(labels.detach()),
        }
        return loss + SCENE_WEIGHT * labels, metrics


def train_language(
    checkpoint: Checkpoint,
    examples: Examples,
    held_out: DriveSet,
    held_out_features: NDArray[np.float16],
    folder: Path,
    schedule: Schedule,
    runtime: Runtime,
    batch: int = 32,
) -> None:
    """Train the text stack on frozen features; resumable."""
    text = checkpoint.vla.text
    weights = frame_weights(examples.data, examples.frames[:, -1])
    scene = SceneHead(examples, weights, runtime)
    text_loss = TextLoss(examples, scene, runtime)
    by_rarity = step_batches(len(examples), batch, schedule.batch_seed(2), weights)
    as_it_is = step_batches(len(examples), batch, schedule.batch_seed(5))

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
        early = step < ONE_PICTURE_SHARE * schedule.steps
        step_ticks = by_rarity if step < RARE_SHARE * schedule.steps else as_it_is
        chosen = runtime.share(step_ticks(step))
        noise = torch.Generator().manual_seed(schedule.noise_seed(step, runtime.rank))
        newest = 1 if early else FRAMES
        pictures = _unsure(examples.cached(chosen, newest), noise)
        return text_loss(examples.batch(chosen, pictures, newest), chosen)

    def see(frames: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(held_out_features[frames]).to(runtime.device).float()

    def evaluate() -> Mapping[str, float]:
        return evaluate_texts(checkpoint, held_out, see, runtime)

    modules = {"text": text, "scene": scene}
    train("language", folder, modules, step_loss, schedule, runtime, evaluate)


def train_jointly(
    checkpoint: Checkpoint,
    examples: Examples,
    perception: Perception,
    held_out: DriveSet,
    folder: Path,
    schedule: Schedule,
    runtime: Runtime,
    batch: int = 24,
) -> None:
    """Train text stack and vision tower together, the perception loss kept; resumable.

    Each tick as often as it is: what is learned last is how rare things are.
    """
    data = examples.data
    scene = SceneHead(examples, np.ones(len(examples)), runtime)
    text_loss = TextLoss(examples, scene, runtime)
    run = RUN if _share_pictures(examples) else 1
    step_ticks = step_batches(len(examples), max(1, batch // run), schedule.batch_seed(4))

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
        ticks = _runs(runtime.share(step_ticks(step)), examples, run)
        frames, place = np.unique(examples.frames[ticks], return_inverse=True)
        noise = torch.Generator().manual_seed(schedule.noise_seed(step, runtime.rank))
        tokens = perception.tokens(data.pictures(frames), noise)
        shown = tokens[torch.from_numpy(place.reshape(len(ticks), -1)).to(tokens.device)]
        said, metrics = text_loss(examples.batch(ticks, pictures=shown), ticks)
        seen, parts = perception.loss(tokens, data.patch_bits[frames], data.labels[frames])
        losses = {"text": float(said.detach()), "perception": float(seen.detach())}
        return said + JOINT_PERCEPTION_WEIGHT * seen, {**metrics, **losses, **parts}

    def see(frames: NDArray[np.int64]) -> Tensor:
        return perception.tokens(held_out.pictures(frames))

    def evaluate() -> Mapping[str, float]:
        texts = evaluate_texts(checkpoint, held_out, see, runtime)
        return {**texts, **perception.evaluate(held_out)}

    vla = checkpoint.vla
    modules = {
        "text": vla.text,
        "scene": scene,
        "visual": vla.vlm.model.visual,
        "heads": perception.heads,
    }
    train("joint", folder, modules, step_loss, schedule, runtime, evaluate)


def _unsure(features: Tensor, noise: torch.Generator) -> Tensor:
    """Features of pictures, blurred and with tokens left out: the tower has seen these pictures
    before, and is surer of them than it will be of others."""
    blur = torch.randn(features.shape, generator=noise).to(features.device)
    kept = torch.rand(features.shape[:2], generator=noise).to(features.device) >= LEFT_OUT
    return (features + BLUR * features.std() * blur) * kept[..., None]


def _share_pictures(examples: Examples) -> bool:
    """Whether neighbouring ticks do: those of whole drives, not those of clips."""
    return bool(len(examples) > 1 and examples.frames[1, 0] <= examples.frames[0, -1])


def _runs(first: NDArray[np.int64], examples: Examples, run: int) -> NDArray[np.int64]:
    """Each tick with the next `run` − 1; at the end of a drive the last one again."""
    drive = examples.data.drive[examples.frames[:, -1]]  # (ticks,)
    runs = np.minimum(first[:, None] + np.arange(run), len(examples) - 1)
    same = drive[runs] == drive[first][:, None]
    last = np.where(same, runs, -1).max(axis=1, keepdims=True)
    return np.minimum(runs, last).ravel()


@torch.inference_mode()
def evaluate_texts(
    checkpoint: Checkpoint,
    data: DriveSet,
    see: Callable[[NDArray[np.int64]], Tensor],
    runtime: Runtime,
    count: int = EVALUATED,
) -> Mapping[str, float]:
    """Scores of greedy texts on ticks spread over the drives.

    `see` gives the tokens (frames, tokens, hidden) of frames' pictures.
    """
    codec = checkpoint.codec
    model = BatchedModel(checkpoint, data.picture_size, pictures=FRAMES)
    ticks = data.ticks()
    ticks = ticks[np.linspace(0, len(ticks) - 1, min(count, len(ticks))).astype(int)]
    said: list[str] = []
    tokens = 0
    for start in range(0, len(ticks), 64):
        part = ticks[start : start + 64]
        frames, place = np.unique(part, return_inverse=True)
        history = data.history_xyz[part[:, -1]].astype(np.float64)
        with runtime.autocast():
            model.read(PictureFeatures(see(frames), ()), place.reshape(part.shape), history)
        written = model.write()
        tokens += sum(map(len, written))
        said += ["".join(codec.pieces(text)) for text in written]
    now = ticks[:, -1]
    parsed = [parse_reasoning(text) for text in said]
    counts = count_causes(
        cause_table([data.cause_names(i) for i in now]),
        cause_table([{cause.name for cause in p.causes} for p in parsed]),
    )
    right = [p.decision.name.lower() == data.decisions[i] for p, i in zip(parsed, now)]
    f1 = counts.f1
    scores = {f"f1_{n}": float(f1[i]) for i, n in enumerate(CANONICAL_CAUSES) if f1[i] == f1[i]}
    return {
        "macro_f1": float(macro(f1)),
        "decision_accuracy": float(np.mean(right)),
        "exact_text": float(np.mean([t == data.texts[i] for t, i in zip(said, now)])),
        "whole_text": float(np.mean([p.complete for p in parsed])),
        "mean_tokens": tokens / len(ticks),
        **scores,
    }
