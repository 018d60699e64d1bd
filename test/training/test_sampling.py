"""Which examples a step sees."""

from __future__ import annotations

import numpy as np

from rsd_planner.training.sampling import rarity_weights, step_batches


def test_batches_depend_on_seed_and_step_alone() -> None:
    weights = np.linspace(1, 3, 100)
    first = step_batches(100, 32, 5, weights)
    batches = [first(step) for step in range(8)]
    later = step_batches(100, 32, 5, weights)
    np.testing.assert_array_equal(later(6), batches[6])
    np.testing.assert_array_equal(later(2), batches[2])
    assert not np.array_equal(step_batches(100, 32, 6, weights)(0), batches[0])


def test_an_epoch_without_weights_sees_every_example_once() -> None:
    draw = step_batches(96, 32, 0)
    assert sorted(np.concatenate([draw(step) for step in range(3)])) == list(range(96))


def test_heavy_examples_come_as_often_as_they_weigh() -> None:
    weights = np.ones(100)
    weights[7] = 5.0
    draw = step_batches(100, 100, 1, weights)
    counts = np.bincount(np.concatenate([draw(step) for step in range(50)]), minlength=100)
    assert abs(counts[7] / counts.mean() - 5 * 100 / 104) < 0.3
    others = np.delete(counts, 7)
    assert abs(others.mean() / 50 - 100 / 104) < 0.01


def test_a_small_set_gives_all_it_has() -> None:
    assert sorted(step_batches(5, 32, 0)(11)) == list(range(5))


def test_a_tick_weighs_as_much_as_its_rarest_cause() -> None:
    ticks = [{"free"}] * 64 + [{"free", "lead"}] * 16 + [{"cones"}]
    weights = rarity_weights(ticks)
    assert weights[0] == 1.0
    assert abs(weights[64] - np.sqrt(80 / 16)) < 1e-9
    assert weights[80] == 5.0  # √80, held at the limit
