"""Starts the planner as a lifecycle node: ros2 launch rsd_planner planner.launch.py

Configures and activates it unless autostart:=false, also after a respawn. A value given as
launch argument wins over the parameter file; an argument left empty leaves the file's value.
"""

import os
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessStart
from launch_ros.actions import LifecycleNode, Node

from launch import LaunchDescription
from rsd_planner.ros.launch_files import NODE, enclave, pairs, step

SHARE = Path(get_package_share_directory("rsd_planner"))

# name: (default, description)
ARGUMENTS = {
    "namespace": ("", "Namespace of the node; its topics are below <namespace>/rsd_planner."),
    "params_file": (str(SHARE / "config" / "planner.yaml"), "Parameter file."),
    "use_sim_time": ("false", "Take time from /clock."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
    "autostart": ("true", "Configure and activate; false leaves that to a lifecycle manager."),
    "use_respawn": ("false", "Start the node again when it dies."),
    "model_path": ("", "Folder of the checkpoint."),
    "worker_python": ("", "Interpreter with torch; default: the one that setup_worker made."),
    "camera_map": (
        "",
        "Which topic is which camera: front_wide=/camera/image_raw,front_tele=/tele/image_raw . "
        "Topics that end in /compressed switch the node to compressed images.",
    ),
    "odometry": ("", "Topic of the odometry (nav_msgs/Odometry)."),
    "navigation": ("", "Topic of the route hint (std_msgs/String)."),
    "remaps": ("", "Other names of topics: ~/output/path=/planning/path,~/output/status=/status ."),
    "enclave": ("", "SROS2 enclave of the node; autostart takes <enclave>_autostart."),
    "dry_run": ("", "true publishes trajectory and path under ~/dry_run/ only."),
    "rviz": ("false", "Show the path, the overlay and the markers in RViz."),
}


def generate_launch_description():
    """The arguments, and everything that depends on their values."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context):
    """The node, its transitions, and RViz where it is asked for."""
    value = {name: context.launch_configurations[name] for name in ARGUMENTS}
    remappings, parameters = inputs(value)
    parameters["use_sim_time"] = boolean("use_sim_time", value["use_sim_time"])
    worker = value["worker_python"] or worker_of_setup()
    if value["dry_run"]:
        parameters["dry_run"] = boolean("dry_run", value["dry_run"])
    if value["model_path"]:
        parameters["model_path"] = str(Path(value["model_path"]).expanduser().resolve())
    if worker:
        parameters["worker_python"] = worker
    node = LifecycleNode(
        package="rsd_planner",
        executable="planner_node",
        name=NODE,
        namespace=value["namespace"],
        parameters=[value["params_file"], parameters],
        remappings=remappings,
        ros_arguments=["--log-level", value["log_level"], *enclave(value["enclave"])],
        respawn=boolean("use_respawn", value["use_respawn"]),
        respawn_delay=2.0,
        output="screen",
        emulate_tty=True,
    )
    actions = [*shared_memory_profile()]
    if boolean("autostart", value["autostart"]):
        actions += autostart(node, value["namespace"], value["enclave"])
    actions.append(node)
    if boolean("rviz", value["rviz"]):
        actions.append(rviz(value["namespace"], parameters["use_sim_time"]))
    return actions


def autostart(node, namespace, security):
    """Configure and activate whenever the process has started.

    Not by launch's own ChangeState events: after a crash the dead node's services stay known
    for a while, and such an event waits for ever for an answer from them.
    """

    def on_start(event, context):
        return [step("autostart", namespace, security)]

    return [RegisterEventHandler(OnProcessStart(target_action=node, on_start=on_start))]


def inputs(value):
    """Remappings, and the parameters that follow from them."""
    remappings, parameters = [], {}
    for name in ("odometry", "navigation"):
        if value[name]:
            remappings.append((f"~/input/{name}", value[name]))
    remappings += pairs("remaps", value["remaps"], "~/output/name=/topic").items()
    topics = pairs("camera_map", value["camera_map"], "camera=/topic")
    check_cameras(topics, value["params_file"])
    compressed = {topic.endswith("/compressed") for topic in topics.values()}
    if len(compressed) == 2:
        raise RuntimeError("camera_map: either all topics end in /compressed or none does")
    for name, topic in topics.items():
        raw = topic[: -len("/compressed")] if topic.endswith("/compressed") else topic
        base = f"~/input/camera/{name}"
        remappings += [
            (f"{base}/image", raw),
            (f"{base}/image/compressed", f"{raw}/compressed"),
            (f"{base}/camera_info", f"{raw.rpartition('/')[0]}/camera_info"),
        ]
    if topics:
        parameters["camera_compressed"] = compressed.pop()
    return remappings, parameters


def check_cameras(topics, params_file):
    """A camera that the parameters do not name would be subscribed by nobody."""
    try:
        content = yaml.safe_load(Path(params_file).read_text()) or {}
    except OSError as error:
        raise RuntimeError(f"params_file: {error}") from error
    known = []
    for section in content.values():
        parameters = (section or {}).get("ros__parameters") or {}
        known += parameters.get("cameras", []) + parameters.get("optional_cameras", [])
    for name in topics:
        if known and name not in known:
            raise RuntimeError(
                f"camera_map names '{name}', but the cameras in {params_file} are: "
                f"{', '.join(filter(None, known))}"
            )


def worker_of_setup():
    """The interpreter that `ros2 run rsd_planner setup_worker` made, if it did."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    python = Path(data) / "rsd_planner" / "worker" / "bin" / "python"
    return str(python) if python.exists() else ""


def shared_memory_profile():
    """Fast DDS needs more shared memory for images; a user's own profile wins.

    Humble and Jazzy read the FASTRTPS name; newer ones read both and warn of the old one.
    """
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    if any(name in os.environ for name in names):
        return []
    old = os.environ.get("ROS_DISTRO", "") in ("humble", "iron", "jazzy")
    return [SetEnvironmentVariable(names[1 if old else 0], str(SHARE / "config/fastdds.xml"))]


def rviz(namespace, use_sim_time):
    """RViz in the node's namespace: the topics in its layout are relative."""
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", str(SHARE / "config" / "planner.rviz")],
        parameters=[{"use_sim_time": use_sim_time}],
        output="log",
    )


def boolean(name, text):
    """A launch argument as a truth value."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.strip().lower() not in values:
        raise RuntimeError(f"{name}:={text} must be true or false")
    return values[text.strip().lower()]
