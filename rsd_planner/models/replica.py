"""A small causal copy of the target that sees the picture: the ordinary draft model, as control.

Speculative decoding's usual assistant (Leviathan 2023, Chen 2023): the target's own text stack
with fewer and narrower layers. It reads the target's prompt, token for token, and continues the
committed text one token at a time, each with its chance.

It sees through the target's vision tower, by a projection of that tower's merged tokens. A tower
of its own would be the weaker control: each tick would pay for a second encoding, and no small
tower sees as well. So what is left between it and a drafter without eyes is the cost of reading
the picture's tokens and of writing token by token. Deepstack features are not read.

Positions are the target's (`mrope`) or count tokens (`flat`). Always in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from rsd_planner.models.drafter_files import load_drafter, save_drafter
from rsd_planner.models.flat_rope import flat_positions, mrope_positions
from rsd_planner.models.kv_cache import KVCache
from rsd_planner.models.vision_cache import VisionFeatures
from rsd_planner.models.vla import run_text_stack

__all__ = [
    "ROPES",
    "Replica",
    "ReplicaConfig",
    "ReplicaNet",
    "load_net",
    "load_replica",
    "save_replica",
]

ROPES = ("mrope", "flat")
_NEVER = -1e9


@dataclass(frozen=True)
class ReplicaConfig:
    """Everything that a replica's file says beside its weights."""

    vocab_size: int  # the target's
    end_token: int
    image_token: int
    unwritable: tuple[tuple[int, int], ...]  # ranges of ids that are never text
    visual_width: int  # of the target's merged visual tokens
    merge: int  # patches a side in one of them
    rope: str = "mrope"
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 384
    rope_theta: float = 10_000.0
    block: int = 32  # most tokens of a draft
    least_chance: float = 0.3  # a draft ends where it is right so far with less

    def __post_init__(self) -> None:
        if self.rope not in ROPES:
            raise ValueError(f"rope is {self.rope!r}; choose one of {', '.join(ROPES)}")

    def positions(
        self, is_image: NDArray[np.bool_], grids_thw: Sequence[tuple[int, int, int]]
    ) -> NDArray[np.int64]:
        """(3, length) positions of a prompt; text goes on behind the largest of them."""
        if self.rope == "flat":
            return flat_positions(len(is_image))
        return mrope_positions(is_image, grids_thw, self.merge)

    def text_config(self) -> Qwen3VLTextConfig:
        """The text stack's, in the class's own terms."""
        half = self.head_dim // 2
        side = half // 3
        config = Qwen3VLTextConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.head_dim,
            intermediate_size=self.intermediate,
            max_position_embeddings=4096,
            pad_token_id=None,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": self.rope_theta,
                "mrope_section": [half - 2 * side, side, side],
                "mrope_interleaved": True,
            },
        )
        config._attn_implementation = "sdpa"
        return config


class ReplicaNet(nn.Module):
    """The weights: a Qwen3-VL text stack and a projection of the target's visual tokens.

    Input and output embeddings are one table.
    """

    def __init__(self, config: ReplicaConfig) -> None:
        super().__init__()
        self.config = config
        self.text = Qwen3VLTextModel(config.text_config())
        self.see = nn.Sequential(
            nn.LayerNorm(config.visual_width), nn.Linear(config.visual_width, config.hidden)
        )  # (…, visual width) → (…, hidden)
        never = torch.zeros(config.vocab_size)
        for start, stop in config.unwritable:
            never[start:stop] = _NEVER
        self.never: Tensor
        self.register_buffer("never", never, persistent=False)

    def embed(self, ids: Tensor, image_places: Tensor, seen: Tensor) -> Tensor:
        """Inputs (batch, length, hidden) of sequences whose pictures are at the same places.

        `ids` is (batch, length), `image_places` (image tokens,) and `seen` (batch, image tokens,
        hidden), as `see` gives it.
        """
        embeds = self.text.embed_tokens(ids)
        return embeds.index_copy(1, image_places, seen.to(embeds.dtype))

    def logits(self, states: Tensor) -> Tensor:
        """(…, vocab) of hidden states (…, hidden)."""
        return functional.linear(states, self.text.embed_tokens.weight, self.never)


class Replica:
    """Drafts with a trained network, one sequence at a time, from a cache of its own."""

    def __init__(self, net: ReplicaNet, device: str = "cpu", capacity: int = 512) -> None:
        self._net = net.to(device).eval()
        self.config = config = net.config
        self._device = torch.device(device)
        self._cache = KVCache(
            config.layers, config.kv_heads, config.head_dim, capacity, torch.float32, self._device
        )
        self._fed: list[int] = []  # text in the cache, behind the prompt
        self._prompt = self._after = 0  # tokens of the prompt, and the position behind it
        self._first = self._next = torch.empty(
            0
        )  # logits behind the prompt, behind all that is fed

    @property
    def cached_tokens(self) -> int:
        """Length of the KV cache, prompt included."""
        return self._cache.length

    def cache_layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values (1, heads, cached tokens, head_dim) of a layer, as views."""
        return self._cache.layer(index)

    @torch.inference_mode()
    def read(self, token_ids: NDArray[np.int64], features: Sequence[VisionFeatures]) -> None:
        """A tick starts: one forward over its prompt (prompt,), whose pictures are encoded.

        Raises:
            ValueError: the prompt's image tokens do not fit its pictures.
        """
        is_image = token_ids == self.config.image_token
        positions = self.config.positions(is_image, [f.grid_thw for f in features])
        ids = torch.from_numpy(token_ids)[None].to(self._device)
        embeds = self._net.text.embed_tokens(ids)
        if features:
            where = torch.from_numpy(np.flatnonzero(is_image)).to(self._device)
            seen = self._net.see(torch.cat([f.embeddings for f in features]).float())
            embeds = self._net.embed(ids, where, seen[None])
        self._cache.clear()
        self._fed.clear()
        self._prompt, self._after = len(token_ids), int(positions.max()) + 1
        self._first = self._next = self._forward(embeds, torch.from_numpy(positions))

    @torch.inference_mode()
    def write(
        self, committed: Sequence[int], most: int
    ) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """A continuation of at most `most` tokens, and each one's chance given those before it.

        It ends with the end token, or where it is too unlikely to be right so far.
        """
        most = min(most, self.config.block)
        if most <= 0:
            return (), ()
        self._follow(committed)
        tokens: list[int] = []
        chances: list[float] = []
        so_far = 1.0
        while True:
            best, choice = torch.softmax(self._next, dim=-1).max(dim=-1)
            chance, token = float(best), int(choice)
            so_far *= chance
            if so_far < self.config.least_chance:
                break
            tokens.append(token)
            chances.append(chance)
            if token == self.config.end_token or len(tokens) == most:
                break  # nothing is asked behind the last one, so it is not fed
            self._feed([token])
        return tuple(tokens), tuple(chances)

    def _follow(self, committed: Sequence[int]) -> None:
        """Make the cache hold prompt and committed text: drop what was rejected, feed the rest."""
        pairs = enumerate(zip(self._fed, committed, strict=False))
        shared = min(len(self._fed), len(committed))
        same = next((i for i, (ours, theirs) in pairs if ours != theirs), shared)
        same = max(min(same, len(committed) - 1), 0)  # the last one is fed for what follows it
        self._cache.crop(self._prompt + same)
        del self._fed[same:]
        if committed:
            self._feed(committed[same:])
        else:
            self._next = self._first

    def _feed(self, tokens: Sequence[int]) -> None:
        start = self._after + len(self._fed)
        ids = torch.tensor([list(tokens)], device=self._device)
        places = torch.arange(start, start + len(tokens)).expand(3, -1)
        self._next = self._forward(self._net.text.embed_tokens(ids), places)
        self._fed += tokens

    def _forward(self, embeds: Tensor, positions: Tensor) -> Tensor:
        """Logits (vocab,) behind inputs (1, new, hidden) at positions (3, new)."""
        past, new = self._cache.length, embeds.shape[1]
        self._cache.reserve(past + new)
        mask = None
        if past and new > 1:
            mask = torch.ones(1, 1, new, past + new, dtype=torch.bool, device=self._device)
            mask = mask.tril(diagonal=past)
        states = run_text_stack(
            self._net.text, embeds, positions[:, None].to(self._device), self._cache, mask
        )
        self._cache.advance(new)
        return self._net.logits(states[0, -1])


def save_replica(stem: Path, net: ReplicaNet, card: Mapping[str, Any]) -> None:
    """Write the drafter's two files; `card` says how it was made."""
    save_drafter(stem, net, net.config, card)


def load_net(weights: Path, facts: Path) -> ReplicaNet:
    """The network from its two files.

    Raises:
        ConfigError: a file is damaged, or the two do not belong together.
    """

    def make(raw: dict[str, Any]) -> ReplicaNet:
        ranges = tuple((int(start), int(stop)) for start, stop in raw["unwritable"])
        return ReplicaNet(ReplicaConfig(**{**raw, "unwritable": ranges}))

    return load_drafter(weights, facts, make, "rsd train replica").eval()


def load_replica(weights: Path, facts: Path, device: str = "cpu") -> Replica:
    """A replica at work from its two files.

    Raises:
        ConfigError: as `load_net`.
    """
    return Replica(load_net(weights, facts), device)
