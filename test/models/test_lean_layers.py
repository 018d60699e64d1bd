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


@pytest.mark.parametrize("asked", [slice(19, 20), slice(7, 15), slice(0, 20)])
@pytest.mark.parametrize("how", ["causal", "masked", "free"])
@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("lean", [False, True])
@torch.inference_mode()
def test_of_the_last_layer_only_what_is_asked_is_made(
    stack: Qwen3VLTextModel, asked: slice, how: str, past: int, lean: bool
) -> None:
    """The states are the same, and so are the keys and values of all tokens."""
    if lean:
        make_lean(stack)
    embeds = torch.randn(1, past + 20, 64)
    places = torch.arange(past + 20).expand(3, 1, -1)
    mask = None
    if how == "causal" and past:  # the class counts from the first key
        mask = torch.ones(20, past + 20, dtype=torch.bool).tril(past)[None, None]
    if how == "masked":
        mask = (torch.rand(20, past + 20) < 0.6) | torch.eye(20, past + 20, dtype=torch.bool)
        mask = mask[None, None]
    found = []
    for rows in (None, asked):
        cache = KVCache(3, 2, 16, 64, torch.float32, torch.device("cpu"))
        if past:
            run_text_stack(stack, embeds[:, :past], places[..., :past], cache)
            cache.advance(past)
        new, at = embeds[:, past:], places[..., past:]
        states = run_text_stack(stack, new, at, cache, mask, how != "free", asked=rows)
        cache.advance(20)
        found.append((states, *cache.layer(2)))
    (every, *stored), (some, *stored_too) = found
    torch.testing.assert_close(some, every[:, asked], rtol=0, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(stored, stored_too, strict=True))


@torch.inference_mode()
def test_who_notes_layers_is_told_all_states(stack: Qwen3VLTextModel) -> None:
    embeds, places = torch.randn(1, 9, 64), torch.arange(9).expand(3, 1, -1)
    noted = []
    states = run_text_stack(
        stack, embeds, places, note=lambda layer, hidden: noted.append(hidden), asked=slice(8, 9)
    )
    assert [one.shape[1] for one in noted] == [9, 9, 9] and states.shape[1] == 1
    plain = run_text_stack(stack, embeds, places)
    torch.testing.assert_close(states, plain[:, 8:], rtol=0, atol=1e-5)


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
