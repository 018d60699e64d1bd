"""Publish a bag into ROS where `ros2 bag` is not installed.

Messages go out as they were recorded, at their recorded times. With --clock the bag's time is
published on /clock: start the listening nodes with use_sim_time:=true then.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsd_planner.bags import Bag

__all__ = ["add_arguments", "parse_remaps", "run"]

EXAMPLES = """\
examples:
  rsd play assets/bags/street_30s --clock
  rsd play A_BAG --rate 0.5 --loop
  rsd play A_BAG --clock --remap /odometry:=/rsd_planner/input/odometry
  rsd play A_BAG --clock --planner /rsd_planner    to the inputs of a planner of that name
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd play`."""
    add = parser.add_argument
    add("bag", type=Path, metavar="BAG", help="a rosbag2 folder, or its .mcap or .db3 file")
    add("--rate", type=float, default=1.0, help="speed of time (%(default)g)")
    add("--clock", action="store_true", help="publish the bag's time on /clock")
    add("--loop", action="store_true", help="start again at the end")
    add(
        "--remap",
        action="append",
        default=[],
        metavar="FROM:=TO",
        help="publish a topic under another name; may be given again",
    )
    add(
        "--planner",
        metavar="NAME",
        help="remap the camera and the odometry to the inputs of the planner node NAME",
    )
    add("--camera", default="front_wide", help="camera for --planner (%(default)s)")
    add("--topics", nargs="+", metavar="TOPIC", help="play only these")
    add(
        "--wait",
        type=float,
        default=2.0,
        metavar="S",
        help="wait up to this long for listeners on every topic (%(default)g s)",
    )
    add("--listeners", type=int, default=1, metavar="N", help="how many to wait for (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Play to the end; 130 if interrupted."""
    from rsd_planner.bags import open_bag
    from rsd_planner.commands._ros import require_ros
    from rsd_planner.errors import CommandError

    if not 0.01 <= arguments.rate <= 100:
        raise CommandError(f"--rate is {arguments.rate:g}; choose one from 0.01 to 100.")
    bag = open_bag(arguments.bag)
    known = {topic.name: topic.type_name for topic in bag.topics}
    chosen = _chosen(arguments, known)
    remaps = _planner_remaps(bag, arguments) | parse_remaps(arguments.remap, known)
    require_ros()
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from rsd_planner.ros.bag_player import BagPlayer, PlaySettings

    stop = _Stop()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    settings = PlaySettings(arguments.rate, arguments.clock, remaps)
    player = BagPlayer(_importable({name: known[name] for name in chosen}), settings)
    try:
        player.wait_for_subscribers(arguments.listeners, arguments.wait)
        going_on = True
        while going_on and not stop.asked:
            going_on = player.play(bag.messages(chosen), lambda: stop.asked) and arguments.loop
    finally:
        count, late_ms = player.published, player.latest_ms
        player.destroy_node()
        rclpy.try_shutdown()
    print(f"{count} messages published, at most {late_ms:.0f} ms late")
    return 130 if stop.asked else 0


def parse_remaps(words: list[str], known: dict[str, str]) -> dict[str, str]:
    """`FROM:=TO` words as a mapping. Raises CommandError for a form or topic that is wrong."""
    from rsd_planner.errors import CommandError, suggest

    remaps = {}
    for word in words:
        source, separator, target = word.partition(":=")
        if not separator or not source.startswith("/") or not target.startswith("/"):
            raise CommandError(f"--remap '{word}' is not of the form /from:=/to.")
        if source not in known:
            raise CommandError(
                f"The bag has no topic {source}.{suggest(source, list(known))} "
                f"It has {', '.join(known)}."
            )
        remaps[source] = target
    return remaps


class _Stop:
    """SIGINT and SIGTERM end the playing at the next message."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def _chosen(arguments: argparse.Namespace, known: dict[str, str]) -> list[str]:
    from rsd_planner.errors import CommandError, suggest

    for name in arguments.topics or ():
        if name not in known:
            raise CommandError(
                f"The bag has no topic {name}.{suggest(name, list(known))} "
                f"It has {', '.join(known)}."
            )
    return list(arguments.topics or known)


def _planner_remaps(bag: Bag, arguments: argparse.Namespace) -> dict[str, str]:
    """The bag's camera and odometry to a planner's inputs; nothing without --planner."""
    if not arguments.planner:
        return {}
    inputs = f"/{arguments.planner.strip('/')}/input"
    image = bag.image_topic(arguments.camera)
    suffix = "/compressed" if image.endswith("/compressed") else ""
    camera = f"{inputs}/camera/{arguments.camera}"
    info = image.removesuffix("/compressed").rsplit("/", 1)[0] + "/camera_info"
    return {
        image: f"{camera}/image{suffix}",
        info: f"{camera}/camera_info",
        bag.odometry_topic(): f"{inputs}/odometry",
    }


def _importable(types: dict[str, str]) -> dict[str, str]:
    """The topics whose message packages are installed; the others are named on stderr."""
    import importlib.util

    found = {}
    for topic, kind in types.items():
        if importlib.util.find_spec(kind.split("/")[0]) is not None:
            found[topic] = kind
        else:
            print(f"{topic} is not played: {kind} is not installed here", file=sys.stderr)
    return found
