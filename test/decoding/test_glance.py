"""How the glance's judgements become a draft, with a network that says what it is told to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from rsd_planner.decoding import tree
from rsd_planner.decoding.drafters.cascade import CascadeDrafter
from rsd_planner.decoding.drafters.glance import FIRST_LEAST, LEAST, ROUNDS, GlanceDrafter
from rsd_planner.decoding.drafters.phrases import Phrases
from rsd_planner.decoding.drafters.suffix import SuffixDrafter
from rsd_planner.models.pointer import UNKNOWN, Asked, Pointer
from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    EgoHistory,
    EgoState,
    FinishReason,
    Prompt,
    SpanKind,
    SpanSource,
)

END = ord("$")
Says = Callable[[str], dict[str, float]]


@dataclass
class Facts:
    target_vocab_size: int = 128
    end_token: int = END
    history_steps: int = 5
    visual_width: int = 4
    longest: int = 40


@dataclass
class Told:
    """Characters are tokens; ids and places are the same. `says` gives chances behind a text."""

    says: Says
    fitting: bool = True
    config: Facts = field(default_factory=Facts)
    calls: list[list[Asked]] = field(default_factory=list)

    def fits(self, pictures: Sequence[object]) -> bool:
        return self.fitting

    def read(self, pictures, motion, old, since_s, since_m) -> None:
        self.pointer = Pointer(old)

    def known(self, tokens: Sequence[int]) -> tuple[int, ...]:
        return tuple(token if token < 128 else UNKNOWN for token in tokens)

    def ids(self, tokens: Sequence[int]) -> tuple[int, ...]:
        return tuple(tokens)

    def judge(self, asked: Sequence[Asked]) -> list[list[list[tuple[int, float]]]]:
        self.calls.append(list(asked))
        answers = []
        for one in asked:
            assert len(one.places) == len(one.guess) + 1
            whole = one.text + one.guess
            assert self.pointer.along(whole)[len(one.text) :] == list(one.places)
            ends = range(len(one.text), len(whole) + 1)
            answers.append([self._of(whole[:end]) for end in ends])
        return answers

    def _of(self, text: tuple[int, ...]) -> list[tuple[int, float]]:
        found = self.says("".join(map(chr, text)))
        return sorted(((ord(c), p) for c, p in found.items()), key=lambda pair: -pair[1])


def follows(*texts: str, **chances: float) -> Says:
    """All of these texts are as likely as said, by their beginnings; the first is 1 by default."""
    weights = dict(zip(texts, chances.values() or (1.0,)))

    def says(text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for one, weight in weights.items():
            if one.startswith(text) and len(one) > len(text):
                found[one[len(text)]] = found.get(one[len(text)], 0.0) + weight
        total = sum(found.values())
        return {c: w / total for c, w in found.items()} if found else {"?": 1.0}

    return says


def history(t0_s: float) -> EgoHistory:
    t0_ns = round(1e9 * t0_s)
    now = EgoState(t0_ns, np.zeros(3), np.array([0.0, 0, 0, 1]), np.zeros(3), np.zeros(3))
    return EgoHistory(t0_ns, 0.1, np.zeros((5, 3)), np.tile(np.eye(3), (5, 1, 1)), now)


def encode(frames: object) -> list[SimpleNamespace]:
    return [SimpleNamespace(embeddings=None)]


class Ticks:
    """A drafter tick by tick."""

    def __init__(self, drafter: GlanceDrafter | CascadeDrafter) -> None:
        self.drafter, self.t0_s = drafter, 1.0

    def propose(self, committed: str = "", budget: int = 64) -> Draft:
        prompt = Prompt(np.empty(0, np.int64), ())
        ids = tuple(map(ord, committed))
        return self.drafter.propose(DraftContext(prompt, history(self.t0_s), ids, budget, None))

    def tell(self, text: str) -> None:
        tokens = tuple(map(ord, text))
        count = len(tokens)
        self.drafter.end(
            Decoded(
                tokens,
                (SpanSource.TARGET,) * count,
                (SpanKind.UNDRAFTED,) * count,
                FinishReason.COMPLETE,
                1, 1, 0, 0,
            )
        )  # fmt: skip
        self.t0_s += 0.2
        self.drafter.begin()


def after(old: str, reasoner: Told, texts: Sequence[str] = ()) -> Ticks:
    """A glance whose last tick said `old`; nothing before where it is empty."""
    counted = zip(texts, range(len(texts), 0, -1))  # the first one was seen most often
    phrases = Phrases((tuple(map(ord, text)), count) for text, count in counted)
    ticks = Ticks(GlanceDrafter(reasoner, encode, phrases))
    ticks.drafter.begin()
    if old:
        ticks.propose()
        ticks.tell(old)
    reasoner.calls.clear()
    return ticks


def words(draft: Draft) -> str:
    return "".join(map(chr, tree.first_path(draft).tokens))


def test_what_still_holds_is_judged_once_and_is_the_last_ticks() -> None:
    reasoner = Told(follows("keep 30$"))
    draft = after("keep 30$", reasoner).propose()
    assert words(draft) == "keep 30$" and not draft.parents
    assert set(draft.sources) == {SpanSource.PREVIOUS_TICK}
    assert len(reasoner.calls) == 1, "and nothing is asked behind the end"


def test_what_is_new_takes_the_old_ones_place_and_the_rest_stays() -> None:
    reasoner = Told(follows("keep 28 m$"))
    draft = after("keep 31 m$", reasoner).propose()
    assert words(draft) == "keep 28 m$" and not draft.parents
    new = {i for i, source in enumerate(draft.sources) if source is SpanSource.ROUTINE}
    assert new == {5, 6}
    assert len(reasoner.calls) == 3


@pytest.mark.parametrize(
    ("old", "new", "foreseen"),
    [("keep 5 m$", "keep 12 m$", "12"), ("keep 12 m$", "keep 5 m$", "5")],
)
def test_words_behind_a_number_that_grew_are_the_last_ticks(
    old: str, new: str, foreseen: str
) -> None:
    draft = after(old, Told(follows(new))).propose()
    assert words(draft) == new
    sources = zip(draft.tokens, draft.sources)
    assert "".join(chr(t) for t, source in sources if source is SpanSource.ROUTINE) == foreseen


def test_words_that_went_on_as_before_are_the_last_ticks_wherever_they_stand() -> None:
    draft = after("go at 10, stop$", Told(follows("go at 12, and go at 10, stop$"))).propose()
    new = [chr(t) for t, source in zip(draft.tokens, draft.sources) if source is SpanSource.ROUTINE]
    assert "".join(new) == "2ndg", "only these stand behind other letters than before"


def test_what_is_likely_enough_stands_beside_and_the_likeliest_first() -> None:
    says = follows("go left$", "go west$", likely=0.7, other=0.3)
    draft = after("go left$", Told(says)).propose()
    assert words(draft) == "go left$"
    assert len(draft) == len("go left$") + len("west$")
    whole = draft.tokens, draft.parents
    depths = tree.depths(draft)
    assert [chr(t) for t, d in zip(draft.tokens, depths) if d == 3] == ["l", "w"]
    for length in range(1, len(draft)):  # a cut keeps parents
        assert tree.select(draft, range(length)).tokens == whole[0][:length]
    behind = tree.children(draft)
    ends = [node for node, token in enumerate(draft.tokens) if token == END]
    assert len(ends) == 2 and not any(behind[node + 1] for node in ends)


@pytest.mark.parametrize(("committed", "least"), [("", FIRST_LEAST), ("g", LEAST)])
def test_what_is_too_unlikely_is_left_out(committed: str, least: float) -> None:
    for share, stands in ((least + 0.01, True), (least - 0.01, False)):
        says = follows("go left$", "go west$", likely=1 - share, other=share)
        draft = after("go left$", Told(says)).propose(committed)
        assert (ord("w") in draft.tokens) == stands
        assert words(draft) == "go left$"[len(committed) :]


def test_a_draft_ends_where_nothing_is_likely_enough() -> None:
    def says(text: str) -> dict[str, float]:
        return {"keep$"[len(text)]: 0.3} if len(text) < 5 else {"?": 1.0}

    assert words(after("keep$", Told(says)).propose()) == "ke", "0.3, 0.09 and no more"


def test_without_a_last_text_learned_phrases_are_the_guess() -> None:
    reasoner = Told(follows("slow for a red light$"))
    draft = after("", reasoner, ["slow for a curve$", "keep$"]).propose()
    assert len(reasoner.calls[0][0].guess) == len("slow for a curve$"), "from the first judgement"
    assert words(draft).startswith("slow for a r")
    assert set(draft.sources) == {SpanSource.ROUTINE}
    bare = after("", Told(follows("slow for a red light$"))).propose()
    assert words(bare) == "slow for a red light$"[:ROUNDS]


def test_what_nobody_has_judged_any_more_is_guessed() -> None:
    """More is new than there are judgements: the rest of the last text stands unjudged."""
    letters = "abcdefghijklmnop"[: ROUNDS + 3]
    old = "".join(f"{letter}_" for letter in letters) + " end$"
    new = "".join(f"{letter}{letter.upper()}" for letter in letters) + " end$"
    reasoner = Told(follows(new))
    draft = after(old, reasoner).propose()
    assert len(reasoner.calls) == ROUNDS
    assert words(draft) == new[: 2 * ROUNDS] + old[2 * ROUNDS :]


def test_after_a_rejection_it_goes_on_behind_what_was_committed() -> None:
    says = follows("keep 28 m$")
    ticks = after("keep 31 m$", Told(says))
    ticks.propose()
    assert words(ticks.propose("keep 2")) == "8 m$"


def test_tokens_that_it_cannot_write_end_the_guess() -> None:
    ticks = after("", Told(follows("ab$")))
    ticks.propose()
    ticks.tell("a\u1000b$")
    assert words(ticks.propose()) == "ab$"


def test_the_budget_keeps_the_likeliest() -> None:
    says = follows("go left$", "go west$", likely=0.7, other=0.3)
    draft = after("go left$", Told(says)).propose(budget=5)
    assert len(draft) == 5 and words(draft) == "go le"


def test_cascade_drafts_the_last_text_where_the_glance_sees_nothing() -> None:
    reasoner = Told(follows("keep 28$"))
    suffix = SuffixDrafter()
    glance = GlanceDrafter(reasoner, encode)
    ticks = Ticks(CascadeDrafter(suffix, widen=suffix.alternatives, glance=glance))
    ticks.drafter.begin()
    ticks.propose()
    ticks.tell("keep 31$")
    assert words(ticks.propose()) == "keep 28$"
    reasoner.fitting = False
    ticks.tell("keep 28$")
    draft = ticks.propose()
    assert words(draft) == "keep 28$" and set(draft.sources) == {SpanSource.PREVIOUS_TICK}
    assert words(ticks.propose("keep 3")) == "8$", "it goes on without"
    ticks.drafter.reset()
    ticks.drafter.begin()
    assert len(ticks.propose()) == 0


def test_after_a_reset_there_is_no_last_text() -> None:
    reasoner = Told(follows("keep 28$"))
    ticks = after("keep 28$", reasoner)
    ticks.propose()
    assert reasoner.pointer.old == tuple(map(ord, "keep 28$"))
    ticks.drafter.reset()
    ticks.drafter.begin()
    ticks.propose()
    assert reasoner.pointer.old == ()


def test_a_judgement_that_is_no_number_drafts_nothing() -> None:
    """Pictures or a motion that are not finite."""
    assert (
        len(after("keep$", Told(lambda text: dict.fromkeys("kept", float("nan")))).propose()) == 0
    )


def test_phrases_tell_what_most_often_followed_the_longest_end() -> None:
    phrases = Phrases([((1, 2, 3, 4, 5), 3), ((9, 2, 3, 4, 6), 5), ((7, 4, 8), 1)])
    assert phrases.next((1, 2, 3, 4)) == 5
    assert phrases.next((8, 2, 3, 4)) == 6, "of its last two tokens"
    assert phrases.next((7, 4)) == 8, "a beginning is a run of its own"
    assert phrases.next((0, 4)) == 6
    assert phrases.next(()) == 9
    assert phrases.next((0,)) is None
    assert Phrases([((1, 2), 1), ((1, 3), 1)]).next((1,)) == 2, "of equals the lowest"
    assert Phrases(()).next((1, 2)) is None
    with pytest.raises(ValueError, match="from 0 to"):
        Phrases([((1, 1 << 15), 1)])
