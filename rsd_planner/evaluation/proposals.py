"""What drafters proposed, and what verification made of it: acceptance by place and by source.

The text is the target's, so a drafted token was accepted exactly if the text goes on with it. A
token is *reached* if all before it in its draft were accepted: shares are of reached tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rsd_planner.decoding import tree
from rsd_planner.interfaces import Drafter
from rsd_planner.types import Decoded, Draft, DraftContext, SpanKind, SpanSource

__all__ = [
    "PLACES",
    "ROUTES",
    "Listener",
    "Proposal",
    "Reached",
    "acceptance_rows",
    "reached",
    "route_row",
]

# Places in a draft, from 0 on, that are counted together: first and last.
PLACES = ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 511))
# Who wrote a token of the text: a drafter from one of its sources, or the target, in the place of
# a drafted token or where nothing was drafted.
ROUTES = ("previous_tick", "routine", "lookup", "corrected", "undrafted")


@dataclass(frozen=True)
class Proposal:
    """A draft and how many tokens of the text were committed before it."""

    start: int
    draft: Draft


@dataclass(frozen=True)
class Reached:
    """A place of a draft that verification came to."""

    place: int  # how many tokens of the draft come before it
    source: SpanSource  # of the accepted token, else of the first one that was proposed there
    accepted: bool


class Listener:
    """A drafter that notes what another one proposes. The other one's attributes are its own."""

    def __init__(self, drafter: Drafter) -> None:
        self._drafter = drafter
        self._noted: list[Proposal] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._drafter, name)

    def begin(self) -> None:
        """A tick starts: nothing is noted yet."""
        self._noted = []
        self._drafter.begin()

    def propose(self, context: DraftContext) -> Draft:
        """The other one's draft."""
        draft = self._drafter.propose(context)
        self._noted.append(Proposal(len(context.committed), draft))
        return draft

    def end(self, decoded: Decoded) -> None:
        """The tick's text, for the other one."""
        self._drafter.end(decoded)

    def reset(self) -> None:
        """Time jumped, for the other one."""
        self._drafter.reset()

    @property
    def noted(self) -> tuple[Proposal, ...]:
        """The drafts of the last tick that hold anything."""
        return tuple(proposal for proposal in self._noted if len(proposal.draft))


def reached(proposals: Iterable[Proposal], text: Sequence[int]) -> Iterator[Reached]:
    """What verification came to, draft by draft. Nothing behind the text's end is counted."""
    for start, draft in ((p.start, p.draft) for p in proposals):
        behind = tree.children(draft)
        node = -1
        for place, token in enumerate(text[start:]):
            options = behind[node + 1]
            if not options:
                break
            node = next((i for i in options if draft.tokens[i] == token), -1)
            shown = node if node >= 0 else options[0]
            yield Reached(place, draft.sources[shown], node >= 0)
            if node < 0:
                break


def acceptance_rows(
    name: str, split: str, ticks: Iterable[tuple[Sequence[Proposal], Sequence[int]]]
) -> list[dict[str, Any]]:
    """Counts of reached and accepted tokens of a drafter, for each source and group of places.

    `ticks` holds each tick's proposals and text.
    """
    counts: dict[tuple[SpanSource, int], list[int]] = {}
    for proposals, text in ticks:
        for one in reached(proposals, text):
            group = next(i for i, (_, last) in enumerate(PLACES) if one.place <= last)
            count = counts.setdefault((one.source, group), [0, 0])
            count[0] += 1
            count[1] += one.accepted
    return [
        {
            "drafter": name,
            "split": split,
            "source": source.name.lower(),
            "first_place": PLACES[group][0],
            "last_place": PLACES[group][1],
            "reached": seen,
            "accepted": good,
        }
        for (source, group), (seen, good) in sorted(counts.items())
    ]


def route_row(
    name: str, split: str, ticks: Iterable[tuple[Sequence[Proposal], Decoded]]
) -> dict[str, Any]:
    """Counts of who wrote the text, and of what was drafted, verified and accepted for it.

    `ticks` holds each tick's proposals and text. A controller shows in two places: forwards that
    had no draft, and drafted tokens that were not verified.
    """
    row = dict.fromkeys(
        ("ticks", "forwards", "drafts", "drafted", "verified", "accepted", *ROUTES), 0
    )
    for proposals, decoded in ticks:
        row["ticks"] += 1
        row["forwards"] += decoded.target_forwards
        row["drafts"] += len(proposals)
        row["drafted"] += sum(len(proposal.draft) for proposal in proposals)
        row["verified"] += decoded.proposed
        row["accepted"] += decoded.accepted
        for source, kind in zip(decoded.sources, decoded.kinds, strict=True):
            row[(source if kind is SpanKind.ACCEPTED else kind).name.lower()] += 1
    return {"drafter": name, "split": split, **row}
