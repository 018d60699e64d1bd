"""Inputs of the text stack, and the forward pass that training uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.vision_batch import BatchedTower
from rsd_planner.models.vla import run_text_stack
from rsd_planner.training.data import FRAMES, DriveSet
from rsd_planner.training.examples import Examples, doubt_weights
from rsd_planner.training.features import cached_features
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.target import SIZES, TargetRun
from rsd_planner.training.text_stack import KeyValues, last_states
from rsd_planner.training.vision_tower import TrainingTower


@pytest.fixture(scope="module")
def checkpoint(drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("toy")
    TargetRun(drives, folder, folder / "model", {}, Runtime(), size=SIZES["toy"]).run("init")
    return load_checkpoint(folder / "init")


@pytest.fixture(scope="module")
def examples(
    checkpoint: Checkpoint, drives: Path, tmp_path_factory: pytest.TempPathFactory
) -> Examples:
    data, folder = DriveSet(drives / "train"), tmp_path_factory.mktemp("features")
    features = cached_features(checkpoint.vla, data, folder, "train", Runtime())
    return Examples(checkpoint, data, Runtime(), features)


def test_states_behind_the_prompt_are_those_of_the_whole_pass(
    checkpoint: Checkpoint, examples: Examples
) -> None:
    text, ready = checkpoint.vla.text, examples.batch(np.arange(3))
    keys, whole_keys = KeyValues(), KeyValues()
    with torch.no_grad():
        last = last_states(text, ready.embeds, ready.positions, 7, keys)
        whole = run_text_stack(text, ready.embeds, ready.positions, whole_keys)  # type: ignore[arg-type]
    torch.testing.assert_close(last, whole[:, -7:], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(keys.pairs, whole_keys.pairs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_training_tower_sees_what_the_planners_tower_sees(
    checkpoint: Checkpoint, drives: Path
) -> None:
    data, visual = DriveSet(drives / "heldout"), checkpoint.vla.vlm.model.visual
    images = torch.from_numpy(data.pictures([0, 7]))
    with torch.no_grad():
        ours = TrainingTower(visual, *data.picture_size)(images)[1]
        theirs = BatchedTower(visual, *data.picture_size)(images)[1]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_newest_picture_alone_keeps_every_position(examples: Examples) -> None:
    whole, newest = examples.batch(np.arange(2)), examples.batch(np.arange(2), newest=1)
    dropped = whole.embeds.shape[1] - newest.embeds.shape[1]
    tokens = examples.features.shape[1]  # type: ignore[union-attr]
    assert dropped == (FRAMES - 1) * (tokens + 2)
    after = newest.prompt - np.flatnonzero(examples._picture == FRAMES - 1)[0] + dropped
    torch.testing.assert_close(newest.embeds[:, -after:], whole.embeds[:, -after:])
    torch.testing.assert_close(newest.positions[..., -after:], whole.positions[..., -after:])


def test_given_pictures_stand_in_for_cached_ones(examples: Examples) -> None:
    ticks = np.array([4, 9])
    cached = examples.features[examples.frames[ticks]]  # type: ignore[index]
    given = examples.batch(ticks, pictures=torch.from_numpy(cached).float())
    torch.testing.assert_close(given.embeds, examples.batch(ticks).embeds)


def test_silent_ticks_end_at_once(examples: Examples) -> None:
    ready = examples.batch(np.arange(2), silent=np.array([True, False]))
    codec = examples.codec
    assert ready.tokens[0, :3].tolist() == [codec.end_of_reasoning, codec.end, -100]
    assert ready.lengths.tolist()[0] == 2 < ready.lengths.tolist()[1]


def test_features_are_made_anew_for_other_weights(
    checkpoint: Checkpoint, drives: Path, tmp_path: Path
) -> None:
    data, vla = DriveSet(drives / "heldout"), checkpoint.vla
    first = np.array(cached_features(vla, data, tmp_path, "held", Runtime()))
    bias = vla.vlm.model.visual.merger.linear_fc2.bias
    with torch.no_grad():
        bias += 1.0
        second = np.array(cached_features(vla, data, tmp_path, "held", Runtime()))
        bias -= 1.0
    np.testing.assert_allclose(second, first + 1.0, atol=2e-2)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_tokens_that_always_follow_weigh_least() -> None:
    coded = {"keep because free": [1, 5, 7], "slow because lead": [2, 5, 8]}
    weights = doubt_weights(coded, {"keep because free": 3, "slow because lead": 1})
    keep, slow = weights.values()
    assert keep[1] == keep[2] < keep[0]
    assert (3 * keep.sum() + slow.sum()) / 12 == pytest.approx(1.0)
    assert slow[0] == keep[0]  # the rarer of two possible words weighs no more than the other
