"""Whatever is drafted, text, cache and path are those of plain decoding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import MAX_TOKENS, Outcome, Scripted, assert_same, observation, reference_generate, run

from rsd_planner.decoding.drafters.previous_tick import PreviousTickDrafter
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.presets import TINY, write_random_checkpoint
from rsd_planner.planning.prompt import make_prompt_builder
from rsd_planner.types import FinishReason, SpanKind


@pytest.fixture(scope="module")
def plain(tiny: Checkpoint) -> Outcome:
    return run(tiny, observation(1, 2))


def test_plain_decoding_is_the_class_own_greedy_text(tiny: Checkpoint, plain: Outcome) -> None:
    prompt = make_prompt_builder(tiny).build(observation(1, 2))
    expected = reference_generate(tiny, prompt, 12)
    assert list(plain.decoded.tokens[: len(expected)]) == expected


def test_complete_right_draft_costs_one_forward_and_a_close(
    tiny: Checkpoint, plain: Outcome
) -> None:
    text = plain.decoded.tokens
    outcome = run(tiny, observation(1, 2), Scripted([text]), budget=MAX_TOKENS)
    assert_same(plain, outcome)
    assert outcome.decoded.accepted == len(text)
    assert outcome.decoded.target_forwards == 1


def adversarial_drafts(checkpoint: Checkpoint, text: tuple[int, ...]) -> dict[str, list]:
    vla, codec = checkpoint.vla, checkpoint.codec
    trajectory = vla.config.traj_token_start_idx + 1
    image = vla.vlm.config.image_token_id
    rng = np.random.default_rng(0)
    noise = [tuple(rng.integers(0, len(codec), 9).tolist()) for _ in range(40)]
    return {
        "empty": [()],
        "random": noise,
        "longer than the budget": [text * 5] * 3,
        "ending early": [text[:3]] * 40,
        "end token first": [(codec.end, *text)] * 4,
        "end token inside": [(*text[:2], codec.end, *text[2:])] * 4,
        "trajectory tokens": [(*text[:2], trajectory, trajectory)] * 4,
        "image tokens": [(image, image), (*text[:1], image)] * 4,
        "outside of the vocabulary": [(*text[:2], len(codec) + 999), (-1, *text)],
        "one token always": [(text[0],)] * 40,
        "shifted": [text[1:]] * 40,
    }


@pytest.mark.parametrize("kind", [
    "empty", "random", "longer than the budget", "ending early", "end token first",
    "end token inside", "trajectory tokens", "image tokens", "outside of the vocabulary",
    "one token always", "shifted",
])  # fmt: skip
def test_adversarial_draft_changes_nothing(tiny: Checkpoint, plain: Outcome, kind: str) -> None:
    drafts = adversarial_drafts(tiny, plain.decoded.tokens)[kind]
    assert_same(plain, run(tiny, observation(1, 2), Scripted(drafts)))


def test_text_cut_at_the_limit_ends_like_plain_decoding(tiny: Checkpoint) -> None:
    scene = observation(1, 1)
    for limit in (1, 2, 5):
        plain = run(tiny, scene, max_tokens=limit)
        text = run(tiny, scene).decoded.tokens
        drafted = run(tiny, scene, Scripted([text]), max_tokens=limit)
        assert_same(plain, drafted)
        if len(text) > limit:
            assert plain.decoded.finish_reason is FinishReason.LENGTH
            assert len(drafted.decoded.tokens) == limit


def test_nothing_is_committed_behind_the_end(tiny: Checkpoint, plain: Outcome) -> None:
    end = tiny.codec.end
    for drafts in adversarial_drafts(tiny, plain.decoded.tokens).values():
        tokens = run(tiny, observation(1, 2), Scripted(drafts)).decoded.tokens
        assert end not in tokens[:-1]


def test_previous_tick_accepts_all_of_an_unchanged_scene(tiny: Checkpoint, plain: Outcome) -> None:
    drafter = PreviousTickDrafter()
    first = run(tiny, observation(1, 2), drafter, budget=MAX_TOKENS)
    second = run(tiny, observation(1, 2), drafter, budget=MAX_TOKENS)
    assert_same(plain, first)
    assert_same(plain, second)
    assert second.decoded.target_forwards == 1
    assert set(second.decoded.kinds) == {SpanKind.ACCEPTED}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    weights=st.integers(0, 2),
    scene=st.integers(0, 10_000),
    pictures=st.integers(0, 4),
    cuts=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 399), st.integers(0, 12)), max_size=12
    ),
    budget=st.integers(1, 40),
)
def test_random_models_pictures_and_drafts(
    tmp_path_factory: pytest.TempPathFactory,
    weights: int,
    scene: int,
    pictures: int,
    cuts: list[tuple[int, int, int]],
    budget: int,
) -> None:
    """Drafts are mutilated pieces of the true text: the nastiest ones to get wrong."""
    checkpoint = random_model(tmp_path_factory, weights)
    seen = observation(scene, pictures)
    plain = run(checkpoint, seen)
    text = plain.decoded.tokens
    drafts = [(*text[start : start + length], token) for start, token, length in cuts]
    assert_same(plain, run(checkpoint, seen, Scripted(drafts), budget=budget))


_MODELS: dict[int, Checkpoint] = {}


def random_model(factory: pytest.TempPathFactory, seed: int) -> Checkpoint:
    if seed not in _MODELS:
        kind = "alpamayo1_5" if seed == 2 else "alpamayo_r1"
        folder = write_random_checkpoint(factory.mktemp("model"), seed, TINY, kind)
        _MODELS[seed] = load_checkpoint(folder)
    return _MODELS[seed]
