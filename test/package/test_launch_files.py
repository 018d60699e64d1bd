"""The launch files, where the launch system is installed (the ROS wheels have none)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("launch_ros.actions", reason="the launch system is not installed")

from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.substitutions import LocalSubstitution
from launch.utilities import perform_substitutions
from launch_ros.actions import LifecycleNode, Node

from launch import LaunchContext, LaunchDescription

FOLDER = Path(__file__).resolve().parents[2] / "launch"
EXPECTED = {
    *("namespace", "params_file", "use_sim_time", "log_level", "autostart", "use_respawn"),
    *("model_path", "camera_map", "dry_run", "rviz", "odometry", "navigation", "remaps", "enclave"),
}


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.launch.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared(description: LaunchDescription) -> dict[str, DeclareLaunchArgument]:
    return {argument.name: argument for argument in description.get_launch_arguments()}


def started(**arguments: str) -> list[Any]:
    """What planner.launch.py starts with these arguments."""
    module = load("planner")
    context = LaunchContext()
    defaults = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    context.launch_configurations.update({**defaults, **arguments})
    return list(module.start(context))


def only_node(actions: list[Any]) -> LifecycleNode:
    (node,) = [action for action in actions if isinstance(action, LifecycleNode)]
    return node


@pytest.mark.parametrize("name", ["planner", "replay", "carla"])
def test_arguments_that_people_expect(name: str) -> None:
    description = load(name).generate_launch_description()
    assert set(declared(description)) >= EXPECTED


def test_autostart_can_be_left_to_a_manager() -> None:
    def handlers(value: str) -> int:
        return sum(isinstance(a, RegisterEventHandler) for a in started(autostart=value))

    assert handlers("true") == 1
    assert handlers("false") == 0


def test_camera_map_becomes_remappings() -> None:
    module = load("planner")
    value = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    value["camera_map"] = "front_wide=/cam/image_raw/compressed"
    remappings, parameters = module.inputs(value)
    assert ("~/input/camera/front_wide/image/compressed", "/cam/image_raw/compressed") in remappings
    assert ("~/input/camera/front_wide/camera_info", "/cam/camera_info") in remappings
    assert parameters == {"camera_compressed": True}


@pytest.mark.parametrize(
    ("camera_map", "complaint"),
    [
        ("front_wide", "not of the form"),
        ("left=/cam/image_raw", "names 'left'"),
        ("front_wide=/a,front_wide2=/b/compressed", "names 'front_wide2'"),
    ],
)
def test_a_wrong_camera_map_is_refused(camera_map: str, complaint: str) -> None:
    with pytest.raises(RuntimeError, match=complaint):
        started(camera_map=camera_map)


def test_a_misspelt_truth_value_is_refused() -> None:
    with pytest.raises(RuntimeError, match="dry_run:=maybe must be true or false"):
        started(dry_run="maybe")


def test_own_dds_profile_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("planner")
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    assert module.shared_memory_profile() == []
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE")
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    assert len(module.shared_memory_profile()) == 1


def test_topics_are_renamed_and_a_security_enclave_is_passed_on() -> None:
    module = load("planner")
    value = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    value.update(odometry="/odom", navigation="/route", remaps="~/output/path=/path, /tf=/car/tf")
    remappings, _ = module.inputs(value)
    assert remappings == [
        ("~/input/odometry", "/odom"),
        ("~/input/navigation", "/route"),
        ("~/output/path", "/path"),
        ("/tf", "/car/tf"),
    ]
    with pytest.raises(RuntimeError, match="not of the form ~/output/name=/topic"):
        started(remaps="path")
    command = words(only_node(started(enclave="/car/planner")))
    assert command[command.index("--enclave") + 1] == "/car/planner"
    assert "--enclave" not in words(only_node(started()))


def words(action: Any) -> list[str]:
    """The command line of a node action, without what is known only when it runs."""
    context = LaunchContext()
    known = [w for w in action.cmd if not any(isinstance(s, LocalSubstitution) for s in w)]
    return [perform_substitutions(context, word) for word in known]


def played(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **arguments: str
) -> tuple[list[str], Any, Any]:
    """How replay.launch.py plays: the waiting command, the player, and what starts it."""
    module = load("replay")
    players: list[Any] = []
    once_warm = module.once_warm
    monkeypatch.setattr(module, "once_warm", lambda p: players.append(p) or once_warm(p))
    context = LaunchContext()
    defaults = {name: default or "" for name, (default, _) in module.ARGUMENTS.items()}
    context.launch_configurations.update({**defaults, "bag": str(tmp_path), **arguments})
    actions = list(module.play(context))
    (waiter,) = [action for action in actions if isinstance(action, Node)]
    assert players[0] not in actions, "not before the model is warm"
    return words(waiter), players[0], once_warm(players[0])


class Ended:
    def __init__(self, returncode: int) -> None:
        self.returncode = returncode


@pytest.mark.parametrize(
    ("player", "renamed"),
    [
        ("ros2bag", ["--remap", "/odometry:=/odom", "/a:=/b"]),
        ("rsd", ["--remap", "/odometry:=/odom", "--remap", "/a:=/b"]),
    ],
)
def test_a_bag_starts_when_the_model_is_warm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, player: str, renamed: list[str]
) -> None:
    waiter, bag_player, on_exit = played(
        monkeypatch,
        tmp_path,
        player=player,
        rate="0.5",
        loop="true",
        namespace="car1",
        enclave="/car1",
        play_remaps="/odometry=/odom,/a=/b",
    )
    assert "/car1/rsd_planner" in waiter
    assert waiter[waiter.index("--enclave") + 1] == "/car1_autostart"
    assert on_exit(Ended(0), LaunchContext()) == [bag_player]
    command = [perform_substitutions(LaunchContext(), word) for word in bag_player.cmd]
    assert str(tmp_path) in command
    assert {"--clock", "--loop"} <= set(command)
    assert command[command.index("--rate") + 1] == "0.5"
    assert command[-len(renamed) :] == renamed
    (end,) = on_exit(Ended(1), LaunchContext())
    assert isinstance(end, EmitEvent), "a planner that does not get ready ends the launch"


def test_a_wrong_renaming_of_the_bag_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="not of the form /old=/new"):
        played(monkeypatch, tmp_path, play_remaps="/odometry")


def test_node_is_named_and_placed() -> None:
    node = only_node(started(namespace="car1"))
    context = LaunchContext()
    node._perform_substitutions(context)
    assert node.node_name == "/car1/rsd_planner"
