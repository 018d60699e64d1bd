"""Texts and the routine reasoner together: who is asked, who settles a token, where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from texts import END, ids, replay, some_texts, standing

from rsd_planner.decoding import tree
from rsd_planner.decoding.drafters import blend as blending
from rsd_planner.decoding.drafters.blend import BlendDrafter
from rsd_planner.decoding.drafters.routine import RoutineDrafter
from rsd_planner.decoding.drafters.suffix import SuffixDrafter
from rsd_planner.decoding.drafters.suffix_index import SuffixArray
from rsd_planner.types import Draft, DraftContext, Prompt, SpanSource


@dataclass
class Row:
    """What a reasoner expects at a place."""

    shares: Mapping[int, float]

    @property
    def token(self) -> int:
        return max(self.shares, key=self.shares.__getitem__, default=-1)

    @property
    def chance(self) -> float:
        return self.shares.get(self.token, 0.0)

    def of(self, token: int) -> float:
        """Without an opinion it agrees."""
        return self.shares.get(token, 0.0) if self.shares else 1.0


@dataclass(frozen=True)
class Facts:
    target_vocab_size: int = 1 << 20
    end_token: int = END
    history_steps: int = 16


class Reader:
    """A reasoner that expects what a table says behind a character, and notes what it is asked."""

    config = Facts()

    def __init__(self, expects: Mapping[str, Mapping[str, float]]) -> None:
        self._expects = {
            ord(front or chr(0)): {ord(token): share for token, share in shares.items()}
            for front, shares in expects.items()
        }
        self.looks: list[tuple[int, int]] = []  # tokens committed, shift
        self.asked: list[tuple[int, str]] = []  # place, token in front

    def read(self, *_: object) -> None: ...

    def look_ahead(self, committed: Sequence[int], shift: int) -> int:
        self.looks.append((len(committed), shift))
        return 64 - len(committed)

    def expect(self, places: Sequence[int], fronts: Sequence[int | None]) -> list[Row]:
        self.asked += [(p, chr(f) if f else "") for p, f in zip(places, fronts, strict=True)]
        return [Row(self._expects.get(f or 0, {})) for f in fronts]


def blend(expects: Mapping[str, Mapping[str, float]], *seen: str) -> tuple[BlendDrafter, Reader]:
    reader = Reader(expects)
    texts = SuffixDrafter(SuffixArray([ids(text) for text in seen], [1] * len(seen)))
    drafter = BlendDrafter(texts, RoutineDrafter(reader))  # type: ignore[arg-type]
    drafter.begin()
    return drafter, reader


def whole(drafter: BlendDrafter, committed: str = "", budget: int = 48) -> Draft:
    """The draft with what stands beside the likeliest text."""
    prompt = Prompt(np.empty(0, np.int64), ())
    return drafter.propose(DraftContext(prompt, standing(), tuple(map(ord, committed)), budget))


def said(drafter: BlendDrafter, committed: str = "", budget: int = 48) -> tuple[str, str]:
    """The likeliest text, and who it is of: `t` texts, `r` the routine reasoner."""
    draft = tree.first_path(whole(drafter, committed, budget))
    letters = {SpanSource.LOOKUP: "t", SpanSource.ROUTINE: "r"}
    text = "".join("$" if token == END else chr(token) for token in draft.tokens)
    return text, "".join(letters[source] for source in draft.sources)


def test_where_the_texts_are_sure_nobody_else_is_asked() -> None:
    drafter, reader = blend({"t": {"X": 1.0}}, "at 7 km")
    assert said(drafter) == ("at 7 km$", "t" * 8)
    assert reader.looks == reader.asked == []


def test_the_reasoner_settles_what_the_texts_leave_open() -> None:
    drafter, _ = blend({"=": {"8": 0.9, "7": 0.1}}, "at=7km", "at=8km", "at=7mi")
    assert said(drafter) == ("at=8km$", "ttt" + "r" + "ttt")


def test_half_a_vote_each() -> None:
    drafter, _ = blend({"=": {"8": 0.2, "7": 0.1}}, "at=7km", "at=8km", "at=7mi")
    assert said(drafter)[0].startswith("at=7")


def test_a_token_that_no_text_has_may_come_from_the_reasoner() -> None:
    drafter, _ = blend({"=": {"5": 1.0}, "5": {"k": 1.0}}, "at=7km", "at=8km", "at=9km")
    assert said(drafter) == ("at=5km$", "ttt" + "rr" + "tt")


def test_it_is_asked_once_for_a_place_and_a_token_in_front() -> None:
    drafter, reader = blend({"=": {"8": 1.0}}, "at=7km", "at=8km", "at=9km")
    said(drafter)
    assert len(reader.asked) == len(set(reader.asked))
    asked = len(reader.asked)
    said(drafter, "at=")
    assert len(reader.asked) == asked, "the tick's expectations hold behind a rejection too"
    assert reader.looks == [(0, 0)]
    drafter.begin()
    said(drafter)
    assert len(reader.asked) == 2 * asked


def test_another_place_in_the_old_text_is_another_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "SURE", 2.0)
    drafter, reader = blend({})
    replay(drafter, [ids("at=7km"), ids("at=8km")])
    reader.looks.clear()
    drafter.begin()
    said(drafter, "at=")
    said(drafter, "So at=")
    assert reader.looks == [(3, 0), (6, -3)]


def test_what_the_texts_hold_for_likely_stands_beside_it() -> None:
    drafter, _ = blend({"a": {"d": 1.0}}, "ab", "ac", "ad")
    draft = whole(drafter)
    assert said(drafter) == ("ad$", "trt")
    assert [draft.tokens[i] for i, parent in enumerate(draft.parents) if parent == 0] == [
        ord("d"),
        ord("b"),
        ord("c"),
    ]
    assert len(whole(drafter, budget=2)) == 2
    sure, _ = blend({}, "at 7 km")
    assert not whole(sure).parents


def test_a_draft_ends_with_the_end_and_within_the_budget() -> None:
    drafter, _ = blend({"a": {chr(END): 1.0}}, "ab", "ac", "ad")
    assert said(drafter)[0] == "a$"
    drafter, _ = blend({}, "abcdef", "abcxyz")
    assert said(drafter, "", 2)[0] == "ab"


def test_nobody_knows_anything() -> None:
    drafter, _ = blend({})
    assert said(drafter) == ("", "")


def test_the_reasoner_alone_where_no_text_was_seen() -> None:
    drafter, _ = blend({"": {"a": 1.0}, "a": {"b": 0.9}, "b": {"c": 0.05}})
    assert said(drafter) == ("ab", "rr")


@settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
@given(some_texts, st.integers(1, 20), st.integers(0, 5))
def test_any_texts_come_out_as_the_target_says_them(
    texts: list[tuple[int, ...]], budget: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    letters = sorted({token for text in texts for token in text})
    reader = Reader({})
    reader._expects = {
        front: {int(rng.choice(letters)): float(rng.random())} for front in (0, *letters)
    }
    drafter = BlendDrafter(SuffixDrafter(), RoutineDrafter(reader))  # type: ignore[arg-type]
    for decoded in replay(drafter, texts * 2, budget=budget):
        assert decoded.target_forwards <= len(decoded.tokens) + 1
        assert decoded.proposed <= budget * decoded.drafter_calls
