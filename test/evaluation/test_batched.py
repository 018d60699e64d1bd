"""Many ticks at once say and plan what the planner says and plans, tick by tick."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from rsd_planner.build import build_planner
from rsd_planner.config import PlannerSettings
from rsd_planner.evaluation.acceptance import EXCUSED_GAP, first_divergence
from rsd_planner.evaluation.batched import BatchedModel
from rsd_planner.evaluation.paths import medoid
from rsd_planner.models.checkpoint import load_checkpoint
from rsd_planner.planning.planner import Planner
from rsd_planner.types import Draft, EgoHistory, EgoState, Frame, Observation

TICKS, SAMPLES, MAX_TOKENS, SEED = 7, 3, 12, 5
SIZE = (48, 96)  # the checkpoint resizes to 32 × 64


@pytest.fixture(scope="module")
def planner(tiny_folder):
    return build_planner(
        PlannerSettings.from_mapping(
            {
                "model_path": str(tiny_folder),
                "drafter": "none",
                "worker_threads": 1,
                "max_reasoning_tokens": MAX_TOKENS,
                "num_samples": SAMPLES,
                "seed": SEED,
            }
        )
    )


@pytest.fixture(scope="module")
def model(tiny_folder):
    return BatchedModel(load_checkpoint(tiny_folder), SIZE, max_tokens=MAX_TOKENS)


@pytest.fixture(scope="module")
def scenes():
    """Pictures (n, 48, 96, 3), ticks' indices into them, and histories with rotations."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (TICKS + 3, *SIZE, 3), dtype=np.uint8)
    shown = np.arange(TICKS)[:, None] + np.arange(4)
    back = np.arange(-15, 1) * 0.1
    speed = np.linspace(0, 14, TICKS)[:, None]
    xyz = np.stack([speed * back, 0.1 * speed * back**2, 0 * speed * back], axis=-1)
    rot = np.broadcast_to(np.eye(3), (TICKS, 16, 3, 3)).copy()
    return pictures, shown, xyz, rot


def observation(scenes, tick: int) -> Observation:
    pictures, shown, xyz, rot = scenes
    now = EgoState(0, np.zeros(3), np.array([0.0, 0, 0, 1]), np.zeros(3), np.zeros(3))
    frames = tuple(Frame("front_wide", int(i), pictures[i]) for i in shown[tick])
    return Observation(tick, tick, frames, EgoHistory(tick, 0.1, xyz[tick], rot[tick], now))


@pytest.fixture(scope="module")
def planned(planner, scenes):
    return [planner.plan(observation(scenes, tick)) for tick in range(TICKS)]


@pytest.fixture(scope="module")
def batched(model, scenes):
    pictures, shown, xyz, rot = scenes
    model.read(model.encode(pictures), shown, xyz)
    texts = model.write()
    return texts, model.drive(xyz, rot, SAMPLES, steps=2, seed=SEED)


def test_texts_are_the_planners(planned, batched):
    equal = 0
    for result, text in zip(planned, batched[0], strict=True):
        where = first_divergence(result.decoded.tokens, text)
        assert where is None or result.decoded.top2_gaps[where] < EXCUSED_GAP
        equal += where is None
    assert equal >= TICKS - 1
    assert {len(text) for text in batched[0]} == {MAX_TOKENS}, (
        "see the next test for texts that end"
    )


def test_texts_of_different_lengths_are_the_planners(tiny_folder, planner, scenes, batched):
    # Random weights never say the end token, so a token that some texts hold is made the end.
    counts = Counter(token for text in batched[0] for token in set(text[2:6]))
    end = min(counts, key=lambda token: (abs(counts[token] - 2), token))
    checkpoint = load_checkpoint(tiny_folder)
    checkpoint.codec.end = end
    model = BatchedModel(checkpoint, SIZE, max_tokens=MAX_TOKENS)
    parts = replace(planner.parts, limits=replace(planner.parts.limits, end_token=end))
    own = Planner(parts, planner.drafter, planner.acceptance, SEED)
    pictures, shown, xyz, rot = scenes
    model.read(model.encode(pictures), shown, xyz)
    texts = model.write()
    paths = model.drive(xyz, rot, SAMPLES, steps=2, seed=SEED)
    assert len({len(text) for text in texts}) > 1
    for tick, chosen in enumerate(medoid(paths)):
        result = own.plan(observation(scenes, tick))
        assert result.decoded.tokens == texts[tick]
        wanted = result.trajectory.position_m[:, :2]
        np.testing.assert_allclose(paths[tick, chosen], wanted, atol=2e-4)


def test_paths_are_the_planners(planned, batched):
    texts, paths = batched
    assert paths.shape == (TICKS, SAMPLES, 64, 2)
    for tick, index in enumerate(medoid(paths)):
        if planned[tick].decoded.tokens == texts[tick]:
            wanted = planned[tick].trajectory.position_m[:, :2]
            np.testing.assert_allclose(paths[tick, index], wanted, atol=2e-4)


def test_a_path_without_reasoning_follows_the_empty_text(planner, model, scenes, batched):
    _, shown, xyz, rot = scenes
    model.read(model.encode(scenes[0]), shown, xyz)
    model.write()
    model.say(model.empty_text)
    paths = model.drive(xyz, rot, SAMPLES, steps=2, seed=SEED)
    parts = planner.parts
    for tick in (0, TICKS - 1):
        seen = observation(scenes, tick)
        parts.target.prefill(parts.prompts.build(seen), Draft())
        for token in model.empty_text:
            parts.target.verify(token, Draft())
        wanted = planner.sample(seen.history).position_m[:, :2]
        np.testing.assert_allclose(paths[tick, medoid(paths)[tick]], wanted, atol=2e-4)
    assert np.abs(paths - batched[1]).max() > 1e-3, "the text should matter to the path"


def test_a_text_may_be_written_again(model, scenes, batched):
    _, shown, xyz, _ = scenes
    model.read(model.encode(scenes[0]), shown, xyz)
    model.say(model.empty_text)
    assert model.write() == batched[0]
