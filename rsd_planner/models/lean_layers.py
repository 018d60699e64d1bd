"""Parts of a text stack's layers in fewer steps, with the very numbers of the class's own.

On a CPU a forward of a few rows spends as long on launching operations as on computing. Norms
become one operation each, and where a draft is masked, heads that share keys and values read
them where they lie, where the class copies the whole cache for each pass. Of the last layer only
the states that somebody reads are made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextDecoderLayer,
    Qwen3VLTextModel,
    Qwen3VLTextRMSNorm,
    apply_rotary_pos_emb,
    eager_attention_forward,
)

from rsd_planner.models.kv_cache import KVCache, PrefixView

__all__ = ["ATTENTION", "make_lean", "some_rows"]

ATTENTION = "rsd_sdpa"


class _LeanNorm(Qwen3VLTextRMSNorm):
    """The class's norm, in one operation. The class itself computes in fp32."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return functional.rms_norm(
            hidden_states, self.weight.shape, self.weight, self.variance_epsilon
        )


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    if attention_mask is None or query.shape[2] == 1 or query.device.type != "cpu":
        # On GPUs the fast kernels take no mask together with shared heads.
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    out = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=options["scaling"], enable_gqa=True
    )
    return out.transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, sdpa_mask)  # for the class's own forward


def make_lean(stack: Qwen3VLTextModel) -> bool:
    """Make a text stack lean that is only read from now on; whether it can be (fp32, CPU)."""
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in stack.parameters()):
        return False
    for module in stack.modules():
        if type(module) is Qwen3VLTextRMSNorm:
            module.__class__ = _LeanNorm
    stack.config._attn_implementation = ATTENTION
    return True


def some_rows(
    layer: Qwen3VLTextDecoderLayer,
    hidden: Tensor,
    rows: slice,
    rotary: tuple[Tensor, Tensor],
    cache: KVCache | PrefixView | None,
    mask: Tensor | None,
    causal: bool,
) -> Tensor:
    """A layer's states of some rows (batch, rows, hidden); all others leave keys and values only.

    Of a stack's last layer nothing else is read. Arguments are those of `run_text_stack`.
    """
    attention, length = layer.self_attn, hidden.shape[1]
    normed = layer.input_layernorm(hidden)
    shape = (*normed.shape[:-1], -1, attention.head_dim)
    query = attention.q_norm(attention.q_proj(normed).view(shape)).transpose(1, 2)
    key = attention.k_norm(attention.k_proj(normed).view(shape)).transpose(1, 2)
    value = attention.v_proj(normed).view(shape).transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, *rotary)
    if cache is not None:
        key, value = cache.update(key, value, attention.layer_idx)
    if mask is not None:
        mask = mask[:, :, rows]
    elif causal:
        seen = key.shape[2] - length + torch.arange(length, device=key.device)[rows]
        mask = torch.arange(key.shape[2], device=key.device) <= seen[:, None]
        mask = mask[None, None]  # (1, 1, rows, keys)
    wanted = attention.config._attn_implementation
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(wanted, eager_attention_forward)
    options = {"scaling": attention.scaling, "is_causal": False}
    out, _ = attend(attention, query[:, :, rows], key, value, mask, **options)
    hidden = hidden[:, rows] + attention.o_proj(out.flatten(2))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))
