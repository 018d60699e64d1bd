"""Whole commands on a short bag and a tiny random model."""

from __future__ import annotations

import argparse
import json

import pytest
from rosbags.rosbag2 import Reader

from rsd_planner.cli import main
from rsd_planner.commands._drives import open_drive
from rsd_planner.commands._output_bag import message_types
from rsd_planner.commands.play import _planner_remaps, parse_remaps
from rsd_planner.config import PlannerSettings, read_requirements
from rsd_planner.errors import CommandError
from rsd_planner.evaluation.report import ROW_FIELDS


@pytest.fixture(scope="module")
def replayed(bag, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("replay")
    words = ["replay", bag, "--model", model, "--out", out, "--json", out / "rows.json"]
    assert main([str(word) for word in [*words, "--against-none"]]) == 0
    return out


def test_replay_writes_a_bag_of_our_messages(replayed):
    store = message_types()
    kinds: dict[str, list] = {}
    with Reader(replayed / "plans") as reader:
        for connection, at_ns, data in reader.messages():
            message = store.deserialize_cdr(data, connection.msgtype)
            kinds.setdefault(connection.msgtype.rsplit("/", 1)[-1], []).append((at_ns, message))
    assert set(kinds) == {"PlannedTrajectory", "Path", "Reasoning", "DecodeStats"}
    assert len({len(found) for found in kinds.values()}) == 1
    at_ns, plan = kinds["PlannedTrajectory"][0]
    stamp_ns = plan.header.stamp.sec * 10**9 + plan.header.stamp.nanosec
    assert stamp_ns < at_ns, "stamped t0, logged when the answer was there"
    assert plan.header.frame_id == "odom"
    assert len(plan.points) == 65  # the pose at t0 and 64 waypoints
    text = kinds["Reasoning"][0][1].text
    spans = kinds["Reasoning"][0][1].spans
    assert [spans[0].start, spans[-1].end] == [0, len(text)]


def test_replay_against_none_is_exact_and_in_the_fixed_form(replayed):
    value = json.loads((replayed / "rows.json").read_text())
    assert set(value) == {"command", "seed", "machine", "rows"}
    assert {"cores", "torch", "threads"} <= set(value["machine"])
    assert [tuple(row) for row in value["rows"]] == [ROW_FIELDS] * 2
    for row in value["rows"]:
        assert row["exact_ticks"] + row["excused_ticks"] == row["ticks"] > 5
        assert row["split"] == "streaming"


def test_replay_writes_a_report(replayed):
    page = (replayed / "report.html").read_text(encoding="utf-8")
    assert "Replay of short" in page
    assert "measured in the same tick" in page


def test_bench_has_plain_drafter_oracle_and_floor(bag, model, tmp_path, capsys):
    file = tmp_path / "sub" / "bench.json"
    words = ["bench", bag, "--model", model, "--quick", "--drafter", "previous_tick"]
    assert main([str(word) for word in [*words, "--ticks", "9", "--json", file]]) == 0
    rows = json.loads(file.read_text())["rows"]
    names = ["none", "previous_tick", "oracle", "floor"]
    assert [row["drafter"] for row in rows] == 3 * names
    assert [row["split"] for row in rows] == [
        split for split in ("streaming", "isolated", "novel") for _ in names
    ]
    assert rows[5]["routine_share"] == 0.0, "without a last tick there is nothing to copy"
    assert rows[0]["speedup_reasoning"] == pytest.approx(1.0)
    assert rows[2]["saved_share"] == pytest.approx(1.0)
    assert "previous_tick" in capsys.readouterr().out


def test_models_lists_what_is_there(model, tmp_path, capsys):
    (model / "README.md").write_text("---\nlicense: apache-2.0\nmetrics:\n  ade_m: 0.4\n---\n")
    file = tmp_path / "models.json"
    assert main(["models", "--folder", str(model), "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert "previous_tick" in found["drafters"]
    (tiny,) = [m for m in found["models"] if m["folder"] == str(model)]
    assert tiny["parameters"] > 10_000
    assert tiny["licence"] == "apache-2.0"
    assert tiny["figures"] == {"ade_m": "0.4"}


def test_observations_come_at_the_asked_rate(bag, model):
    settings = PlannerSettings.from_mapping({"model_path": str(model)})
    drive = open_drive(bag, "front_wide")
    made = list(drive.observations(settings, read_requirements(model), 5.0))
    steps = {later.t0_ns - earlier.t0_ns for earlier, later in zip(made, made[1:], strict=False)}
    assert steps == {200_000_000}
    assert made[0].tick > 1, "the first ticks lack a history"
    assert sum(drive.skipped.values()) == made[0].tick - 1
    assert drive.model is not None


def test_planner_inputs_are_remapped_by_name(bag):
    options = argparse.Namespace(planner="/car/rsd_planner", camera="front_wide")
    remaps = _planner_remaps(open_drive(bag, "front_wide").bag, options)
    assert remaps["/odometry"] == "/car/rsd_planner/input/odometry"
    assert (
        remaps["/camera/front_wide/image/compressed"]
        == "/car/rsd_planner/input/camera/front_wide/image/compressed"
    )


def test_remap_words():
    assert parse_remaps(["/a:=/b"], {"/a": "x/msg/Y"}) == {"/a": "/b"}
    with pytest.raises(CommandError):
        parse_remaps(["/a:=b"], {"/a": "x/msg/Y"})
