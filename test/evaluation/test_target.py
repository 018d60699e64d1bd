"""Evaluating a target: what is asked, what comes out, and what a perfect answer scores."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from rsd_planner.build import build_planner
from rsd_planner.cli import main
from rsd_planner.config import PlannerSettings
from rsd_planner.errors import CommandError
from rsd_planner.evaluation.causes import parse_reasoning
from rsd_planner.evaluation.failures import rank
from rsd_planner.evaluation.grounding import CANONICAL_CAUSES
from rsd_planner.evaluation.paths import medoid
from rsd_planner.evaluation.target import (
    INPUTS,
    Answers,
    Sampling,
    answer,
    open_model,
    select_ticks,
)
from rsd_planner.evaluation.target_report import write_target_report
from rsd_planner.evaluation.target_rows import ROW_FIELDS, report_of
from rsd_planner.models.checkpoint import load_checkpoint
from rsd_planner.training.data import DriveSet
from rsd_planner.types import EgoHistory, EgoState, Frame, Observation

SAMPLING = Sampling(samples=2, flow_steps=2, batch=5)
MAX_TOKENS = 10


@pytest.fixture(scope="module")
def ticks(held_out):
    return select_ticks(DriveSet(held_out), every=2)


@pytest.fixture(scope="module")
def model(tiny_folder, ticks):
    return open_model(load_checkpoint(tiny_folder), ticks.data, MAX_TOKENS)


@pytest.fixture(scope="module")
def answers(model, ticks):
    return {name: answer(model, ticks, name, SAMPLING, silent=True) for name in INPUTS}


def made(ticks, texts, paths, source="normal") -> Answers:
    """Answers of a model that would say and drive this."""
    samples = np.stack([paths, paths + [0.0, 0.1], paths - [0.0, 0.1]], axis=1)
    return Answers(
        input=source,
        texts=tuple(texts),
        parsed=tuple(parse_reasoning(text) for text in texts),
        finished=np.ones(len(ticks), np.bool_),
        samples=samples,
        chosen=medoid(samples),
        silent=samples + [1.0, 0.0],
    )


@pytest.fixture(scope="module")
def perfect(ticks):
    return made(ticks, [ticks.data.texts[i] for i in ticks.now], ticks.driven)


@pytest.fixture(scope="module")
def careless(ticks):
    """Says everywhere that the road is free, and stays where it is."""
    free = next(text for text in ticks.data.texts if "free" in text)
    return made(ticks, [free] * len(ticks), 0 * ticks.driven, "blank")


def test_ticks_are_whole_and_their_truth_is_the_shards(ticks):
    assert len(ticks) == 3 * 9
    assert set(ticks.drive) == {0, 1, 2}
    for row, frame in enumerate(ticks.now):
        names = {CANONICAL_CAUSES[i] for i in np.flatnonzero(ticks.truth[row])}
        assert names == ticks.data.cause_names(int(frame))
        assert ticks.decisions[ticks.decision[row]] == ticks.data.decisions[frame]
        assert bool(ticks.event[row]) == (names != {"road_free"})


def test_normal_answers_are_the_planners(answers, ticks, tiny_folder):
    planner = build_planner(
        PlannerSettings.from_mapping(
            {
                "model_path": str(tiny_folder),
                "drafter": "none",
                "max_reasoning_tokens": MAX_TOKENS,
                "num_samples": SAMPLING.samples,
                "seed": SAMPLING.seed,
            }
        )
    )
    now = EgoState(0, np.zeros(3), np.array([0.0, 0, 0, 1]), np.zeros(3), np.zeros(3))
    for row in (0, 11, 26):
        pictures = ticks.data.pictures(ticks.frames[row])
        frames = tuple(Frame("front_wide", i, image) for i, image in enumerate(pictures))
        history = EgoHistory(0, 0.1, ticks.history_xyz[row], ticks.history_rot[row], now)
        result = planner.plan(Observation(row, row, frames, history))
        planner.reset()
        assert result.text == answers["normal"].texts[row]
        wanted = result.trajectory.position_m[:, :2]
        np.testing.assert_allclose(answers["normal"].paths[row], wanted, atol=5e-4)


def test_the_size_of_a_batch_changes_nothing(model, ticks, answers):
    again = answer(model, ticks, "normal", dataclasses.replace(SAMPLING, batch=64))
    assert again.texts == answers["normal"].texts
    np.testing.assert_allclose(again.samples, answers["normal"].samples, atol=5e-4)


def test_blank_pictures_leave_the_history_alone(answers, ticks, model):
    blank = answers["blank"]
    data = ticks.data
    grey = np.full((1, *data.picture_size, 3), 128, np.uint8)
    model.read(model.encode(grey), np.zeros((len(ticks), 4), np.int64), ticks.history_xyz)
    assert tuple(model.text_of(row) for row in model.write()) == blank.texts
    assert blank.texts != answers["normal"].texts


def test_swapped_and_shuffled_inputs_are_others(answers):
    normal = answers["normal"]
    for name in ("swapped", "history_shuffled"):
        changed = np.mean([a != b for a, b in zip(normal.texts, answers[name].texts)])
        assert changed > 0.5, name


def test_silence_is_another_path(answers):
    normal = answers["normal"]
    assert np.abs(normal.silent_paths - normal.paths).max() > 1e-3


def test_another_drive_needs_another_drive(held_out, tiny_folder):
    alone = select_ticks(DriveSet(held_out, 1))
    model = open_model(load_checkpoint(tiny_folder), alone.data)
    with pytest.raises(CommandError, match="two drives"):
        answer(model, alone, "swapped", SAMPLING)


def test_a_perfect_answer_scores_one_and_drives_no_error(ticks, perfect, careless):
    figures = report_of(ticks, [perfect, careless])
    assert all(tuple(row) == ROW_FIELDS for row in figures["rows"])
    whole = {row["input"]: row for row in figures["rows"] if row["split"] == "streaming"}
    row = whole["normal"]
    assert row["macro_f1"] == row["min_f1"] == row["decision_accuracy"] == 1.0
    assert row["complete_share"] == 1.0
    assert row["ade_3s_m"] == pytest.approx(0.0)
    assert row["silent_ade_3s_m"] == pytest.approx(1.0)
    assert 0 < row["cv_ade_3s_m"] < 20
    assert row["macro_f1_low"] == row["macro_f1_high"] == 1.0
    seen = whole["blank"]
    assert seen["unshown_f1"] == 0.0, "it names nothing that must be seen"
    assert seen["unshown_prior_f1"] == row["unshown_prior_f1"] > 0.2
    assert seen["decision_accuracy"] == pytest.approx(np.mean(ticks.decision == 0))


def test_splits_hold_the_ticks_that_they_name(ticks, perfect):
    rows = {row["split"]: row for row in report_of(ticks, [perfect])["rows"]}
    assert rows["streaming"]["ticks"] == len(ticks)
    assert rows["novel"]["ticks"] == ticks.novel.sum() > 0
    assert rows["event"]["ticks"] == ticks.event.sum() > 0
    assert rows["event:cones"]["recall"] == 1.0
    assert rows["event:merge"]["ticks"] == 0
    assert rows["event:merge"]["ade_3s_m"] is None


def test_causes_attributes_paths_and_spread_have_their_tables(ticks, perfect, careless):
    figures = report_of(ticks, [perfect, careless])
    causes = {row["cause"]: row for row in figures["causes"]}
    assert causes["pedestrian_crossing"]["f1"] == 1.0
    assert causes["pedestrian_crossing"]["blank_f1"] == 0.0
    assert causes["road_free"]["blank_f1"] == pytest.approx(causes["road_free"]["prior_f1"])
    assert {row["attribute"]: row["accuracy"] for row in figures["attributes"]} == {
        "side": 1.0,
        "kind": 1.0,
        "distance_m": 1.0,
    }
    planners = {row["planner"]: row for row in figures["paths"] if row["split"] == "streaming"}
    assert planners["model"]["ade_3s_against_cv"] == pytest.approx(0.0, abs=1e-6)
    assert planners["model"]["ade_3s_less_silent_m"] == pytest.approx(-1.0)
    assert planners["constant_velocity"]["ade_3s_against_cv"] == pytest.approx(1.0)
    assert planners["constant_turn_rate"]["ade_3s_m"] < planners["constant_velocity"]["ade_3s_m"]
    assert [row["horizon_s"] for row in figures["calibration"]] == [1.0, 3.0, 6.0]
    assert figures["calibration"][0]["coverage"][0.5] == 1.0


def test_figures_are_plain_json(ticks, perfect):
    assert json.loads(json.dumps(report_of(ticks, [perfect])))["rows"]


def test_the_worst_ticks_are_the_wrong_ones_and_not_neighbours(ticks, perfect):
    now = ticks.data.texts
    texts = [now[i] for i in ticks.now]
    texts[13] = next(t for t in now if "pedestrian" in t and t != texts[13])
    flawed = made(ticks, texts, ticks.driven)
    chosen = rank(ticks, flawed, 4)
    assert chosen[0] == 13
    stamps = ticks.data.stamps_ns[ticks.now]
    for one in chosen:
        for other in chosen:
            if one != other and ticks.drive[one] == ticks.drive[other]:
                assert abs(stamps[one] - stamps[other]) >= 3_000_000_000


def test_the_page_shows_pictures_causes_and_texts(ticks, perfect, careless, tmp_path):
    answers = [
        dataclasses.replace(careless, input="normal"),
        dataclasses.replace(perfect, input="blank"),
    ]
    figures = report_of(ticks, answers)
    write_target_report(tmp_path / "page.html", ticks, answers, figures, "rsd eval target <x>")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "missed: pedestrian crossing" in page
    assert "keep instead of yield" in page
    assert page.count("data:image/jpeg;base64,") >= 3
    assert "rsd eval target &lt;x&gt;" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_command_writes_figures_and_page(held_out, tiny_folder, tmp_path, capsys):
    words = ["eval", "target", "--data", held_out, "--model", tiny_folder, "--drives", 2]
    words += ["--every", 4, "--samples", 2, "--json", tmp_path / "e.json"]
    assert main([str(w) for w in [*words, "--html", tmp_path / "e.html"]]) == 0
    value = json.loads((tmp_path / "e.json").read_text())
    assert {"command", "seed", "machine", "rows", "causes", "paths", "calibration"} <= set(value)
    splits = {(row["split"], row["input"]) for row in value["rows"]}
    assert {(s, i) for s in ("streaming", "novel", "event") for i in INPUTS} <= splits
    assert (tmp_path / "e.html").stat().st_size > 10_000
    assert "streaming" in capsys.readouterr().out


def test_mistakes_end_with_a_sentence(held_out, tmp_path, capsys):
    assert main(["eval", "target", "--data", str(tmp_path / "none")]) == 2
    assert "rsd data" in capsys.readouterr().err
    assert main(["eval", "target", "--data", str(held_out), "--inputs", "blank"]) == 2
    assert "normal" in capsys.readouterr().err
    assert main(["eval", "target", "--data", str(held_out), "--every", "0"]) == 2
    assert "--every" in capsys.readouterr().err
