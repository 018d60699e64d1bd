"""The benchmark on a tiny random model: what it compares, and in which order."""

from __future__ import annotations

import numpy as np
import pytest

from rsd_planner.build import build_planner
from rsd_planner.config import PlannerSettings
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.evaluation.acceptance import Exactness
from rsd_planner.evaluation.benchmark import OracleDrafter, measure_drive
from rsd_planner.evaluation.report import ROW_FIELDS, Drive, bench_rows
from rsd_planner.evaluation.trajectory import PathError
from rsd_planner.models.presets import write_random_checkpoint
from rsd_planner.types import EgoHistory, EgoState, Frame, Observation


@pytest.fixture(scope="module")
def planner(tmp_path_factory):
    folder = write_random_checkpoint(tmp_path_factory.mktemp("tiny"), seed=3)
    settings = PlannerSettings.from_mapping(
        {"model_path": str(folder), "worker_threads": 1, "max_reasoning_tokens": 12}
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
    return list(measure_drive(planner, drive, drafters))


def test_every_drafter_writes_the_plain_text(measured):
    assert {m.exactness for tick in measured for m in tick} <= {
        Exactness.EXACT,
        Exactness.EXCUSED,
    }


def test_oracle_needs_the_fewest_forwards(measured):
    forwards = {m.drafter: 0 for m in measured[0]}
    for tick in measured:
        for m in tick:
            forwards[m.drafter] += m.decoded.target_forwards
    assert forwards["oracle"] <= forwards["previous_tick"] <= forwards["none"]


def test_an_unchanged_picture_makes_the_previous_text_right(measured):
    again = {m.drafter: m for m in measured[1]}["previous_tick"]
    assert again.decoded.accepted == len(again.decoded.tokens) or again.decoded.proposed > 0


def test_tick_is_floor_plus_reasoning(measured):
    for m in measured[0]:
        assert m.tick_ms == pytest.approx(m.floor_ms + m.reasoning_ms)


def test_rows_have_the_fixed_names_and_plain_is_one(measured):
    names = [m.drafter for m in measured[0]]
    ticks = {name: [tick[i] for tick in measured] for i, name in enumerate(names)}
    rows = bench_rows([Drive(ticks, {name: PathError() for name in names})], split="streaming")
    assert [tuple(row) for row in rows] == [ROW_FIELDS] * 3
    plain, previous, oracle = rows
    assert plain["speedup_reasoning"] == pytest.approx(1.0)
    assert plain["saved_share"] == pytest.approx(0.0)
    assert oracle["saved_share"] == pytest.approx(1.0)
    assert previous["exact_ticks"] + previous["excused_ticks"] == 6
    assert previous["ci95_low"] is None  # one drive gives no interval
    assert previous["ade_m"] is None  # no recorded future


def test_without_plain_decoding_nothing_is_claimed(measured):
    ticks = {"previous_tick": [tick[1] for tick in measured]}
    (row,) = bench_rows([Drive(ticks, {})], split="streaming")
    assert row["speedup_reasoning"] is None
    assert row["exact_ticks"] is None
    assert row["ticks"] == 6
