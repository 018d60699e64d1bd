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
EXECUTED_BY = "_RSD_PLANNER_ENVIRONMENT_PID"  # exec keeps the pid: it guards against a loop


def with_paths(value, paths):
    """A colon-separated list that has `paths` at its front, in order and once."""
    present = [part for part in value.split(os.pathsep) if part and part not in paths]
    return os.pathsep.join([*paths, *present])


def enter(install_prefix, profiles_file):
    """Set the environment for the messages in `install_prefix`; re-execute once if needed."""
    prefixes = [path for path in (install_prefix, sys.prefix) if is_ros_prefix(path)]
    libraries = [os.path.join(path, "lib") for path in prefixes]
    libraries += [str(path) for path in Path(sys.prefix).glob("lib/python3*/site-packages/ros_*.libs")]
    if not prefixes:
        return
    os.environ["AMENT_PREFIX_PATH"] = with_paths(os.environ.get("AMENT_PREFIX_PATH", ""), prefixes)
    # Images need more shared memory than Fast DDS gives by default. A user's own profile
    # wins, whichever of the two names it goes by (the second is read by Humble and Jazzy).
    if not any(name in os.environ for name in PROFILE_VARIABLES) and Path(profiles_file).is_file():
        os.environ.update(dict.fromkeys(PROFILE_VARIABLES, str(profiles_file)))

    present = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    if all(path in present for path in libraries):
        return
    if os.environ.get(EXECUTED_BY) == str(os.getpid()) or not sys.executable:
        return
    os.environ["LD_LIBRARY_PATH"] = with_paths(os.environ.get("LD_LIBRARY_PATH", ""), libraries)
    os.environ["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"  # the wheels' own re-execution
    os.environ[EXECUTED_BY] = str(os.getpid())
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def is_ros_prefix(path):
    """Whether ament packages are installed below `path`."""
    return os.path.isdir(os.path.join(path, "share", "ament_index"))
