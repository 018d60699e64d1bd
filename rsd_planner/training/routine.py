"""`rsd train routine`: the routine reasoner learns what its target says.

Distilled from the target's own greedy texts on simulated drives, not from the narrator's: a
draft is right when it is what the target writes. Hard labels, so that a draft's probability is
that of being accepted. Resumable; the files go beside the checkpoint's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rsd_planner.decoding.decoder import DecodeLimits
from rsd_planner.decoding.drafters.previous_tick import PreviousTickDrafter
from rsd_planner.decoding.drafters.routine import ROUTINE_WEIGHTS, RoutineDrafter
from rsd_planner.decoding.drafters.suffix import write_texts
from rsd_planner.evaluation.known_texts import KnownTick, accepted_first, recite
from rsd_planner.interfaces import Drafter
from rsd_planner.model_requirements import read_requirements
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.motion import motion_width
from rsd_planner.models.pointer import NOTHING
from rsd_planner.models.routine import Old, RoutineBatch, RoutineConfig, RoutineNet
from rsd_planner.models.routine_reasoner import RoutineReasoner, save_routine
from rsd_planner.training.data import DriveSet
from rsd_planner.training.drafter_run import DrafterRun, round_to_half
from rsd_planner.training.loop import Metrics, train
from rsd_planner.training.routine_examples import RoutineExamples, vocabulary_of
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.sampling import step_batches
from rsd_planner.training.target_texts import TargetTexts

__all__ = ["SIZES", "RoutineRun", "RoutineSize", "known_ticks"]

STAGE = 5  # of `Schedule.batch_seed`
HIDDEN_FRONT = 0.1  # share of places that are not told the token in front of them
EVALUATED = 2048  # held-out ticks on the way


@dataclass(frozen=True)
class RoutineSize:
    """The dimensions of the network, and of a step."""

    hidden: int = 96
    layers: int = 3
    heads: int = 4
    intermediate: int = 192
    motion_tokens: int = 4
    batch: int = 64


SIZES = {"mini": RoutineSize(), "toy": RoutineSize(32, 1, 2, 64, 2, 16)}


@dataclass(frozen=True)
class RoutineRun(DrafterRun):
    """A training of the routine reasoner."""

    size: RoutineSize = field(default_factory=RoutineSize)

    def run(self) -> Metrics:
        """Train from where an earlier run stopped, write the files; the held-out scores."""
        checkpoint = load_checkpoint(self.model, str(self.runtime.device))
        data, said = self.texts(checkpoint, "train")
        held_out, held_out_said = self.texts(checkpoint, "heldout")
        config = self._config(checkpoint, said, data)
        self.claim("routine", config, self.size.batch, len(said))
        torch.manual_seed(self.seed)
        net = RoutineNet(config).to(self.runtime.device)
        step_s = read_requirements(self.model).history_step_s
        ticks = list(known_ticks(held_out, held_out_said, step_s))
        novel = held_out.novel[held_out_said.frames]

        def evaluate(count: int | None = EVALUATED) -> Metrics:
            drafter = RoutineDrafter(RoutineReasoner(net, str(self.runtime.device)))
            scores = _scores(drafter, ticks[:count], novel[:count], config)
            net.train()
            return scores

        examples = RoutineExamples(data, said, config.vocabulary, config.longest, step_s)
        self._train(net, examples, evaluate)
        round_to_half(net)
        scores = evaluate(None)
        if self.runtime.is_first:
            stem = self.output / ROUTINE_WEIGHTS
            card = self.card(scores, self.size.batch, len(data.drives), len(said))
            save_routine(stem.with_suffix(""), net, card)
            write_texts(self.output, said.texts)
        return scores

    def _config(self, checkpoint: Checkpoint, said: TargetTexts, data: DriveSet) -> RoutineConfig:
        size, steps = self.size, data.history_xyz.shape[1]
        return RoutineConfig(
            vocabulary=vocabulary_of(said.texts),
            target_vocab_size=checkpoint.vla.text.embed_tokens.num_embeddings,
            end_token=checkpoint.codec.end,
            motion_width=motion_width(steps),
            history_steps=steps,
            hidden=size.hidden,
            layers=size.layers,
            heads=size.heads,
            intermediate=size.intermediate,
            motion_tokens=size.motion_tokens,
            block=self.max_tokens,  # the planner's draft budget bounds it further
            longest=self.max_tokens,
        )

    def _train(
        self, net: RoutineNet, examples: RoutineExamples, evaluate: Callable[[], Metrics]
    ) -> None:
        runtime, schedule = self.runtime, self.schedule
        batches = step_batches(len(examples), self.size.batch, schedule.batch_seed(STAGE))

        def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
            rng = np.random.default_rng(schedule.noise_seed(step, runtime.rank))
            batch = _moved(examples.batch(runtime.share(batches(step)), rng), runtime)
            hide = torch.from_numpy(rng.random(batch.new.shape) < HIDDEN_FRONT)
            loss, chances = net.loss(batch, hide.to(runtime.device))
            asked = torch.arange(batch.new.shape[1], device=loss.device) >= batch.committed[:, None]
            asked &= batch.new != NOTHING
            right = (chances.argmax(-1) == batch.new) & asked
            return loss, {"token_accuracy": float(right.sum() / asked.sum())}

        train("routine", self.folder, {"net": net}, step_loss, schedule, runtime, evaluate)


def known_ticks(data: DriveSet, said: TargetTexts, step_s: float) -> Iterator[KnownTick]:
    """Ticks of held-out drives in order, with what the target says at each."""
    last = -1
    for frame, text in zip(said.frames, said.texts, strict=True):
        drive = int(data.drive[frame])
        yield KnownTick(data.ego_history(frame, step_s), text, first=drive != last)
        last = drive


def _moved(batch: RoutineBatch, runtime: Runtime) -> RoutineBatch:
    """A batch on the run's device."""
    place, old = runtime.device, batch.old
    valid = old.valid.to(place) if old.valid is not None else None
    return RoutineBatch(
        batch.motion.to(place),
        Old(old.tokens.to(place), old.since.to(place), valid),
        batch.new.to(place),
        batch.committed.to(place),
        batch.shift.to(place),
    )


def _scores(
    drafter: Drafter, ticks: Sequence[KnownTick], novel: np.ndarray, config: RoutineConfig
) -> Metrics:
    """The drafter and, as baseline, the last text: first drafts and forwards, by split.

    `first` is how many tokens of the first draft are right, `whole` the share of ticks whose
    first draft is all of the text, `tokens_per_forward` counts what follows a rejection too.
    """
    limits = DecodeLimits(config.end_token, config.longest, config.block, config.target_vocab_size)
    everything = np.ones(len(ticks), np.bool_)
    scores: dict[str, float] = {}
    for name, who, isolated in (
        ("", drafter, False),
        ("copy_", PreviousTickDrafter(), False),
        ("isolated_", drafter, True),
    ):
        texts = list(recite(who, ticks, limits, isolated))
        first = np.array([accepted_first(d) for d in texts])
        length = np.array([len(d.tokens) for d in texts])
        forwards = np.array([d.target_forwards for d in texts])
        for split, rows in (("", everything), ("novel_", novel)):
            if rows.any() and not (split and isolated):
                scores[f"{name}{split}first"] = float(first[rows].mean())
                scores[f"{name}{split}whole"] = float((first == length)[rows].mean())
                per_forward = length[rows].sum() / forwards[rows].sum()
                scores[f"{name}{split}tokens_per_forward"] = float(per_forward)
    return scores
