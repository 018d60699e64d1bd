"""Writes a rosbag2 directory (MCAP and metadata.yaml) that `ros2 bag play` takes.

Messages are collected and written in the order of their log times when the bag is closed, as
a recorder would have seen them. For short drives: all of it is held in memory until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from rsd_planner.bags import messages as m
from rsd_planner.bags.errors import BagError
from rsd_planner.types import CameraModel, EgoState

__all__ = ["BagWriter"]

_UNSET = QosTime(sec=0, nsec=0)


def _qos(depth: int, reliable: bool, latched: bool = False) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _UNSET,
        _UNSET,
        QosLiveliness.AUTOMATIC,
        _UNSET,
        False,
    )


class BagWriter:
    """A context manager; the bag exists when the block has ended without an error."""

    def __init__(self, path: Path) -> None:
        """`path` is the directory to be made; it must not exist."""
        if path.exists():
            raise BagError(f"{path} exists already; remove it or choose another name")
        self._path = path
        self._queue: list[tuple[int, int, str, str, bytes]] = []
        self._qos: dict[str, Qos] = {}

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._write()

    def jpeg(self, log_ns: int, topic: str, stamp_ns: int, frame_id: str, data: bytes) -> None:
        """A compressed picture."""
        message = m.compressed_image_message(stamp_ns, frame_id, data)
        self.message(log_ns, topic, m.COMPRESSED_IMAGE, message, _qos(5, reliable=True))

    def camera_info(
        self, log_ns: int, topic: str, stamp_ns: int, frame_id: str, model: CameraModel
    ) -> None:
        """A camera's intrinsics."""
        message = m.camera_info_message(stamp_ns, frame_id, model)
        self.message(log_ns, topic, m.CAMERA_INFO, message, _qos(5, reliable=True))

    def odometry(
        self, log_ns: int, topic: str, state: EgoState, frame_id: str, child_frame_id: str
    ) -> None:
        """A pose and twist."""
        message = m.odometry_message(state, frame_id, child_frame_id)
        self.message(log_ns, topic, m.ODOMETRY, message, _qos(100, reliable=True))

    def static_transform(
        self, log_ns: int, stamp_ns: int, parent: str, child: str, matrix: NDArray[Any]
    ) -> None:
        """A fixed mount, parent from child, on /tf_static."""
        message = m.transform_message(stamp_ns, parent, child, matrix)
        self.message(log_ns, "/tf_static", m.TF_MESSAGE, message, _qos(1, True, latched=True))

    def message(
        self, log_ns: int, topic: str, type_name: str, message: Any, qos: Qos | None = None
    ) -> None:
        """Any message of a standard type."""
        self.raw(log_ns, topic, type_name, bytes(m.TYPES.serialize_cdr(message, type_name)), qos)

    def raw(
        self, log_ns: int, topic: str, type_name: str, data: bytes, qos: Qos | None = None
    ) -> None:
        """A message that is serialized already."""
        self._qos.setdefault(topic, qos or _qos(10, reliable=True))
        self._queue.append((log_ns, len(self._queue), topic, type_name, data))

    def _write(self) -> None:
        self._queue.sort(key=lambda entry: entry[:2])
        writer = Writer(self._path, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            connections = {
                topic: writer.add_connection(
                    topic, type_name, typestore=m.TYPES, offered_qos_profiles=[self._qos[topic]]
                )
                for topic, type_name in _topics(self._queue)
            }
            for log_ns, _, topic, _, data in self._queue:
                writer.write(connections[topic], log_ns, data)


def _topics(queue: Sequence[tuple[int, int, str, str, bytes]]) -> list[tuple[str, str]]:
    return sorted({(topic, type_name) for _, _, topic, type_name, _ in queue})
