"""Settings say what is wrong and what to do; checkpoints are judged by their headers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rsd_planner.config import (
    ConfigError,
    ModelRequirements,
    PlannerSettings,
    read_requirements,
    setting_infos,
)


def write_checkpoint(folder: Path, **extra: object) -> Path:
    """A folder whose headers are right and whose one tensor holds 4 bytes."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + b"\0\0\0\0"
    )
    if extra:
        (folder / "rsd_planner.json").write_text(json.dumps(extra))
    return folder


def test_settings_survive_a_round_trip_through_plain_values() -> None:
    settings = PlannerSettings.from_mapping(
        {"cameras": ["left", "right"], "camera_poses": {"left": [1, 2, 3, 0, 0, 0]}}
    )
    assert PlannerSettings.from_mapping(json.loads(json.dumps(settings.to_mapping()))) == settings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"peroid_s": 0.1}, "Did you mean 'period_s'"),
        ({"drafter": "previous_tic"}, "Did you mean 'previous_tick'"),
        ({"device": "cdua"}, "Did you mean 'cuda'"),
        ({"period_s": float("nan")}, "choose a value from 0.02 to 10 s"),
        ({"validity_s": 6.0}, "from 0.2 to 2"),
        ({"worker_threads": 1.5}, "whole number"),
        ({"dry_run": 1}, "true or false"),
        ({"cameras": []}, "at least one camera"),
        ({"cameras": ["a", "a"]}, "named twice"),
        ({"cameras": ["front-wide"]}, "letters, digits"),
        ({"base_pose_in_child": [0, 0]}, "six numbers"),
    ],
)
def test_a_wrong_setting_names_the_remedy(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        PlannerSettings.from_mapping(values)


def test_every_setting_has_a_description() -> None:
    assert all(info.description.endswith(".") for info in setting_infos())


def test_requirements_come_from_the_checkpoint_folder(tmp_path: Path) -> None:
    assert read_requirements(write_checkpoint(tmp_path / "a")) == ModelRequirements()
    found = read_requirements(write_checkpoint(tmp_path / "b", frames_per_camera=2))
    assert found.frames_per_camera == 2


def test_missing_and_damaged_checkpoints_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        read_requirements(tmp_path / "none")
    folder = write_checkpoint(tmp_path / "m")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-1], b"version https://git-lfs", b"", whole[:10]):
        weights.write_bytes(damaged)
        with pytest.raises(ConfigError, match="copy the weights anew"):
            read_requirements(folder)
    weights.unlink()
    with pytest.raises(ConfigError, match="is missing"):
        read_requirements(folder)
    weights.write_bytes(whole)
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_requirements(folder)


def test_a_weight_index_may_not_point_outside_the_folder(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "part.safetensors"}}))
    assert read_requirements(folder) == ModelRequirements()
    index.write_text(json.dumps({"weight_map": {"w": "../part.safetensors"}}))
    with pytest.raises(ConfigError, match="no usable files"):
        read_requirements(folder)


def test_the_table_of_parameters_is_that_of_the_schema() -> None:
    script = Path(__file__).parents[2] / "scripts" / "parameters_doc.py"
    done = subprocess.run([sys.executable, str(script), "--check"])
    assert done.returncode == 0, "run scripts/parameters_doc.py"
