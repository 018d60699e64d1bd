"""A drafter may ask for the target's hidden states: they are the class's own, and cost nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scenes import BUDGET, MAX_TOKENS, Scripted, assert_same, observation, run

from rsd_planner.decoding.acceptance import Greedy
from rsd_planner.decoding.decoder import DecodeLimits, decode
from rsd_planner.interfaces import Drafter
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.target import VlaTarget
from rsd_planner.planning.prompt import make_prompt_builder
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

LAYERS = (0, 1)


class Reader(Scripted):
    """Proposes given drafts and copies the features that it is shown."""

    feature_layers = LAYERS

    def __init__(self, drafts: list[tuple[int, ...]]) -> None:
        super().__init__(drafts)
        self.shown: list[tuple[int, torch.Tensor, np.ndarray] | None] = []
        self.committed: list[tuple[int, ...]] = []

    def propose(self, context: DraftContext) -> Draft:
        seen = context.features
        self.committed.append(context.committed)
        self.shown.append(None if seen is None else (len(seen), *seen.rows(0)))
        return super().propose(context)


class Unasked(Scripted):
    """Notes whether it is shown anything."""

    def __init__(self, drafts: list[tuple[int, ...]]) -> None:
        super().__init__(drafts)
        self.shown: list[object] = []

    def propose(self, context: DraftContext) -> Draft:
        self.shown.append(context.features)
        return super().propose(context)


def decode_on(target: VlaTarget, checkpoint: Checkpoint, drafter: Drafter) -> Decoded:
    """A text by a target that may have written others before."""
    scene = observation(1, 2)
    limits = DecodeLimits(checkpoint.codec.end, MAX_TOKENS, BUDGET, target.vocab_size)
    prompt = make_prompt_builder(checkpoint).build(scene)
    return decode(target, drafter, Greedy(), prompt, scene.history, limits)


def reference_states(checkpoint: Checkpoint, scene, text: tuple[int, ...]) -> torch.Tensor:
    """States behind the layers (prompt + text, layers · hidden) by the class's own forward."""
    prompt = make_prompt_builder(checkpoint).build(scene)
    vlm = checkpoint.vla.vlm
    batch = checkpoint.image_processor(images=[f.image for f in prompt.frames], return_tensors="pt")
    ids = torch.from_numpy(np.concatenate([prompt.token_ids, np.array(text, np.int64)]))[None]
    found: list[torch.Tensor] = []
    # What enters the next layer includes the deepstack features; the norm sees the last.
    stack = checkpoint.vla.text
    inner = [stack.layers[1], stack.norm]
    hooks = [m.register_forward_pre_hook(lambda _, args: found.append(args[0][0])) for m in inner]
    with torch.inference_mode():
        vlm.model.rope_deltas = None
        vlm(
            input_ids=ids,
            mm_token_type_ids=(ids == vlm.config.image_token_id).int(),
            pixel_values=batch["pixel_values"],
            image_grid_thw=batch["image_grid_thw"],
            use_cache=False,
        )
    for hook in hooks:
        hook.remove()
    return torch.cat(found, dim=-1)


def mutilated(text: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Drafts that are right for a while: none, some, then wrong at once, then some again."""
    return [(*text[:2], 5, 6), (5,), text[4:7] + (5, 5), (), text[9:12]]


def test_features_are_the_states_of_the_committed_text(tiny: Checkpoint) -> None:
    scene = observation(1, 2)
    text = run(tiny, scene).decoded.tokens
    reader = Reader(mutilated(text))
    run(tiny, scene, reader)
    expected = reference_states(tiny, scene, text)
    prompt = len(expected) - len(text)
    assert reader.shown[0] is None, "before the first forward there is nothing to see"
    assert len(reader.shown) > 4
    for committed, shown in zip(reader.committed[1:], reader.shown[1:], strict=True):
        assert shown is not None
        length, states, places = shown
        assert length == prompt + len(committed) - 1 == len(states) == places.shape[1]
        torch.testing.assert_close(states, expected[:length], atol=2e-4, rtol=1e-3)


def test_positions_are_those_of_the_target(tiny: Checkpoint) -> None:
    scene = observation(1, 2)
    reader = Reader([])
    outcome = run(tiny, scene, reader, max_tokens=6)
    assert reader.shown[-1] is not None
    places = reader.shown[-1][2]
    last = outcome.next_position - 1
    assert (places[:, -1] == last - 2).all(), "two more tokens were fed since"
    assert (places[0] != places[2]).any(), "a picture's tokens stand at rows and columns"


def test_features_along_a_path_of_a_tree(tiny: Checkpoint) -> None:
    """Siblings in front of the accepted nodes leave no trace."""
    scene = observation(1, 2)
    text = run(tiny, scene).decoded.tokens
    target = VlaTarget(tiny.vla, tiny.image_processor)
    target.watch(LAYERS)
    prompt = make_prompt_builder(tiny).build(scene)
    draft = Draft((5, text[0], 6, text[1]), (SpanSource.LOOKUP,) * 4, (-1, -1, 1, 1))
    step = target.prefill(prompt, draft)
    target.keep((1, 3))
    expected = reference_states(tiny, scene, text[:2])
    assert len(step.features) == len(expected)
    torch.testing.assert_close(step.features.rows(0)[0], expected, atol=2e-4, rtol=1e-3)
    later = step.features.rows(len(prompt.token_ids) + 1)
    torch.testing.assert_close(later[0], expected[-1:], atol=2e-4, rtol=1e-3)
    start = len(prompt.token_ids) + target.next_position - target.cached_tokens
    assert later[1].tolist() == [[start + 1]] * 3


@pytest.mark.parametrize("pictures", [0, 2])
def test_logits_are_the_same_bits_with_and_without(tiny: Checkpoint, pictures: int) -> None:
    prompt = make_prompt_builder(tiny).build(observation(1, pictures))
    draft = Draft((5, 6, 7), (SpanSource.LOOKUP,) * 3)
    logits = []
    for layers in ((), LAYERS):
        target = VlaTarget(tiny.vla, tiny.image_processor)
        target.watch(layers)
        steps = [target.prefill(prompt, draft)]
        target.keep((0,))
        steps.append(target.verify(9, draft))
        assert all((step.features is None) == (not layers) for step in steps)
        logits.append([step.logits for step in steps])
    for plain, watched in zip(*logits, strict=True):
        assert torch.equal(plain, watched)


def test_watching_changes_no_text_and_ends_with_it(tiny: Checkpoint) -> None:
    scene = observation(1, 2)
    plain = run(tiny, scene)
    reader = Reader(mutilated(plain.decoded.tokens))
    assert_same(plain, run(tiny, scene, reader))
    target = VlaTarget(tiny.vla, tiny.image_processor)
    assert decode_on(target, tiny, reader).tokens == plain.decoded.tokens
    unasked = Unasked([])
    assert decode_on(target, tiny, unasked).tokens == plain.decoded.tokens
    assert len(unasked.shown) > 1 and set(unasked.shown) == {None}, "nobody asked"


def test_watching_ends_where_a_text_is_broken_off(tiny: Checkpoint) -> None:
    class Broken(Reader):
        def propose(self, context: DraftContext) -> Draft:
            if context.committed:
                raise ArithmeticError
            return super().propose(context)

    target = VlaTarget(tiny.vla, tiny.image_processor)
    with pytest.raises(ArithmeticError):
        decode_on(target, tiny, Broken([]))
    unasked = Unasked([])
    decode_on(target, tiny, unasked)
    assert set(unasked.shown) == {None}


def test_a_layer_that_is_not_there_is_named(tiny: Checkpoint) -> None:
    target = VlaTarget(tiny.vla, tiny.image_processor)
    with pytest.raises(ValueError, match="2 layers has none of"):
        target.watch((0, 2))
