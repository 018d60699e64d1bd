"""The controller drafts as much as pays off, and risks next to nothing. Time is modelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Scripted, assert_same, observation, run
from tables import HISTORY, PROMPT, TableTarget

from rsd_planner.build import build_planner
from rsd_planner.config import PlannerSettings
from rsd_planner.decoding import tree
from rsd_planner.decoding.acceptance import Coupled, Greedy
from rsd_planner.decoding.controller import AcceptanceEstimate, DraftController, ForwardCost
from rsd_planner.decoding.decoder import DecodeLimits, decode
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.decoding.drafters.previous_tick import PreviousTickDrafter
from rsd_planner.decoding.sampling import Sampling
from rsd_planner.evaluation.benchmark import OracleDrafter
from rsd_planner.evaluation.proposals import Listener
from rsd_planner.interfaces import DraftControl
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.planning.planner import Planner
from rsd_planner.types import Decoded, Draft, DraftContext, Prompt, SpanSource, Verification

LOOKUP, ROUTINE = SpanSource.LOOKUP, SpanSource.ROUTINE
VOCAB, LENGTH, PREFILL_S = 40, 30, 12.0
ROW_S, STEP_S = 0.05, 0.3


def chain(tokens: Sequence[int], source: SpanSource = LOOKUP) -> Draft:
    return Draft(tuple(tokens), (source,) * len(tokens))


class Clock:
    """Time that only passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedTarget(TableTarget):
    """Takes the time of a CPU: 1 s for one token, a step for a second, a slope for more."""

    def __init__(self, seed: int, clock: Clock, noise: float = 0.05) -> None:
        super().__init__(VOCAB, seed)
        self._clock = clock
        self._noise = np.random.default_rng(seed)
        self._share = noise

    def prefill(self, prompt: Prompt, draft: Draft) -> Verification:
        self._clock.now += PREFILL_S + ROW_S * len(draft)
        return super().prefill(prompt, draft)

    def verify(self, last_token: int, draft: Draft) -> Verification:
        seconds = 1.0 + (STEP_S + ROW_S * len(draft) if len(draft) else 0.0)
        self._clock.now += seconds * (1 + self._share * self._noise.normal())
        return super().verify(last_token, draft)


class TimedDrafter:
    """Drafts what a function of tick, true text and place gives, and takes its time."""

    name = "timed"

    def __init__(self, draft: Callable[[int, tuple[int, ...], int], Draft], seconds: float) -> None:
        self._draft, self._seconds = draft, seconds
        self.clock: Clock | None = None
        self.tick, self.text = 0, ()

    def begin(self) -> None: ...

    def propose(self, context: DraftContext) -> Draft:
        assert self.clock is not None
        self.clock.now += self._seconds
        return self._draft(self.tick, self.text, len(context.committed))

    def end(self, decoded: Decoded) -> None: ...

    def reset(self) -> None: ...


def spent(
    draft: Callable[[int, tuple[int, ...], int], Draft],
    ticks: int,
    seconds: float = 0.02,
    make: Callable[[Clock], DraftControl | None] = DraftController,
) -> tuple[np.ndarray, np.ndarray]:
    """Reasoning seconds (ticks,) with a drafter and with none, each tick another text."""
    clock, drafter = Clock(), TimedDrafter(draft, seconds)
    drafter.clock = clock
    control = make(clock)
    limits = DecodeLimits(VOCAB - 1, LENGTH, 48, VOCAB)
    times = np.zeros((2, ticks))
    for tick in range(ticks):
        target = TimedTarget(tick, clock)
        start = clock.now
        plain = decode(target, NoDrafter(), Greedy(), PROMPT, HISTORY, limits, clock=clock)
        times[1, tick] = clock.now - start - PREFILL_S
        drafter.tick, drafter.text = tick, plain.tokens
        start = clock.now
        ours = decode(
            target, drafter, Greedy(), PROMPT, HISTORY, limits, clock=clock, control=control
        )
        times[0, tick] = clock.now - start - PREFILL_S
        assert ours.tokens == plain.tokens
    return times[0], times[1]


def wrong(text: tuple[int, ...], place: int, good: int = 0) -> Draft:
    """The text's next `good` tokens, then none of its."""
    rest = text[place:]
    return chain([*rest[:good], *((token + 1) % VOCAB for token in (*rest[good:], *text))])


def perfect(text: tuple[int, ...], place: int) -> Draft:
    return chain(text[place:])


def bushy(text: tuple[int, ...], place: int) -> Draft:
    wrongs = [[(t + k) % VOCAB for t in (text[place:] or (0,))] for k in range(1, 5)]
    return tree.merge(chain(tokens) for tokens in wrongs)


HOPELESS: dict[str, Callable[[int, tuple[int, ...], int], Draft]] = {
    "always wrong": lambda tick, text, place: wrong(text, place),
    "a wrong tree": lambda tick, text, place: bushy(text, place),
    "empty": lambda tick, text, place: Draft(),
    "right once in a while": lambda tick, text, place: wrong(text, place, int(place % 10 == 0)),
    "right at first, to win trust": lambda tick, text, place: (
        perfect(text, place) if tick < 6 else wrong(text, place)
    ),
    "wrong when trusted": lambda tick, text, place: wrong(text, place, 4 * (tick // 3 % 2 == 0)),
    "another source each time": lambda tick, text, place: chain(
        wrong(text, place).tokens, SpanSource((tick + place) % 3 + 1)
    ),
}


@pytest.mark.parametrize("seconds", [0.0, 0.05, 1.0, 20.0])
@pytest.mark.parametrize("kind", list(HOPELESS))
def test_hopeless_drafts_cost_less_than_a_twentieth(kind: str, seconds: float) -> None:
    ours, plain = spent(HOPELESS[kind], ticks=50, seconds=seconds)
    assert ours.sum() <= 1.05 * plain.sum()
    if seconds <= 1.0:  # one call of a dearer one shows in twenty ticks
        assert ours[-20:].sum() <= 1.05 * plain[-20:].sum()


def test_the_adversary_would_cost_much_without_control() -> None:
    ours, plain = spent(HOPELESS["always wrong"], ticks=5, seconds=0.05, make=lambda _: None)
    assert ours.sum() > 1.5 * plain.sum()


def test_perfect_drafts_are_soon_verified_whole() -> None:
    def draft(tick: int, text: tuple[int, ...], place: int) -> Draft:
        return perfect(text, place)

    ours, plain = spent(draft, ticks=20)
    free, _ = spent(draft, ticks=20, make=lambda _: None)
    assert ours[3:].sum() <= 1.1 * free[3:].sum()
    assert ours.sum() < 0.2 * plain.sum()


def test_half_right_drafts_are_cut_where_they_stop_paying() -> None:
    def draft(tick: int, text: tuple[int, ...], place: int) -> Draft:
        return wrong(text, place, good=4)

    ours, plain = spent(draft, ticks=30)
    free, _ = spent(draft, ticks=30, make=lambda _: None)
    assert ours[10:].sum() < 0.75 * free[10:].sum()
    assert ours[10:].sum() < 0.45 * plain[10:].sum()


def test_drafts_that_become_good_are_noticed() -> None:
    def draft(tick: int, text: tuple[int, ...], place: int) -> Draft:
        return wrong(text, place) if tick < 30 else perfect(text, place)

    ours, plain = spent(draft, ticks=45)
    assert ours[:30].sum() <= 1.05 * plain[:30].sum()
    assert ours[-5:].sum() < 0.2 * plain[-5:].sum()


def test_of_a_tree_the_likely_branch_is_verified() -> None:
    def draft(tick: int, text: tuple[int, ...], place: int) -> Draft:
        rest = text[place:]
        sides = [chain([(rest[0] + k) % VOCAB] * 5, ROUTINE) for k in (1, 2, 3)]
        return tree.merge([chain([(rest[0] + 4) % VOCAB] * 5, ROUTINE), chain(rest), *sides])

    ours, plain = spent(draft, ticks=30)
    free, _ = spent(draft, ticks=30, make=lambda _: None)
    assert ours[10:].sum() < free[10:].sum() < plain[10:].sum()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.floats(0.0, 3.0))
def test_control_never_changes_the_text(seed: int, ticks: int, seconds: float) -> None:
    rng = np.random.default_rng(seed)

    def draft(tick: int, text: tuple[int, ...], place: int) -> Draft:
        good = chain([*text[place : place + int(rng.integers(9))], int(rng.integers(VOCAB))])
        return tree.merge([good, wrong(text, place, int(rng.integers(5))), bushy(text, place)])

    spent(draft, ticks, seconds)  # compares the texts


def test_a_model_tells_the_same_under_control(tiny: Checkpoint) -> None:
    rule, drafter, control = Coupled(Sampling(seed=1)), PreviousTickDrafter(), DraftController()
    drafted = 0
    for scene in (observation(1, 2), observation(1, 2), observation(2, 2), observation(1, 2)):
        plain = run(tiny, scene, rule=rule)
        other = run(tiny, scene, drafter, rule=rule, control=control)
        assert_same(plain, other)
        drafted += other.decoded.accepted
    assert drafted > 0


def test_a_planner_under_control_plans_the_same(tiny_folder: Path) -> None:
    def made(**values: str) -> Planner:
        return build_planner(
            PlannerSettings.from_mapping({"model_path": str(tiny_folder), **values})
        )

    controlled, plain = made(draft_control="on"), made(drafter="none")
    other, drafted = PreviousTickDrafter(), 0
    for tick in range(5):
        seen = replace(observation(tick // 3, 2), tick=tick, t0_ns=tick)
        theirs = plain.plan(seen)
        ours = controlled.plan(seen)
        assert ours.decoded.tokens == theirs.decoded.tokens
        prompt = controlled.parts.prompts.build(seen)
        beside = controlled.decode(prompt, seen.history, other)
        assert beside.tokens == theirs.decoded.tokens
        drafted += ours.decoded.proposed
    assert drafted > 0


def test_an_oracle_is_not_held_back(tiny_folder: Path) -> None:
    """A fresh controller asks for no draft before it has timed a plain forward."""
    planner = build_planner(
        PlannerSettings.from_mapping({"model_path": str(tiny_folder), "draft_control": "on"})
    )
    seen, oracle = observation(1, 2), OracleDrafter()
    prompt = planner.parts.prompts.build(seen)
    oracle.text = planner.decode(prompt, seen.history, NoDrafter()).tokens
    whole = planner.decode(prompt, seen.history, Listener(oracle))
    assert whole.tokens == oracle.text
    assert whole.target_forwards == 1
    held_back = planner.decode(prompt, seen.history, Scripted([oracle.text]))
    assert held_back.target_forwards > 1


def test_a_forward_costs_a_step_and_a_slope() -> None:
    cost, rng = ForwardCost(), np.random.default_rng(0)
    for _ in range(200):
        rows = int(rng.integers(1, 40))
        seconds = 2.8 if rows == 1 else 3.6 + 0.13 * rows
        cost.observe(rows, seconds * rng.normal(1.0, 0.03))
    assert cost.plain_s == pytest.approx(2.8, rel=0.05)
    assert cost.row_s == pytest.approx(0.13, rel=0.15)
    assert cost.step_s == pytest.approx(0.93, abs=0.3)


def test_a_hiccup_is_no_new_price() -> None:
    cost = ForwardCost()
    for _ in range(30):
        cost.observe(1, 1.0)
        cost.observe(11, 1.8)
    assert cost.observe(11, 500.0) < 6.0
    assert cost.observe(1, 500.0) == pytest.approx(3.0)
    for _ in range(40):
        cost.observe(1, 2.0)
    assert cost.plain_s == pytest.approx(2.0, rel=0.01)


def test_acceptance_is_known_by_source_place_and_rank() -> None:
    estimate = AcceptanceEstimate()
    fork = tree.merge([chain([1, 2, 9, 9]), chain([5, 6], ROUTINE)])
    for _ in range(60):
        estimate.learn(fork, (1, 2, 3, 4), fused=True)
    assert estimate.chance(LOOKUP, 0, 0, True) > 0.95
    assert estimate.chance(LOOKUP, 1, 0, True) > 0.95
    assert estimate.chance(LOOKUP, 3, 0, True) < 0.1
    assert estimate.chance(ROUTINE, 0, 1, True) < 0.05
    unseen = AcceptanceEstimate()
    assert estimate.chance(ROUTINE, 1, 0, True) == unseen.chance(ROUTINE, 1, 0, True)
    assert estimate.chance(LOOKUP, 0, 0, False) == unseen.chance(LOOKUP, 0, 0, False)
    reach = estimate.reach(fork, fused=True)
    assert reach[0] > reach[1] > reach[2] > reach[3]
    assert max(reach[4:]) < 0.05
    assert estimate.reach(fork, fused=True, least=0.5)[4:] == [0.0, 0.0]


def test_rows_that_seem_to_cost_nothing_are_no_reason_to_fail() -> None:
    """On a noisy machine wider forwards may have been the quicker ones."""
    cost = ForwardCost()
    for rows, seconds in ((1, 1.0), *(((2, 2.9), (40, 1.5)) * 8)):
        cost.observe(rows, seconds)
    assert cost.row_s == 0.0 and cost.step_s > 0.1
    control = DraftController(Clock(), cost)
    control._fused, control._purse = False, 0.0
    assert control._best(chain(range(9)))[0] == []
