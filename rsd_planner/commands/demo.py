"""Drive a bag through the real node, and show everything that it says.

Starts three processes: the planner node, a player that publishes the bag, and a viewer that
only subscribes. Real DDS messages carry everything, in a ROS domain of its own. At the end
there are a summary, an overlay video and a report page.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsd_planner.commands._children import Child, Children

__all__ = ["add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd demo
  rsd demo --bag A_BAG --out out/mine
  rsd demo --drafter none                     the same without drafting, to see the difference
  rsd demo --plain > demo.txt                 plain lines instead of the live page
"""

_NODE = "/rsd_planner"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd demo`."""
    from rsd_planner.config import PlannerSettings

    add = parser.add_argument
    add("--bag", type=Path, help="the drive to play (the bundled bag)")
    add("--model", default="", help="checkpoint folder (the bundled mini)")
    add("--camera", default="front_wide", help="camera in the bag (%(default)s)")
    who = PlannerSettings.drafter
    add("--drafter", default=who, metavar="NAME", help="who drafts (%(default)s)")
    add("--rate", type=float, default=1.0, help="speed of time (%(default)g)")
    add("--out", type=Path, default=Path("out/demo"), help="folder of the results (%(default)s)")
    add("--domain", type=int, help="ROS_DOMAIN_ID (a free one is drawn)")
    add("--plain", action="store_true", help="plain lines even in a terminal")
    add("--load-timeout", type=float, default=120.0, help="s for the model to load (%(default)g)")


def run(arguments: argparse.Namespace) -> int:
    """The whole demo; 1 with a sentence if no plan of the model arrived."""
    from rsd_planner.commands._children import Children, DemoError
    from rsd_planner.commands._drives import bundled_bag_path, open_drive
    from rsd_planner.commands._ros import enter_domain, require_ros
    from rsd_planner.config import (
        PlannerSettings,
        bundled_model_path,
        default_worker_threads,
        read_requirements,
    )
    from rsd_planner.errors import CommandError

    model = arguments.model or bundled_model_path()
    PlannerSettings.from_mapping({"drafter": arguments.drafter, "cameras": [arguments.camera]})
    read_requirements(model)
    bag_path = arguments.bag or bundled_bag_path()
    drive = open_drive(bag_path, arguments.camera)
    require_ros()
    if not 0.1 <= arguments.rate <= 10:
        raise CommandError(f"--rate is {arguments.rate:g}; choose one from 0.1 to 10.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in ("overlay.mp4", "report.html", "summary.json"):
        (arguments.out / name).unlink(missing_ok=True)
    domain = enter_domain(arguments.domain)
    threads = default_worker_threads()
    _say(f"drive    {bag_path} ({drive.bag.duration_s:.0f} s)")
    _say(f"model    {model}, {threads} thread{'s' if threads > 1 else ''}")
    _say(f"ROS      domain {domain}, node {_NODE}")
    began = time.monotonic()
    try:
        with Children(arguments.out) as children:
            _drive(children, arguments, bag_path, model, drive)
    except DemoError as error:
        print(f"rsd demo: {error}", file=sys.stderr)
        return 1
    return _conclude(arguments.out, time.monotonic() - began)


def _drive(
    children: Children, arguments: argparse.Namespace, bag: Path, model: str, drive: Any
) -> None:
    """Node, viewer, transitions, player, and all of it down again in the right order."""
    from rsd_planner.commands._children import DemoError
    from rsd_planner.commands._lifecycle import PlannerControl

    pose = _camera_pose(drive)
    compressed = drive.image_topic.endswith("/compressed")
    node = children.start("planner_node", _node_command(arguments, model, pose, compressed))
    with PlannerControl(_NODE, node) as control:
        _say("starting the node …")
        control.configure()
        command = _viewer_command(arguments, pose, compressed)
        viewer = children.start("viewer", command, shown=True, modest=True)
        control.activate()
        loading = control.wait_until_loaded(arguments.load_timeout)
        _say(f"model loaded and warm after {loading:.1f} s; playing the drive")
        player = children.start("bag_player", _player_command(arguments, bag))
        length_s = drive.bag.duration_s / arguments.rate
        control.watch(player, [node, viewer], timeout_s=length_s + 30.0)
        time.sleep(1.0)  # the last plans are still on their way
        viewer.interrupt()
        control.deactivate()
    _end_node(node)
    code = viewer.wait(timeout_s=240.0)
    if code != 0 and not (arguments.out / "summary.json").is_file():
        raise DemoError(f"The viewer failed: {viewer.last_words()}")


def _end_node(node: Child) -> None:
    """SIGINT, as a terminal or a launch file would send it."""
    node.interrupt()
    node.wait(timeout_s=8.0)


def _conclude(out: Path, seconds: float) -> int:
    """Say what came of it; the exit code."""
    from rsd_planner.viz.terminal import make_console, summary_table
    from rsd_planner.viz.tick_view import Summary

    values = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    known = set(Summary.__dataclass_fields__)
    summary = Summary(**{key: value for key, value in values.items() if key in known})
    if summary.model_ticks == 0:
        why = values.get("reasons") or [f"see {out / 'planner_node.log'}"]
        print(f"rsd demo: no plan of the model arrived: {why[0]}", file=sys.stderr)
        return 1
    console = make_console()
    console.print()
    console.print(summary_table(summary))
    counts = values["messages"]
    console.print(
        f"received over DDS: {counts['pictures']} pictures, {counts['odometry']} odometry, "
        f"{counts['trajectories']} trajectories, {counts['reasonings']} reasonings"
    )
    if node := values.get("ticks_of_node"):
        console.print(
            f"the node counts {node['total']} ticks, {node['skipped']} of them skipped and "
            f"{node['late']} answered late"
        )
    console.print(f"video    {out / 'overlay.mp4'}\nreport   {out / 'report.html'}")
    console.print(f"finished after {seconds:.0f} s", style="dim")
    return 0


def _node_command(
    arguments: argparse.Namespace, model: str, pose: list[float] | None, compressed: bool
) -> list[str]:
    parameters = {
        "use_sim_time": "true",
        "model_path": model,
        "drafter": arguments.drafter,
        "cameras": f"[{arguments.camera}]",
        "camera_compressed": "true" if compressed else "false",
    }
    if pose is not None:
        numbers = ", ".join(repr(value) for value in pose)
        parameters[f"camera_poses.{arguments.camera}"] = f"[{numbers}]"
    words = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    return [sys.executable, "-m", "rsd_planner.ros.node", "--ros-args", *words]


def _viewer_command(
    arguments: argparse.Namespace, pose: list[float] | None, compressed: bool
) -> list[str]:
    command = [
        *(sys.executable, "-m", "rsd_planner.cli", "view", "--planner", _NODE),
        *("--camera", arguments.camera, "--out", str(arguments.out)),
        *("--title", "A recorded drive through the planner"),
    ]
    if pose is not None:
        command += ["--camera-pose", *(repr(value) for value in pose)]
    if not compressed:
        command.append("--raw-images")
    if arguments.plain:
        command.append("--plain")
    return command


def _player_command(arguments: argparse.Namespace, bag: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "rsd_planner.cli", "play", str(bag), "--clock"),
        *("--planner", _NODE, "--camera", arguments.camera),
        *("--rate", f"{arguments.rate:g}", "--wait", "10", "--listeners", "2"),
    ]


def _camera_pose(drive: Any) -> list[float] | None:
    """x y z roll pitch yaw of the camera in the base frame, x along its view."""
    import numpy as np

    if drive.model is None:
        return None
    pose = drive.model.pose_ego_from_camera
    optical_from_body = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    turn = pose[:3, :3] @ optical_from_body
    roll = np.arctan2(turn[2, 1], turn[2, 2])
    pitch = -np.arcsin(np.clip(turn[2, 0], -1.0, 1.0))
    yaw = np.arctan2(turn[1, 0], turn[0, 0])
    return [round(float(value), 6) for value in (*pose[:3, 3], roll, pitch, yaw)]


def _say(text: str) -> None:
    print(text, flush=True)
