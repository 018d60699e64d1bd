"""Reads a rosbag2 recording: its pictures, odometry and cameras, or its raw messages.

Takes the directory, the `.mcap` or the `.db3` file. Messages come in the order of their log
times. What a user can cure is raised as `BagError`; a damaged bag is noticed while reading, too.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader

from rsd_planner.bags import messages as m
from rsd_planner.bags.errors import BagError
from rsd_planner.types import CameraModel, EgoState, Frame

__all__ = ["Bag", "RawMessage", "TopicInfo", "open_bag"]

_IMAGES = (m.COMPRESSED_IMAGE, m.IMAGE)
_LATE_MESSAGES = 8  # how far out of order stamps may be


@dataclass(frozen=True)
class TopicInfo:
    """What the bag says of a topic."""

    name: str
    type_name: str  # as in "nav_msgs/msg/Odometry"
    count: int


@dataclass(frozen=True)
class RawMessage:
    """A message as it was recorded, for playing it back."""

    log_time_ns: int
    topic: str
    type_name: str
    data: bytes  # CDR


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what a damaged file does to the parser into one sentence."""
    try:
        yield
    except BagError:
        raise
    except Exception as error:  # the parser raises whatever the broken bytes lead it to
        raise BagError(
            f"the bag {path} is truncated or damaged ({_first_line(error)}); record it again, or "
            "rescue what is left of an MCAP file with `mcap recover`"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def open_bag(path: str | Path) -> Bag:
    """Opens a bag; close it, or use it as a context manager."""
    path = Path(path)
    if not path.exists():
        raise BagError(f"there is no bag at {path}; give the folder, the .mcap or the .db3 file")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        inside = sorted(p for p in path.iterdir() if p.suffix in (".mcap", ".db3"))
        if not inside:
            raise BagError(f"{path} is no bag: it has neither metadata.yaml nor an .mcap file")
        path = inside[0]
    if path.is_file() and path.suffix not in (".mcap", ".db3"):
        raise BagError(f"{path} is no bag; give the folder, the .mcap or the .db3 file")
    with _readable(path):
        reader = Reader(path)
        reader.open()
    return Bag(path, reader)


class Bag:
    """An open bag."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path = path
        self._reader = reader
        self.topics = tuple(
            sorted(
                (TopicInfo(c.topic, c.msgtype, c.msgcount) for c in reader.connections),
                key=lambda topic: topic.name,
            )
        )
        self.start_ns = int(reader.start_time) if reader.message_count else 0
        self.end_ns = int(reader.end_time) if reader.message_count else 0

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        if self._reader.is_open:
            self._reader.close()

    @property
    def duration_s(self) -> float:
        """From the first to the last log time."""
        return (self.end_ns - self.start_ns) * 1e-9

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """All messages, or those of some topics, in order of log time."""
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]
        for name in topics or ():
            self._find(name)
        if not wanted:
            return
        with _readable(self.path):
            for connection, log_ns, data in self._reader.messages(wanted):
                yield RawMessage(log_ns, connection.topic, connection.msgtype, bytes(data))

    def image_topics(self) -> tuple[str, ...]:
        """Topics with pictures."""
        return tuple(t.name for t in self.topics if t.type_name in _IMAGES)

    def image_topic(self, camera: str) -> str:
        """The topic with the pictures of a camera; a topic's own name is taken, too."""
        if camera.startswith("/"):
            return self._of_type(camera, _IMAGES, "a camera's pictures")
        topics = self.image_topics()
        for name in topics:
            if camera in name.split("/"):
                return name
        if not topics:
            raise BagError(f"{self.path} has no camera pictures; it has {self._listing()}")
        raise BagError(
            f"{self.path} has no camera {camera!r}; its pictures are on {', '.join(topics)}; "
            "give a camera's name or such a topic"
        )

    def odometry_topic(self, topic: str | None = None) -> str:
        """The topic with odometry, checked; found by its type where none is named."""
        what = "odometry (nav_msgs/msg/Odometry)"
        if topic is not None:
            return self._of_type(topic, (m.ODOMETRY,), what)
        for candidate in self.topics:
            if candidate.type_name == m.ODOMETRY and candidate.count:
                return candidate.name
        raise BagError(f"{self.path} has no {what}; it has {self._listing()}")

    def read_frames(self, camera: str = "front_wide") -> Iterator[Frame]:
        """A camera's pictures in order of their stamps, decoded one by one."""
        topic = self.image_topic(camera)
        for raw, message in self._in_stamp_order(topic):
            yield m.frame_of(message, raw.type_name, camera)

    def read_odometry(self, topic: str | None = None) -> Iterator[EgoState]:
        """Poses and twists in order of their stamps."""
        for _, message in self._in_stamp_order(self.odometry_topic(topic)):
            yield m.ego_state_of(message)

    def odometry_frames(self, topic: str | None = None) -> tuple[str, str]:
        """`frame_id` and `child_frame_id` of the odometry."""
        name = self.odometry_topic(topic)
        for _, message in self._decoded(name):
            return str(message.header.frame_id), str(message.child_frame_id)
        raise BagError(f"topic {name} of {self.path} is empty; record it again")

    def camera_model(
        self, camera: str = "front_wide", base_frame: str = "base_link"
    ) -> CameraModel | None:
        """Intrinsics from the CameraInfo beside the pictures, the mount from /tf_static.

        None where the bag does not tell both.
        """
        image = self.image_topic(camera)
        stem = image.removesuffix("/compressed").rsplit("/", 1)[0]
        name = f"{stem}/camera_info"
        if not any(t.name == name and t.type_name == m.CAMERA_INFO for t in self.topics):
            return None
        for _, message in self._decoded(name):
            pose = self._mount(str(message.header.frame_id), base_frame)
            return None if pose is None else m.camera_model_of(message, pose)
        return None

    def _decoded(self, topic: str) -> Iterator[tuple[RawMessage, Any]]:
        for raw in self.messages([topic]):
            with _readable(self.path):
                message = m.TYPES.deserialize_cdr(raw.data, raw.type_name)
            yield raw, message

    def _in_stamp_order(self, topic: str) -> Iterator[tuple[RawMessage, Any]]:
        """As decoded, but a message that came a little late is put where it belongs."""
        waiting: list[tuple[int, int, RawMessage, Any]] = []
        for number, (raw, message) in enumerate(self._decoded(topic)):
            heapq.heappush(waiting, (m.stamp_ns_of(message), number, raw, message))
            if len(waiting) > _LATE_MESSAGES:
                yield heapq.heappop(waiting)[2:]
        while waiting:
            yield heapq.heappop(waiting)[2:]

    def _mount(self, frame: str, base_frame: str) -> NDArray[np.float64] | None:
        """base_frame from frame (4, 4), along the static transforms, if they lead there."""
        parents: dict[str, tuple[str, NDArray[np.float64]]] = {}
        if any(t.name == "/tf_static" for t in self.topics):
            for _, message in self._decoded("/tf_static"):
                for one in message.transforms:
                    matrix = m.matrix_of_transform(one.transform)
                    parents[one.child_frame_id] = (one.header.frame_id, matrix)
        pose, at = np.eye(4), frame
        while at != base_frame:
            if at not in parents:
                return None
            at, matrix = parents.pop(at)  # popped: a circle ends, too
            pose = matrix @ pose
        return pose

    def _find(self, name: str) -> TopicInfo:
        for topic in self.topics:
            if topic.name == name:
                return topic
        names = [t.name for t in self.topics]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"it has {self._listing()}"
        raise BagError(f"there is no topic {name} in {self.path}; {hint}")

    def _of_type(self, topic: str, types: tuple[str, ...], what: str) -> str:
        found = self._find(topic)
        if found.type_name in types:
            return topic
        raise BagError(
            f"topic {topic} of {self.path} is {found.type_name}, not {what}; "
            f"it has {self._listing()}"
        )

    def _listing(self) -> str:
        if not self.topics:
            return "no topics at all"
        return ", ".join(f"{t.name} ({t.type_name})" for t in self.topics)
