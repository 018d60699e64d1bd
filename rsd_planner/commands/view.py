"""Show a running planner: its reasoning in two colours, decisions, paths and times.

Only subscribes. In a terminal it draws a live page, elsewhere plain lines. With --out it
writes an overlay video, a report page and a summary when it ends (Ctrl-C or --seconds).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from rsd_planner.viz.recording import Recording

__all__ = ["add_arguments", "run", "write_outputs"]

EXAMPLES = """\
examples:
  rsd view                                    a planner named /rsd_planner, camera front_wide
  rsd view --planner /car/rsd_planner --camera front_tele --raw-images
  rsd view --seconds 30 --out out/view        and write video and report after 30 s
"""

_FRAMES_A_SECOND = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd view`."""
    add = parser.add_argument
    add(
        "--planner",
        metavar="NAME",
        default="/rsd_planner",
        help="full node name of the planner (%(default)s)",
    )
    add("--camera", metavar="NAME", default="front_wide", help="camera to show (%(default)s)")
    add("--image-topic", metavar="TOPIC", default="", help="picture topic (the planner's input)")
    add(
        "--camera-info-topic",
        metavar="TOPIC",
        default="",
        help="CameraInfo topic (the planner's input)",
    )
    add(
        "--odometry-topic", metavar="TOPIC", default="", help="odometry topic (the planner's input)"
    )
    add("--raw-images", action="store_true", help="sensor_msgs/Image instead of CompressedImage")
    add("--dry-run", action="store_true", help="look at ~/dry_run/trajectory")
    add(
        "--camera-pose",
        nargs=6,
        type=float,
        metavar=("X", "Y", "Z", "ROLL", "PITCH", "YAW"),
        default=(1.5, 0.0, 1.5, 0.0, 0.0, 0.0),
        help="pose of the camera in base_link, m and rad, x along its view",
    )
    add(
        "--seconds", type=float, metavar="S", default=0.0, help="end after this long (0: at Ctrl-C)"
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for overlay.mp4, report.html and summary.json",
    )
    add("--title", default="What the planner did", help=argparse.SUPPRESS)
    add("--plain", action="store_true", help="plain lines even in a terminal")


def run(arguments: argparse.Namespace) -> int:
    """Show until told to end; 1 if no plan of the model was seen."""
    from rsd_planner.commands._ros import require_ros
    from rsd_planner.viz.terminal import make_console

    require_ros()
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from rsd_planner.ros.viewer import ViewerNode, ViewerTopics

    stop = _Stop()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = ViewerNode(
        ViewerTopics(
            planner=arguments.planner.rstrip("/"),
            camera=arguments.camera,
            image=arguments.image_topic,
            camera_info=arguments.camera_info_topic,
            odometry=arguments.odometry_topic,
            dry_run=arguments.dry_run,
            raw_images=arguments.raw_images,
            camera_pose=tuple(arguments.camera_pose),
        )
    )
    console = make_console()
    try:
        _show(node, console, stop, arguments)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    if stop.at_once:
        return 143
    extra = {
        "messages": node.seen.counts,
        "state": node.status,
        "reasons": node.commonest_reasons(),
        "ticks_of_node": node.ticks_of_node,
    }
    if not node.recording.ticks:
        print(f"rsd view: no plan of {arguments.planner} was seen ({_where_to_look()})")
    if arguments.out is not None:
        write_outputs(node.recording, arguments.out, arguments.title, console.print, extra)
    return 0 if any(tick.text for tick in node.recording.ticks) else 1


class _Stop:
    """SIGINT ends the view and lets it write its files; SIGTERM ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        self.at_once = False
        signal.signal(signal.SIGINT, self._on_interrupt)
        signal.signal(signal.SIGTERM, self._on_terminate)

    def _on_interrupt(self, *_: object) -> None:
        self.asked = True

    def _on_terminate(self, *_: object) -> None:
        self.asked = self.at_once = True


def _where_to_look() -> str:
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    return f"ROS domain {domain}; is it the planner's, and is --planner its full node name?"


def _show(node: Any, console: Console, stop: _Stop, arguments: argparse.Namespace) -> None:
    until = time.monotonic() + arguments.seconds if arguments.seconds > 0 else float("inf")

    def going_on() -> bool:
        return not stop.asked and time.monotonic() < until

    if console.is_terminal and not console.is_dumb_terminal and not arguments.plain:
        _show_live(node, console, going_on)
    else:
        _show_lines(node, console, going_on)


def _show_live(node: Any, console: Console, going_on: Callable[[], bool]) -> None:
    from rich.live import Live

    next_draw = 0.0
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while going_on():
            _receive(node)
            if time.monotonic() >= next_draw:
                next_draw = time.monotonic() + 1.0 / _FRAMES_A_SECOND
                _draw(node, live)


def _draw(node: Any, live: Live) -> None:
    from rsd_planner.viz.terminal import live_layout

    reason = f": {node.reasons[0]}" if node.reasons else ""
    start_ns = _start_ns(node.recording)
    live.update(live_layout(node.recording.ticks, f"{node.status}{reason}", start_ns), refresh=True)


def _show_lines(node: Any, console: Console, going_on: Callable[[], bool]) -> None:
    from rsd_planner.viz.terminal import legend, plain_lines

    colour = console.is_terminal and not console.no_color
    console.print(legend() if colour else "‹…› = deliberative (chosen by the model); rest: routine")
    said = ""
    while going_on():
        _receive(node)
        for view in node.fresh:
            for line in plain_lines(view, _start_ns(node.recording), colour=colour):
                console.print(line)
        node.fresh.clear()
        if node.status != said:
            said = node.status
            console.print(f"[{said}{': ' + node.reasons[0] if node.reasons else ''}]", markup=False)


def _receive(node: Any) -> None:
    """Take what has arrived, then wait a little for more."""
    import rclpy

    rclpy.spin_once(node, timeout_sec=0.05)
    for _ in range(50):
        before = sum(node.seen.counts.values())
        rclpy.spin_once(node, timeout_sec=0.0)
        if sum(node.seen.counts.values()) == before:
            return


def _start_ns(recording: Recording) -> int:
    if recording.pictures:
        return recording.pictures[0].stamp_ns
    return recording.ticks[0].t0_ns if recording.ticks else 0


def write_outputs(
    recording: Recording,
    folder: Path,
    title: str,
    say: Callable[[str], None],
    extra: dict[str, Any] | None = None,
    *,
    video: bool = True,
) -> None:
    """Write summary.json, overlay.mp4 and report.html into a folder."""
    from rsd_planner.viz.overlay_video import frames, video_rate
    from rsd_planner.viz.report import write_report
    from rsd_planner.viz.tick_view import summarise
    from rsd_planner.viz.video import write_video

    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(recording.ticks)
    values = {
        **asdict(summary),
        "speedup_estimate": summary.speedup,
        "routine_share": summary.routine_share,
        "equal_text_share": summary.equal_text_share,
        **(extra or {}),
    }
    (folder / "summary.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    name = ""
    if video and recording.pictures:
        say(f"writing the overlay video ({len(recording.pictures)} pictures) …")
        write_video(frames(recording), folder / "overlay.mp4", fps=video_rate(recording))
        name = "overlay.mp4"
    seconds = (recording.ticks[-1].t0_ns - recording.ticks[0].t0_ns) / 1e9 if summary.ticks else 0.0
    subtitle = (
        f"{seconds:.0f} s, camera {recording.camera_name}, drafter {summary.drafter or '–'}, "
        f"rule {summary.rule or '–'}"
    )
    write_report(folder / "report.html", recording, title=title, subtitle=subtitle, video=name)
