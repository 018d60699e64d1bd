"""Sampling rules: `coupled` tells what plain sampling tells, `rejection` as often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import MAX_TOKENS, Scripted, assert_same, observation, run
from scipy.stats import chisquare
from tables import RandomDrafter, TableTarget, tell, texts

from rsd_planner.decoding import tree
from rsd_planner.decoding.acceptance import Coupled, Greedy, Rejection
from rsd_planner.decoding.drafters.previous_tick import PreviousTickDrafter
from rsd_planner.decoding.sampling import GumbelNoise, Sampling, nucleus
from rsd_planner.interfaces import Acceptance, Drafter
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource, Verdict, Verification

VOCAB, LENGTH, RUNS = 4, 3, 3000
SAMPLING = Sampling(temperature=0.8, top_p=0.95)
NO_GAPS = (1.0,) * (LENGTH + 1)


def chain(tokens: tuple[int, ...]) -> Draft:
    return Draft(tokens, (SpanSource.LOOKUP,) * len(tokens))


def warped(logits: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """Temperature and nucleus of one row, spelled out."""
    probs = np.exp(logits / temperature - np.max(logits / temperature))
    probs /= probs.sum()
    kept = [p if probs[probs > p].sum() < top_p else 0.0 for p in probs]
    return np.array(kept) / np.sum(kept)


@given(
    st.lists(st.floats(-6, 6, width=32), min_size=2, max_size=80),
    st.floats(0.2, 2.0),
    st.floats(0.05, 0.99),
)
def test_probabilities_are_those_of_temperature_then_nucleus(
    row: list[float], temperature: float, top_p: float
) -> None:
    logits = torch.tensor([[*row, -torch.inf]])
    ours = Sampling(temperature, top_p).probs(logits)[0].numpy()
    flat = np.exp(np.array(row) / temperature)
    edges = np.cumsum(np.sort(flat / flat.sum())[::-1])
    if np.abs(edges - top_p).min() < 1e-5:
        return  # rounding decides which side of the edge a token is on
    np.testing.assert_allclose(ours, warped(logits[0].numpy(), temperature, top_p), atol=1e-5)


def test_nucleus_of_a_flat_distribution_is_found_by_looking_further() -> None:
    probs = torch.full((2, 500), 1 / 500)
    probs[1] = torch.linspace(1, 2, 500).softmax(0)
    kept = nucleus(probs, 0.9)
    assert kept[0].all()
    assert 0.9 <= float(probs[1][kept[1]].sum()) < 0.9 + 2 * float(probs[1].max())


def test_noise_is_of_seed_and_position_however_it_is_asked_for() -> None:
    like = torch.empty(3, 7)
    whole = GumbelNoise(5).rows(0, 200, like)
    late = GumbelNoise(5)
    assert torch.equal(late.rows(70, 3, like), whole[70:73])
    assert torch.equal(late.rows(2, [0, 1, 1, 150], like), whole[[2, 3, 3, 152]])
    assert not torch.equal(GumbelNoise(6).rows(0, 200, like), whole)
    assert abs(float(GumbelNoise(0).rows(0, 2000, like).mean()) - 0.5772) < 0.05


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    vocab=st.integers(2, 9),
    temperature=st.floats(0.1, 3.0),
    top_p=st.floats(0.1, 1.0),
    budget=st.integers(1, 8),
)
def test_coupled_text_is_the_plain_one_of_the_same_seed(
    seed: int, vocab: int, temperature: float, top_p: float, budget: int
) -> None:
    sampling, target = Sampling(temperature, top_p, seed), TableTarget(vocab, seed)
    plain = tell(target, Coupled(sampling), max_tokens=12)
    rule, previous = Coupled(sampling), PreviousTickDrafter()
    for drafter in (RandomDrafter(vocab, seed, longest=8), previous, previous):
        other = tell(target, rule, drafter, max_tokens=12, budget=budget)
        assert other.tokens == plain.tokens
        assert other.top2_gaps == pytest.approx(plain.top2_gaps, abs=1e-5)
    assert other.accepted == len(plain.tokens) or budget < len(plain.tokens)


def test_coupled_texts_of_a_model_are_the_plain_ones(tiny: Checkpoint) -> None:
    scene = observation(1, 2)
    told = set()
    for seed in range(4):
        sampling = Sampling(temperature=1.5, top_p=0.9, seed=seed)
        plain = run(tiny, scene, rule=Coupled(sampling))
        text = plain.decoded.tokens
        broken = [(*text[:3], text[0], *text[4:]), text[4:9], text[5:]]
        for drafts in ([text], broken, [text[1:]] * 9):
            drafter = Scripted(drafts)
            assert_same(plain, run(tiny, scene, drafter, MAX_TOKENS, rule=Coupled(sampling)))
        told.add(text)
    assert len(told) == 4, "sampled texts of different seeds differ"


def test_cold_sampling_is_greedy(tiny: Checkpoint) -> None:
    cold = run(tiny, observation(2, 1), rule=Coupled(Sampling(temperature=1e-4, top_p=1.0)))
    assert_same(run(tiny, observation(2, 1)), cold)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    probs=st.sampled_from([
        (0.5, 0.3, 0.18, 0.02), (0.7, 0.2, 0.08, 0.01, 0.01), (0.4, 0.39, 0.19, 0.01, 0.01),
        (0.9, 0.04, 0.04, 0.02),
    ]),
)  # fmt: skip
def test_a_choice_that_rounding_can_change_is_known_by_its_gap(
    seed: int, probs: tuple[float, ...]
) -> None:
    """The nucleus' edge at 0.98 lies on a token here, so that a last bit moves it."""
    rng = np.random.default_rng(seed)
    exact = np.log(probs)
    rule = Coupled(Sampling(temperature=1.0, top_p=0.98, seed=seed))
    verdicts = [
        rule.accept(
            Verification(torch.tensor(exact + rng.normal(scale=2e-6, size=len(exact)))[None]),
            Draft(),
            0,
        )
        for _ in range(8)
    ]
    if len({verdict.token for verdict in verdicts}) > 1:
        assert min(verdict.gaps[0] for verdict in verdicts) < 1e-4


def fit(make: Callable[[int], tuple[Acceptance, Drafter | None]], runs: int = RUNS) -> float:
    """The p-value of texts against their exact probabilities (Pearson's chi-square)."""
    target = TableTarget(VOCAB, seed=11)
    expected = {}
    for text in texts(VOCAB, LENGTH):
        steps = [
            warped(target.logits(text[:i]).numpy(), SAMPLING.temperature, SAMPLING.top_p)[token]
            for i, token in enumerate(text)
        ]
        expected[text] = float(np.prod(steps))
    assert sum(expected.values()) == pytest.approx(1.0)
    told: Counter[tuple[int, ...]] = Counter()
    for number in range(runs):
        rule, drafter = make(number)
        told[tell(target, rule, drafter, LENGTH).tokens] += 1
    assert all(expected[text] > 0 for text in told), "a text that cannot be was told"
    common = [text for text, p in expected.items() if p * runs >= 5]
    counts = [told[text] for text in common]
    wanted = [runs * expected[text] for text in common]
    if runs - sum(wanted) >= 5:
        counts.append(runs - sum(counts))
        wanted.append(runs - sum(wanted))
    scale = sum(counts) / sum(wanted)
    return float(chisquare(counts, np.array(wanted) * scale).pvalue)


class TriesSiblingsAfresh(Rejection):
    """Broken: a sibling is tried as if none had been rejected before it."""

    def accept(self, step: Verification, draft: Draft, position: int) -> Verdict:
        whole = self._sampling.probs(step.logits)
        behind = tree.children(draft)
        path: list[int] = []
        row = 0
        while True:
            probs, drawn = whole[row], torch.rand(len(draft), generator=self._generator)
            hit = [n for n in behind[row] if drawn[n] < probs[draft.tokens[n]]]
            if not hit:
                break
            path.append(hit[0])
            row = hit[0] + 1
        tried = torch.tensor([draft.tokens[n] for n in behind[row]], dtype=torch.long)
        left = whole[row].index_fill(0, tried, 0.0)
        drawn_from = left if left.any() else whole[row]
        token = int(torch.multinomial(drawn_from, 1, generator=self._generator))
        return Verdict(tuple(path), token, NO_GAPS[: len(path) + 1])


class Forking:
    """Drafts two or three branches at once that begin with different tokens, or with the same."""

    name = "forking"

    def __init__(self) -> None:
        self._chains = RandomDrafter(VOCAB, seed=5)
        self._rng = np.random.default_rng(5)

    def begin(self) -> None: ...

    def propose(self, context: DraftContext) -> Draft:
        branches = [self._chains.propose(context) for _ in range(self._rng.integers(2, 4))]
        if self._rng.random() < 0.7:
            return tree.merge(branches)
        tokens = sum((branch.tokens for branch in branches), ())
        firsts = [node for branch in branches for node in range(len(branch))]
        parents = [-1 if first == 0 else at - 1 for at, first in enumerate(firsts)]
        return Draft(tokens, (SpanSource.LOOKUP,) * len(tokens), tuple(parents))

    def end(self, decoded: Decoded) -> None: ...

    def reset(self) -> None: ...


class KeepsWhatWasRejected(Rejection):
    """Broken: a rejected token may still be drawn in its place."""

    def accept(self, step: Verification, draft: Draft, position: int) -> Verdict:
        probs = self._sampling.probs(step.logits)
        path: tuple[int, ...] = ()
        for index, token in enumerate(draft.tokens):
            if torch.rand((), generator=self._generator) >= probs[index, token]:
                break
            path = (*path, index)
        token = int(torch.multinomial(probs[len(path)], 1, generator=self._generator))
        return Verdict(path, token, NO_GAPS[: len(path) + 1])


class RepeatsItsNoise(Rejection):
    """Broken: the noise depends on the position alone, so drafts of earlier ticks know it."""

    def accept(self, step: Verification, draft: Draft, position: int) -> Verdict:
        self._generator.manual_seed(position)
        return super().accept(step, draft, position)


def with_one(rule: Acceptance, drafter: Drafter | None) -> Callable[[int], tuple]:
    return lambda _: (rule, drafter)


def drafters() -> dict[str, Drafter | None]:
    return {
        "none": None,
        "random": RandomDrafter(VOCAB, seed=2),
        "previous_tick": PreviousTickDrafter(),
        "forking": Forking(),
    }


@pytest.mark.parametrize("name", list(drafters()))
def test_rejection_tells_each_text_as_often_as_it_should(name: str) -> None:
    assert fit(with_one(Rejection(SAMPLING), drafters()[name])) > 1e-3


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (KeepsWhatWasRejected, "random"),
        (RepeatsItsNoise, "previous_tick"),
        (TriesSiblingsAfresh, "forking"),
        (Greedy, "random"),
    ],
)
def test_the_same_statistic_finds_a_broken_rule(
    broken: Callable[..., Acceptance], name: str
) -> None:
    rule = broken() if broken is Greedy else broken(SAMPLING)
    assert fit(with_one(rule, drafters()[name])) < 1e-6


def test_coupled_tells_each_text_as_often_as_it_should_over_seeds() -> None:
    def rule(seed: int) -> tuple[Acceptance, Drafter]:
        sampling = Sampling(SAMPLING.temperature, SAMPLING.top_p, seed)
        return Coupled(sampling), RandomDrafter(VOCAB, seed)

    assert fit(rule, runs=2000) > 1e-3


def test_rejection_repeats_itself_with_its_seed() -> None:
    def told(seed: int) -> list[tuple[int, ...]]:
        rule, drafter = Rejection(Sampling(seed=seed)), RandomDrafter(VOCAB, 0)
        target = TableTarget(VOCAB, seed=1)
        return [tell(target, rule, drafter, 6).tokens for _ in range(20)]

    assert told(3) == told(3) != told(4)


def test_a_certain_draft_is_accepted_whole() -> None:
    logits = torch.full((3, 5), -torch.inf)
    logits[:, 2] = 0.0
    for rule in (Greedy(), Coupled(SAMPLING), Rejection(SAMPLING)):
        verdict = rule.accept(Verification(logits), chain((2, 2)), 0)
        assert (verdict.path, verdict.token) == ((0, 1), 2)
        verdict = rule.accept(Verification(logits), chain((2, 1)), 0)
        assert (verdict.path, verdict.token) == ((0,), 2)
