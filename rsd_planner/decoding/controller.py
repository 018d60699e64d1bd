"""How much of a draft to verify, so that the text comes soonest.

A drafted token is worth the time that it saves if it is accepted and costs the time by which it
makes the forward longer. How likely a token is to be accepted is estimated by who drafted it and
how far into the draft it stands; what a forward costs by its width is measured on this machine.
Of a tree the likeliest nodes are verified (EAGLE-2 2024). What was not verified teaches as well,
since the text shows afterwards whether it would have been accepted.

Estimates may be wrong, so every risk is paid from a purse: it earns a small share of plain
decoding's time and what accepted tokens save, and a draft that it cannot pay for is not asked
for or not verified. So hopeless drafts cost no more than that share. With the rule `rejection` the
text depends on what is verified, so here on the machine's speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rsd_planner.decoding import tree
from rsd_planner.types import Draft, SpanSource

__all__ = ["AcceptanceEstimate", "DraftController", "ForwardCost", "VerifyAll"]

SLACK = 0.03  # share of plain decoding's time that may be lost
# In plain forwards:
START, MOST = 2.0, 12.0  # what the purse holds at first, and at most
RESERVE = 1.0  # what exploring leaves in it
ROW = 0.05  # what one more token in a forward costs, before it was measured

_OUTLIER = 3.0  # a time so many times the estimate counts as that many
_RECENT = 0.2  # weight of a new time or gain in a mean
_FORGETTING = 0.97  # weight of an old observation for each newer one
_FORGIVING = 0.999  # what a drafter's time counts less for each time that it was not asked


class VerifyAll:
    """No control: every draft is asked for and verified as it is."""

    def begin(self) -> None:
        """Nothing to prepare."""

    def asks(self) -> bool:
        """Always."""
        return True

    def choose(self, draft: Draft, committed: int) -> Draft:
        """All of it."""
        return draft

    def verified(self, accepted: int) -> None:
        """Nothing to note."""

    def end(self, text: Sequence[int]) -> None:
        """Nothing to learn."""


class DraftController:
    """Chooses what to draft and to verify by what it has seen; see `interfaces.DraftControl`.

    One for each drafter; what forwards cost may be shared. Times are seconds of the clock that
    is passed in.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, cost: ForwardCost | None = None
    ) -> None:
        self._clock = clock
        self.cost = cost or ForwardCost()
        self.acceptance = AcceptanceEstimate()
        self._purse: float | None = None  # seconds; None while a plain forward's are unknown
        self._spent_s = self._told = 0.0  # recent forwards' time, and the tokens they brought
        self._phases = {True: _Phase(), False: _Phase()}  # the first draft of a tick, later ones
        self.begin()

    def begin(self) -> None:
        """A tick starts with the forward that reads its prompt."""
        self._fused = True
        self._proposed: list[tuple[int, bool, Draft]] = []  # with its place in the text
        self._rows = 0  # drafted tokens in the forward that runs
        self._asked_s = self._ready_s = self._clock()

    def asks(self) -> bool:
        """Whether a draft is worth the drafter's time."""
        self._rows = 0
        self._asked_s = self._ready_s = self._clock()
        if not self.cost.plain_s:
            return False
        if self._purse is None:
            self._purse = START * self.cost.plain_s
        phase, other = self._phases[self._fused], self._phases[not self._fused]
        left = self._purse - (phase if phase.is_known else other).drafting_s
        if left > (0.0 if phase.worth_s > 0 else RESERVE * self.cost.plain_s):
            return True
        phase.drafting_s *= _FORGIVING  # the calls before may have been cold ones
        return False

    def choose(self, draft: Draft, committed: int) -> Draft:
        """What of a draft to verify; `committed` tokens of the text stand before it."""
        assert self._purse is not None
        self._proposed.append((committed, self._fused, draft))
        nodes, gain_s = self._best(draft)
        self._ready_s = self._clock()
        drafting_s = self._ready_s - self._asked_s
        self._phases[self._fused].note(drafting_s, gain_s - drafting_s)
        self._purse -= drafting_s
        if not self._fused:
            self._spent_s += drafting_s
        self._rows = len(nodes)
        return draft if len(nodes) == len(draft) else tree.select(draft, sorted(nodes))

    def verified(self, accepted: int) -> None:
        """A forward ended; so many drafted tokens were accepted, and one more was told."""
        seconds = self._clock() - self._ready_s
        fused, self._fused = self._fused, False
        if not fused:
            seconds = self.cost.observe(1 + self._rows, seconds)
            self._spent_s = _FORGETTING * self._spent_s + seconds
            self._told = _FORGETTING * self._told + accepted + 1
        if self._purse is None:
            return
        plain_s = self.cost.plain_s
        if self._rows:
            lost_s = self.cost.row_s * self._rows if fused else seconds - plain_s
            self._purse += accepted * plain_s - lost_s
        self._purse += SLACK * plain_s * (accepted + 1)
        self._purse = min(self._purse, MOST * plain_s)

    def end(self, text: Sequence[int]) -> None:
        """The tick's text: what of all drafts was, or would have been, accepted."""
        for committed, fused, draft in self._proposed:
            self.acceptance.learn(draft, text[committed:], fused)

    def _best(self, draft: Draft) -> tuple[list[int], float]:
        """The nodes that save most time for what the purse can pay, and the time saved.

        The time is that of the best choice, payable or not.
        """
        price_s, row_s = self._price_s(), self.cost.row_s
        step_s = 0.0 if self._fused else self.cost.step_s
        reach = self.acceptance.reach(draft, self._fused, least=row_s / price_s)
        nodes = [node for node, likely in enumerate(reach) if likely]  # each earns its row
        gain_s = price_s * sum(reach) - row_s * len(nodes) - step_s
        if gain_s <= 0:
            return [], 0.0
        left_s = (self._purse or 0.0) - step_s
        if row_s * len(nodes) > left_s:
            # A parent is at least as likely as its children, and sorting keeps their order.
            nodes.sort(key=lambda node: -reach[node])
            nodes = nodes[: int(left_s / row_s)] if left_s > 0 else []  # rows may be free
            if price_s * sum(reach[node] for node in nodes) <= row_s * len(nodes) + step_s:
                return [], gain_s
        return nodes, gain_s

    def _price_s(self) -> float:
        """What a token of the text costs if it is not accepted here: the recent mean."""
        if self._told < 1.0:
            return self.cost.plain_s
        return min(self._spent_s / self._told, self.cost.plain_s)


class _Phase:
    """What asking for a draft has brought lately."""

    def __init__(self) -> None:
        self.drafting_s = 0.0  # a call's time
        self.worth_s = 1.0  # what a call saves; unknown is worth a try
        self.is_known = False

    def note(self, drafting_s: float, worth_s: float) -> None:
        weight = _RECENT if self.is_known else 1.0
        if self.is_known:
            drafting_s = min(drafting_s, _OUTLIER * self.drafting_s)
        # What is dear once counts at once: it must be paid before it is asked again.
        self.drafting_s = max(drafting_s, self.drafting_s + weight * (drafting_s - self.drafting_s))
        self.worth_s += weight * (worth_s - self.worth_s)
        self.is_known = True


class ForwardCost:
    """A forward's time by its tokens: a mean for one token, a line for more.

    One token more than one is a step on a CPU (a matrix for a vector), further ones a slope.
    """

    def __init__(self) -> None:
        self.plain_s = 0.0  # of one token; 0 is unknown
        self._weight = self._mean_rows = self._mean_s = 0.0
        self._var = self._cov = 0.0  # weighted sums about the means

    @property
    def row_s(self) -> float:
        """What one more token costs, next to many others."""
        prior = ROW * self.plain_s
        # Until widths differ by about two tokens, the slope is mostly the prior one.
        return max((self._cov + 4.0 * prior) / (self._var + 4.0), 0.0)

    @property
    def step_s(self) -> float:
        """What a forward costs for having more than one token, beside those tokens."""
        if not self._weight:
            return 0.0
        return max(self._mean_s - self.row_s * (self._mean_rows - 1) - self.plain_s, 0.0)

    def observe(self, rows: int, seconds: float) -> float:
        """A forward of `rows` tokens took so long. Returns what is believed of it."""
        if not self.plain_s:
            self.plain_s = seconds if rows == 1 else 0.0
            return seconds
        expected = self.plain_s
        if rows > 1:
            expected += self.step_s + self.row_s * (rows - 1)
        seconds = min(seconds, _OUTLIER * expected)
        if rows == 1:
            self.plain_s += _RECENT * (seconds - self.plain_s)
            return seconds
        old = _FORGETTING * self._weight
        self._weight = old + 1.0
        by_rows, by_s = rows - self._mean_rows, seconds - self._mean_s
        self._mean_rows += by_rows / self._weight
        self._mean_s += by_s / self._weight
        share = old / self._weight
        self._var = _FORGETTING * self._var + share * by_rows * by_rows
        self._cov = _FORGETTING * self._cov + share * by_rows * by_s
        return seconds


class AcceptanceEstimate:
    """How likely a drafted token is accepted, given that all before it were.

    By who drafted it, how far into the draft, how many siblings come first, and whether the
    draft is a tick's first one. Places are counted together that share a binary length: 0, 1,
    2–3, 4–7, …
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[bool, SpanSource, int, int], list[float]] = {}

    def chance(self, source: SpanSource, place: int, rank: int, fused: bool) -> float:
        """The share of such tokens that were accepted, recent ones first."""
        accepted, seen = self._counts.get(_key(source, place, rank, fused), (0.0, 0.0))
        return (accepted + (1.5 if rank == 0 else 0.2)) / (seen + 2.0)

    def reach(self, draft: Draft, fused: bool, least: float = 0.0) -> list[float]:
        """For each node, how likely it and all before it are accepted; 0 up to `least`."""
        found = [0.0] * len(draft)
        if not draft.parents:
            likely = 1.0
            for place, source in enumerate(draft.sources):
                likely *= self.chance(source, place, 0, fused)
                if likely <= least:
                    break
                found[place] = likely
            return found
        places = tree.depths(draft)
        for parent, siblings in enumerate(tree.children(draft), start=-1):
            before = found[parent] if parent >= 0 else 1.0
            for rank, node in enumerate(siblings):
                chance = self.chance(draft.sources[node], places[node], rank, fused)
                found[node] = before * chance if before * chance > least else 0.0
        return found

    def learn(self, draft: Draft, text: Sequence[int], fused: bool) -> None:
        """A draft and the text that came in its place."""
        behind = tree.children(draft)
        node = -1
        for place, token in enumerate(text):
            siblings, before = behind[node + 1], node
            for rank, sibling in enumerate(siblings):
                key = _key(draft.sources[sibling], place, rank, fused)
                right = node == before and draft.tokens[sibling] == token
                counts = self._counts.setdefault(key, [0.0, 0.0])
                counts[0] = _FORGETTING * counts[0] + right
                counts[1] = _FORGETTING * counts[1] + 1.0
                if right:
                    node = sibling
            if node == before:
                return


def _key(
    source: SpanSource, place: int, rank: int, fused: bool
) -> tuple[bool, SpanSource, int, int]:
    return fused, source, place.bit_length(), min(rank, 2)
