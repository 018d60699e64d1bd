"""Ticks of a drive set as the model's inputs: prompts of the planner, and texts behind them.

Prompts are the planner's, token for token. Curricula may leave out the older pictures: the
tokens that stay keep their positions.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.vision_batch import BatchedTower
from rsd_planner.planning.batch_prompt import BatchPrompt
from rsd_planner.training.data import FRAMES, DriveSet
from rsd_planner.training.runtime import Runtime

__all__ = ["Batch", "Examples", "doubt_weights"]

_LENGTH_STEP = 16  # texts are padded to multiples of it, so that few shapes occur


@dataclass
class Batch:
    """Ready inputs: sequences of prompt and reasoning, padded on the right."""

    embeds: Tensor  # (batch, prompt + text, hidden)
    positions: Tensor  # (3, batch, prompt + text)
    tokens: Tensor  # (batch, text) the reasoning, padded with −100
    weights: Tensor  # (batch, text) of the tokens in the loss, 0 in the padding
    lengths: Tensor  # (batch,) tokens of each reasoning
    prompt: int  # tokens of the prompt


class Examples:
    """Every learned tick of a drive set."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        data: DriveSet,
        runtime: Runtime,
        features: NDArray[np.float16] | None = None,
    ) -> None:
        """`features` (frames, tokens, hidden) are needed where a batch gets no pictures."""
        vla, codec = checkpoint.vla, checkpoint.codec
        self.vla, self.codec, self.data, self.features = vla, codec, data, features
        self.device = runtime.device
        self.frames = data.ticks()  # (ticks, FRAMES)
        often = Counter(data.texts)
        coded = {text: codec.encode_reasoning(text) for text in often}
        weights = doubt_weights(coded, often)
        self.texts = [coded[text] for text in data.texts]  # (frames,) tokens of each reasoning
        self._weights = [weights[text] for text in data.texts]
        grid = BatchedTower(vla.vlm.model.visual, *data.picture_size).grid_thw
        self._prompt = BatchPrompt(checkpoint, grid, FRAMES)
        self._history = self._prompt.history(data.history_xyz)  # (frames, tokens)
        self._places = self._prompt.positions  # (3, prompt)
        self._picture = _picture_of(self._prompt.template, codec.id_of("<|vision_start|>"),
                                    codec.id_of("<|vision_end|>"))  # fmt: skip

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def text_start(self) -> int:
        """Rotary position of a text's first token."""
        return int(self._places.max()) + 1

    def cached(self, ticks: NDArray[np.int64], newest: int = FRAMES) -> Tensor:
        """Features (ticks · newest, tokens, hidden) of the newest pictures of some ticks."""
        assert self.features is not None, "without features a batch needs pictures"
        frames = self.frames[ticks, FRAMES - newest :]
        return torch.from_numpy(self.features[frames.ravel()]).to(self.device).float()

    def batch(
        self,
        ticks: NDArray[np.int64],
        pictures: Tensor | None = None,
        newest: int = FRAMES,
        silent: NDArray[np.bool_] | None = None,
    ) -> Batch:
        """Inputs of some ticks.

        `pictures` (ticks, newest, tokens, hidden) stand in for the cached features; `newest`
        is how many pictures of each tick are shown; `silent` ticks get a reasoning that says
        nothing.
        """
        frames = self.frames[ticks]
        now = frames[:, -1]
        # Everything outside of pictures, and the newest pictures.
        kept = np.flatnonzero((self._picture < 0) | (self._picture >= FRAMES - newest))
        ids = self._prompt.ids(self._history[now])
        tokens, weights, lengths = self._reasoning(now, silent)
        sequence = torch.cat([torch.from_numpy(ids[:, kept]), tokens.clamp(min=0)], dim=1)
        embeds = self.vla.text.embed_tokens(sequence.to(self.device))
        if pictures is None:
            pictures = self.cached(ticks, newest)
        where = torch.from_numpy(np.flatnonzero(self._prompt.is_image[kept])).to(self.device)
        embeds = embeds.index_copy(1, where, pictures.reshape(len(ticks), -1, embeds.shape[-1]))
        tail = self.text_start + np.arange(tokens.shape[1])
        places = np.concatenate([self._places[:, kept], np.tile(tail, (3, 1))], axis=1)
        return Batch(
            embeds,
            torch.from_numpy(places).to(self.device)[:, None].expand(3, len(ticks), -1),
            tokens.to(self.device),
            weights.to(self.device),
            lengths.to(self.device),
            len(kept),
        )

    def _reasoning(
        self, now: NDArray[np.int64], silent: NDArray[np.bool_] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens and weights (batch, text), and lengths (batch,)."""
        empty = [self.codec.end_of_reasoning, self.codec.end]
        quiet = np.zeros(len(now), np.bool_) if silent is None else silent
        texts = [empty if q else self.texts[i] for i, q in zip(now, quiet)]
        longest = _LENGTH_STEP * math.ceil(max(map(len, texts)) / _LENGTH_STEP)
        tokens = torch.full((len(now), longest), -100, dtype=torch.long)
        weights = torch.zeros(len(now), longest)
        for row, (text, i) in enumerate(zip(texts, now)):
            tokens[row, : len(text)] = torch.as_tensor(text)
            weights[row, : len(text)] = 1.0 if quiet[row] else torch.from_numpy(self._weights[i])
        return tokens, weights, torch.tensor([len(text) for text in texts])


def _picture_of(template: NDArray[np.int64], start: int, end: int) -> NDArray[np.int64]:
    """(prompt,) which picture a token belongs to, its brackets included; −1 for none."""
    opened = np.cumsum(template == start)
    closed = np.cumsum(template == end)
    inside = (opened > closed) | (template == end)
    return np.where(inside, opened - 1, -1)


def doubt_weights(
    coded: Mapping[str, Sequence[int]],
    often: Mapping[str, int],
    least: float = 0.5,
    most: float = 3.0,
) -> dict[str, NDArray[np.float32]]:
    """Weights of each text's tokens in the loss, 1 on average over all texts.

    `coded` are the tokens of each text and `often` how many times it occurs. A token weighs
    the entropy in bits of what follows the two before it, within limits: names of causes, sides
    and numbers weigh more than the words that always follow them. Which of them stands there is
    no matter: if the rarer ones weighed more, the model would say them more often than they
    are true.
    """
    after: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for text, tokens in coded.items():
        for a, b, c in _triples(tokens):
            after[a, b][c] += often[text]
    bits = {before: min(max(_entropy(counts), least), most) for before, counts in after.items()}
    weights = {
        text: np.array([bits[a, b] for a, b, _ in _triples(tokens)], np.float32)
        for text, tokens in coded.items()
    }
    total = sum(float(w.sum()) * often[text] for text, w in weights.items())
    count = sum(len(w) * often[text] for text, w in weights.items())
    return {text: w * (count / total) for text, w in weights.items()}


def _entropy(counts: Counter[int]) -> float:
    """In bits."""
    total = sum(counts.values())
    return sum(n / total * math.log2(total / n) for n in counts.values())


def _triples(tokens: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Each token behind the two before it."""
    return zip([-1, -1, *tokens], [-1, *tokens], tokens)
