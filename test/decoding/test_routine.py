"""The routine reasoner drafts what it was given, forgets in time, and never changes the text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import MAX_TOKENS, assert_same, observation, run

from rsd_planner.build import drafter_resources
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.decoding.drafters.routine import RoutineDrafter
from rsd_planner.decoding.drafters.told import Told
from rsd_planner.errors import ConfigError
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.motion import motion_features, motion_width, travelled_m
from rsd_planner.models.pointer import NOTHING
from rsd_planner.models.routine import Old, RoutineBatch, RoutineConfig, RoutineNet
from rsd_planner.models.routine_forward import Memory, RoutineForward
from rsd_planner.models.routine_reasoner import RoutineReasoner, save_routine
from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    EgoHistory,
    EgoState,
    FinishReason,
    Prompt,
    SpanSource,
)

STEPS = 16
LONGEST = 40


def net_for(
    vocabulary: Sequence[int], vocab_size: int = 400, seed: int = 1, **others: object
) -> RoutineNet:
    torch.manual_seed(seed)
    config = RoutineConfig(
        vocabulary=tuple(vocabulary),
        target_vocab_size=vocab_size,
        end_token=vocabulary[-1],
        motion_width=motion_width(STEPS),
        history_steps=STEPS,
        hidden=32,
        layers=2,
        heads=4,
        intermediate=48,
        motion_tokens=2,
        block=24,
        longest=LONGEST,
    )
    return RoutineNet(replace(config, **others)).eval()


def reading(net: RoutineNet) -> RoutineReasoner:
    """A reasoner that has read a motion and a text of twenty tokens."""
    reasoner = RoutineReasoner(net)
    motion = np.ones(motion_width(STEPS), np.float32)
    reasoner.read(motion, range(12, 32), [0.0] * 20, [0.0] * 20)
    return reasoner


def history(t0_s: float = 0.0, speed: float = 8.0) -> EgoHistory:
    back = np.arange(1 - STEPS, 1) * 0.1
    position = np.stack([speed * back, 0 * back, 0 * back], axis=1)
    turn = np.broadcast_to(np.eye(3), (STEPS, 3, 3)).copy()
    stamp = round(1e9 * t0_s)
    now = EgoState(stamp, np.zeros(3), np.array([0.0, 0, 0, 1]), np.zeros(3), np.zeros(3))
    return EgoHistory(stamp, 0.1, position, turn, now)


# What the network writes at work is what it learned to write


def test_drafts_are_what_the_training_forward_says() -> None:
    """Cached memory, no masks and no padding at work; one masked batch in training."""
    net = net_for(range(10, 60), least_chance=0.0, rounds=1)
    text = list(range(12, 32))  # as told before, so that the head is given the same front tokens
    old = torch.full((2, 24), NOTHING)
    old[0, : len(text)] = torch.tensor(text) - 8
    since = torch.rand(2, 24, 2, generator=torch.Generator().manual_seed(0))
    motion = torch.randn(2, motion_width(STEPS), generator=torch.Generator().manual_seed(0))
    for committed in (0, 5, 11):
        batch = RoutineBatch(
            motion, Old(old, since, old != NOTHING), old.clone(),
            torch.tensor([committed, 0]), torch.zeros(2, dtype=torch.long),
        )  # fmt: skip
        with torch.inference_mode():
            _, learned = net.loss(batch)
        reasoner = RoutineReasoner(net)
        told = since[0, : len(text)].T.tolist()
        reasoner.read(motion[0].numpy(), text, *told)
        for _ in range(2):  # the second time what was read is cached
            _, chances = reasoner.write(text[:committed], 0, 24)
            best = learned[0, committed : len(text)].max(dim=-1).values
            found = torch.tensor(chances[: len(best)])
            torch.testing.assert_close(found, best[: len(found)], atol=1e-5, rtol=1e-4)
        assert len(found) > 0
        assert reasoner.look_ahead(text[:committed], 0) >= len(text) - committed
        places = range(committed, len(text))
        rows = reasoner.expect(places, [text[i - 1] if i else None for i in places])
        torch.testing.assert_close(
            torch.tensor([row.chance for row in rows]), best, atol=1e-5, rtol=1e-4
        )
        for row, place in zip(rows, places, strict=True):
            assert row.of(text[place]) == pytest.approx(
                float(learned[0, place, text[place] - 8]), abs=1e-5
            )
            assert row.of(row.token) == pytest.approx(row.chance)
            assert row.of(9999) == 0.0


def test_the_head_ends_in_tokens_that_follow_from_each_other() -> None:
    """Applied again to its own tokens, it no longer changes them."""
    once, more = (reading(net_for(range(10, 60), least_chance=0.0, rounds=n)) for n in (60, 61))
    tokens, chances = once.write((), 0, 24)
    assert more.write((), 0, 24) == (tokens, chances)
    assert len(tokens) > 1


@pytest.mark.parametrize("least", [0.0, 0.06, 0.4])
def test_what_stands_behind_the_end_is_not_settled_for_nothing(
    least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same drafts as by all rounds, in fewer of them."""
    calls: list[int] = []
    chances = RoutineForward.chances

    def counting(self: RoutineForward, memory: Memory, *others: torch.Tensor) -> torch.Tensor:
        calls.append(len(others[0]))
        return chances(self, memory, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(RoutineForward, "chances", counting)
    counts, rng = {True: 0, False: 0}, np.random.default_rng(3)
    for seed in range(20):
        net = net_for(range(10, 60), seed=seed, least_chance=least)
        with torch.no_grad():
            for table in (net.tokens, net.before):
                table.weight.mul_(3.0)
        text = rng.integers(10, 60, 20).tolist()
        start = int(rng.integers(0, 12))
        drafts = []
        for stops in (True, False):
            reasoner = RoutineReasoner(net)
            if not stops:  # nothing is ever settled on the way
                end_in = reasoner._end_in
                reasoner._end_in = lambda tokens, chances, settled, end_in=end_in: (  # type: ignore
                    end_in(tokens, chances, settled) if settled == len(tokens) else None
                )
            reasoner.read(np.ones(motion_width(STEPS), np.float32), text, [0.2] * 20, [1.0] * 20)
            calls.clear()
            drafts.append(reasoner.write(text[:start], 0, 24))
            counts[stops] += len(calls)
        assert drafts[0] == drafts[1]
    assert counts[True] <= counts[False]
    assert counts[True] < counts[False] or least == 0.0


def test_a_draft_ends_where_it_is_too_unlikely() -> None:
    drafts = []
    for least in (0.0, 0.5, 1.1):
        reasoner = RoutineReasoner(net_for(range(10, 60), least_chance=least, rounds=60))
        reasoner.read(
            np.ones(motion_width(STEPS), np.float32), range(12, 32), [0.0] * 20, [0.0] * 20
        )
        tokens, chances = reasoner.write((), 0, 24)
        assert np.prod(chances) >= least or not tokens
        drafts.append(tokens)
    assert drafts[0][: len(drafts[1])] == drafts[1]
    assert len(drafts[0]) > len(drafts[1]) >= len(drafts[2]) == 0


def test_tokens_that_it_never_saw_are_read_and_not_written() -> None:
    reasoner = RoutineReasoner(net_for(range(10, 60), least_chance=0.0))
    reasoner.read(np.zeros(motion_width(STEPS), np.float32), [399, 7, 12], [0.0] * 3, [0.0] * 3)
    tokens, _ = reasoner.write((399,), 0, 24)
    assert set(tokens) <= set(range(10, 60))
    assert reasoner.write(tuple(range(10, 10 + LONGEST)), 0, 24) == ((), ())


# What is told to it


def test_a_number_that_stays_remembers_when_it_came() -> None:
    told = Told()
    told.say([1, 2, 3, 4])
    told.moved(0.2, 1.5)
    told.say([1, 2, 9, 4])
    told.moved(0.2, 1.5)
    assert told.since_s == pytest.approx([0.4, 0.4, 0.2, 0.4])
    told.say([1, 9, 4])
    assert told.since_m == pytest.approx([3.0, 1.5, 3.0])
    told.forget()
    assert told.tokens == () and told.since_m == []


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2, 1.5, 2.0])
def test_the_way_is_speed_times_time_also_before_the_history(seconds: float) -> None:
    assert travelled_m(history(speed=8.0).position_m, 0.1, seconds) == pytest.approx(8 * seconds)


def test_the_way_follows_a_changing_speed() -> None:
    back = np.arange(1 - STEPS, 1) * 0.1
    position = np.stack([5 * back + back**2, 0 * back, 0 * back], axis=1)  # slower before
    assert travelled_m(position, 0.1, 0.3) == pytest.approx(5 * 0.3 - 0.3**2)


def test_motion_is_the_same_wherever_the_car_points_and_in_a_batch() -> None:
    plain = history()
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    args = (0.1, 0.2, 1.6)
    features = motion_features(plain.position_m, plain.rotation, *args)
    turned = motion_features(plain.position_m @ turn.T, turn @ plain.rotation, *args)
    assert features.shape == (motion_width(STEPS),)
    np.testing.assert_allclose(turned, features, atol=1e-5)
    both = motion_features(
        np.stack([plain.position_m, 2 * plain.position_m]),
        np.stack([plain.rotation] * 2),
        0.1,
        np.array([0.2, 0.2]),
        np.array([1.6, 1.6]),
    )
    np.testing.assert_allclose(both[0], features, atol=1e-6)
    assert not np.allclose(both[1], features)


class Noting:
    """A reasoner that notes what it is told."""

    def __init__(self) -> None:
        self.config = net_for(range(10, 60)).config
        self.old: list[tuple[int, ...]] = []
        self.since_m: list[list[float]] = []
        self.asked: list[tuple[tuple[int, ...], int]] = []

    def read(self, motion, old, since_s, since_m) -> None:
        assert motion.shape == (self.config.motion_width,)
        self.old.append(tuple(old))
        self.since_m.append(list(since_m))

    def write(self, committed, shift, most):
        self.asked.append((tuple(committed), shift))
        return (10, 11)[:most], (0.9, 0.8)[:most]


def context(t0_s: float, committed: tuple[int, ...] = (), speed: float = 8.0) -> DraftContext:
    prompt = Prompt(np.zeros(1, np.int64), ())
    return DraftContext(prompt, history(t0_s, speed), committed, 24)


def say(drafter: RoutineDrafter, t0_s: float, text: tuple[int, ...]) -> Draft:
    drafter.begin()
    draft = drafter.propose(context(t0_s))
    drafter.end(Decoded(text, (), (), FinishReason.COMPLETE, 1, 1, 0, 0))
    return draft


def test_the_last_text_is_told_with_the_way_since() -> None:
    noting = Noting()
    drafter = RoutineDrafter(noting)
    draft = say(drafter, 10.0, (20, 21, 22))
    assert draft == Draft((10, 11), (SpanSource.ROUTINE,) * 2)
    assert drafter.chances == (0.9, 0.8)
    say(drafter, 10.2, (20, 30, 22))
    say(drafter, 10.3, (20, 30, 22))
    assert noting.old == [(), (20, 21, 22), (20, 30, 22)]
    assert noting.since_m[1] == pytest.approx([1.6, 1.6, 1.6])
    assert noting.since_m[2] == pytest.approx([2.4, 0.8, 2.4])


@pytest.mark.parametrize("next_s", [9.8, 11.5])
def test_a_text_of_another_time_is_forgotten(next_s: float) -> None:
    noting = Noting()
    drafter = RoutineDrafter(noting)
    say(drafter, 10.0, (20, 21, 22))
    say(drafter, next_s, (20, 21, 22))
    assert noting.old == [(), ()]
    drafter.reset()
    say(drafter, next_s + 0.2, (20, 21, 22))
    assert noting.old[-1] == ()


def test_ticks_in_which_nobody_asked_have_passed_all_the_same() -> None:
    """A controller may not ask for a draft; the text comes nevertheless."""
    noting = Noting()
    drafter = RoutineDrafter(noting)
    say(drafter, 10.0, (20, 21, 22))
    for _ in range(5):
        drafter.begin()
        drafter.end(Decoded((20, 21, 22), (), (), FinishReason.COMPLETE, 1, 1, 0, 0))
    say(drafter, 11.2, (20, 21, 22))
    assert noting.old[-1] == (20, 21, 22), "the last text is a fifth of a second old"
    assert noting.since_m[-1] == pytest.approx([9.6] * 3)
    say(drafter, 12.4, (20, 21, 22))
    assert noting.old[-1] == ()


def test_a_number_that_came_while_nobody_asked_is_as_old_as_it_is() -> None:
    noting = Noting()
    drafter = RoutineDrafter(noting)
    say(drafter, 10.0, (20, 21, 22))
    for number in (21, 31, 31):
        drafter.begin()
        drafter.end(Decoded((20, number, 22), (), (), FinishReason.COMPLETE, 1, 1, 0, 0))
    say(drafter, 10.8, (20, 31, 22))
    assert noting.old[-1] == (20, 31, 22)
    assert noting.since_m[-1] == pytest.approx([6.4, 3.2, 6.4])
    say(drafter, 11.0, (20, 31, 22))
    assert noting.since_m[-1] == pytest.approx([8.0, 4.8, 8.0])


def test_a_draft_after_a_rejection_goes_on_where_the_old_text_has_come_to() -> None:
    noting = Noting()
    drafter = RoutineDrafter(noting)
    say(drafter, 10.0, (20, 21, 22, 23, 24))
    drafter.begin()
    drafter.propose(context(10.2))
    drafter.propose(context(10.2, (20, 22)))  # 21 was left out
    assert noting.asked[-2:] == [((), 0), ((20, 22), 1)]
    assert len(noting.old) == 2, "a tick is read once"


# With a target


@pytest.fixture
def folder(tiny: Checkpoint, tmp_path: Path) -> Path:
    """The tiny checkpoint's drafters, random weights."""
    plain = run(tiny, observation(1, 2)).decoded.tokens
    vocabulary = sorted({*plain, *range(20, 60), tiny.codec.end})
    net = net_for(vocabulary, drafter_resources(tiny).vocab_size, end_token=tiny.codec.end)
    save_routine(tmp_path / "routine", net, {"seed": 1})
    return tmp_path


def test_texts_are_those_of_plain_decoding(tiny: Checkpoint, folder: Path) -> None:
    drafter = make_drafter("routine", replace(drafter_resources(tiny), folder=folder))
    proposed = 0
    for seed in (1, 1, 2):
        plain = run(tiny, observation(seed, 2))
        outcome = run(tiny, observation(seed, 2), drafter, budget=MAX_TOKENS)
        assert_same(plain, outcome)
        proposed += outcome.decoded.proposed
    assert proposed > 0


def test_missing_files_name_the_remedy(tiny: Checkpoint, folder: Path) -> None:
    resources = replace(drafter_resources(tiny), folder=folder)
    for name in ("routine.safetensors", "routine.json"):
        (folder / name).unlink()
        with pytest.raises(ConfigError, match="rsd train routine"):
            make_drafter("routine", resources)
    with pytest.raises(ConfigError, match="rsd train routine"):
        make_drafter("routine")


def test_damaged_or_foreign_files_name_the_remedy(tiny: Checkpoint, folder: Path) -> None:
    resources = replace(drafter_resources(tiny), folder=folder)
    with pytest.raises(ConfigError, match="another vocabulary or history"):
        make_drafter("routine", replace(resources, end_token=3))
    facts = folder / "routine.json"
    whole = json.loads(facts.read_text())
    for damage in ({}, {"config": {}}, {"config": {**whole["config"], "hidden": 16}}):
        facts.write_text(json.dumps(damage))
        with pytest.raises(ConfigError, match="rsd train routine"):
            make_drafter("routine", resources)
    facts.write_text(json.dumps(whole))
    weights = folder / "routine.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="rsd train routine"):
        make_drafter("routine", resources)
