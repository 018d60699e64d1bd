"""Starts the planner on the topics of the CARLA ROS bridge (which runs already).

ros2 launch rsd_planner carla.launch.py role_name:=ego_vehicle sensor:=rgb_front
Takes /carla/<role>/<sensor>/image and /carla/<role>/odometry. It plans; following the path
is another node's task, and dry_run:=true keeps it off the topics that such a node reads.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription

SHARE = Path(get_package_share_directory("rsd_planner"))


def generate_launch_description():
    """The planner with the bridge's topics and its simulated time."""
    role, sensor = LaunchConfiguration("role_name"), LaunchConfiguration("sensor")
    declared = [
        DeclareLaunchArgument("role_name", default_value="ego_vehicle", description="The ego car."),
        DeclareLaunchArgument("sensor", default_value="rgb_front", description="The front camera."),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(SHARE / "config" / "carla.yaml"),
            description="Parameter file.",
        ),
        DeclareLaunchArgument(
            "use_sim_time", default_value="true", description="Take time from the bridge's /clock."
        ),
        DeclareLaunchArgument(
            "camera_map",
            default_value=["front_wide=/carla/", role, "/", sensor, "/image"],
            description="camera=/topic,…",
        ),
        DeclareLaunchArgument(
            "odometry",
            default_value=["/carla/", role, "/odometry"],
            description="Topic of the odometry.",
        ),
    ]
    planner = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "planner.launch.py"))
    )
    return LaunchDescription([*declared, planner])
