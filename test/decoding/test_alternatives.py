"""All that texts hold for likely stands in one tree, and the cascade verifies it at once."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import MAX_TOKENS, assert_same, observation, run
from texts import END, ids, replay, some_texts, standing

from rsd_planner.decoding.drafters.cascade import CascadeDrafter
from rsd_planner.decoding.drafters.suffix import SuffixDrafter
from rsd_planner.decoding.drafters.suffix_index import SuffixArray
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.types import Draft, DraftContext, Prompt


def drafter(said: list[tuple[int, ...]], learns: bool = True) -> SuffixDrafter:
    made = SuffixDrafter(SuffixArray(said, range(1, len(said) + 1)) if learns else None)
    replay(made, said)
    return made


def wide(
    made: SuffixDrafter, text: tuple[int, ...] = (), least: float = 0.06, budget: int = 400
) -> Draft:
    prompt = Prompt(np.empty(0, np.int64), ())
    return made.alternatives(DraftContext(prompt, standing(), text, budget), least)


def paths(draft: Draft) -> list[tuple[int, ...]]:
    """The text up to each node."""
    found: list[tuple[int, ...]] = []
    for node, token in enumerate(draft.tokens):
        parent = draft.parents[node] if draft.parents else node - 1
        found.append((*(found[parent] if parent >= 0 else ()), token))
    return found


def by_hand(
    made: SuffixDrafter, text: tuple[int, ...], least: float
) -> dict[tuple[int, ...], float]:
    """Every continuation with its chance, one token after the other."""
    found: dict[tuple[int, ...], float] = {}
    open_ends = [((), 1.0)]
    while open_ends:
        path, chance = open_ends.pop()
        if path and path[-1] == END:
            continue
        _, shares = next(made.continuation((*text, *path)), (None, {}))
        for token, share in shares.items():
            if chance * share >= least:
                found[(*path, token)] = chance * share
                open_ends.append(((*path, token), chance * share))
    return found


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(some_texts, st.booleans(), st.sampled_from([0.05, 0.1, 0.3]), st.integers(0, 5))
def test_the_tree_holds_exactly_what_is_likely_enough(
    said: list[tuple[int, ...]], learns: bool, least: float, length: int
) -> None:
    made, text = drafter(said, learns), said[-1][:length]
    if END in text:
        return
    found, expected = paths(wide(made, text, least)), by_hand(made, text, least)
    near = {path for path, chance in expected.items() if abs(chance - least) < 1e-9}
    assert len(set(found)) == len(found)
    assert set(found) - near == set(expected) - near


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(some_texts, st.integers(1, 9))
def test_a_smaller_budget_keeps_the_likeliest(said: list[tuple[int, ...]], budget: int) -> None:
    made = drafter(said)
    chances = by_hand(made, (), 0.02)
    kept = paths(wide(made, least=0.02, budget=budget))
    left_out = [chance for path, chance in chances.items() if path not in kept]
    assert len(kept) == min(budget, len(chances))
    assert min(chances[path] for path in kept) >= max(left_out, default=0.0) - 1e-9


def test_what_is_unlike_the_last_text_is_verified_beside_it() -> None:
    said = [ids(f"go {number} now") for number in (20, 30, 40, 50)]
    learned = SuffixArray(said, [1] * 4)
    texts = [ids("go 20 now"), ids("stop"), ids("go 40 now")]

    def forwards(wide: bool) -> int:
        second = SuffixDrafter(learned.fresh())
        widened = CascadeDrafter(second, widen=second.alternatives if wide else None)
        return sum(decoded.target_forwards for decoded in replay(widened, texts))

    assert forwards(True) < forwards(False)


def test_the_likeliest_text_comes_first() -> None:
    said = [ids("go 20 now"), ids("go 30 now")]
    second = SuffixDrafter(SuffixArray(said, [9, 1]))
    cascade = CascadeDrafter(second, widen=second.alternatives)
    prompt = Prompt(np.empty(0, np.int64), ())
    draft = cascade.propose(DraftContext(prompt, standing(), ids("go ")[:3], 30))
    assert draft.tokens[:7] == ids("20 now")
    assert ids("30 now") in paths(draft)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(some_texts, st.integers(1, 20), st.booleans())
def test_any_texts_come_out_as_the_target_says_them(
    said: list[tuple[int, ...]], budget: int, learns: bool
) -> None:
    second = SuffixDrafter(SuffixArray(said, [1] * len(said)) if learns else None)
    cascade = CascadeDrafter(second, widen=second.alternatives)
    for decoded in replay(cascade, said * 2, budget=budget):
        assert decoded.target_forwards <= len(decoded.tokens) + 1
        assert decoded.proposed <= budget * decoded.drafter_calls


def test_a_model_says_the_same_with_it(tiny: Checkpoint) -> None:
    scenes = [observation(seed, 2) for seed in (1, 2, 1)]
    plain = [run(tiny, scene) for scene in scenes]
    said = [outcome.decoded.tokens for outcome in plain]
    wrong = [(*text[:3], (text[3] + 1) % 200, *text[4:]) for text in said]
    second = SuffixDrafter(SuffixArray(said + wrong, [1] * 6))
    cascade = CascadeDrafter(second, widen=second.alternatives)
    for scene, expected in zip(scenes, plain, strict=True):
        assert_same(expected, run(tiny, scene, cascade, budget=MAX_TOKENS))
