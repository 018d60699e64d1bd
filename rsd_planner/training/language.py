"""Stage 2: the language model learns to reason from cached picture features and history.

The vision tower is frozen and its features are computed once; only the reasoning's tokens
carry loss. Prompts are those of the planner, token for token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from rsd_planner.models.flat_rope import mrope_positions
from rsd_planner.models.tokenizer import TextCodec
from rsd_planner.models.vision_batch import BatchedTower
from rsd_planner.models.vla import Vla, run_text_stack
from rsd_planner.training.data import DriveSet
from rsd_planner.training.loop import Schedule, step_batches, train

__all__ = ["Examples", "cache_features", "greedy_texts", "train_language"]


def cache_features(vla: Vla, data: DriveSet, file: Path) -> np.ndarray:
    """Features (frames, tokens, hidden) of all frames as a memory map in half precision."""
    height, width = data.picture_size
    tower = BatchedTower(vla.vlm.model.visual, height, width)
    tokens = tower.grid_thw[1] * tower.grid_thw[2] // 4
    shape = (len(data), tokens, vla.text.config.hidden_size)
    if file.exists() and np.load(file, mmap_mode="r").shape == shape:
        return np.load(file, mmap_mode="r")
    temporary = file.with_suffix(".part.npy")
    out = np.lib.format.open_memmap(temporary, "w+", np.float16, shape)
    with torch.inference_mode():
        for start in track(range(0, len(data), 128), description="encode pictures"):
            rows = range(start, min(start + 128, len(data)))
            merged = tower(torch.from_numpy(data.pictures(rows)))[1]
            out[start : start + len(rows)] = merged.half().numpy()
    out.flush()
    temporary.rename(file)
    return np.load(file, mmap_mode="r")


@dataclass
class Batch:
    """Ready inputs: right-padded sequences of prompt and reasoning."""

    embeds: Tensor  # (batch, length, hidden)
    positions: Tensor  # (3, batch, length)
    tokens: Tensor  # (batch, text) reasoning, padded with −100
    prompt: int  # length of the prompt
    lengths: Tensor  # (batch,) tokens of each reasoning


class Examples:
    """Ticks of a drive set as prompts and texts, with pictures as cached features."""

    def __init__(
        self,
        vla: Vla,
        codec: TextCodec,
        template: np.ndarray,
        data: DriveSet,
        features: np.ndarray,
    ) -> None:
        """`template` is a prompt with placeholders for pictures and history."""
        self.vla, self.data, self.features = vla, data, features
        self.frames = data.ticks()  # (ticks, 4)
        bins = vla.config.history_tokens.encode(data.history_xyz.astype(np.float64))
        self.history = bins + vla.config.history_token_start  # (frames, 48)
        memo: dict[str, list[int]] = {}
        self.texts = [memo.setdefault(t, codec.encode_reasoning(t)) for t in data.texts]
        self.template = template
        self.is_image = template == vla.vlm.config.image_token_id
        self.is_history = template == codec.id_of("<|traj_history|>")
        tokens = features.shape[1]
        side = vla.vlm.config.vision_config.spatial_merge_size
        rows = _rows_of(tokens)
        grid = (1, rows * side, tokens // rows * side)
        self.positions = mrope_positions(self.is_image, [grid] * self.frames.shape[1], side)

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, ticks: NDArray[np.int64], with_text: bool = True) -> Batch:
        """Inputs of some ticks."""
        frames = self.frames[ticks]  # (batch, 4)
        now = frames[:, -1]
        prompt = np.repeat(self.template[None], len(frames), axis=0)
        prompt[:, self.is_history] = self.history[now]
        texts = [self.texts[i] if with_text else [] for i in now]
        longest = max(len(t) for t in texts)
        tokens = torch.full((len(frames), longest), -100, dtype=torch.long)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = torch.as_tensor(text, dtype=torch.long)
        ids = torch.cat([torch.from_numpy(prompt), tokens.clamp(min=0)], dim=1)
        embeds = self.vla.text.embed_tokens(ids)
        pictures = torch.from_numpy(self.features[frames.ravel()]).float()
        where = torch.from_numpy(self.is_image).nonzero().squeeze(1)
        embeds = embeds.index_copy(1, where, pictures.view(len(frames), -1, embeds.shape[-1]))
        start = int(self.positions.max()) + 1
        tail = np.broadcast_to(np.arange(start, start + longest), (3, longest))
        positions = torch.from_numpy(np.concatenate([self.positions, tail], axis=1))
        return Batch(
            embeds,
            positions[:, None].expand(3, len(frames), -1),
            tokens,
            prompt.shape[1],
            torch.tensor([len(t) for t in texts]),
        )


def _rows_of(tokens: int) -> int:
    """Rows of a 2:1 grid of merged tokens."""
    return round((tokens / 2) ** 0.5)


def train_language(
    examples: Examples,
    held_out: Examples,
    codec: TextCodec,
    folder: Path,
    schedule: Schedule,
    batch: int = 32,
) -> None:
    """Train the text stack on frozen features; resumable."""
    vla = examples.vla
    step_indices = step_batches(len(examples), batch, seed=2)

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
        ready = examples.batch(step_indices(step))
        with torch.autocast("cpu", torch.bfloat16):
            hidden = run_text_stack(vla.text, ready.embeds, ready.positions)
            logits = vla.vlm.lm_head(hidden[:, ready.prompt - 1 : -1])
        loss = functional.cross_entropy(
            logits.float().flatten(0, 1), ready.tokens.flatten(), ignore_index=-100
        )
        known = ready.tokens >= 0
        right = (logits.argmax(-1) == ready.tokens) & known
        return loss, {"token_accuracy": float(right.sum() / known.sum())}

    def evaluate() -> Mapping[str, float]:
        return evaluate_texts(held_out, codec)

    train("language", folder, {"text": vla.text}, step_loss, schedule, evaluate)


@torch.inference_mode()
def greedy_texts(
    examples: Examples, ticks: NDArray[np.int64], codec: TextCodec, longest: int = 64
) -> list[tuple[int, ...]]:
    """Greedy reasonings of some ticks, in one batch without a KV cache for the text.

    Plain and slow, for evaluation during training; the planner's decoder is the product.
    """
    vla = examples.vla
    ready = examples.batch(ticks, with_text=False)
    embeds, positions = ready.embeds, ready.positions
    masked = slice(
        vla.config.traj_token_start_idx,
        vla.config.traj_token_start_idx + vla.config.traj_vocab_size,
    )
    cache = _BatchCache(len(vla.text.layers))
    hidden = run_text_stack(vla.text, embeds, positions, cache)  # type: ignore[arg-type]
    next_position = int(positions.max()) + 1
    out: list[list[int]] = [[] for _ in ticks]
    for step in range(longest):
        logits = vla.vlm.lm_head(hidden[:, -1]).float()
        logits[:, masked] = -torch.inf
        choice = logits.argmax(-1)
        for row, token in zip(out, choice.tolist(), strict=True):
            if not row or row[-1] != codec.end:
                row.append(token)
        if all(row[-1] == codec.end for row in out):
            break
        place = torch.full((3, len(out), 1), next_position + step)
        hidden = run_text_stack(
            vla.text,
            vla.text.embed_tokens(choice)[:, None],
            place,
            cache,  # type: ignore[arg-type]
        )
    return [tuple(row) for row in out]


class _BatchCache:
    """Keys and values of a batch, grown by concatenation."""

    def __init__(self, layers: int) -> None:
        self.pairs: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object):  # type: ignore[no-untyped-def]
        old = self.pairs[layer]
        if old is not None:
            keys, values = torch.cat([old[0], keys], 2), torch.cat([old[1], values], 2)
        self.pairs[layer] = (keys, values)
        return keys, values


def evaluate_texts(examples: Examples, codec: TextCodec, count: int = 512) -> Mapping[str, float]:
    """Shares of exactly right texts and right decisions (first three tokens), and tokens."""
    ticks = np.linspace(0, len(examples) - 1, min(count, len(examples))).astype(int)
    exact = opening = tokens = 0
    for start in range(0, len(ticks), 64):
        part = ticks[start : start + 64]
        for tick, text in zip(part, greedy_texts(examples, part, codec), strict=True):
            truth = tuple(examples.texts[examples.frames[tick, -1]])
            exact += text == truth
            opening += text[:3] == truth[:3]
            tokens += len(text)
    return {
        "exact_text": exact / len(ticks),
        "right_opening": opening / len(ticks),
        "mean_tokens": tokens / len(ticks),
    }
