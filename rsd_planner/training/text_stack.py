"""The text stack as training needs it: hidden states behind the prompt alone, and cheaply.

Loss is only on the reasoning, so the last layer computes queries and its feed-forward for
those positions only; keys and values it computes for all. Weights and numbers are those of
the class (a test holds them together), at two thirds of its cost.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from rsd_planner.training.attention import attend, turned, working_type

__all__ = ["KeyValues", "last_states"]


class KeyValues:
    """Keeps each layer's keys and values (batch, heads, length, size) of one pass."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's; layers come in order."""
        assert layer == len(self.pairs)
        self.pairs.append((keys, values))
        return keys, values


def last_states(
    stack: Qwen3VLTextModel,
    embeds: Tensor,
    positions: Tensor,
    count: int,
    cache: KeyValues | None = None,
) -> Tensor:
    """Normed hidden states (batch, count, hidden) of the last `count` positions.

    `embeds` is (batch, length, hidden), `positions` (3, batch, length).
    """
    cos, sin = (
        part.to(working_type(embeds))[:, :, None] for part in stack.rotary_emb(embeds, positions)
    )  # (batch, length, 1, size)
    hidden, last = embeds, len(stack.layers) - 1
    for index, layer in enumerate(stack.layers):
        wanted = count if index == last else hidden.shape[1]
        hidden = _layer(layer, hidden, (cos, sin), wanted, cache)
    return _normed(stack.norm, hidden)


def _layer(
    layer: Any, hidden: Tensor, turn: tuple[Tensor, Tensor], count: int, cache: KeyValues | None
) -> Tensor:
    """Hidden states (batch, count, hidden) of the last positions behind a layer."""
    attention, feed = layer.self_attn, layer.mlp
    normed = _normed(layer.input_layernorm, hidden)

    def heads(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, attention.head_dim)

    cos, sin = turn
    keys = turned(_normed(attention.k_norm, heads(attention.k_proj(normed))), cos, sin)
    values = heads(attention.v_proj(normed))
    if cache is not None:
        cache.update(keys.transpose(1, 2), values.transpose(1, 2), attention.layer_idx)
    queries = _normed(attention.q_norm, heads(attention.q_proj(normed[:, -count:])))
    queries = turned(queries, cos[:, -count:], sin[:, -count:])
    hidden = hidden[:, -count:] + attention.o_proj(attend(queries, keys, values, causal=True))
    normed = _normed(layer.post_attention_layernorm, hidden)
    inner = functional.silu(feed.gate_proj(normed)) * feed.up_proj(normed)
    return hidden + feed.down_proj(inner)


def _normed(norm: Any, x: Tensor) -> Tensor:
    """RMS norm, in the type of what comes next."""
    weight = norm.weight.to(x.dtype)
    out = functional.rms_norm(x, (x.shape[-1],), weight, norm.variance_epsilon)
    return out.to(working_type(x))
