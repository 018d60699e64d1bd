"""The environment that every Python process of the venv starts with."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment() -> ModuleType:
    path = ROOT / "scripts" / "ros_environment.py"
    spec = importlib.util.spec_from_file_location("ros_environment", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_paths_are_put_in_front_once(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/a:/b::/a")
    assert environment.merged("LD_LIBRARY_PATH", ["/b", "/c"], []) == "/b:/c:/a"


def test_another_ros_is_left_out(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/opt/ros/x/lib/python:/mine:/opt/ros/xyz")
    assert environment.merged("PYTHONPATH", [], ["/opt/ros/x"]) == "/mine:/opt/ros/xyz"


@pytest.mark.parametrize(
    "name", ["FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"]
)
def test_own_dds_profile_wins(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable in environment.PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, "/mine.xml")
    environment.set_profile(ROOT / "config" / "fastdds.xml", from_wheels=True)
    values = [os.environ.get(variable) for variable in environment.PROFILE_VARIABLES]
    assert sorted(filter(None, values)) == ["/mine.xml"]


@pytest.mark.parametrize(("distro", "used"), [("humble", 1), ("jazzy", 1), ("kilted", 0)])
def test_profile_goes_by_the_name_that_the_distribution_reads(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, distro: str, used: int
) -> None:
    for variable in environment.PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ROS_DISTRO", distro)
    environment.set_profile(ROOT / "config" / "fastdds.xml", from_wheels=False)
    assert environment.PROFILE_VARIABLES[used] in os.environ
    assert environment.PROFILE_VARIABLES[1 - used] not in os.environ


def test_messages_load_from_a_bare_environment(tmp_path: Path) -> None:
    pytest.importorskip("rsd_planner.msg", reason="the messages are not built")
    if not (Path(sys.prefix) / "ros_source").is_file():
        pytest.skip("only the venv of `make` has its own environment")
    code = (
        "from rclpy.serialization import serialize_message as s; from rsd_planner.msg import "
        "Reasoning; import rsd_planner; print(len(s(Reasoning(text='x'))), rsd_planner.__file__)"
    )
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == str(ROOT / "rsd_planner" / "__init__.py")
