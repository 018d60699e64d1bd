"""Remove the shared memory that killed ROS processes left in /dev/shm.

A ROS process with Fast DDS that is killed (SIGKILL, out of memory) cannot give its shared memory
back: 70 MB each with the profile of this package. What living processes use is left alone, so
this may be run at any time. Only processes in other containers that share this /dev/shm are not
seen: there, run it while they are down. The same is done by `fastdds shm clean` where the tools
of Fast DDS are installed.
"""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd sweep --dry-run      say what would be removed
  rsd sweep
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd sweep`."""
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, only name it")


def run(arguments: argparse.Namespace) -> int:
    """Always 0."""
    from rsd_planner.commands._dds_memory import dead, sweep

    if arguments.dry_run:
        names = dead()
        print("\n".join([*names, f"{len(names)} segments and ports of dead processes"]))
    else:
        print(f"removed {sweep()}")
    return 0
