"""A lean text stack gives the very numbers of the class's own."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel, Qwen3VLTextRMSNorm

from rsd_planner.models.kv_cache import KVCache
from rsd_planner.models.lean_layers import ATTENTION, make_lean
from rsd_planner.models.vla import run_text_stack

PAST = 40


@pytest.fixture
def stack() -> Qwen3VLTextModel:
    torch.manual_seed(0)
    config = Qwen3VLTextConfig(
        vocab_size=50, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [3, 3, 2],
                         "mrope_interleaved": True},
        attn_implementation="sdpa",
    )  # fmt: skip
    made = Qwen3VLTextModel(config).eval()
    for norm in (m for m in made.modules() if isinstance(m, Qwen3VLTextRMSNorm)):
        norm.weight.data.uniform_(0.5, 1.5)
    return made


@torch.inference_mode()
def states(stack: Qwen3VLTextModel, rows: int, masked: bool) -> list[torch.Tensor]:
    """The states of a prompt and of a draft behind it."""
    torch.manual_seed(1)
    cache = KVCache(3, 2, 16, 128, torch.float32, torch.device("cpu"))
    found = []
    for count in (PAST, rows):
        past = cache.length
        mask = None
        if masked and past:
            mask = torch.rand(count, past + count) < 0.7
            mask[:, 0] = True
            mask = mask[None, None]
        places = (past + torch.arange(count)).expand(3, 1, -1)
        embeds = torch.randn(1, count, 64)
        found.append(run_text_stack(stack, embeds, places, cache, mask))
        cache.advance(count)
    return found


@pytest.mark.parametrize("rows", [1, 2, 13])
@pytest.mark.parametrize("masked", [False, True])
def test_the_states_are_equal_to_the_last_bit(
    stack: Qwen3VLTextModel, rows: int, masked: bool
) -> None:
    before = states(stack, rows, masked)
    assert make_lean(stack)
    assert stack.config._attn_implementation == ATTENTION
    after = states(stack, rows, masked)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@torch.inference_mode()
def test_the_class_itself_still_runs(stack: Qwen3VLTextModel) -> None:
    ids = torch.arange(12)[None]
    padded = torch.ones(1, 12, dtype=torch.long)
    padded[0, :3] = 0
    before = [stack(ids).last_hidden_state, stack(ids, attention_mask=padded).last_hidden_state]
    make_lean(stack)
    after = [stack(ids).last_hidden_state, stack(ids, attention_mask=padded).last_hidden_state]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_half_precision_stays_as_it_is(stack: Qwen3VLTextModel) -> None:
    assert not make_lean(stack.to(torch.bfloat16))
    assert type(stack.norm) is Qwen3VLTextRMSNorm
