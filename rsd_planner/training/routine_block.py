"""`rsd train routine-block`: the block drafter learns what its target says next.

Distilled from the target's own greedy texts on simulated drives: each step the frozen target
reads prompts and texts once, which brings the hidden states that the drafter is given and the
chances that it is to learn, beside the texts' own tokens. From every text several blocks are
drafted in one forward, behind places drawn at random and behind the first token. Nothing but
pictures' features is kept on the disk. Resumable; the files go beside the checkpoint's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rsd_planner.decoding.decoder import DecodeLimits
from rsd_planner.decoding.drafters.routine_block import BLOCK_WEIGHTS, RoutineBlockDrafter
from rsd_planner.evaluation.known_texts import KnownFeatures, KnownTick, recite
from rsd_planner.model_requirements import read_requirements
from rsd_planner.models.block_reasoner import BlockReasoner, save_block
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.pointer import NOTHING, UNKNOWN, places_in
from rsd_planner.models.routine_block import BlockBatch, BlockConfig, BlockNet, tapped_layers
from rsd_planner.training.asked_target import AskedTarget
from rsd_planner.training.drafter_run import DrafterRun, round_to_half
from rsd_planner.training.loop import Metrics, train
from rsd_planner.training.routine import known_ticks
from rsd_planner.training.routine_examples import vocabulary_of
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.said_ticks import SaidTicks
from rsd_planner.training.sampling import step_batches
from rsd_planner.types import SpanKind

__all__ = ["SIZES", "BlockExamples", "BlockRun", "BlockSize"]

STAGE = 7  # of `Schedule.batch_seed`
SOFT = 0.3  # share of the loss that looks at the target's chances
HIDDEN_FRONT = 0.15  # share of places that are not told the token in front of them
EVALUATED = 512  # held-out ticks on the way
_AT_ONCE = 16


@dataclass(frozen=True)
class BlockSize:
    """The dimensions of the network, and of a step."""

    hidden: int = 160
    layers: int = 3
    heads: int = 5
    intermediate: int = 320
    batch: int = 32
    blocks: int = 4  # drafted behind each text's places


SIZES = {"mini": BlockSize(), "toy": BlockSize(32, 1, 2, 48, 8, 3)}


@dataclass(frozen=True)
class BlockRun(DrafterRun):
    """A training of the block drafter."""

    rope: str = "flat"
    branch: bool = True
    size: BlockSize = field(default_factory=BlockSize)
    learning_rate: float = 1.2e-3

    @property
    def name(self) -> str:
        """Of the run's state; the switches are in it, so that they may share a folder."""
        return f"routine_block_{self.rope}_{'branch' if self.branch else 'free'}"

    def run(self) -> Metrics:
        """Train from where an earlier run stopped, write the files; the held-out scores."""
        checkpoint = load_checkpoint(self.model, str(self.runtime.device))
        checkpoint.vla.requires_grad_(False)
        ticks = self.ticks(checkpoint, "train")
        held_out = self.ticks(checkpoint, "heldout")
        config = self._config(checkpoint, ticks)
        self.claim(self.name, config, self.size.batch, len(ticks))
        torch.manual_seed(self.seed)
        net = BlockNet(config).to(self.runtime.device)
        examples = BlockExamples(checkpoint, ticks, config, self.size.blocks, self.runtime)
        tested = BlockExamples(checkpoint, held_out, config, self.size.blocks, self.runtime)
        step_s = read_requirements(self.model).history_step_s

        def evaluate(count: int | None = EVALUATED) -> Metrics:
            reasoner = BlockReasoner(net, str(self.runtime.device))
            limits = DecodeLimits(
                config.end_token, self.max_tokens, config.block, config.target_vocab_size
            )
            scores = _scores(RoutineBlockDrafter(reasoner), tested.known(step_s, count), limits)
            net.train()
            return scores

        self._train(net, examples, evaluate)
        round_to_half(net)
        scores = evaluate(None)
        if self.runtime.is_first:
            stem = (self.output / BLOCK_WEIGHTS).with_suffix("")
            card = self.card(scores, self.size.batch, len(ticks.data.drives), len(ticks))
            save_block(stem, net, card)
        return scores

    def _config(self, checkpoint: Checkpoint, ticks: SaidTicks) -> BlockConfig:
        text, size = checkpoint.vla.text, self.size
        return BlockConfig(
            vocabulary=vocabulary_of(ticks.said.texts),
            target_vocab_size=text.embed_tokens.num_embeddings,
            target_hidden=text.config.hidden_size,
            target_layers=len(text.layers),
            end_token=checkpoint.codec.end,
            taps=tapped_layers(len(text.layers)),
            rope=self.rope,
            branch=self.branch,
            hidden=size.hidden,
            layers=size.layers,
            heads=size.heads,
            intermediate=size.intermediate,
        )

    def _train(
        self, net: BlockNet, examples: BlockExamples, evaluate: Callable[[], Metrics]
    ) -> None:
        runtime, schedule = self.runtime, self.schedule
        batches = step_batches(len(examples), self.size.batch, schedule.batch_seed(STAGE))

        def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
            rng = np.random.default_rng(schedule.noise_seed(step, runtime.rank))
            batch = examples.batch(runtime.share(batches(step)), rng)
            size = min(net.config.block, batch.text.shape[1])
            hide = rng.random((*batch.anchors.shape, size)) < HIDDEN_FRONT
            hide[:, :, 0] = False  # what stands in front of a block is known
            loss, right = net.loss(batch, torch.from_numpy(hide).to(runtime.device))
            return loss, {"token_accuracy": float(right)}

        train(self.name, self.folder, {"net": net}, step_loss, schedule, runtime, evaluate)


class BlockExamples:
    """Every tick of a drive set with what the target understood and said there."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        ticks: SaidTicks,
        config: BlockConfig,
        blocks: int,
        runtime: Runtime,
    ) -> None:
        self._ticks, self._config, self._blocks, self._runtime = ticks, config, blocks, runtime
        self._asked = AskedTarget(checkpoint, ticks)
        ids = torch.full((config.target_vocab_size,), UNKNOWN)
        for token, place in places_in(config.vocabulary).items():
            ids[token] = place
        self._place_of = ids.to(runtime.device)  # (target's vocabulary,) the drafter's own places
        vocabulary = torch.tensor(config.vocabulary, device=runtime.device)
        head = checkpoint.vla.vlm.lm_head.weight.detach()
        self._head = head[vocabulary]  # (vocabulary, hidden) what the drafter can write

    def __len__(self) -> int:
        return len(self._ticks)

    @torch.no_grad()
    def batch(self, which: NDArray[np.int64], rng: np.random.Generator) -> BlockBatch:
        """Examples of some ticks; `rng` draws behind which places blocks are drafted."""
        with self._runtime.autocast():
            tokens, states, last, places = self._read(which)
            logits = functional.linear(last[:, -tokens.shape[1] - 1 : -1], self._head)
        text = self._place_of[tokens.clamp(min=0)].masked_fill(tokens < 0, NOTHING)
        chances = torch.softmax(logits.float(), dim=-1)  # of what the drafter can write
        chances = functional.pad(chances, (self._config.size - chances.shape[-1], 0))
        said = functional.one_hot(text, self._config.size).float()
        lengths = (tokens >= 0).sum(1).cpu().numpy()
        anchors = rng.integers(1, np.maximum(lengths, 2)[:, None], (len(which), self._blocks))
        anchors[:, 0] = 1  # a tick's first draft is the commonest one
        return BlockBatch(
            states=states,
            places=torch.from_numpy(self._config.places(places, 0)).to(tokens.device),
            prompt=states.shape[1] - tokens.shape[1],
            text=text,
            labels=torch.lerp(said, chances, SOFT),
            anchors=torch.from_numpy(anchors).to(tokens.device),
        )

    def known(self, step_s: float, count: int | None = None) -> Iterator[tuple[KnownTick, bool]]:
        """The first `count` ticks or all, with features, and whether each is novel.

        `step_s` is the histories' step.
        """
        data, said = self._ticks.data, self._ticks.said
        features = self._features(np.arange(len(self))[:count])
        novel = data.novel[said.frames]
        for tick, seen, new in zip(known_ticks(data, said, step_s), features, novel):
            yield replace(tick, features=seen), bool(new)

    def _features(self, which: NDArray[np.int64]) -> Iterator[KnownFeatures]:
        for start in range(0, len(which), _AT_ONCE):
            with torch.no_grad():
                tokens, states, _, places = self._read(which[start : start + _AT_ONCE])
            for one in states:
                yield KnownFeatures(one, places, one.shape[0] - tokens.shape[1])

    def _read(self, which: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, NDArray[np.int64]]:
        """What the target makes of some ticks.

        Returns the texts (batch, text), negative behind them; the states of the tapped layers
        (batch, prompt + text, taps · hidden); the normed last states; and the target's positions
        (3, prompt + text).
        """
        found: list[Tensor] = []

        def note(layer: int, hidden: Tensor) -> None:
            if layer in self._config.taps:
                found.append(hidden)

        batch, last = self._asked.states(which, note)
        places = self._ticks.places(self._asked.places, batch.tokens.shape[1]).numpy()
        return batch.tokens, torch.cat(found, dim=-1).float(), last, places


def _scores(
    drafter: RoutineBlockDrafter, ticks: Iterator[tuple[KnownTick, bool]], limits: DecodeLimits
) -> Metrics:
    """The drafter's own code in the decoder's loop, over texts and features that are known.

    `block` is how many tokens of a tick's first block (in the second forward) are right,
    `tokens_per_forward` counts the first forward too, in which nothing is drafted.
    """
    rows: list[tuple[bool, int, int, int, int]] = []
    for tick, novel in ticks:
        (decoded,) = recite(drafter, [tick], limits)
        block = _accepted(decoded.kinds[1:])
        counts = (len(decoded.tokens), decoded.target_forwards, decoded.proposed)
        rows.append((novel, block, *counts))
    table = np.array(rows)
    scores: dict[str, float] = {}
    for split, part in (("", table), ("novel_", table[table[:, 0] == 1])):
        if len(part):
            tokens, forwards, proposed = part[:, 2:].sum(0)
            scores[f"{split}block"] = float(part[:, 1].mean())
            scores[f"{split}tokens_per_forward"] = float(tokens / forwards)
            scores[f"{split}proposed_per_token"] = float(proposed / tokens)
    return scores


def _accepted(kinds: Sequence[SpanKind]) -> int:
    """How many tokens were accepted before the first that was not."""
    others = (i for i, kind in enumerate(kinds) if kind is not SpanKind.ACCEPTED)
    return next(others, len(kinds))
