"""`rsd train glance`: the glance learns what its target says, given what its tower sees.

Distilled from the target's own greedy texts on simulated drives, on the features that the target's
vision tower makes of the pictures. Hard labels, so that a draft's probability is that of being
accepted. Resumable; the files go beside the checkpoint's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rsd_planner.decoding.drafters.glance import GLANCE_WEIGHTS
from rsd_planner.decoding.drafters.suffix import write_texts
from rsd_planner.model_requirements import read_requirements
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.glance import GlanceBatch, GlanceConfig, GlanceNet, save_glance
from rsd_planner.models.motion import motion_width
from rsd_planner.models.pointer import NOTHING, UNKNOWN, Pointer
from rsd_planner.training.data import FRAMES
from rsd_planner.training.drafter_run import DrafterRun, round_to_half
from rsd_planner.training.loop import Metrics, Schedule, train
from rsd_planner.training.routine_examples import RoutineExamples, padded, vocabulary_of
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.said_ticks import SaidTicks
from rsd_planner.training.sampling import step_batches

__all__ = ["SIZES", "GlanceExamples", "GlanceRun", "GlanceSize"]

STAGE = 8  # of `Schedule.batch_seed`
SEEN = (0, FRAMES - 1)  # of a tick's pictures: what moves between them tells more than one
WEIGHT_DECAY = 0.05
_AT_ONCE = 256


@dataclass(frozen=True)
class GlanceSize:
    """The dimensions of the network, and of a step."""

    squeezed: int = 24
    hidden: int = 128
    batch: int = 192


SIZES = {"mini": GlanceSize(), "toy": GlanceSize(4, 32, 16)}


@dataclass(frozen=True)
class GlanceRun(DrafterRun):
    """A training of the glance."""

    size: GlanceSize = field(default_factory=GlanceSize)
    learning_rate: float = 2e-3

    @property
    def schedule(self) -> Schedule:
        """As for all drafters, with more decay: its many words are each seen by few ticks."""
        return replace(super().schedule, weight_decay=WEIGHT_DECAY)

    def run(self) -> Metrics:
        """Train from where an earlier run stopped, write the files; the held-out scores."""
        checkpoint = load_checkpoint(self.model, str(self.runtime.device))
        ticks = self.ticks(checkpoint, "train")
        held_out = self.ticks(checkpoint, "heldout")
        step_s = read_requirements(self.model).history_step_s
        config = self._config(checkpoint, ticks)
        self.claim("glance", config, self.size.batch, len(ticks))
        torch.manual_seed(self.seed)
        net = GlanceNet(config).to(self.runtime.device)
        examples = GlanceExamples(ticks, config, step_s)
        tested = GlanceExamples(held_out, config, step_s)

        def evaluate() -> Metrics:
            scores = _scores(net.eval(), tested, self.runtime)
            net.train()
            return scores

        self._train(net, examples, evaluate)
        round_to_half(net)
        scores = evaluate()
        if self.runtime.is_first:
            stem = (self.output / GLANCE_WEIGHTS).with_suffix("")
            card = self.card(scores, self.size.batch, len(ticks.data.drives), len(ticks))
            save_glance(stem, net, card)
            write_texts(self.output, ticks.said.texts)  # of which it makes its guesses
        return scores

    def _config(self, checkpoint: Checkpoint, ticks: SaidTicks) -> GlanceConfig:
        steps, size = ticks.data.history_xyz.shape[1], self.size
        _, picture_tokens, visual_width = ticks.features.shape
        return GlanceConfig(
            vocabulary=vocabulary_of(ticks.said.texts),
            target_vocab_size=checkpoint.vla.text.embed_tokens.num_embeddings,
            end_token=checkpoint.codec.end,
            motion_width=motion_width(steps),
            history_steps=steps,
            pictures=FRAMES,
            seen=SEEN,
            picture_tokens=picture_tokens,
            visual_width=visual_width,
            squeezed=size.squeezed,
            hidden=size.hidden,
            longest=self.max_tokens,
        )

    def _train(
        self, net: GlanceNet, examples: GlanceExamples, evaluate: Callable[[], Metrics]
    ) -> None:
        runtime, schedule = self.runtime, self.schedule
        batches = step_batches(len(examples), self.size.batch, schedule.batch_seed(STAGE))

        def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
            rng = np.random.default_rng(schedule.noise_seed(step, runtime.rank))
            torch.manual_seed(schedule.noise_seed(step, runtime.rank))  # of what is dropped
            batch = examples.batch(runtime.share(batches(step)), rng).to(runtime.device)
            loss, right = _loss(net, batch)
            return loss, {"token_accuracy": float(right.float().mean())}

        train("glance", self.folder, {"net": net}, step_loss, schedule, runtime, evaluate)


class GlanceExamples:
    """Every tick of a drive set with the target's text and what its tower sees."""

    def __init__(self, ticks: SaidTicks, config: GlanceConfig, step_s: float) -> None:
        """`step_s` is the histories' step."""
        self._config = config
        self._features, self._shown = ticks.features, ticks.shown[:, list(config.seen)]
        self._texts = RoutineExamples(
            ticks.data, ticks.said, config.vocabulary, config.longest, step_s
        )
        self.novel = ticks.data.novel[ticks.said.frames]

    def __len__(self) -> int:
        return len(self._texts)

    def batch(
        self, ticks: NDArray[np.int64], rng: np.random.Generator | None, skip: int = 1
    ) -> GlanceBatch:
        """Examples of some ticks; `rng` draws their pasts, without it each has that of `skip`
        ticks before, 0 for none."""
        pasts = self._texts.pasts(ticks, rng, skip)
        texts = [self._texts.text(tick) for tick in ticks]
        new = padded(texts, self._config.longest)
        pointed = np.full((len(ticks), 2, new.shape[1]), NOTHING)
        since = np.zeros((*new.shape, 2), np.float32)
        for row, (text, (old, told)) in enumerate(zip(texts, pasts.texts, strict=True)):
            for index, place in enumerate(Pointer(old).along(text)[:-1]):
                if place < len(old):
                    pointed[row, 0, index], since[row, index] = old[place], told[place]
                if place + 1 < len(old):
                    pointed[row, 1, index] = old[place + 1]
        seen = self._features[self._shown[ticks].ravel()]
        pictures = torch.from_numpy(np.asarray(seen)).float()
        return GlanceBatch(
            pictures.view(len(ticks), -1, pictures.shape[-1]),
            torch.from_numpy(pasts.motion),
            torch.from_numpy(padded([old for old, _ in pasts.texts], self._config.longest)),
            torch.from_numpy(new),
            torch.from_numpy(pointed),
            torch.from_numpy(since),
        )


def _loss(net: GlanceNet, batch: GlanceBatch) -> tuple[Tensor, Tensor]:
    """The mean loss of a batch's tokens, and which of them would be drafted right."""
    counted = batch.new != NOTHING
    logits, tokens = net.logits(batch)[counted], batch.new[counted]
    # What it cannot write is wrong, and nothing can be learned from it.
    loss = functional.cross_entropy(logits, tokens, ignore_index=UNKNOWN)
    return loss, logits.argmax(-1) == tokens


@torch.inference_mode()
def _scores(net: GlanceNet, examples: GlanceExamples, runtime: Runtime) -> Metrics:
    """What it would say of each token of held-out texts, given those in front of it.

    `whole` is the share of ticks of which it would draft the whole text at once, of a tick by
    itself under `isolated_…`, where there is no last text.
    """
    scores: dict[str, float] = {}
    for name, skip in (("", 1), ("isolated_", 0)):
        losses, right, whole = [], [], []
        for start in range(0, len(examples), _AT_ONCE):
            ticks = np.arange(start, min(start + _AT_ONCE, len(examples)))
            batch = examples.batch(ticks, None, skip).to(runtime.device)
            loss, is_right = _loss(net, batch)
            found = is_right.cpu().numpy()
            losses.append(float(loss) * len(found))
            right.append(found)
            rows = torch.where(batch.new != NOTHING)[0].cpu().numpy()
            whole += [found[rows == row].all() for row in range(len(ticks))]
        count = sum(map(len, right))
        scores[f"{name}loss"] = sum(losses) / count
        scores[f"{name}token_accuracy"] = float(np.concatenate(right).mean())
        scores[f"{name}whole"] = float(np.mean(whole))
        if examples.novel.any():
            scores[f"{name}novel_whole"] = float(np.mean(np.array(whole)[examples.novel]))
    return scores
