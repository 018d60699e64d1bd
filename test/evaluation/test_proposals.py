"""What verification made of drafts, read from the drafts and the text."""

from __future__ import annotations

from rsd_planner.evaluation.proposals import (
    ROUTES,
    Listener,
    Proposal,
    Reached,
    acceptance_rows,
    reached,
    route_row,
)
from rsd_planner.types import Decoded, Draft, DraftContext, FinishReason, SpanKind, SpanSource

OLD, NEW = SpanSource.PREVIOUS_TICK, SpanSource.ROUTINE
TEXT = (5, 6, 7, 8, 9)


def chain(*tokens: int, source: SpanSource = OLD) -> Draft:
    return Draft(tokens, (source,) * len(tokens))


def test_tokens_up_to_the_first_wrong_one_are_reached():
    found = list(reached([Proposal(0, chain(5, 6, 1, 8))], TEXT))
    assert found == [Reached(0, OLD, True), Reached(1, OLD, True), Reached(2, OLD, False)]


def test_later_drafts_count_from_their_own_beginning():
    drafts = [Proposal(0, chain(1)), Proposal(1, chain(6, 7, source=NEW))]
    assert list(reached(drafts, TEXT)) == [
        Reached(0, OLD, False),
        Reached(0, NEW, True),
        Reached(1, NEW, True),
    ]


def test_nothing_behind_the_end_of_the_text_is_counted():
    assert len(list(reached([Proposal(3, chain(8, 9, 4, 4))], TEXT))) == 2


def test_rows_add_up_what_was_reached():
    ticks = [([Proposal(0, chain(*TEXT))], TEXT), ([Proposal(0, chain(5, 1))], TEXT)]
    rows = acceptance_rows("some", "streaming", ticks)
    assert sum(row["reached"] for row in rows) == 7
    assert sum(row["accepted"] for row in rows) == 6
    assert [(r["first_place"], r["last_place"]) for r in rows] == [(0, 0), (1, 1), (2, 3), (4, 7)]
    assert (rows[1]["reached"], rows[1]["accepted"]) == (2, 1)
    assert {row["source"] for row in rows} == {"previous_tick"}


def test_routes_say_who_wrote_and_what_was_not_verified():
    kinds = (SpanKind.ACCEPTED, SpanKind.ACCEPTED, SpanKind.CORRECTED, SpanKind.UNDRAFTED)
    told = Decoded(
        (5, 6, 7, 8), (OLD, NEW, SpanSource.TARGET, SpanSource.TARGET), kinds,
        FinishReason.COMPLETE, target_forwards=3, drafter_calls=2, proposed=4, accepted=2,
    )  # fmt: skip
    drafts = [Proposal(0, chain(5, 6, 1, 1, 1, 1))]
    row = route_row("some", "novel", [(drafts, told), ([], told)])
    assert {name: row[name] for name in ROUTES} == {
        "previous_tick": 2, "routine": 2, "lookup": 0, "corrected": 2, "undrafted": 2,
    }  # fmt: skip
    assert (row["ticks"], row["forwards"], row["drafts"]) == (2, 6, 1)
    assert (row["drafted"], row["verified"], row["accepted"]) == (6, 8, 4)


class _Fixed:
    """Drafts the same again and again."""

    name = "fixed"
    likes = "blue"

    def begin(self) -> None: ...

    def propose(self, context: DraftContext) -> Draft:
        return chain(1) if len(context.committed) < 2 else Draft()

    def end(self, decoded: object) -> None: ...

    def reset(self) -> None: ...


def test_a_listener_is_the_drafter_that_it_listens_to():
    listener = Listener(_Fixed())  # type: ignore[arg-type]
    assert listener.likes == "blue"
    for _ in range(2):
        listener.begin()
        for committed in ((), (5,), (5, 6)):
            context = DraftContext(None, None, committed, 8)  # type: ignore[arg-type]
            assert len(listener.propose(context)) == (len(committed) < 2)
        assert [proposal.start for proposal in listener.noted] == [0, 1], "of this tick alone"


def test_in_a_tree_the_accepted_branch_is_followed():
    # 5 → (1, 6 → 7), and 2 beside 5
    tree = Draft((5, 2, 1, 6, 7), (OLD, OLD, OLD, NEW, NEW), (-1, -1, 0, 0, 3))
    assert list(reached([Proposal(0, tree)], TEXT)) == [
        Reached(0, OLD, True),
        Reached(1, NEW, True),
        Reached(2, NEW, True),
    ]
    assert list(reached([Proposal(0, tree)], (5, 9))) == [
        Reached(0, OLD, True),
        Reached(1, OLD, False),
    ]
