"""The planner's model over many ticks at once: greedy texts, and K sampled paths behind them.

Follows the planner step by step (prompt, prefill, greedy tokens, cache closed, flow) with a
batch where that has one sequence; a test holds the two together. For evaluation: no drafts, no
time measured. Assumes one camera and pictures of equal size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.vision_batch import BatchedTower
from rsd_planner.models.vla import Vla, run_text_stack
from rsd_planner.planning.batch_prompt import BatchPrompt

__all__ = ["BatchedModel", "PictureFeatures"]

_PICTURES_AT_ONCE = 64
_PATHS_AT_ONCE = 48


@dataclass(frozen=True)
class PictureFeatures:
    """What the vision tower says about a list of pictures."""

    merged: Tensor  # (pictures, tokens, hidden)
    deepstack: tuple[Tensor, ...]  # the same shape, one for each early text layer


class BatchedModel:
    """Reads ticks, writes texts and drives paths, a batch at a time.

    `read` starts a batch; `write` or `say` puts texts behind its prompts; `drive` samples paths
    behind those. `write` and `say` may be called again and start behind the prompts anew.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        size: tuple[int, int],
        *,
        camera: str = "front_wide",
        pictures: int = 4,
        max_tokens: int = 64,
    ) -> None:
        """`size` is (height, width) of the pictures, `pictures` how many a tick shows."""
        vla, codec = checkpoint.vla, checkpoint.codec
        self._vla, self._codec, self._max_tokens = vla, codec, max_tokens
        self._size = _processed_size(checkpoint, size)
        self._tower = BatchedTower(vla.vlm.model.visual, *self._size)
        self._prompt = BatchPrompt(checkpoint, self._tower.grid_thw, pictures, camera)
        self._positions = torch.from_numpy(self._prompt.positions).to(vla.device)  # (3, prompt)
        self._after = int(self._positions.max()) + 1  # rotary position of the first text token
        start = vla.config.traj_token_start_idx
        self._masked = slice(start, start + vla.config.traj_vocab_size)
        self._cache: _BatchCache | None = None
        self._first_logits = torch.empty(0)
        self._lengths = torch.empty(0, dtype=torch.long)

    @property
    def empty_text(self) -> tuple[int, ...]:
        """The tokens of a reasoning that says nothing."""
        return (self._codec.end_of_reasoning, self._codec.end)

    def text_of(self, tokens: Sequence[int]) -> str:
        """The characters of a text as the planner shows them."""
        return "".join(self._codec.pieces(tokens))

    def is_finished(self, tokens: Sequence[int]) -> bool:
        """Whether a text came to its end before the length limit."""
        return bool(tokens) and tokens[-1] == self._codec.end

    @torch.inference_mode()
    def encode(self, images: NDArray[np.uint8]) -> PictureFeatures:
        """Features of pictures (pictures, height, width, 3)."""
        merged, deepstack = [], []
        for start in range(0, len(images), _PICTURES_AT_ONCE):
            part = _resized(images[start : start + _PICTURES_AT_ONCE], self._size)
            _, tokens, deep = self._tower(torch.from_numpy(part))
            merged.append(tokens)
            deepstack.append(deep)
        layers = zip(*deepstack, strict=True)
        return PictureFeatures(torch.cat(merged), tuple(torch.cat(layer) for layer in layers))

    @torch.inference_mode()
    def read(
        self,
        features: PictureFeatures,
        pictures: NDArray[np.int64],
        history_xyz: NDArray[np.float64],
    ) -> None:
        """Prefill a batch of ticks.

        `pictures` (ticks, pictures a tick) index `features`, oldest first; `history_xyz` is
        (ticks, steps, 3).
        """
        vla, device = self._vla, self._vla.device
        ids = self._prompt.ids(self._prompt.history(history_xyz))
        embeds = vla.text.embed_tokens(torch.from_numpy(ids).to(device))  # (ticks, prompt, hidden)
        chosen = torch.from_numpy(pictures.ravel()).to(device)
        where = torch.from_numpy(self._prompt.is_image).to(device)
        shape = (len(pictures), -1, embeds.shape[-1])
        embeds[:, where] = features.merged[chosen].view(shape).to(embeds.dtype)
        deep = [layer[chosen].flatten(0, 1).to(embeds.dtype) for layer in features.deepstack]
        self._cache = _BatchCache(vla, len(ids), ids.shape[1] + self._max_tokens)
        hidden = run_text_stack(
            vla.text,
            embeds,
            self._positions[:, None].expand(3, len(ids), -1),
            self._cache,  # type: ignore[arg-type]
            visual=(where[None].expand(len(ids), -1), deep) if deep else None,
        )
        self._cache.advance(ids.shape[1])
        self._first_logits = self._logits(hidden[:, -1])

    @torch.inference_mode()
    def write(self) -> list[tuple[int, ...]]:
        """Each tick's greedy text, end tokens included, as the planner would decode it."""
        cache = self._started()
        texts: list[list[int]] = [[] for _ in range(cache.batch)]
        logits = self._first_logits
        for index in range(self._max_tokens):
            choice = logits.argmax(-1)  # (ticks,)
            running = 0
            for text, token in zip(texts, choice.tolist(), strict=True):
                if not text or text[-1] != self._codec.end:
                    text.append(token)
                    running += token != self._codec.end
            # What follows a row's end is fed too, and never looked at.
            hidden = self._feed(choice[:, None], index)
            if running == 0:
                break
            logits = self._logits(hidden[:, -1])
        self._lengths = torch.tensor([len(text) for text in texts])
        return [tuple(text) for text in texts]

    @torch.inference_mode()
    def say(self, text: Sequence[int]) -> None:
        """Put the same given text behind every prompt."""
        cache = self._started()
        tokens = torch.tensor(text, device=self._vla.device).expand(cache.batch, -1)
        for index in range(len(text)):
            self._feed(tokens[:, index : index + 1], index)
        self._lengths = torch.full((cache.batch,), len(text))

    @torch.inference_mode()
    def drive(
        self,
        history_xyz: NDArray[np.float64],
        history_rot: NDArray[np.float64],
        samples: int,
        steps: int,
        seed: int,
    ) -> NDArray[np.float64]:
        """K paths (ticks, samples, waypoints, 2) behind each tick's text, from the same noise.

        `steps` are the flow's.
        """
        assert self._cache is not None
        vla = self._vla
        device = vla.device
        noise = torch.randn(
            samples, *vla.action_space.shape, generator=torch.Generator().manual_seed(seed)
        )
        at_once = max(1, _PATHS_AT_ONCE // samples)
        xyz = torch.as_tensor(history_xyz, dtype=torch.float32, device=device)
        rot = torch.as_tensor(history_rot, dtype=torch.float32, device=device)
        speeds = vla.action_space.speed_at_t0(xyz, rot).clamp(min=0.0)
        paths = []
        for start in range(0, self._cache.batch, at_once):
            rows = torch.arange(start, min(start + at_once, self._cache.batch))
            actions = self._flow(rows, noise.to(device), steps)
            speed = speeds[rows].repeat_interleave(samples)
            actions = vla.action_space.without_reversing(actions, speed)
            xy, _, _ = vla.action_space.action_to_path(actions, speed)
            paths.append(xy.view(len(rows), samples, *xy.shape[1:]).double().cpu())
        return np.asarray(torch.cat(paths).numpy())

    def _flow(self, rows: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Actions (rows · samples, waypoints, 2) by Euler steps."""
        assert self._cache is not None
        vla, samples = self._vla, len(noise)
        points = vla.action_space.shape[0]
        lengths = self._lengths[rows]
        prefix = _Prefix(self._cache, rows, len(self._prompt.template), int(lengths.max()), samples)
        mask = prefix.mask(lengths, points).to(vla.device)
        start = (self._after + lengths).repeat_interleave(samples)
        places = (start[:, None] + torch.arange(points)).expand(3, -1, -1).to(vla.device)
        x = noise.repeat(len(rows), 1, 1)
        for step in range(steps):
            time = torch.full((len(x),), step / steps, device=vla.device)
            embeds = vla.action_in_proj(x, time).to(vla.action_out_proj.weight.dtype)
            hidden = run_text_stack(
                vla.expert,
                embeds,
                places,
                prefix,  # type: ignore[arg-type]
                mask=mask,
            )
            x = x + vla.action_out_proj(hidden).float() / steps
        return x

    def _started(self) -> _BatchCache:
        """The cache with the prompts alone."""
        assert self._cache is not None, "read comes first"
        self._cache.length = len(self._prompt.template)
        return self._cache

    def _feed(self, tokens: Tensor, index: int) -> Tensor:
        """One text token (ticks, 1) of each tick; hidden states (ticks, 1, hidden)."""
        assert self._cache is not None
        place = torch.full((3, len(tokens), 1), self._after + index, device=tokens.device)
        hidden = run_text_stack(
            self._vla.text,
            self._vla.text.embed_tokens(tokens),
            place,
            self._cache,  # type: ignore[arg-type]
        )
        self._cache.advance(1)
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self._vla.vlm.lm_head(hidden).float()  # (ticks, vocab)
        logits[:, self._masked] = -torch.inf
        return logits


def _processed_size(checkpoint: Checkpoint, size: tuple[int, int]) -> tuple[int, int]:
    """The size that the checkpoint's image processor makes of pictures (height, width)."""
    blank = np.zeros((*size, 3), np.uint8)
    made = checkpoint.image_processor(images=[blank], return_tensors="pt")
    _, rows, columns = (int(v) for v in made["image_grid_thw"][0])
    patch = checkpoint.vla.vlm.config.vision_config.patch_size
    return rows * patch, columns * patch


def _resized(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pictures (n, height, width, 3) as the image processor resizes them."""
    if images.shape[1:3] == size:
        return images
    small = (Image.fromarray(i).resize(size[::-1], Image.Resampling.BICUBIC) for i in images)
    return np.stack([np.asarray(image) for image in small])


class _BatchCache:
    """Keys and values of sequences of equal length, in buffers allocated once."""

    def __init__(self, vla: Vla, batch: int, capacity: int) -> None:
        text = vla.vlm.config.text_config
        shape = (text.num_hidden_layers, batch, text.num_key_value_heads, capacity, text.head_dim)
        weight = vla.vlm.lm_head.weight
        self.keys, self.values = weight.new_empty(shape), weight.new_empty(shape)
        self.batch, self.length = batch, 0

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> Any:
        """Append behind `length`; returns all of the layer's."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, count: int) -> None:
        """Count tokens that every layer has stored."""
        self.length += count


class _Prefix:
    """Some rows of a cache, each repeated for its samples, in front of the waypoints' keys."""

    def __init__(
        self, cache: _BatchCache, rows: Tensor, prompt: int, longest: int, samples: int
    ) -> None:
        self._prompt, self._width, self._samples = prompt, prompt + longest, samples
        self._pairs = [
            tuple(
                stored[layer, rows, :, : self._width].repeat_interleave(samples, dim=0)
                for stored in (cache.keys, cache.values)
            )
            for layer in range(len(cache.keys))
        ]

    def mask(self, lengths: Tensor, points: int) -> Tensor:
        """Bool (rows · samples, 1, points, keys): each row's own prompt and text, and waypoints."""
        valid = torch.arange(self._width)[None] < (self._prompt + lengths)[:, None]
        among = torch.ones(len(valid), points, points, dtype=torch.bool)
        mask = torch.cat([valid[:, None].expand(-1, points, -1), among], dim=-1)
        return mask.repeat_interleave(self._samples, dim=0)[:, None]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> Any:
        """Prefix and new keys, and the values."""
        stored_keys, stored_values = self._pairs[layer]
        return torch.cat([stored_keys, keys], dim=2), torch.cat([stored_values, values], dim=2)
