"""Attention for training: rotary positions in the precision of the products, plain on a CPU.

On a CPU the fused kernel's backward pass costs more than the products written out, and
turning keys in fp32 more than the keys themselves. Same numbers up to that precision.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["attend", "turned", "working_type"]


def working_type(tensor: Tensor) -> torch.dtype:
    """The type of products: autocast's where it is on, else the tensor's."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of (…, size) by tables that broadcast to it."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


def attend(queries: Tensor, keys: Tensor, values: Tensor, causal: bool) -> Tensor:
    """Attention of (batch, count, heads, size) to (batch, length, kv heads, size).

    The queries are those of the last `count` positions. Returns (batch, count, heads · size).
    """
    batch, count, heads, size = queries.shape
    length, shared = keys.shape[1], keys.shape[2]
    behind = None
    if causal:
        behind = torch.ones(count, length, dtype=torch.bool, device=queries.device)
        behind = behind.tril(length - count)
    if queries.device.type != "cpu":
        out = functional.scaled_dot_product_attention(
            queries.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            attn_mask=behind,
            enable_gqa=heads != shared,
        )
        return out.transpose(1, 2).flatten(2)
    group = heads // shared
    grouped = (queries * size**-0.5).view(batch, count, shared, group, size)
    rows = grouped.permute(0, 2, 3, 1, 4).reshape(batch, shared, group * count, size)
    scores = rows @ keys.permute(0, 2, 3, 1)  # (batch, kv heads, group · count, length)
    if behind is not None:
        scores = scores.view(batch, shared, group, count, length)
        scores = scores.masked_fill(~behind, -torch.inf).flatten(2, 3)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(values.dtype)
    out = (weights @ values.transpose(1, 2)).view(batch, shared, group, count, size)
    return out.permute(0, 3, 1, 2, 4).reshape(batch, count, heads * size)
