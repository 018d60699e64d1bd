"""Draft trees: whatever branches are drafted, text, cache and path are those of plain decoding."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import BUDGET, MAX_TOKENS, Outcome, assert_same, observation, run
from tables import TableTarget, tell

from rsd_planner.decoding import tree
from rsd_planner.decoding.acceptance import Coupled, Greedy
from rsd_planner.decoding.sampling import Sampling
from rsd_planner.interfaces import Acceptance
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.kv_cache import KVCache
from rsd_planner.models.target import VlaTarget
from rsd_planner.planning.prompt import make_prompt_builder
from rsd_planner.types import Decoded, Draft, DraftContext, SpanKind, SpanSource

LOOKUP, ROUTINE = SpanSource.LOOKUP, SpanSource.ROUTINE


def chain(*tokens: int, source: SpanSource = LOOKUP) -> Draft:
    return Draft(tokens, (source,) * len(tokens))


def drawn_tree(
    rng: np.random.Generator, size: int, vocab: int, text: tuple[int, ...] = ()
) -> Draft:
    """A random tree in which the text hides among wrong branches and repeated siblings."""
    parents, tokens, depth = [], [], [-1]
    for node in range(size):
        # Near ancestors, so that trees become deep as well as wide.
        parent = int(rng.integers(max(-1, node - 4), node)) if rng.random() < 0.8 else -1
        at = depth[parent + 1] + 1
        right = rng.random() < 0.7 and at < len(text)
        parents.append(parent)
        depth.append(at)
        tokens.append(text[at] if right else int(rng.integers(vocab)))
    return Draft(tuple(tokens), (LOOKUP,) * size, tuple(parents))


class Grown:
    """Drafts what a function of the committed text gives."""

    name = "grown"

    def __init__(self, draft: Callable[[tuple[int, ...]], Draft]) -> None:
        self._draft = draft

    def begin(self) -> None: ...

    def propose(self, context: DraftContext) -> Draft:
        return self._draft(context.committed)

    def end(self, decoded: Decoded) -> None: ...

    def reset(self) -> None: ...


def random_trees(seed: int, vocab: int, text: tuple[int, ...]) -> Grown:
    rng = np.random.default_rng(seed)

    def draft(committed: tuple[int, ...]) -> Draft:
        return drawn_tree(rng, int(rng.integers(0, 14)), vocab, text[len(committed) :])

    return Grown(draft)


@given(st.integers(0, 10_000), st.integers(0, 12))
def test_mask_depths_and_children_tell_of_the_same_tree(seed: int, size: int) -> None:
    draft = drawn_tree(np.random.default_rng(seed), size, 5)
    mask, behind = tree.ancestor_mask(draft), tree.children(draft)
    assert mask.sum(axis=1).tolist() == [depth + 1 for depth in tree.depths(draft)]
    for node in range(size):
        line = np.flatnonzero(mask[node]).tolist()
        assert line[-1] == node
        for before, after in zip([-1, *line], line):
            assert after in behind[before + 1]
    assert sorted(itertools.chain.from_iterable(behind)) == list(range(size))


def test_a_chain_has_one_form() -> None:
    assert Draft((4, 5), (LOOKUP,) * 2, (-1, 0)) == chain(4, 5)
    assert chain(4, 5).parents == ()
    assert tree.depths(chain(4, 5)) == [0, 1]
    assert tree.ancestor_mask(chain(4, 5)).tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("parents", [(0, 0), (-1,), (-1, 1), (-2, 0)])
def test_parents_that_make_no_tree_are_refused(parents: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="parents"):
        Draft((4, 5), (LOOKUP,) * 2, parents)


def test_chains_merge_where_they_begin_alike() -> None:
    merged = tree.merge([chain(1, 2, 3), chain(1, 2, 4, source=ROUTINE), chain(5), chain(1, 2)])
    assert merged.tokens == (1, 2, 3, 4, 5)
    assert merged.parents == (-1, 0, 1, 1, -1)
    assert merged.sources == (LOOKUP, LOOKUP, LOOKUP, ROUTINE, LOOKUP)
    assert merged.cut(3) == chain(1, 2, 3)
    assert tree.merge([chain(1, 2)]) == chain(1, 2)
    assert tree.merge([]) == Draft()
    assert tree.first_path(merged) == chain(1, 2, 3)
    assert tree.first_path(tree.merge([chain(4), merged])) == chain(4)
    assert tree.first_path(Draft()) == Draft()


@given(st.integers(0, 10_000), st.integers(0, 12))
def test_merging_keeps_every_path_and_no_twins(seed: int, size: int) -> None:
    def paths(draft: Draft) -> set[tuple[int, ...]]:
        mask = tree.ancestor_mask(draft)
        return {tuple(np.array(draft.tokens)[mask[node]].tolist()) for node in range(len(draft))}

    draft = drawn_tree(np.random.default_rng(seed), size, 2)
    merged = tree.merge([draft, chain(1, 0)])
    assert paths(merged) == paths(draft) | {(1,), (1, 0)}
    assert len(paths(merged)) == len(merged)


def test_selecting_a_node_without_its_parent_is_refused() -> None:
    draft = Draft((1, 2, 3), (LOOKUP,) * 3, (-1, -1, 0))
    assert tree.select(draft, [0, 2]) == chain(1, 3)
    assert tree.select(draft, [1]) == chain(2)
    with pytest.raises(ValueError, match="without token 0"):
        tree.select(draft, [1, 2])


def test_of_repeated_siblings_the_first_counts() -> None:
    draft = Draft((1, 1, 2, 3), (LOOKUP,) * 4, (-1, -1, 0, 1))
    assert tree.follow(draft, [1, 2, 3, 0, 0]) == (0, 2)
    assert tree.follow(draft, [1, 3, 3, 0, 0]) == (0,)
    assert tree.goes_on(draft, (0,))
    assert not tree.goes_on(draft, (0, 2))


def test_a_branch_that_cannot_be_fed_falls_with_what_stands_behind_it() -> None:
    target = TableTarget(vocab=6, seed=0)
    text = tell(target, Greedy(), max_tokens=5).tokens
    bad = Draft(
        (99, text[0], text[1], text[1], -5), (LOOKUP,) * 5, (-1, -1, 0, 1, 3)
    )  # fmt: skip
    decoded = tell(target, Greedy(), Grown(lambda done: bad if not done else Draft()), 5)
    assert decoded.tokens == text
    assert (decoded.proposed, decoded.accepted) == (2, 2)


def test_a_tree_is_cut_where_the_text_must_end() -> None:
    target = TableTarget(vocab=6, seed=1)
    text = tell(target, Greedy(), max_tokens=4).tokens
    wide = tree.merge([chain(5, 5, 5, 5, 5), chain(*text[:3], 5), chain(*text, 1, 1), chain(4)])
    decoded = tell(target, Greedy(), Grown(lambda _: wide), max_tokens=4, budget=20)
    assert decoded.tokens == text
    assert (decoded.proposed, decoded.target_forwards) == (len(wide) - 3, 1)


def test_kept_rows_are_moved_bit_by_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    cache = KVCache(2, 1, 4, 8, torch.float32, torch.device("cpu"))
    stored = torch.randn(2, 2, 1, 1, 12, 4, generator=generator)
    cache.reserve(12)
    for layer in range(2):
        cache.update(stored[0, layer], stored[1, layer], layer)
    cache.advance(12)
    cache.keep(5, (0, 1, 3, 6))
    assert cache.length == 9
    for layer in range(2):
        for ours, theirs in zip(cache.layer(layer), stored[:, layer]):
            assert torch.equal(ours, theirs[:, :, [0, 1, 2, 3, 4, 5, 6, 8, 11]])
    with pytest.raises(ValueError, match="cannot be kept"):
        cache.keep(5, (0, 4))


@pytest.fixture(scope="module")
def plain(tiny: Checkpoint) -> Outcome:
    return run(tiny, observation(1, 2))


def test_right_path_on_a_side_branch_costs_one_forward(tiny: Checkpoint, plain: Outcome) -> None:
    text = plain.decoded.tokens
    wrong = [chain(*(token + 1 for token in text[:6])), chain(*text[:4], 1, 1, 1)]
    grown = Grown(lambda _: tree.merge([*wrong, chain(*text, source=ROUTINE), chain(*text[:9], 1)]))
    outcome = run(tiny, observation(1, 2), grown, budget=2 * MAX_TOKENS)
    assert_same(plain, outcome)
    assert outcome.decoded.target_forwards == 1
    assert set(outcome.decoded.kinds) == {SpanKind.ACCEPTED}
    assert outcome.decoded.sources[4] is ROUTINE
    assert outcome.decoded.top2_gaps == pytest.approx(plain.decoded.top2_gaps, abs=1e-4)


def test_target_corrects_where_all_branches_are_wrong(tiny: Checkpoint, plain: Outcome) -> None:
    text = plain.decoded.tokens
    fork = tree.merge([chain(text[0], text[1] + 1), chain(text[0], text[1] + 2)])
    grown = Grown(lambda done: Draft() if done else fork)
    outcome = run(tiny, observation(1, 2), grown, max_tokens=4)
    accepted, corrected, undrafted = SpanKind.ACCEPTED, SpanKind.CORRECTED, SpanKind.UNDRAFTED
    assert outcome.decoded.kinds == (accepted, corrected, undrafted, undrafted)
    assert outcome.decoded.tokens == text[:4]


@pytest.mark.parametrize("fused", [True, False])
def test_a_branch_is_read_as_if_it_were_alone(tiny: Checkpoint, fused: bool) -> None:
    target = VlaTarget(tiny.vla, tiny.image_processor, capacity=16)
    prompt = make_prompt_builder(tiny).build(observation(3, 2))
    draft = drawn_tree(np.random.default_rng(5), 12, 300)

    def rows(drafted: Draft) -> torch.Tensor:
        if fused:
            return target.prefill(prompt, drafted).logits
        target.prefill(prompt, Draft())
        target.keep(())
        return target.verify(7, drafted).logits

    together = rows(draft)
    assert len(together) == len(draft) + 1
    for node, line in enumerate(tree.ancestor_mask(draft)):
        alone = rows(chain(*np.array(draft.tokens)[line].tolist()))
        torch.testing.assert_close(together[node + 1], alone[-1], rtol=0, atol=1e-4)


def rules(seed: int) -> dict[str, Acceptance]:
    return {"greedy": Greedy(), "coupled": Coupled(Sampling(1.2, 0.95, seed))}


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000), pictures=st.integers(0, 2), budget=st.integers(1, BUDGET),
    name=st.sampled_from(["greedy", "coupled"]),
)  # fmt: skip
def test_random_trees_change_nothing(
    tiny: Checkpoint, seed: int, pictures: int, budget: int, name: str
) -> None:
    scene = observation(seed, pictures)
    plain = run(tiny, scene, max_tokens=12, rule=rules(seed)[name])
    drafter = random_trees(seed, len(tiny.codec), plain.decoded.tokens)
    other = run(tiny, scene, drafter, 12, budget, rules(seed)[name])
    assert_same(plain, other)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000), vocab=st.integers(2, 6), budget=st.integers(1, 14),
    name=st.sampled_from(["greedy", "coupled"]),
)  # fmt: skip
def test_random_trees_tell_the_plain_text(seed: int, vocab: int, budget: int, name: str) -> None:
    target, rule = TableTarget(vocab, seed), rules(seed)[name]
    plain = tell(target, rule, max_tokens=10)
    other = tell(target, rule, random_trees(seed, vocab, plain.tokens), 10, budget)
    assert other.tokens == plain.tokens
    assert other.finish_reason is plain.finish_reason
    assert other.top2_gaps == pytest.approx(plain.top2_gaps, abs=1e-5)
    assert other.accepted + other.kinds.count(SpanKind.CORRECTED) <= len(other.tokens)
    assert other.target_forwards <= plain.target_forwards
