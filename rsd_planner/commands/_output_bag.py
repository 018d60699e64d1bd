"""Writes plans into a bag (MCAP) with the messages that the node would publish, without ROS.

The message definitions are read from the package's own `msg` folder. Stamps are t0; a message
is logged when the answer would have been there: t0 plus the tick's time.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from rsd_planner.errors import CommandError
from rsd_planner.planning.path import TimedPath, path_of
from rsd_planner.types import PlanResult

__all__ = ["OutputBag", "message_folder", "message_types"]

_PACKAGE = "rsd_planner"


def message_folder() -> Path:
    """The folder with the `.msg` files: in the source tree, else in an ament share folder."""
    source = Path(__file__).resolve().parents[2] / "msg"
    if source.is_dir():
        return source
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        shared = Path(prefix) / "share" / _PACKAGE / "msg"
        if prefix and shared.is_dir():
            return shared
    raise CommandError(
        "The message definitions of rsd_planner were not found; run from the source folder or "
        "source install/setup.bash."
    )


def message_types() -> Any:
    """A type store that knows the project's messages."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    found: dict[str, Any] = {}
    for path in sorted(message_folder().glob("*.msg")):
        name = f"{_PACKAGE}/msg/{path.stem}"
        found.update(get_types_from_msg(path.read_text(encoding="utf-8"), name))
    store.register(found)
    return store


class OutputBag:
    """A context manager; `add` writes the messages of one tick."""

    def __init__(self, path: Path, frame_id: str, validity_s: float) -> None:
        """An older bag at `path` is replaced; anything else there is refused."""
        if path.exists():
            if not (path / "metadata.yaml").is_file():
                raise CommandError(f"{path} exists and is no bag; choose another --out.")
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._store = message_types()
        self._frame_id = frame_id
        self._validity_s = validity_s
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> OutputBag:
        self._writer.open()
        topics = {
            "output/trajectory": f"{_PACKAGE}/msg/PlannedTrajectory",
            "output/path": "nav_msgs/msg/Path",
            "output/reasoning": f"{_PACKAGE}/msg/Reasoning",
            "debug/decode_stats": f"{_PACKAGE}/msg/DecodeStats",
        }
        for topic, kind in topics.items():
            self._connections[topic] = self._writer.add_connection(
                f"/{_PACKAGE}/{topic}", kind, typestore=self._store
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def add(self, result: PlanResult) -> None:
        """Write one tick."""
        path = path_of(result)
        at_ns = result.t0_ns + int(result.durations.total_ms * 1e6)
        self._write("output/trajectory", self._trajectory(result, path), at_ns)
        self._write("output/path", self._path(result, path), at_ns)
        self._write("output/reasoning", self._reasoning(result), at_ns)
        self._write("debug/decode_stats", self._stats(result), at_ns)

    def _write(self, topic: str, message: Any, at_ns: int) -> None:
        connection = self._connections[topic]
        data = self._store.serialize_cdr(message, connection.msgtype)
        self._writer.write(connection, at_ns, data)

    def _make(self, kind: str, /, **values: Any) -> Any:
        return self._store.types[kind](**values)

    def _time(self, stamp_ns: int, kind: str = "Time") -> Any:
        seconds, rest = divmod(int(stamp_ns), 1_000_000_000)
        return self._make(f"builtin_interfaces/msg/{kind}", sec=seconds, nanosec=rest)

    def _header(self, stamp_ns: int) -> Any:
        stamp = self._time(stamp_ns)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=self._frame_id)

    def _pose(self, path: TimedPath, row: int) -> Any:
        half = float(path.yaw_rad[row]) / 2
        x, y, z = (float(value) for value in path.position_m[row])
        return self._make(
            "geometry_msgs/msg/Pose",
            position=self._make("geometry_msgs/msg/Point", x=x, y=y, z=z),
            orientation=self._make(
                "geometry_msgs/msg/Quaternion",
                x=0.0, y=0.0, z=float(np.sin(half)), w=float(np.cos(half)),
            ),
        )  # fmt: skip

    def _trajectory(self, result: PlanResult, path: TimedPath) -> Any:
        points = [
            self._make(
                f"{_PACKAGE}/msg/TrajectoryPoint",
                time_from_start=self._time(int(path.time_ns[row]) - result.t0_ns, "Duration"),
                pose=self._pose(path, row),
                longitudinal_velocity_mps=float(path.speed_mps[row]),
                lateral_velocity_mps=0.0,
                acceleration_mps2=float(path.acceleration_mps2[row]),
                heading_rate_rps=float(path.speed_mps[row] * path.curvature_1pm[row]),
                front_wheel_angle_rad=0.0,
                rear_wheel_angle_rad=0.0,
            )
            for row in range(len(path))
        ]
        kind = f"{_PACKAGE}/msg/PlannedTrajectory"
        return self._make(
            kind,
            header=self._header(result.t0_ns),
            tick=result.tick,
            plan_tick=result.tick,
            source=self._store.types[kind].MODEL,
            valid_until=self._time(result.t0_ns + round(self._validity_s * 1e9)),
            points=points,
        )

    def _path(self, result: PlanResult, path: TimedPath) -> Any:
        poses = [
            self._make(
                "geometry_msgs/msg/PoseStamped",
                header=self._header(int(path.time_ns[row])),
                pose=self._pose(path, row),
            )
            for row in range(len(path))
        ]
        return self._make("nav_msgs/msg/Path", header=self._header(result.t0_ns), poses=poses)

    def _reasoning(self, result: PlanResult) -> Any:
        spans = [
            self._make(
                f"{_PACKAGE}/msg/ReasoningSpan",
                start=span.start, end=span.end, tokens=span.tokens,
                source=int(span.source), kind=int(span.kind),
            )
            for span in result.spans
        ]  # fmt: skip
        return self._make(
            f"{_PACKAGE}/msg/Reasoning",
            header=self._header(result.t0_ns),
            tick=result.tick,
            text=result.text,
            spans=spans,
            decision=int(result.decision),
            finish_reason=int(result.decoded.finish_reason),
            agrees_with_trajectory=bool(result.agrees_with_trajectory),
        )

    def _stats(self, result: PlanResult) -> Any:
        decoded, spent = result.decoded, result.durations
        tokens = len(decoded.tokens)
        return self._make(
            f"{_PACKAGE}/msg/DecodeStats",
            header=self._header(result.t0_ns),
            tick=result.tick,
            drafter=result.drafter,
            rule=result.rule,
            prepare_ms=spent.prepare_ms,
            vision_ms=spent.vision_ms,
            prefill_ms=spent.prefill_ms,
            reasoning_ms=spent.reasoning_ms,
            head_ms=spent.head_ms,
            total_ms=spent.total_ms,
            drafter_ms=decoded.drafter_ms,
            plain_ms_estimate=result.plain_ms_estimate,
            tokens=tokens,
            proposed=decoded.proposed,
            accepted=decoded.accepted,
            target_forwards=decoded.target_forwards,
            drafter_calls=decoded.drafter_calls,
            acceptance_length=decoded.acceptance_length,
            routine_share=decoded.accepted / tokens if tokens else 0.0,
        )
