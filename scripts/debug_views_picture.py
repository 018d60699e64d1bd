#!/usr/bin/env python3
"""Draws docs/img/debug_views.png from what the node publishes for RViz and Foxglove.

Runs `rsd demo` in a domain of its own, subscribes to ~/debug/overlay and ~/debug/markers as the
layouts in config/ do, and draws the messages of one tick: the overlay as it came, the markers
from above, 5 m a square, the way the layout for RViz looks at them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOMAIN = 87
WANTED = 60  # this many overlays into the drive
HEIGHT = 480
PX_M = 8.0
BACKGROUND, LINES, EGO = (34, 30, 30), (52, 48, 48), (220, 220, 220)


def listen(demo: subprocess.Popen[bytes]) -> tuple[Any, Any]:
    """The overlay of one tick and the markers of the same stamp."""
    import rclpy
    from sensor_msgs.msg import Image
    from visualization_msgs.msg import MarkerArray

    from rsd_planner.ros.conversions import stamp_ns

    rclpy.init()
    node = rclpy.create_node("debug_views_picture")
    overlays: dict[int, Image] = {}  # by stamp
    markers: dict[int, MarkerArray] = {}
    node.create_subscription(
        Image,
        "/rsd_planner/debug/overlay",
        lambda m: overlays.update({stamp_ns(m.header.stamp): m}),
        5,
    )
    node.create_subscription(
        MarkerArray,
        "/rsd_planner/debug/markers",
        lambda m: markers.update({stamp_ns(m.markers[0].header.stamp): m}),
        5,
    )
    until = time.monotonic() + 120.0
    while demo.poll() is None and time.monotonic() < until:
        rclpy.spin_once(node, timeout_sec=0.1)
        both = sorted(set(overlays) & set(markers))
        if len(both) >= WANTED:
            return overlays[both[-1]], markers[both[-1]]
    raise SystemExit(f"{len(overlays)} overlays and {len(markers)} markers came; see rsd demo")


def from_above(message: Any) -> Any:
    """The markers (HEIGHT, HEIGHT, 3) in BGR, where the car goes up."""
    import cv2
    import numpy as np

    line, text = message.markers
    points = np.array([(p.x, p.y) for p in line.points])
    ego = np.array([text.pose.position.x, text.pose.position.y])
    ahead = points[min(8, len(points) - 1)] - ego
    turn = np.pi / 2 - np.arctan2(ahead[1], ahead[0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    image = np.full((HEIGHT, HEIGHT, 3), BACKGROUND, np.uint8)
    foot = np.array([HEIGHT / 2, HEIGHT - 100.0])

    def at(place: Any) -> tuple[int, int]:
        x, y = rotation @ (np.asarray(place) - ego)
        return round(foot[0] + PX_M * x), round(foot[1] - PX_M * y)

    low, high = np.floor(ego / 5 - 20) * 5, np.ceil(ego / 5 + 20) * 5
    for x in np.arange(low[0], high[0], 5.0):
        cv2.line(image, at((x, low[1])), at((x, high[1])), LINES, 1, cv2.LINE_AA)
    for y in np.arange(low[1], high[1], 5.0):
        cv2.line(image, at((low[0], y)), at((high[0], y)), LINES, 1, cv2.LINE_AA)
    colour = [round(255 * value) for value in (line.color.b, line.color.g, line.color.r)]
    path = np.array([at(point) for point in points], np.int32)
    cv2.polylines(image, [path], False, colour, round(PX_M * line.scale.x), cv2.LINE_AA)
    cv2.circle(image, at(ego), 7, EGO, -1, cv2.LINE_AA)
    rows = textwrap.wrap(text.text, 44)
    for number, row in enumerate(rows):
        place = (16, HEIGHT - 6 + 16 * (number - len(rows)))
        cv2.putText(image, row, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, EGO, 1, cv2.LINE_AA)
    return image


def main() -> int:
    import cv2
    import numpy as np

    os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rsd_planner.cli", "demo", "--plain", "--out", folder]
        demo = subprocess.Popen([*command, "--domain", str(DOMAIN)], stdout=subprocess.DEVNULL)
        try:
            overlay, markers = listen(demo)
        finally:
            demo.terminate()
            demo.wait()
    shape = (overlay.height, overlay.width, 3)
    picture = cv2.cvtColor(np.frombuffer(overlay.data, np.uint8).reshape(shape), cv2.COLOR_RGB2BGR)
    width = round(HEIGHT * overlay.width / overlay.height)
    picture = cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA)
    gap = np.full((HEIGHT, 8, 3), 255, np.uint8)
    out = ROOT / "docs" / "img" / "debug_views.png"
    cv2.imwrite(str(out), np.hstack([picture, gap, from_above(markers)]))
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
