"""The benchmark on a tiny random model: what it compares, and in which order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsd_planner.build import build_planner
from rsd_planner.config import PlannerSettings
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.evaluation.acceptance import Exactness
from rsd_planner.evaluation.benchmark import OracleDrafter, measure_drive, novel_by_text
from rsd_planner.evaluation.report import ROW_FIELDS, Drive, bench_rows, edits
from rsd_planner.evaluation.trajectory import PathError
from rsd_planner.types import EgoHistory, EgoState, Frame, Observation


@pytest.fixture(scope="module")
def planner(tiny_folder):
    settings = PlannerSettings.from_mapping(
        {"model_path": str(tiny_folder), "worker_threads": 1, "max_reasoning_tokens": 12}
    )
    return build_planner(settings)


def observation(tick: int, change: int) -> Observation:
    pixels = np.random.default_rng(change).integers(0, 255, (32, 64, 3), dtype=np.uint8)
    frames = tuple(Frame("front_wide", tick * 200_000_000 + k, pixels) for k in range(4))
    steps = np.zeros((16, 3))
    steps[:, 0] = np.linspace(-8.0, 0.0, 16)
    now = EgoState(0, np.zeros(3), np.array([0.0, 0, 0, 1]), np.array([5.0, 0, 0]), np.zeros(3))
    history = EgoHistory(0, 0.1, steps, np.broadcast_to(np.eye(3), (16, 3, 3)).copy(), now)
    return Observation(tick, tick * 200_000_000, frames, history)


@pytest.fixture(scope="module")
def measured(planner):
    drafters = [make_drafter("none"), make_drafter("previous_tick"), OracleDrafter()]
    drive = [observation(tick, change=tick // 3) for tick in range(6)]
    forgetful = [make_drafter("previous_tick")]
    return list(measure_drive(planner, drive, drafters, isolated=forgetful))


@pytest.fixture(scope="module")
def drive(measured):
    """The measurements as one drive whose ticks 3 and 4 are novel."""
    ticks = {m.drafter: [] for m in measured[0]}
    for m in (m for tick in measured for m in tick if not m.isolated):
        ticks[m.drafter].append(m)
    isolated = {"previous_tick": [m for tick in measured for m in tick if m.isolated]}
    novel = (False, False, False, True, True, False)
    errors = {name: PathError() for name in ticks if name != "floor"}
    for name, error in errors.items():
        for tick in ticks[name]:
            error.add(tick.trajectory, None)
    return Drive(ticks, errors, isolated, novel)


def test_every_drafter_writes_the_plain_text(measured):
    for m in (m for tick in measured for m in tick):
        if m.drafter == "floor":
            assert m.exactness is None
        else:
            assert m.exactness in (Exactness.EXACT, Exactness.EXCUSED)


def test_oracle_needs_the_fewest_forwards(measured):
    forwards = {m.drafter: 0 for m in measured[0]}
    for tick in measured:
        for m in (m for m in tick if not m.isolated):
            forwards[m.drafter] += m.decoded.target_forwards
    assert forwards["oracle"] <= forwards["previous_tick"] <= forwards["none"]


def test_an_unchanged_picture_makes_the_previous_text_right(measured):
    again = {m.drafter: m for m in measured[1] if not m.isolated}["previous_tick"]
    assert again.decoded.accepted == len(again.decoded.tokens) or again.decoded.proposed > 0


def test_tick_is_floor_plus_reasoning(measured):
    for m in measured[0]:
        assert m.tick_ms == pytest.approx(m.floor_ms + m.reasoning_ms)
        assert m.floor_ms == pytest.approx(m.vision_ms + m.prefill_ms + m.head_ms)


def test_the_floor_is_a_tick_without_text(drive):
    assert len(drive.ticks["floor"]) == 6
    for m in drive.ticks["floor"]:
        assert m.decoded.tokens == ()
        assert m.reasoning_ms == 0.0
    row = bench_rows([drive], split="streaming")[-1]
    assert row["drafter"] == "floor"
    assert row["exact_ticks"] is row["speedup_reasoning"] is row["tokens_per_forward"] is None
    assert row["tick_over_floor_p50"] == 1.0


def test_rows_have_the_fixed_names_and_plain_is_one(drive):
    rows = bench_rows([drive], split="streaming")
    assert [tuple(row) for row in rows] == [ROW_FIELDS] * 4
    plain, previous, oracle, _ = rows
    assert plain["speedup_reasoning"] == pytest.approx(1.0)
    assert plain["saved_share"] == pytest.approx(0.0)
    assert oracle["saved_share"] == pytest.approx(1.0)
    assert previous["exact_ticks"] + previous["excused_ticks"] == 6
    assert previous["ci95_low"] is None  # one drive gives no interval
    assert previous["ade_m"] is None  # no recorded future
    assert 0 < plain["reasoning_share"] < 1
    assert 0 < plain["head_ms_p50"] < plain["floor_ms_p50"]
    assert plain["ticks_per_s"] == pytest.approx(
        6e3 / sum(tick.tick_ms for tick in drive.ticks["none"])
    )


def test_an_isolated_drafter_copies_nothing(drive):
    plain, previous, oracle, _ = bench_rows([drive], split="isolated")
    assert previous["split"] == "isolated"
    assert previous["routine_share"] == 0.0 == plain["routine_share"]
    assert previous["exact_ticks"] + previous["excused_ticks"] == previous["ticks"] == 6
    assert oracle["tokens_per_forward"] > 1
    streaming = bench_rows([drive], split="streaming")[1]
    assert streaming["routine_share"] > 0.0


def test_without_isolated_measurements_there_are_no_such_rows(drive):
    assert bench_rows([replace(drive, isolated={})], split="isolated") == []


def test_novel_ticks_are_judged_alone_and_against_the_tick_before(drive):
    rows = {row["drafter"]: row for row in bench_rows([drive], split="novel")}
    assert all(row["ticks"] == 2 for row in rows.values())
    # The picture changes at tick 3 and stays at tick 4.
    assert rows["none"]["equal_text_share"] == 0.5
    texts = [tick.decoded.tokens for tick in drive.ticks["none"]]
    assert rows["none"]["changed_tokens"] == edits(texts[2], texts[3]) / 2 > 0
    assert rows["previous_tick"]["routine_share"] < 1
    forwards = sum(tick.decoded.target_forwards for tick in drive.ticks["previous_tick"][3:5])
    assert rows["previous_tick"]["target_forwards"] == forwards


def test_a_drive_in_which_nothing_is_new_has_empty_novel_rows(drive):
    (plain, *_) = bench_rows([replace(drive, novel=(False,) * 6)], split="novel")
    assert plain["ticks"] == 0
    assert plain["speedup_reasoning"] is None


def test_a_second_after_a_change_of_causes_is_novel():
    free = "Keep the speed at 30 km/h and stay in the lane because the road ahead is free."
    light = "Slow down from 30 to 25 km/h because the traffic light {} m ahead is red."
    texts = [free, free, light.format(40), light.format(35), light.format(30), free]
    stamps = [0, 200_000_000, 400_000_000, 1_300_000_000, 1_500_000_000, 1_700_000_000]
    assert novel_by_text(stamps, texts) == (False, False, True, True, False, True)
    assert novel_by_text([], []) == ()


texts = st.lists(st.integers(0, 3), max_size=8)


@given(texts, texts, texts)
def test_edits_are_a_distance(one, two, three):
    assert edits(one, two) == edits(two, one)
    assert (edits(one, two) == 0) == (one == two)
    assert edits(one, three) <= edits(one, two) + edits(two, three)
    assert abs(len(one) - len(two)) <= edits(one, two) <= max(len(one), len(two))


def test_edits_of_a_known_change():
    assert edits("14 m ahead", "12 m ahead") == 1
    assert edits("abc", "xabc") == 1


def test_without_plain_decoding_nothing_is_claimed(measured):
    ticks = {"previous_tick": [tick[1] for tick in measured]}
    (row,) = bench_rows([Drive(ticks, {})], split="streaming")
    assert row["speedup_reasoning"] is None
    assert row["exact_ticks"] is None
    assert row["ticks"] == 6
