"""Replays a bag into the planner: ros2 launch rsd_planner replay.launch.py bag:=FOLDER

Uses `ros2 bag play` (or `rsd play` with player:=rsd) on simulated time, and starts it once
the node is active and its model warm. All arguments of planner.launch.py can be given too.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription
from rsd_planner.ros.launch_files import pairs, step

SHARE = Path(get_package_share_directory("rsd_planner"))
RSD = str(SHARE.parents[1] / "lib" / "rsd_planner" / "rsd")

ARGUMENTS = {
    "bag": (None, "Folder of the bag, or its .mcap or .db3 file."),
    "player": ("ros2bag", "ros2bag, or rsd where rosbag2 is not installed."),
    "rate": ("1.0", "Speed of the replay."),
    "loop": ("false", "Play it again and again."),
    "load_timeout_s": ("120.0", "Seconds that the model may take to load."),
    "play_remaps": ("", "Other names of the bag's topics: /odometry=/odom,/old=/new ."),
    "exit_at_end": ("true", "End when the bag has ended."),
    # What planner.launch.py takes, with the defaults of a replay.
    "params_file": (str(SHARE / "config" / "replay.yaml"), "Parameter file."),
    "use_sim_time": ("true", "Take time from /clock, which the player publishes."),
    "camera_map": ("front_wide=/camera/front_wide/image/compressed", "camera=/topic,…"),
    "odometry": ("/odometry", "Topic of the odometry."),
}


def generate_launch_description():
    """The planner with these defaults, and the player."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    planner = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "planner.launch.py"))
    )
    return LaunchDescription([*declared, planner, OpaqueFunction(function=play)])


def play(context):
    """The player, once the planner is ready for it."""
    value = {name: context.launch_configurations[name] for name in ARGUMENTS}
    bag = Path(value["bag"]).expanduser()
    if not bag.exists():
        raise RuntimeError(f"bag:={bag} does not exist; name the folder of a rosbag2 bag")
    command = {
        "ros2bag": ["ros2", "bag", "play", str(bag), "--clock", "100", "--rate", value["rate"]],
        "rsd": [RSD, "play", str(bag), "--clock", "--rate", value["rate"]],
    }.get(value["player"])
    if command is None:
        raise RuntimeError(f"player:={value['player']} must be ros2bag or rsd")
    if value["loop"].lower() in ("true", "1", "yes"):
        command.append("--loop")
    names = pairs("play_remaps", value["play_remaps"], "/old=/new")
    renamed = [f"{old}:={new}" for old, new in names.items()]
    if value["player"] == "rsd":
        command += [word for pair in renamed for word in ("--remap", pair)]
    elif renamed:
        command += ["--remap", *renamed]
    player = ExecuteProcess(cmd=command, output="screen")
    namespace, security = (
        context.launch_configurations.get(name, "") for name in ("namespace", "enclave")
    )
    timeout_s = str(float(value["load_timeout_s"]))
    waiter = step("wait_warm", namespace, security, "--timeout", timeout_s)
    starts = OnProcessExit(target_action=waiter, on_exit=once_warm(player))
    actions = [RegisterEventHandler(starts), waiter]
    if value["exit_at_end"].lower() in ("true", "1", "yes"):
        end = EmitEvent(event=Shutdown(reason="the bag has ended"))
        handler = OnProcessExit(target_action=player, on_exit=[end])
        actions.insert(0, RegisterEventHandler(handler))
    return actions


def once_warm(player):
    """What follows on the end of the waiting: the player, or the end where the planner failed."""

    def on_exit(event, context):
        if event.returncode == 0:
            return [player]
        return [EmitEvent(event=Shutdown(reason="the planner did not get ready"))]

    return on_exit
