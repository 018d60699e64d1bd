"""The cascade: the last text first, a bridge over what is new, then the last text again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import MAX_TOKENS, Scripted, assert_same, observation, run
from texts import ids, propose, replay, some_texts

from rsd_planner.decoding.drafters.cascade import CascadeDrafter
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.decoding.drafters.previous_tick import PrefixAlignment
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.suffix import TEXTS_FILE, SuffixDrafter, write_texts
from rsd_planner.decoding.drafters.suffix_index import SuffixArray
from rsd_planner.errors import ConfigError
from rsd_planner.interfaces import Drafter
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.types import Draft, DraftContext, SpanKind, SpanSource


def suffix(*seen: str) -> SuffixDrafter:
    return SuffixDrafter(SuffixArray([ids(text) for text in seen], [1] * len(seen)))


def after(old: str, second: Drafter) -> CascadeDrafter:
    """A cascade whose last tick said `old`, at the start of a tick."""
    cascade = CascadeDrafter(second)
    replay(cascade, [ids(old)])
    cascade.begin()
    return cascade


def test_last_text_is_drafted_first() -> None:
    assert propose(after("keep 30 now", suffix("slow 20 now"))) == "keep 30 now$"


def test_first_tick_is_the_second_drafters() -> None:
    assert propose(CascadeDrafter(suffix("slow 20 now"))) == "slow 20 now$"


def bridged(old: str, committed: str, bridge: str) -> str:
    second = Scripted([tuple(map(ord, bridge))])
    return propose(after(old, second), committed)


def test_bridge_ends_where_it_meets_the_old_text() -> None:
    assert bridged("abcdef", "abX", "Ydzz") == "Ydef$"


def test_no_bridge_where_the_texts_have_met() -> None:
    assert bridged("abcdef", "abXd", "zz") == "ef$"


def test_bridge_that_ends_too_early_leads_to_the_old_text() -> None:
    assert bridged("abcdef", "abX", "") == "def$"
    assert bridged("abcdefgh", "abcdeX", "Y") == "Yh$"


def test_old_text_is_no_guide_where_the_new_one_is_another() -> None:
    assert bridged("abcdef", "VWXYZ", "ef") == "ef"
    assert bridged("abcdef", "VWXYZ", "") == ""


def test_replaced_number_is_replaced_where_it_recurs() -> None:
    assert bridged("at a3k, so a3k", "at a5", "") == "k, so a5k$"


def test_drafter_that_foresees_goes_first_and_the_old_text_behind_it() -> None:
    def foreseeing(*drafts: str) -> CascadeDrafter:
        second = Scripted([tuple(map(ord, draft)) for draft in drafts])
        cascade = CascadeDrafter(second, foresees=True)
        cascade.end(replay(NoDrafter(), [ids("at 7 km: go on")])[0])
        cascade.begin()
        return cascade

    assert propose(foreseeing("at 8 k")) == "at 8 km: go on$"
    assert propose(foreseeing(" 8 k"), "at") == " 8 km: go on$"
    assert propose(foreseeing("wholly other")) == "wholly other"


class Branching(NoDrafter):
    """Proposes two alternatives."""

    def propose(self, context: DraftContext) -> Draft:
        return Draft(tuple(map(ord, "XYZ")), (SpanSource.LOOKUP,) * 3, (-1, 0, -1))


def test_tree_of_the_second_drafter_stays_one() -> None:
    cascade = after("abcdef", Branching())
    assert propose(cascade, "abQ") == "XYZ"
    texts = [ids("abcdef"), ids("abQXYdef"), ids("abQZdef")]
    kinds = [decoded.kinds for decoded in replay(CascadeDrafter(Branching()), texts)]
    assert SpanKind.ACCEPTED in kinds[1] and SpanKind.ACCEPTED in kinds[2]


def test_without_the_routine_reasoner_there_is_suffix(tmp_path: Path) -> None:
    write_texts(tmp_path, [ids("slow 20 now")])
    resources = DrafterResources(folder=tmp_path)
    assert propose(make_drafter("cascade", resources)) == "slow 20 now$"


def test_damaged_texts_name_the_remedy(tmp_path: Path) -> None:
    (tmp_path / TEXTS_FILE).write_bytes(b"{")
    with pytest.raises(ConfigError, match="copy the checkpoint anew"):
        make_drafter("cascade", DrafterResources(folder=tmp_path))


def test_tokens_say_who_drafted_them() -> None:
    cascade = CascadeDrafter(suffix("abXYd"))
    _, second = replay(cascade, [ids("abcdef"), ids("abXYdef")])
    lookup, previous = SpanSource.LOOKUP, SpanSource.PREVIOUS_TICK
    assert second.sources == (*[previous] * 2, SpanSource.TARGET, *[lookup] * 2, *[previous] * 3)
    assert second.kinds.count(SpanKind.CORRECTED) == 1
    assert second.target_forwards == 2


def test_reset_forgets_the_old_text() -> None:
    cascade = after("abcdef", NoDrafter())
    assert propose(cascade) == "abcdef$"
    cascade.reset()
    assert propose(cascade) == ""


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(some_texts, st.integers(1, 20), st.booleans())
def test_any_texts_come_out_as_the_target_says_them(
    said: list[tuple[int, ...]], budget: int, learns: bool
) -> None:
    counts = range(1, len(said) + 1)
    second = SuffixDrafter(SuffixArray(said, counts)) if learns else NoDrafter()
    for decoded in replay(CascadeDrafter(second), said * 2, budget=budget):
        assert decoded.target_forwards <= len(decoded.tokens) + 1
        assert decoded.proposed <= budget * decoded.drafter_calls


@settings(deadline=None)
@given(st.text("ab1", max_size=9), st.text("ab1", max_size=9), st.text("ab1", max_size=9))
def test_fork_goes_its_own_way(old: str, new: str, more: str) -> None:
    def letters(text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    alignment, alone = PrefixAlignment(letters(old)), PrefixAlignment(letters(old))
    alignment.position(letters(new))
    alone.position(letters(new))
    fork = alignment.fork()
    assert fork.position(letters(new + more)) == alone.position(letters(new + more))
    assert fork.distance == alone.distance
    assert alignment.distance <= fork.distance <= alignment.distance + len(more)


def test_a_model_says_the_same_with_it(tiny: Checkpoint) -> None:
    drafter = make_drafter("cascade")
    for seed in (1, 2, 1):
        scene = observation(seed, 2)
        assert_same(run(tiny, scene), run(tiny, scene, drafter, budget=MAX_TOKENS))
