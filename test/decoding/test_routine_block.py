"""The block drafter reads what the target has understood, and never changes the text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import MAX_TOKENS, assert_same, observation, run

from rsd_planner.build import drafter_resources
from rsd_planner.decoding.acceptance import make_rule
from rsd_planner.decoding.drafters.cascade_block import CascadeBlockDrafter
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.decoding.drafters.previous_tick import PreviousTickDrafter
from rsd_planner.decoding.drafters.routine_block import RoutineBlockDrafter
from rsd_planner.decoding.sampling import Sampling
from rsd_planner.errors import ConfigError
from rsd_planner.evaluation.known_texts import KnownFeatures
from rsd_planner.evaluation.proposals import Listener
from rsd_planner.models.block_reasoner import BlockReasoner, save_block
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.pointer import NOTHING
from rsd_planner.models.routine_block import BlockBatch, BlockConfig, BlockNet, tapped_layers
from rsd_planner.types import Decoded, Draft, DraftContext, FinishReason, SpanSource

VOCABULARY = tuple(range(10, 60))
END = 59
PROMPT, TEXT = 20, 12


def net_for(seed: int = 1, **others: object) -> BlockNet:
    """Random weights, drawn large enough for drafts to differ."""
    torch.manual_seed(seed)
    config = BlockConfig(
        vocabulary=VOCABULARY,
        target_vocab_size=400,
        target_hidden=32,
        target_layers=2,
        end_token=END,
        taps=(0, 1),
        hidden=48,
        layers=2,
        heads=2,
        intermediate=32,
        block=8,
        least_chance=0.0,
        rounds=60,
    )
    net = BlockNet(replace(config, **others)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)
    return net


def places() -> np.ndarray:
    """The target's positions: two words, a picture of 4 × 4, words."""
    rows, columns = np.divmod(np.arange(16), 4)
    picture = 2 + np.stack([0 * rows, rows, columns])
    behind = 6 + np.arange(PROMPT + TEXT - 18)
    return np.concatenate([np.tile([0, 1], (3, 1)), picture, np.tile(behind, (3, 1))], axis=1)


class Seen:
    """Features of the first `length` tokens."""

    def __init__(self, known: KnownFeatures, length: int) -> None:
        self._known, self._length = known, length

    def __len__(self) -> int:
        return self._length

    def rows(self, start: int) -> tuple[torch.Tensor, np.ndarray]:
        states, at = self._known.states, self._known.places
        return states[start : self._length], at[:, start : self._length]


@pytest.fixture
def known() -> KnownFeatures:
    generator = torch.Generator().manual_seed(0)
    return KnownFeatures(torch.randn(PROMPT + TEXT, 64, generator=generator), places(), PROMPT)


def batch_of(net: BlockNet, known: KnownFeatures, text: list[int], anchors: list[int]):
    at = torch.from_numpy(net.config.places(known.places, 0))
    tokens = torch.tensor([text]) - 8
    labels = torch.nn.functional.one_hot(tokens, net.config.size).float()
    return BlockBatch(known.states[None], at, PROMPT, tokens, labels, torch.tensor([anchors]))


@pytest.mark.parametrize("rope", ["flat", "mrope"])
@pytest.mark.parametrize("branch", [True, False])
def test_drafts_are_what_the_training_forward_says(
    known: KnownFeatures, rope: str, branch: bool
) -> None:
    """A memory that grows, and no mask, at work; all blocks in one masked forward in training."""
    net = net_for(rope=rope, branch=branch, rounds=1)
    text, anchors = list(range(20, 20 + TEXT)), [1, 4, 9]
    with torch.inference_mode():
        learned = net.block_states(batch_of(net, known, text, anchors), 8)[0]
    reasoner = BlockReasoner(net)
    for block, count in zip(learned, anchors, strict=True):
        (found,) = reasoner.write(Seen(known, PROMPT + count - 1), text[count - 1], 8)
        front = torch.tensor([[text[count - 1] - 8, *[NOTHING] * 7]])  # one round tells no more
        with torch.inference_mode():
            best, tokens = torch.softmax(net.logits(block[None], front)[0], -1).max(-1)
        length = len(found.tokens)
        assert length > 0 and found.tokens == tuple(t + 8 for t in tokens[:length].tolist())
        torch.testing.assert_close(torch.tensor(found.chances), best[:length], atol=1e-4, rtol=1e-3)


def test_the_two_ropes_differ_where_a_picture_is(known: KnownFeatures) -> None:
    plain = np.tile(np.arange(PROMPT + TEXT), (3, 1))
    for at, alike in ((known.places, False), (plain, True)):
        drafts = [
            BlockReasoner(net_for(rope=rope)).write(
                Seen(KnownFeatures(known.states, at, PROMPT), PROMPT), 20, 8
            )
            for rope in ("flat", "mrope")
        ]
        assert (drafts[0] == drafts[1]) == alike
    with pytest.raises(ValueError, match="rope is 'round'"):
        net_for(rope="round")


@pytest.mark.parametrize("branch", [True, False])
def test_a_place_knows_those_in_front_and_with_the_switch_no_others(
    known: KnownFeatures, branch: bool
) -> None:
    """The same places in a longer block: nothing changes if they cannot see what follows."""
    net = net_for(branch=branch)
    batch = batch_of(net, known, list(range(20, 20 + TEXT)), [3])
    with torch.inference_mode():
        short, long = net.block_states(batch, 4)[0, 0], net.block_states(batch, 8)[0, 0]
    assert torch.allclose(short, long[:4], atol=1e-5) == branch
    front = torch.tensor([[12, 12, 12, 12]])
    with torch.inference_mode():
        one, other = (net.logits(short[None], front + i) for i in (0, 1))
    assert torch.equal(one, other) != branch, "the token in front is known on a branch alone"


def test_tokens_of_a_candidate_follow_from_each_other(known: KnownFeatures) -> None:
    """Asked once more with its own tokens in front, the network says the same."""
    net = net_for()
    batch = batch_of(net, known, list(range(20, 20 + TEXT)), [3])
    (found,) = BlockReasoner(net).write(Seen(known, PROMPT + 2), 22, 8)
    own = [22, *found.tokens]
    with torch.inference_mode():
        states = net.block_states(batch, 8)[0, 0, : len(found.tokens)]
        again = net.logits(states[None], torch.tensor([own[:-1]]) - 8)[0].argmax(-1) + 8
    assert tuple(again.tolist()) == found.tokens and len(found.tokens) > 1
    free = BlockReasoner(net_for(rounds=1)).write(Seen(known, PROMPT + 2), 22, 8)
    assert free[0].tokens != found.tokens, "these weights cannot tell"


def test_more_branches_make_candidates_that_part_where_the_second_choice_is_likely(
    known: KnownFeatures,
) -> None:
    firsts, others = {}, {}
    for branch in (True, False):
        reasoner = BlockReasoner(net_for(branch=branch, branches=3))
        candidates = reasoner.write(Seen(known, PROMPT + 2), 22, 8)
        assert len(candidates) == 3
        firsts[branch], others[branch] = candidates[0].tokens, candidates[1:]
    for branch in (True, False):
        for other in others[branch]:
            pairs = zip(other.tokens, firsts[branch])
            parted = next(i for i, (a, b) in enumerate(pairs) if a != b)
            behind = other.tokens[parted + 1 :], firsts[branch][parted + 1 :]
            if not branch:  # every place answers for itself, whatever stands in front
                assert behind[0][:3] == behind[1][:3]
    parted = [o.tokens[1:] != firsts[True][1:] for o in others[True]]
    assert any(parted)


def test_a_draft_ends_where_it_is_too_unlikely(known: KnownFeatures) -> None:
    drafts = []
    for least in (0.0, 0.3, 1.1):
        found = BlockReasoner(net_for(least_chance=least)).write(Seen(known, PROMPT), 20, 8)
        drafts.append(found[0] if found else None)
    assert drafts[0] is not None and drafts[2] is None
    if drafts[1] is not None:
        assert np.prod(drafts[1].chances) >= 0.3
        assert drafts[0].tokens[: len(drafts[1].tokens)] == drafts[1].tokens
    assert drafts[1] is None or len(drafts[1].tokens) < len(drafts[0].tokens)


@pytest.mark.parametrize("branches", [1, 3])
@pytest.mark.parametrize("least", [0.02, 0.2])
def test_what_stands_behind_the_end_is_not_settled_for_nothing(
    known: KnownFeatures, branches: int, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same candidates as by all rounds, in fewer of them."""
    calls: list[int] = []
    logits = BlockNet.logits

    def counting(self: BlockNet, states: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return logits(self, states, before)

    monkeypatch.setattr(BlockNet, "logits", counting)
    counts = {True: 0, False: 0}
    for seed in range(20):
        net = net_for(seed, least_chance=least, branches=branches, rounds=4)
        found = []
        for stops in (True, False):
            reasoner = BlockReasoner(net)
            if not stops:  # nothing is ever settled on the way
                end_in = reasoner._end_in
                reasoner._end_in = lambda choices, settled, end_in=end_in: (  # type: ignore
                    end_in(choices, settled) if settled == len(choices) else None
                )
            calls.clear()
            found.append(reasoner.write(Seen(known, PROMPT + seed % 9), 20 + seed, 8))
            counts[stops] += len(calls)
        assert found[0] == found[1]
    assert counts[True] < counts[False]


@pytest.mark.parametrize("taps", [(), (1, 0), (0, 0), (0, 2), (-1, 0)])
def test_taps_are_ascending_layers_of_the_target(taps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not ascending layers of 2"):
        net_for(taps=taps)


def test_budget_and_unknown_tokens(known: KnownFeatures) -> None:
    reasoner = BlockReasoner(net_for())
    assert reasoner.write(Seen(known, PROMPT), 399, 0) == []
    (found,) = reasoner.write(Seen(known, PROMPT), 399, 3)
    assert 1 <= len(found.tokens) <= 3 and set(found.tokens) <= set(VOCABULARY)


def test_layers_are_spread_over_the_depth() -> None:
    assert tapped_layers(4) == (1, 2, 3)
    assert tapped_layers(36) == (9, 22, 35)
    assert tapped_layers(1) == (0,)


# The drafter, with a target


@pytest.fixture
def folder(tiny: Checkpoint, tmp_path: Path) -> Path:
    """The tiny checkpoint's drafters, random weights."""
    save_block(tmp_path / "routine_block", net_of(tiny), {"seed": 1})
    return tmp_path


def net_of(tiny: Checkpoint, **others: object) -> BlockNet:
    plain = run(tiny, observation(1, 2)).decoded.tokens
    resources = drafter_resources(tiny)
    return net_for(
        vocabulary=tuple(sorted({*plain, *range(20, 60), tiny.codec.end})),
        target_vocab_size=resources.vocab_size,
        target_hidden=resources.hidden_size,
        target_layers=resources.layers,
        end_token=tiny.codec.end,
        **others,
    )


@pytest.mark.parametrize("rule", ["greedy", "coupled"])
@pytest.mark.parametrize(
    "others", [{}, {"rope": "mrope"}, {"branch": False}, {"branches": 4}], ids=str
)
def test_texts_are_those_of_plain_decoding(tiny: Checkpoint, rule: str, others: dict) -> None:
    drafter = RoutineBlockDrafter(BlockReasoner(net_of(tiny, **others)))
    proposed = 0
    for seed in (1, 1, 2):
        rules = [make_rule(rule, Sampling(0.6, 0.98, seed)) for _ in range(2)]
        plain = run(tiny, observation(seed, 2), rule=rules[0])
        outcome = run(tiny, observation(seed, 2), drafter, budget=MAX_TOKENS, rule=rules[1])
        assert_same(plain, outcome)
        proposed += outcome.decoded.proposed
    assert proposed > 0


def context(committed: tuple[int, ...], features: object = None) -> DraftContext:
    scene = observation(1, 0)
    return DraftContext(None, scene.history, committed, 8, features)  # type: ignore[arg-type]


def test_before_the_first_forward_another_one_may_propose(
    known: KnownFeatures, tiny: Checkpoint
) -> None:
    reasoner = BlockReasoner(net_for())
    alone, led = RoutineBlockDrafter(reasoner), RoutineBlockDrafter(reasoner, PreviousTickDrafter())
    told = run(tiny, observation(1, 2)).decoded
    for drafter in (alone, led):
        drafter.begin()
        drafter.end(told)
        drafter.begin()
    assert alone.propose(context(())) == Draft()
    first = led.propose(context(()))
    assert first.tokens == told.tokens[:8] and set(first.sources) == {SpanSource.PREVIOUS_TICK}
    then = led.propose(context((20,), Seen(known, PROMPT)))
    assert set(then.sources) == {SpanSource.ROUTINE} and len(led.chances) == len(then)
    led.reset()
    led.begin()
    assert led.propose(context(())) == Draft()


def test_a_new_tick_is_read_anew(known: KnownFeatures) -> None:
    other = KnownFeatures(known.states.flip(0), known.places, PROMPT)
    drafter = RoutineBlockDrafter(BlockReasoner(net_for()))
    drafts = []
    for seen in (known, other, known):
        drafter.begin()
        drafts.append(drafter.propose(context((20,), Seen(seen, PROMPT))))
    assert drafts[0] == drafts[2] != drafts[1]


@pytest.mark.parametrize("rule", ["greedy", "coupled"])
def test_as_a_bridge_it_changes_no_text(tiny: Checkpoint, rule: str) -> None:
    drafter = CascadeBlockDrafter(RoutineBlockDrafter(BlockReasoner(net_of(tiny))))
    sources: set[SpanSource] = set()
    for seed, scene in ((1, 1), (1, 2), (2, 2), (2, 1)):
        rules = [make_rule(rule, Sampling(0.6, 0.98, seed)) for _ in range(2)]
        noting = Listener(drafter)
        plain = run(tiny, observation(scene, 2), rule=rules[0])
        assert_same(plain, run(tiny, observation(scene, 2), noting, rule=rules[1]))
        sources |= {source for one in noting.noted for source in one.draft.sources}
    assert sources == {SpanSource.PREVIOUS_TICK, SpanSource.ROUTINE}


def test_the_bridge_goes_first_where_there_is_something_to_see(known: KnownFeatures) -> None:
    """And the old text before that; what the bridge is not sure of is the old text's again."""
    net = net_for(least_chance=0.0, block=2)
    (expected,) = BlockReasoner(net).write(Seen(known, PROMPT), 20, 8)
    drafter = CascadeBlockDrafter(RoutineBlockDrafter(BlockReasoner(net)))
    assert drafter.feature_layers == (0, 1)
    old = (20, 21, 22, 23, 24, 25, END)
    drafter.begin()
    drafter.end(Decoded(old, (), (), FinishReason.COMPLETE, 1, 1, 0, 0))
    drafter.begin()
    assert drafter.propose(context(())).tokens == old
    behind = drafter.propose(context((20,), Seen(known, PROMPT)))
    assert behind.tokens[: len(expected.tokens)] == expected.tokens
    length = len(expected.tokens)
    assert set(behind.sources[:length]) == {SpanSource.ROUTINE}
    assert set(behind.sources[length:]) <= {SpanSource.PREVIOUS_TICK}
    assert behind.tokens[-1] == END


def test_the_catalog_makes_both_from_one_folder(tiny: Checkpoint, folder: Path) -> None:
    resources = replace(drafter_resources(tiny), folder=folder)
    for name in ("routine_block", "cascade_block"):
        assert make_drafter(name, resources).name == name
        with pytest.raises(ConfigError, match="rsd train routine-block"):
            make_drafter(name)


def test_missing_files_name_the_remedy(tiny: Checkpoint, folder: Path) -> None:
    resources = replace(drafter_resources(tiny), folder=folder)
    assert RoutineBlockDrafter.make(resources).feature_layers == (0, 1)
    for name in ("routine_block.safetensors", "routine_block.json"):
        (folder / name).unlink()
        with pytest.raises(ConfigError, match="rsd train routine-block"):
            RoutineBlockDrafter.make(resources)


def test_damaged_or_foreign_files_name_the_remedy(tiny: Checkpoint, folder: Path) -> None:
    resources = replace(drafter_resources(tiny), folder=folder)
    for foreign in ({"end_token": 3}, {"hidden_size": 64}, {"layers": 3}):
        with pytest.raises(ConfigError, match="another vocabulary or size"):
            RoutineBlockDrafter.make(replace(resources, **foreign))
    facts = folder / "routine_block.json"
    whole = json.loads(facts.read_text())
    config = whole["config"]
    for damage in (
        {}, {"config": {}}, {"config": {**config, "hidden": 16}}, {"config": {**config, "rope": ""}}
    ):  # fmt: skip
        facts.write_text(json.dumps(damage))
        with pytest.raises(ConfigError, match="rsd train routine-block"):
            RoutineBlockDrafter.make(resources)
    facts.write_text(json.dumps(whole))
    weights = folder / "routine_block.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="rsd train routine-block"):
        RoutineBlockDrafter.make(resources)
