"""`rsd bench` on drives of `rsd data`: what a tick sees, what is true there, and the page."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from rsd_planner.build import build_planner
from rsd_planner.cli import main
from rsd_planner.commands._bench_drives import make_drafters
from rsd_planner.commands._shard_drives import open_shards
from rsd_planner.config import PlannerSettings, read_requirements
from rsd_planner.errors import CommandError, ConfigError
from rsd_planner.evaluation.bench_page import write_bench_page
from rsd_planner.evaluation.costs import cost_rows
from rsd_planner.evaluation.proposals import ROUTES
from rsd_planner.evaluation.report import ROW_FIELDS
from rsd_planner.model_requirements import ModelRequirements
from rsd_planner.training.data import DriveSet


@pytest.fixture(scope="module")
def settings(tiny_folder):
    return PlannerSettings.from_mapping({"model_path": str(tiny_folder)})


@pytest.fixture(scope="module")
def shard(held_out):
    return open_shards(held_out, 2)[1]


def seen(shard, settings, rate_hz, requirements=None):
    wanted = requirements or read_requirements(settings.model_path)
    return list(shard.observations(settings, wanted, rate_hz))


def test_a_tick_sees_what_the_shard_holds(shard, settings, held_out):
    data = DriveSet(held_out)
    made = seen(shard, settings, 5.0)
    frames = data.ticks()[data.drive[data.ticks()[:, -1]] == 1]
    assert len(made) == len(frames) > 10
    for observation, rows in zip(made, frames, strict=True):
        now = rows[-1]
        assert observation.t0_ns == data.stamps_ns[now] == observation.history.t0_ns
        assert [f.stamp_ns for f in observation.frames] == list(data.stamps_ns[rows])
        shown = np.stack([frame.image for frame in observation.frames])
        np.testing.assert_array_equal(shown, data.pictures(rows))
        np.testing.assert_allclose(observation.history.position_m, data.history_xyz[now])
        np.testing.assert_allclose(shard.driven(observation, 64, 0.1), data.future_xyz[now])
    speed = np.linalg.norm(made[0].history.now.linear_mps)
    assert speed == pytest.approx(np.linalg.norm(data.history_xyz[frames[0, -1], -2]) / 0.1)
    stamps = [observation.t0_ns for observation in made]
    assert shard.novel(stamps) == tuple(data.novel[frames[:, -1]])
    assert any(shard.novel(stamps))


def test_the_future_is_known_on_the_shards_grid_alone(shard, settings):
    observation = seen(shard, settings, 5.0)[0]
    assert shard.driven(observation, 10, 0.1).shape == (10, 3)
    assert shard.driven(observation, 10, 0.2) is None


def test_slower_ticks_take_the_newest_picture(shard, settings):
    every = [o.t0_ns for o in seen(shard, settings, 5.0)]
    half = [o.t0_ns for o in seen(shard, settings, 2.5)]
    assert half == every[::2]
    slow = [o.t0_ns for o in seen(shard, settings, 2.0)]
    assert set(slow) <= set(every)
    steps = np.diff(slow) / 1e9
    assert set(np.round(steps, 1)) == {0.4, 0.6}
    assert steps.mean() == pytest.approx(0.5, abs=0.05)


def test_what_a_shard_cannot_give_is_said(shard, settings, held_out, tmp_path):
    with pytest.raises(CommandError, match="pictures at 5 Hz; choose 5 or less"):
        seen(shard, settings, 10.0)
    with pytest.raises(CommandError, match=r"0\.1 s apart"):
        seen(shard, settings, 5.0, ModelRequirements())
    longer = dataclasses.replace(read_requirements(settings.model_path), history_steps=20)
    with pytest.raises(CommandError, match="20 steps"):
        seen(shard, settings, 5.0, longer)
    with pytest.raises(CommandError, match="rsd data"):
        open_shards(tmp_path)


@pytest.fixture(scope="module")
def benched(held_out, tiny_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    words = ["bench", "--drives", held_out, "--model", tiny_folder, "--limit", 2, "--ticks", 4]
    words += ["--drafter", "previous_tick", "--controls", "--sparsely", 2, "--hz", 5, 2]
    words += ["--threads", 1, "--json", out / "bench.json", "--html", out / "sub" / "bench.html"]
    assert main([str(word) for word in words]) == 0
    page = (out / "sub" / "bench.html").read_text(encoding="utf-8")
    return json.loads((out / "bench.json").read_text()), page


def test_every_text_is_the_plain_one(benched):
    rows = benched[0]["rows"]
    assert all(tuple(row) == ROW_FIELDS for row in rows)
    for row in rows:
        if row["drafter"] != "floor":
            assert row["exact_ticks"] + row["excused_ticks"] == row["ticks"]
    counts = {(r["hz"], r["split"], r["drafter"]): r["ticks"] for r in rows}
    assert counts[5.0, "streaming", "previous_tick"] == 8
    assert counts[5.0, "isolated", "previous_tick"] == counts[5.0, "isolated", "none"] == 4
    assert counts[5.0, "streaming", "transformers_generate"] == 4
    assert counts[5.0, "novel", "none"] == counts[5.0, "novel", "floor"] > 0
    assert counts[2.0, "streaming", "oracle"] == 8


def test_path_errors_and_intervals_stand_in_the_rows(benched):
    rows = {
        row["drafter"]: row
        for row in benched[0]["rows"]
        if row["split"] == "streaming" and row["hz"] == 5.0
    }
    assert rows["none"]["ade_m"] == rows["previous_tick"]["ade_m"] > 0
    assert rows["floor"]["ade_m"] is None
    assert rows["none"]["ci95_low"] == rows["none"]["ci95_high"] == pytest.approx(1.0)
    own = rows["previous_tick"]
    assert own["ci95_low"] <= own["speedup_reasoning"] <= own["ci95_high"]
    assert rows["transformers_generate"]["tick_ms_p50"] is None
    assert rows["transformers_generate"]["speedup_reasoning"] > 0


def test_a_ticks_parts_add_up(benched):
    rows = {(r["hz"], r["split"], r["drafter"]): r for r in benched[0]["rows"]}
    for row in benched[0]["times"]:
        parts = [row[f"{part}_ms"] for part in ("vision", "prefill", "drafter", "verify", "head")]
        key = (row["hz"], row["split"], row["drafter"])
        assert sum(parts) * rows[key]["ticks_per_s"] == pytest.approx(1e3)


def test_pairs_compare_on_common_ticks(benched):
    pairs = {
        (r["drafter"], r["against"]): r
        for r in benched[0]["pairs"]
        if r["split"] == "streaming" and r["hz"] == 5.0
    }
    there, back = pairs["previous_tick", "none"], pairs["none", "previous_tick"]
    assert there["times_faster"] * back["times_faster"] == pytest.approx(1.0)
    assert pairs["previous_tick", "transformers_generate"]["ticks"] == 4
    assert not any("floor" in pair for pair in pairs)


def test_accepted_tokens_are_those_of_the_rows(benched):
    rows = {(r["hz"], r["split"], r["drafter"]): r for r in benched[0]["rows"]}
    for name in ("previous_tick", "oracle"):
        own = [
            r
            for r in benched[0]["acceptance"]
            if (r["drafter"], r["split"], r["hz"]) == (name, "streaming", 5.0)
        ]
        row = rows[5.0, "streaming", name]
        accepted = sum(r["accepted"] for r in own)
        assert accepted == round(row["routine_share"] * row["tokens"])
    assert accepted > 0


def test_every_token_of_the_text_has_a_writer(benched):
    rows = {(r["hz"], r["split"], r["drafter"]): r for r in benched[0]["rows"]}
    routes = {(r["hz"], r["split"], r["drafter"]): r for r in benched[0]["routes"]}
    assert {name for _, _, name in routes} == {"none", "previous_tick", "oracle"}
    for key, route in routes.items():
        assert sum(route[name] for name in ROUTES) == rows[key]["tokens"]
        assert route["forwards"] == rows[key]["target_forwards"]
        assert route["verified"] >= route["accepted"] == route["previous_tick"] + route["lookup"]
    plain = routes[5.0, "streaming", "none"]
    assert plain["undrafted"] == rows[5.0, "streaming", "none"]["tokens"] > 0 == plain["drafts"]
    assert routes[5.0, "streaming", "previous_tick"]["previous_tick"] > 0


def test_the_page_shows_the_rows(benched):
    value, page = benched
    for name in ("previous tick", "transformers generate", "transformers prompt lookup", "floor"):
        assert f">{name}</td>" in page
    for heading in ("Streaming: 8 ticks", "Isolated: 4 ticks", "Other rules and rates"):
        assert heading in page
    row = next(r for r in value["rows"] if r["drafter"] == "previous_tick")
    assert f">{row['speedup_reasoning']:.2f}×</td>" in page
    assert f"{row['changed_tokens']:.2f} tokens change" in page
    assert "Who writes the text" in page and ">undrafted</span>" in page
    assert page.count("<svg") == 3 * 4
    assert value["command"].split(" --model")[0] in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


@pytest.fixture(scope="module")
def planner(tiny_folder):
    return build_planner(
        PlannerSettings.from_mapping({"model_path": str(tiny_folder), "worker_threads": 1})
    )


def test_costs_grow_with_what_they_are_for(benched, planner, tmp_path):
    rows = cost_rows(planner, (32, 64), rounds=1)
    by = {(row["grows"], row["size"]): row for row in rows}
    assert by["frames", 8]["prompt_tokens"] > by["frames", 1]["prompt_tokens"]
    assert by["cameras", 4]["prompt_tokens"] > by["cameras", 1]["prompt_tokens"]
    assert by["text", 64]["plain_ms"] > by["text", 8]["plain_ms"] > 0
    tables = {key: benched[0][key] for key in ("rows", "pairs", "times", "acceptance", "routes")}
    write_bench_page(tmp_path / "page.html", {**tables, "costs": rows}, "made", "rsd bench <x>")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3 * 4 + 3
    assert "rsd bench &lt;x&gt;" in page


def test_drafters_are_made_by_name_or_all_whose_files_are_there(planner):
    every = make_drafters(planner, isolated=True)
    names = [drafter.name for drafter in every.streaming]
    assert names[0] == "none" and {"previous_tick", "suffix", "cascade"} <= set(names)
    assert [drafter.name for drafter in every.forgetful] == names[1:]
    assert not set(map(id, every.streaming)) & set(map(id, every.forgetful))
    (reason,) = [text for text in every.missing if text.startswith("routine:")]
    assert "rsd train routine" in reason
    named = make_drafters(planner, ["suffix", "none", "suffix"])
    assert [drafter.name for drafter in named.streaming] == ["none", "suffix"]
    assert named.forgetful == named.missing == ()
    with pytest.raises(ConfigError, match="rsd train routine"):
        make_drafters(planner, ["routine"])


def test_mistakes_end_with_a_sentence(held_out, tiny_folder, tmp_path, capsys):
    words = ["bench", "--drives", str(held_out), "--model", str(tiny_folder)]
    assert main([*words, "--hz", "10"]) == 2
    assert "5 or less" in capsys.readouterr().err
    assert main([*words, "--ticks", "0"]) == 2
    assert "--ticks must be at least 1" in capsys.readouterr().err
    assert main(["bench", "a_bag", "--drives", str(held_out)]) == 2
    assert "not both" in capsys.readouterr().err
    assert main(["bench", "--drives", str(tmp_path)]) == 2
    assert "rsd data" in capsys.readouterr().err


def test_a_drive_s_draws_do_not_depend_on_what_was_measured_before(held_out, tiny_folder, tmp_path):
    words = ["bench", "--drives", held_out, "--model", tiny_folder, "--limit", 1, "--ticks", 2]
    words += ["--drafter", "previous_tick", "--rules", "rejection", "--splits", "streaming"]
    found = []
    for rates in ((5, 2.5), (2.5,)):
        file = tmp_path / f"{len(rates)}.json"
        assert main([str(word) for word in (*words, "--json", file, "--hz", *rates)]) == 0
        rows = [row for row in json.loads(file.read_text())["rows"] if row["hz"] == 2.5]
        found.append([(row["drafter"], row["tokens"], row["target_forwards"]) for row in rows])
    assert found[0] == found[1]


def test_sampled_texts_are_compared_where_they_are_repeatable(held_out, tiny_folder, tmp_path):
    words = ["bench", "--drives", held_out, "--model", tiny_folder, "--limit", 1, "--ticks", 2]
    words += ["--drafter", "previous_tick", "--rules", "coupled", "rejection", "--controls"]
    words += ["--splits", "streaming", "--threads", 1, "--json", tmp_path / "rows.json"]
    assert main([str(word) for word in words]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    coupled = {row["drafter"]: row for row in rows if row["rule"] == "coupled"}
    assert set(coupled) == {"none", "previous_tick", "oracle", "floor"}
    own = coupled["previous_tick"]
    assert own["exact_ticks"] + own["excused_ticks"] == 2
    rejection = {row["drafter"]: row for row in rows if row["rule"] == "rejection"}
    assert set(rejection) == {"none", "previous_tick", "floor"}
    assert rejection["previous_tick"]["exact_ticks"] is None
    assert rejection["previous_tick"]["speedup_reasoning"] > 0
