"""Suffix and prompt-lookup drafters: what they remember, what they draft, and that it is exact."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import MAX_TOKENS, assert_same, observation, run
from texts import ids, propose, replay, some_texts, standing

from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.decoding.drafters.prompt_lookup import PromptLookupDrafter
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.suffix import (
    SuffixDrafter,
    read_texts,
    write_texts,
)
from rsd_planner.decoding.drafters.suffix_index import (
    START,
    RecentTexts,
    SuffixArray,
    SuffixIndex,
    longest_match,
)
from rsd_planner.errors import ConfigError
from rsd_planner.interfaces import Drafter
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.types import DraftContext, Prompt, SpanKind, SpanSource

TEXT_VOCAB = 900
patiently = settings(deadline=None, suppress_health_check=list(HealthCheck))


def learned(*seen: str) -> SuffixDrafter:
    return SuffixDrafter(SuffixArray([ids(text) for text in seen], [1] * len(seen)))


def drafters() -> list[Drafter]:
    return [SuffixDrafter(), learned("keep 30", "slow 20"), PromptLookupDrafter(TEXT_VOCAB)]


# --- the index


@patiently
@given(some_texts, st.lists(st.integers(1, 5), max_size=6).map(tuple))
def test_indices_count_what_followed(seen: list[tuple[int, ...]], context: tuple[int, ...]) -> None:
    recent = RecentTexts(memory=99, depth=99, fading=1.0)
    for text in seen:
        recent.add(text)
    for index in (SuffixArray(seen, [1] * len(seen)), recent):
        for asked in (context, (START, *context)):
            followed: dict[int, int] = {}
            for text in seen:
                whole = (START, *text)
                for end in range(len(asked), len(whole)):
                    if whole[end - len(asked) : end] == asked and whole[end] != START:
                        followed[whole[end]] = followed.get(whole[end], 0) + 1
            state = index.walk(asked)
            found = {} if state is None else dict(index.following(state))
            found.pop(START, None)
            assert found == followed


@patiently
@given(some_texts, st.lists(st.integers(1, 5), min_size=1, max_size=9).map(tuple))
def test_longest_match_is_found_by_halving(
    seen: list[tuple[int, ...]], context: tuple[int, ...]
) -> None:
    index: SuffixIndex = SuffixArray(seen, [1] * len(seen))
    ends = [context[start:] for start in range(len(context))]
    found = [(index.walk(end), len(end)) for end in ends]
    expected = next(((state, length) for state, length in found if state), (None, 0))
    assert longest_match(index, context) == expected


@patiently
@given(some_texts, st.integers(1, 4))
def test_forgotten_texts_leave_nothing_behind(seen: list[tuple[int, ...]], memory: int) -> None:
    bounded, fresh = RecentTexts(memory, 99, 0.5), RecentTexts(memory, 99, 0.5)
    for text in seen:
        bounded.add(text)
    for text in seen[-memory:]:
        fresh.add(text)

    def contexts(index: RecentTexts, context: tuple[int, ...] = ()) -> set[tuple[int, ...]]:
        followed = index.following(index.walk(context))
        return {context}.union(*(contexts(index, (*context, token)) for token in followed))

    assert contexts(bounded) == contexts(fresh)


# --- suffix


def test_opening_is_the_most_frequent_one() -> None:
    drafter = SuffixDrafter(SuffixArray([ids("keep 30"), ids("slow 20")], [2, 5]))
    assert propose(drafter) == "slow 20$"


def test_own_texts_weigh_more_than_learned_ones() -> None:
    drafter = learned(*["slow 20"] * 50, "keep 30")
    replay(drafter, [ids("keep 30")])
    assert propose(drafter) == "keep 30$"


def test_longest_seen_context_decides() -> None:
    drafter = learned("a red car stops", "a blue car turns", "the blue car turns")
    assert propose(drafter, "a red car ") == "stops$"
    assert propose(drafter, "one blue car ") == "turns$"


def test_own_texts_weigh_less_where_they_know_less_of_the_context() -> None:
    drafter = learned("hold your speed as the lane is free", "keep back as the van is slow")
    replay(drafter, [ids("keep back as the van is slow")])
    assert propose(drafter, "hold your speed as the ") == "lane is free$"


def test_text_that_leaves_what_was_seen_comes_back_to_it() -> None:
    drafter = learned("keep 30 as it is free")
    assert propose(drafter, "keep 5") == ""
    assert propose(drafter, "keep 5 as") == " it is free$"


def test_drafting_stops_where_it_is_a_mere_guess() -> None:
    drafter = learned(*(f"keep {number} now" for number in range(10, 90)))
    assert propose(drafter) == "keep 1"


def test_learned_texts_survive_the_file(tmp_path: Path) -> None:
    path = write_texts(tmp_path / "drafters", [ids("b"), ids("a"), ids("b")])
    assert read_texts(path) == ([ids("a"), ids("b")], [1, 2])
    again = write_texts(tmp_path / "again", [ids("a"), ids("b")], [1, 2])
    assert again.read_bytes() == path.read_bytes()
    drafter = make_drafter("suffix", DrafterResources(folder=path.parent))
    assert propose(drafter) == "b$"


def test_texts_are_indexed_once_and_every_drafter_has_its_own_caches(tmp_path: Path) -> None:
    resources = DrafterResources(folder=tmp_path)
    path = write_texts(tmp_path, [ids("slow 20")])
    one, other = (make_drafter("suffix", resources) for _ in range(2))
    replay(one, [ids("keep 30")])
    assert propose(other) == "slow 20$", "what one of them saw in a run is its own"
    assert one._learned is not None and other._learned is not None
    assert one._learned._order is other._learned._order
    hits = [index._children.cache_info().hits for index in (one._learned, other._learned)]
    propose(other, "slo")
    after = [index._children.cache_info().hits for index in (one._learned, other._learned)]
    assert after[0] == hits[0] and after[1] > hits[1], "who runs second has no help"
    write_texts(tmp_path, [ids("stop now")])
    os.utime(path, ns=(1, 1))  # whatever the file system's clock makes of it
    assert propose(make_drafter("suffix", resources)) == "stop now$"


def test_checkpoint_without_learned_texts_drafts_from_the_run(tmp_path: Path) -> None:
    drafter = make_drafter("suffix", DrafterResources(folder=tmp_path / "drafters"))
    assert propose(drafter) == ""
    replay(drafter, [ids("keep 30")])
    assert propose(drafter) == "keep 30$"


@pytest.mark.parametrize("content", ["", "{}1", "[[1]]", "[[0, [1]]]", '[["x", [1]]]', "[3]"])
def test_damaged_file_of_texts_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "texts.json").write_text(content)
    with pytest.raises(ConfigError, match=r"texts\.json"):
        make_drafter("suffix", DrafterResources(folder=tmp_path))


# --- prompt lookup


def test_lookup_continues_what_the_prompt_says() -> None:
    drafter = PromptLookupDrafter(TEXT_VOCAB)
    asked = (*map(ord, "turn left at the"), TEXT_VOCAB + 7, *map(ord, " lights"))
    assert propose(drafter, "lef", asked) == "t at the lights"


def test_lookup_prefers_longer_matches_and_newer_texts() -> None:
    drafter = PromptLookupDrafter(TEXT_VOCAB)
    replay(drafter, [ids("a red car stops"), ids("a blue car turns")])
    assert propose(drafter) == "a blue car turns$"
    assert propose(drafter, "a red") == " car stops$"
    assert propose(drafter, "no car") == " turns$"


def test_lookup_remembers_a_few_ticks_only() -> None:
    drafter = PromptLookupDrafter(TEXT_VOCAB)
    replay(drafter, [ids("xyz"), *[ids("abc")] * 8])
    assert propose(drafter, "xy") == ""


# --- both


@patiently
@given(some_texts, st.integers(1, 20))
def test_any_texts_come_out_as_the_target_says_them(
    said: list[tuple[int, ...]], budget: int
) -> None:
    for drafter in [*drafters(), SuffixDrafter(SuffixArray(said, range(1, len(said) + 1)))]:
        for decoded in replay(drafter, said, prompt=(3, 1, 2, 4), budget=budget):
            assert decoded.target_forwards <= len(decoded.tokens) + 1
            drafted = {s for s, k in zip(decoded.sources, decoded.kinds) if k == SpanKind.ACCEPTED}
            assert drafted <= {SpanSource.LOOKUP}


@patiently
@given(some_texts, st.integers(0, 5))
def test_budget_is_respected(said: list[tuple[int, ...]], budget: int) -> None:
    for drafter in drafters():
        replay(drafter, said)
        for text in said:
            for end in range(len(text)):
                context = DraftContext(
                    Prompt(np.array([1, 2, 3]), ()), standing(), text[:end], budget
                )
                assert len(drafter.propose(context)) <= budget


@pytest.mark.parametrize("name", ["suffix", "prompt_lookup"])
def test_an_unchanged_text_costs_one_forward(name: str) -> None:
    ticks = replay(make_drafter(name), [ids("keep 30 as the road is free")] * 3)
    assert [tick.target_forwards for tick in ticks[1:]] == [1, 1]


def test_reset_forgets_the_run_and_nothing_else() -> None:
    for drafter in drafters():
        untouched = propose(drafter)
        replay(drafter, [ids("go 99")] * 3)
        assert propose(drafter) == "go 99$"
        drafter.reset()
        assert propose(drafter) == untouched


@pytest.mark.parametrize("name", ["suffix", "prompt_lookup"])
def test_a_model_says_the_same_with_it(tiny: Checkpoint, name: str) -> None:
    scenes = [observation(seed, 2) for seed in (1, 2, 1)]
    drafter = make_drafter(name, DrafterResources(text_vocab_size=200))
    for scene in scenes:
        assert_same(run(tiny, scene), run(tiny, scene, drafter, budget=MAX_TOKENS))
