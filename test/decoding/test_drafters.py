"""The previous-tick drafter finds its way back after a rejection; spans say who wrote what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import ids, propose, replay

from rsd_planner.config import DRAFTERS as SETTING_CHOICES
from rsd_planner.config import RULES as RULE_CHOICES
from rsd_planner.decoding.acceptance import RULES
from rsd_planner.decoding.drafters.catalog import DRAFTERS, make_drafter
from rsd_planner.decoding.drafters.previous_tick import PrefixAlignment, PreviousTickDrafter
from rsd_planner.decoding.provenance import routine_share, spans_of
from rsd_planner.types import Decoded, FinishReason, SpanKind, SpanSource


def position(old: str, new: str) -> int:
    return PrefixAlignment(tuple(map(ord, old))).position(tuple(map(ord, new)))


def test_replaced_token_goes_on_behind_it() -> None:
    assert position("slow to 35 now", "slow to 4") == len("slow to 3")


def test_inserted_token_goes_on_before_it() -> None:
    assert position("at 5 m ahead", "at 15") == len("at 5")


def test_dropped_token_skips_it() -> None:
    assert position("at 15 m ahead", "at 5") == len("at 15")


def test_shorter_number_finds_the_unit_again() -> None:
    assert position("at 15 m ahead", "at 8 m") == len("at 15 m")


def test_position_grows_with_the_text_as_if_given_at_once() -> None:
    old, new = "keep 40 as the road is free", "keep 35 as the road is free"
    alignment = PrefixAlignment(tuple(map(ord, old)))
    for end in range(1, len(new) + 1):
        assert alignment.position(tuple(map(ord, new[:end]))) == position(old, new[:end]) or end < 9
    assert alignment.position(tuple(map(ord, new))) == len(old)


@given(st.text("ab1", max_size=12), st.text("ab1", max_size=12))
def test_position_is_within_the_old_text(old: str, new: str) -> None:
    assert 0 <= position(old, new) <= len(old)


def after(old: str) -> PreviousTickDrafter:
    """A drafter whose last tick said `old`, at the start of a tick, asked once."""
    drafter = PreviousTickDrafter()
    replay(drafter, [ids(old)])
    drafter.begin()
    assert propose(drafter) == f"{old}$"
    return drafter


def test_draft_that_was_not_verified_is_no_failure() -> None:
    """A controller that verifies nothing: the target says what was drafted."""
    drafter = after("at 30, so keep 30")
    for said in ("a", "at", "at ", "at 3"):
        rest = propose(drafter, said)
    assert rest == "0, so keep 30$"


def test_text_that_came_without_a_draft_is_learned_from() -> None:
    """A controller that asks for no draft while six tokens come."""
    drafter = after("at a3k, so a3k")
    assert propose(drafter, "at a5k") == ", so a5k$"


def test_drafts_fail_when_the_target_says_otherwise() -> None:
    drafter = after("abcdefgh")
    assert propose(drafter, "X") != ""
    assert propose(drafter, "XY") == ""


def test_catalog_and_settings_name_the_same_things() -> None:
    assert set(DRAFTERS) == set(SETTING_CHOICES)
    assert set(RULES) == set(RULE_CHOICES)
    # They need files of a checkpoint.
    with_files = {"blend", "routine", "routine_block", "glance", "replica", "cascade_block"}
    for name in set(DRAFTERS) - with_files:
        assert make_drafter(name).name == name


def decoded(kinds: list[SpanKind], sources: list[SpanSource]) -> Decoded:
    return Decoded(
        tuple(range(len(kinds))), tuple(sources), tuple(kinds), FinishReason.COMPLETE, 2, 2, 5, 3
    )


def test_spans_tile_the_text_and_count_all_tokens() -> None:
    accepted, corrected = SpanKind.ACCEPTED, SpanKind.CORRECTED
    previous, target = SpanSource.PREVIOUS_TICK, SpanSource.TARGET
    result = decoded(
        [accepted, accepted, corrected, accepted, accepted],
        [previous, previous, target, previous, previous],
    )
    text, spans = spans_of(result, ["Slow", " to", " 4", "0", ""])
    assert text == "Slow to 40"
    assert [text[s.start : s.end] for s in spans] == ["Slow to", " 4", "0"]
    assert [s.tokens for s in spans] == [2, 1, 2]
    assert [s.kind for s in spans] == [accepted, corrected, accepted]
    assert routine_share(result) == pytest.approx(0.8)
    assert result.acceptance_length == pytest.approx(2.5)
