"""The deliberative reasoner: a `Vla` that prefills, verifies drafts and keeps its cache exact.

One sequence at a time. The draft rides in the forward pass that prefills the prompt. Text
positions go on behind the prompt's M-RoPE positions, so any token may be drafted: a
picture's placeholder inside a draft is an ordinary, wrong token here. In a draft tree a token
stands at its depth's position and sees only what it stands behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_planner.decoding import tree
from rsd_planner.models.feature_tap import FeatureTap
from rsd_planner.models.flat_rope import mrope_positions
from rsd_planner.models.kv_cache import KVCache, PrefixView
from rsd_planner.models.packed_linear import is_packed, warm_up_rows
from rsd_planner.models.vision_batch import BatchedTower
from rsd_planner.models.vision_cache import VisionCache, VisionFeatures
from rsd_planner.models.vla import Vla, run_text_stack
from rsd_planner.types import Draft, Frame, Prompt, Verification

__all__ = ["VlaTarget"]

_TOGETHER = 8  # rows of a prefill with a draft are a multiple of it where kernels are made for each


class VlaTarget:
    """The `Target` protocol over a `Vla`."""

    def __init__(self, vla: Vla, image_processor: Any, capacity: int = 512) -> None:
        self._vla = vla
        self._processor = image_processor
        self._vision = VisionCache()
        self._newest: tuple[tuple[Frame, ...], list[VisionFeatures]] | None = None
        self._towers: dict[tuple[int, int], BatchedTower] = {}
        text = vla.vlm.config.text_config
        self._cache = KVCache(
            text.num_hidden_layers,
            text.num_key_value_heads,
            text.head_dim,
            capacity,
            vla.vlm.lm_head.weight.dtype,
            vla.device,
        )
        self._image_token = vla.vlm.config.image_token_id
        self._merge = vla.vlm.config.vision_config.spatial_merge_size
        start = vla.config.traj_token_start_idx
        self._masked = slice(start, start + vla.config.traj_vocab_size)
        self._base = 0  # cached tokens before the newest draft
        self._prompt = 0  # tokens of the newest prompt
        self._rope_offset = 0  # position minus index of a text token
        self._vocab = vla.text.embed_tokens.num_embeddings
        self._tap: FeatureTap | None = None
        self._packed = is_packed(vla.text)

    @property
    def vocab_size(self) -> int:
        """Token ids are below this."""
        return self._vocab

    @property
    def cached_tokens(self) -> int:
        """Length of the KV cache, prompt included."""
        return self._cache.length

    @property
    def next_position(self) -> int:
        """Rotary position of the next token."""
        return self._cache.length + self._rope_offset

    @property
    def layers(self) -> int:
        """Layers of the text stack, each with its part of the cache."""
        return len(self._vla.text.layers)

    def cache_layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values (1, heads, cached tokens, head_dim) of a layer, as views."""
        return self._cache.layer(index)

    def prefix_view(self, batch: int) -> PrefixView:
        """What the head reads: the cache in front of the waypoints' keys."""
        return PrefixView(self._cache, self.layers, batch, self._vla.action_space.shape[0])

    def forget_pictures(self) -> None:
        """Drop the vision cache: time jumped."""
        self._vision.clear()
        self._newest = None

    def watch(self, layers: Sequence[int]) -> None:
        """From the next prefill on verifications bring the states behind these layers.

        Raises:
            ValueError: the text stack has no such layer.
        """
        if any(not 0 <= layer < self.layers for layer in layers):
            raise ValueError(f"a text stack of {self.layers} layers has none of {tuple(layers)}")
        self._tap = FeatureTap(layers) if layers else None

    def warm_up(self, drafted: int) -> None:
        """Make the kernels of all passes over up to `drafted` tokens before a tick has to wait
        for them, prefills of a prompt as long as the newest one included."""
        for module in (self._vla.text, self._vla.vlm.lm_head):
            warm_up_rows(module, range(2, drafted + 2))
        lengths = range(self._prompt + 1, self._prompt + drafted + 1)
        warm_up_rows(self._vla.text, sorted({length + _spare(length) for length in lengths}))

    @torch.inference_mode()
    def encode(self, frames: tuple[Frame, ...]) -> list[VisionFeatures]:
        """Features of the frames, from the cache where a frame was seen before.

        The newest tuple is known by itself, so that a drafter that sees costs no second look.
        """
        if self._newest is not None and self._newest[0] is frames:
            return self._newest[1]
        features = []
        for frame in frames:
            key = self._vision.key(frame)
            found = self._vision.get(key)
            if found is None:
                found = self._encode_one(frame)
                self._vision.put(key, found)
            features.append(found)
        self._newest = frames, features
        return features

    @torch.inference_mode()
    def prefill(
        self, prompt: Prompt, draft: Draft, features: list[VisionFeatures] | None = None
    ) -> Verification:
        """One forward over prompt and draft; logits (draft + 1, vocab).

        `features` are the prompt's pictures as `encode` gives them; without them they are
        encoded here.

        Raises:
            ValueError: the prompt's image tokens do not fit its pictures.
        """
        if features is None:
            features = self.encode(prompt.frames)
        is_image = prompt.token_ids == self._image_token
        grids = [f.grid_thw for f in features]
        positions = mrope_positions(is_image, grids, self._merge)  # (3, prompt)
        length = len(prompt.token_ids)
        self._rope_offset = int(positions.max()) + 1 - length
        # Rows behind the draft that nobody sees: without, each length of a draft has kernels of
        # its own, and making them takes as long as the forward.
        spare = _spare(length + len(draft)) if len(draft) and self._packed else 0
        tokens = np.asarray([*draft.tokens, *[0] * spare], dtype=np.int64)
        ids = np.concatenate([prompt.token_ids, tokens])
        tail = _behind(length + self._rope_offset, draft)
        unseen = np.zeros((3, spare), dtype=np.int64)
        positions = np.concatenate([positions, tail, unseen], axis=1)
        mask = torch.zeros(1, len(ids), dtype=torch.bool)
        mask[0, :length] = torch.from_numpy(is_image)
        self._cache.clear()
        if self._tap is not None:
            self._tap.clear()
        self._base = self._prompt = length
        return self._forward(ids, positions, draft, visual=(mask, features), spare=spare)

    @torch.inference_mode()
    def verify(self, last_token: int, draft: Draft) -> Verification:
        """One forward over the last committed token and a draft; logits (draft + 1, vocab)."""
        ids = np.asarray([last_token, *draft.tokens], dtype=np.int64)
        here = self.next_position
        positions = np.concatenate([np.full((3, 1), here), _behind(here + 1, draft)], axis=1)
        self._base = self._cache.length + 1
        return self._forward(ids, positions, draft)

    @torch.inference_mode()
    def keep(self, path: Sequence[int]) -> None:
        """Keep a path of the newest draft's tokens, drop the rest."""
        self._cache.keep(self._base, path)
        if self._tap is not None:
            self._tap.keep(self._base, path)

    def close(self, last_token: int) -> None:
        """Feed the last committed token; its logits are not needed."""
        self.verify(last_token, Draft())

    def _forward(
        self,
        ids: np.ndarray,
        positions: np.ndarray,
        draft: Draft,
        visual: tuple[Tensor, list[VisionFeatures]] | None = None,
        spare: int = 0,
    ) -> Verification:
        """Feed tokens that end in a draft and `spare` others; the draft's rows and the one in
        front of it are answered."""
        device = self._vla.device
        past = self._cache.length
        end, answered = len(ids) - spare, len(draft) + 1
        self._cache.reserve(past + len(ids))
        embeds = self._vla.text.embed_tokens(torch.from_numpy(ids).to(device)).unsqueeze(0)
        deepstack = None
        if visual is not None:
            where, features = visual[0].to(device), visual[1]
            if features:
                embeds[where] = torch.cat([f.embeddings for f in features]).to(embeds.dtype)
                layers = zip(*(f.deepstack for f in features), strict=True)
                deepstack = (where, [torch.cat(layer).to(embeds.dtype) for layer in layers])
        tap = self._tap
        if tap is not None:
            tap.begin(positions)
        hidden = run_text_stack(
            self._vla.text,
            embeds,
            torch.from_numpy(np.ascontiguousarray(positions)).to(device).unsqueeze(1),
            self._cache,
            mask=_mask(past, len(ids), draft, spare, device),
            visual=deepstack,
            note=tap.note if tap is not None else None,
            asked=slice(end - answered, end) if answered < len(ids) else None,
        )
        self._cache.advance(end)
        logits = self._vla.vlm.lm_head(hidden[0]).float()  # (answered, vocab)
        logits[:, self._masked] = -torch.inf
        return Verification(logits, tap)

    def _encode_one(self, frame: Frame) -> VisionFeatures:
        batch = self._processor(images=[frame.image], return_tensors="pt")
        _, rows, columns = (int(v) for v in batch["image_grid_thw"][0])
        visual = self._vla.vlm.model.visual
        tower = self._towers.get((rows, columns))
        if tower is None:
            patch = visual.config.patch_size
            tower = BatchedTower(visual, rows * patch, columns * patch)
            self._towers[(rows, columns)] = tower
        weight = visual.patch_embed.proj.weight
        pixels = batch["pixel_values"].to(weight.device, weight.dtype)
        # A still fills both time steps of a patch alike; one of them says it all.
        stills = pixels.view(1, rows * columns, weight.shape[1], weight.shape[2], -1)[:, :, :, 0]
        _, merged, deepstack = tower.encode(stills.flatten(2))
        return VisionFeatures(
            embeddings=merged[0],
            deepstack=tuple(layer[0] for layer in deepstack),
            grid_thw=tower.grid_thw,
        )


def _behind(start: int, draft: Draft) -> np.ndarray:
    """Positions (3, draft) of a draft whose first token stands at `start`."""
    depths = tree.depths(draft) if draft.parents else np.arange(len(draft))
    return np.broadcast_to(np.asarray(depths) + start, (3, len(draft)))


def _spare(rows: int) -> int:
    return -rows % _TOGETHER


def _mask(past: int, new: int, draft: Draft, spare: int, device: torch.device) -> Tensor | None:
    """Bool (1, 1, new, past + new), True where attended; None where `causal` says the same."""
    if (past == 0 or new == 1) and not draft.parents:
        return None
    mask = torch.ones(new, past + new, dtype=torch.bool, device=device).tril(diagonal=past)
    if draft.parents:
        first, end = new - spare - len(draft), new - spare
        mask[first:end, past + first : past + end] = torch.from_numpy(tree.ancestor_mask(draft))
    return mask[None, None]
