"""Gives every Python process of the venv the environment that ROS 2 needs.

Setup copies this file into the venv and calls `enter` from a `.pth` file, that is before
any other import. Assumes Linux. ROS loads its middleware and the messages' type support
with dlopen by bare name, and the loader reads LD_LIBRARY_PATH only when a process starts:
setting it later has no effect, so the process replaces itself once. The ROS wheels do the
same for their own libraries; entering first, this makes theirs superfluous.
"""

import os
import sys
from pathlib import Path

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
OLD_PROFILE_DISTROS = ("humble", "iron", "jazzy")  # read the second name, newer ones the first
EXECUTED_BY = "_RSD_PLANNER_ENVIRONMENT_PID"  # exec keeps the pid: it guards against a loop


def enter(install_prefix, profiles_file):
    """Set the environment for the messages in `install_prefix`; re-execute once if needed."""
    prefixes = [path for path in (install_prefix, sys.prefix) if is_ros_prefix(path)]
    if not prefixes:
        return
    libraries = [os.path.join(path, "lib") for path in prefixes]
    libraries += map(str, Path(sys.prefix).glob("lib/python3*/site-packages/ros_*.libs"))
    from_wheels = is_ros_prefix(sys.prefix)
    # With ROS from wheels, another one that is sourced must not mix in.
    others = other_ros_prefixes() if from_wheels else []
    wanted = {
        "AMENT_PREFIX_PATH": merged("AMENT_PREFIX_PATH", prefixes, others),
        "LD_LIBRARY_PATH": merged("LD_LIBRARY_PATH", sorted(libraries), others),
        "PYTHONPATH": merged("PYTHONPATH", [], others),
    }
    set_profile(profiles_file, from_wheels)
    os.environ["AMENT_PREFIX_PATH"] = wanted["AMENT_PREFIX_PATH"]
    if all(os.environ.get(name, "") == value for name, value in wanted.items()):
        return
    if os.environ.get(EXECUTED_BY) == str(os.getpid()) or not sys.executable:
        return
    os.environ.update(wanted)
    os.environ["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"  # the wheels' own re-execution
    os.environ[EXECUTED_BY] = str(os.getpid())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def set_profile(profiles_file, from_wheels):
    """Give Fast DDS the shared memory that images need, unless the user has a profile."""
    if any(name in os.environ for name in PROFILE_VARIABLES) or not Path(profiles_file).is_file():
        return
    old = not from_wheels and os.environ.get("ROS_DISTRO") in OLD_PROFILE_DISTROS
    os.environ[PROFILE_VARIABLES[1 if old else 0]] = str(profiles_file)


def other_ros_prefixes():
    """Sourced prefixes of a whole ROS, not of packages built for the one in this venv."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    found = [path for path in prefixes if os.path.isdir(os.path.join(path, "share", "rclpy"))]
    return [path for path in found if path and path != sys.prefix]


def merged(variable, first, without):
    """The variable's paths with `first` in front, each once, and none below `without`."""
    below = tuple(path.rstrip("/") + "/" for path in without)
    present = os.environ.get(variable, "").split(os.pathsep)
    kept = [path for path in present if path and not (path + "/").startswith(below)]
    return os.pathsep.join(dict.fromkeys([*first, *kept]))


def is_ros_prefix(path):
    """Whether ament packages are installed below `path`."""
    return os.path.isdir(os.path.join(path, "share", "ament_index"))
