"""A user's mistake: one sentence with the remedy, exit code 2, no traceback."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest

from rsd_planner.cli import main


def mistake(capsys, *words: object) -> str:
    """Run a command that must fail with code 2; what it said, which is one line."""
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("rsd: ")
    assert "\n" not in said
    assert "Traceback" not in said
    return said


def test_unknown_command_gets_a_suggestion(capsys):
    assert "Did you mean 'replay'?" in mistake(capsys, "repaly")


def test_missing_bag(capsys, model):
    assert "there is no bag at nowhere" in mistake(capsys, "replay", "nowhere", "--model", model)


def test_bag_without_odometry(capsys, bag_without_odometry, model):
    said = mistake(capsys, "replay", bag_without_odometry, "--model", model)
    assert "odometry" in said


def test_unknown_topic_gets_a_suggestion(capsys, bag, model):
    words = ("replay", bag, "--model", model, "--odometry-topic", "/odometrie")
    assert "/odometry" in mistake(capsys, *words)


def test_unknown_camera(capsys, bag, model):
    assert "rear" in mistake(capsys, "replay", bag, "--model", model, "--camera", "rear")


def test_truncated_bag(capsys, bag, model, tmp_path):
    cut = tmp_path / "cut"
    shutil.copytree(bag, cut)
    (file,) = cut.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = mistake(capsys, "replay", cut, "--model", model, "--out", tmp_path / "out")
    assert "truncated" in said


def test_missing_weights(capsys, bag, model, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").unlink()
    said = mistake(capsys, "replay", bag, "--model", broken)
    assert "model.safetensors is missing" in said


@pytest.mark.parametrize("command", ["replay", "bench"])
def test_unknown_drafter_gets_a_suggestion(capsys, bag, model, command):
    words = (command, bag, "--model", model, "--drafter", "previous_tik")
    assert "Did you mean 'previous_tick'?" in mistake(capsys, *words)


def test_rates_that_no_planner_runs_at(capsys, bag, model):
    assert "--hz is 0" in mistake(capsys, "bench", bag, "--model", model, "--hz", "0")
    assert "--rate is 0" in mistake(capsys, "play", bag, "--rate", "0")


def test_domains_that_ros_does_not_have(capsys, bag, model, tmp_path):
    words = ("demo", "--bag", bag, "--model", model, "--out", tmp_path / "demo")
    assert "0 to 232" in mistake(capsys, *words, "--domain", "300")
    assert "--rate is 99" in mistake(capsys, *words, "--rate", "99")


def test_remap_of_a_topic_that_is_not_there(capsys, bag):
    assert "no topic /odom" in mistake(capsys, "play", bag, "--remap", "/odom:=/x")
    assert "is not of the form" in mistake(capsys, "play", bag, "--remap", "odom=x")


def test_an_output_folder_that_holds_something_else_is_spared(capsys, bag, model, tmp_path):
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "precious.txt").write_text("keep me")
    said = mistake(capsys, "replay", bag, "--model", model, "--out", tmp_path)
    assert "is no bag" in said
    assert (tmp_path / "plans" / "precious.txt").exists()


def test_help_is_fast_and_shows_examples():
    began = time.monotonic()
    for words in (["--help"], ["replay", "--help"], ["bench", "--help"], ["play", "--help"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "rsd_planner.cli", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "examples:" in done.stdout
        imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
        assert not imported & {"torch", "cv2", "rich", "rosbags", "rclpy", "numpy", "matplotlib"}
    assert time.monotonic() - began < 12.0  # four of them, also on a busy machine


def test_version_is_said(capsys):
    assert main(["--version"]) == 0
    assert "rsd_planner" in capsys.readouterr().out
