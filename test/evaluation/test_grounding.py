"""Cause scores on tables that can be counted by hand, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsd_planner.evaluation.grounding import (
    CALM,
    CANONICAL_CAUSES,
    SHOWN_BY_HISTORY,
    cause_table,
    confusion,
    count_causes,
    history_prior_f1,
    macro,
    pack,
    unpack,
)
from rsd_planner.evaluation.intervals import bootstrap, sums_by_drive

tables = hnp.arrays(np.bool_, st.tuples(st.integers(1, 30), st.just(4)))


@st.composite
def pairs(draw):
    truth = draw(tables)
    return truth, draw(hnp.arrays(np.bool_, truth.shape))


def test_scores_of_a_table_counted_by_hand():
    truth = cause_table([["curve"], ["curve", "cyclist"], ["cones"], []])
    said = cause_table([["curve"], ["cyclist"], ["cyclist"], ["curve"]])
    counts = count_causes(truth, said)
    of = {name: i for i, name in enumerate(CANONICAL_CAUSES)}
    assert counts.precision[of["curve"]] == pytest.approx(1 / 2)
    assert counts.recall[of["curve"]] == pytest.approx(1 / 2)
    assert counts.f1[of["cyclist"]] == pytest.approx(2 / 3)
    assert counts.f1[of["cones"]] == 0
    assert np.isnan(counts.precision[of["cones"]])
    assert np.isnan(counts.f1[of["merge"]]), "neither true nor said"
    assert counts.prior_f1[of["curve"]] == pytest.approx(2 * 0.5 / 1.5)
    assert macro(counts.f1) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


def test_an_unknown_cause_is_no_silent_miss():
    with pytest.raises(KeyError):
        cause_table([["moon"]])


def test_the_sets_of_causes_are_canonical():
    assert set(CANONICAL_CAUSES) >= CALM | SHOWN_BY_HISTORY
    assert len(set(CANONICAL_CAUSES)) == 18


@given(tables)
def test_saying_the_truth_is_perfect_and_always_saying_it_is_the_prior(truth):
    perfect = count_causes(truth, truth).f1
    assert np.all(perfect[truth.any(axis=0)] == 1)
    constant = count_causes(truth, np.ones_like(truth))
    seen = truth.any(axis=0)
    np.testing.assert_allclose(constant.f1[seen], constant.prior_f1[seen])


@given(pairs())
def test_f1_is_the_harmonic_mean(pair):
    counts = count_causes(*pair)
    with np.errstate(divide="ignore", invalid="ignore"):
        harmonic = 2 / (1 / counts.precision + 1 / counts.recall)
    both = (counts.precision > 0) & (counts.recall > 0)
    np.testing.assert_allclose(counts.f1[both], harmonic[both])


@given(pairs(), st.integers(1, 5))
def test_counts_of_drives_add_up(pair, drives):
    truth, said = pair
    group = np.arange(len(truth)) % drives
    apart = pack(count_causes(truth, said, group)).sum(axis=0)
    np.testing.assert_array_equal(apart, pack(count_causes(truth, said)))
    np.testing.assert_array_equal(pack(unpack(apart)), apart)


@given(pairs())
def test_every_true_cause_is_somewhere_in_the_confusion(pair):
    truth, said = pair
    table = confusion(truth, said)
    np.testing.assert_allclose(table.sum(axis=1), truth.sum(axis=0))
    np.testing.assert_array_equal(np.diag(table[:, :4]) >= (truth & said).sum(axis=0), True)


def test_confusion_names_what_was_said_instead():
    truth = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=np.bool_)
    said = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=np.bool_)
    np.testing.assert_allclose(confusion(truth, said)[0], [0, 1.5, 0.5, 1])


def test_history_prior_finds_what_motion_shows_and_no_more():
    rng = np.random.default_rng(0)
    motion = rng.integers(0, 4, 4000)
    shown, hidden = motion == 2, rng.random(4000) < 0.2
    drive = np.arange(4000) // 100
    truth = np.stack([shown, hidden, np.zeros(4000, np.bool_)], axis=1)
    scores = history_prior_f1(truth, motion, drive)
    prior = count_causes(truth, truth).prior_f1
    assert scores[0] == pytest.approx(1.0)
    assert abs(scores[1] - prior[1]) < 0.05
    assert np.isnan(scores[2])


def test_history_prior_needs_two_drives():
    truth = np.ones((6, 2), np.bool_)
    zeros = np.zeros(6, np.int64)
    assert np.isnan(history_prior_f1(truth, zeros, zeros)).all()


def test_bootstrap_over_drives_holds_the_mean_and_is_wider_for_alike_ticks():
    rng = np.random.default_rng(1)
    drive = np.repeat(np.arange(20), 50)
    alike = rng.normal(5, 1, 20)[drive][:, None]
    apart = rng.normal(5, 1, (1000, 1))

    def mean(sums):
        return sums[:, 0] / sums[:, 1]

    wide = bootstrap(sums_by_drive(alike, drive), mean, seed=0)
    narrow = bootstrap(sums_by_drive(apart, drive), mean, seed=0)
    assert wide is not None
    assert narrow is not None
    assert wide[0] <= alike.mean() <= wide[1]
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    assert wide == bootstrap(sums_by_drive(alike, drive), mean, seed=0)


def test_one_drive_gives_no_interval():
    assert bootstrap(np.ones((1, 2)), lambda sums: sums[:, 0], seed=0) is None


def test_draws_without_a_value_are_left_out():
    sums = np.array([[0.0, 0.0], [2.0, 1.0], [2.0, 1.0]])

    def ratio(drawn):
        with np.errstate(invalid="ignore"):
            return drawn[:, 0] / drawn[:, 1]

    assert bootstrap(sums, ratio, seed=0) == (2.0, 2.0)
