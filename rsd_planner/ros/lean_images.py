"""Raw pictures without Python's lock: taken by rcl itself, read where they lie.

rclpy holds the interpreter's lock while it deserializes an image and while it copies it once
more into an array: 6 MB twice with 1080p, and a tick that falls due meanwhile waits. ctypes
gives the lock up during a foreign call, and its arrays look at memory without a copy. Where
the C message does not look as expected, all stays with rclpy.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

__all__ = ["LeanImage", "LeanSubscription", "make_lean", "taker_of"]

_TAKEN, _NOTHING_THERE = 0, 401  # RCL_RET_OK, RCL_RET_SUBSCRIPTION_TAKE_FAILED


class _String(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("capacity", ctypes.c_size_t),
    ]

    def text(self) -> str:
        data = ctypes.string_at(self.data, self.size) if self.data else b""
        return data.decode("utf-8", "replace")


class _Header(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_int32), ("nanosec", ctypes.c_uint32), ("frame_id", _String)]


class _Image(ctypes.Structure):
    _fields_ = [
        ("header", _Header),
        ("height", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("encoding", _String),
        ("is_bigendian", ctypes.c_uint8),
        ("step", ctypes.c_uint32),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("capacity", ctypes.c_size_t),
    ]


@dataclass(frozen=True)
class LeanImage:
    """What sensor_msgs/Image says; `data` keeps the C message alive that it lies in."""

    header: Any  # std_msgs/Header
    height: int  # rows
    width: int  # pixels a row
    encoding: str
    is_bigendian: int
    step: int  # bytes a row
    data: Any  # a buffer of bytes


class LeanSubscription:
    """Stands in for a subscription to sensor_msgs/Image where messages are taken.

    It is its own handle: entered, nothing destroys the subscription until it is left.
    """

    def __init__(self, subscription: Any, library: _Library) -> None:
        self._subscription = subscription
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return getattr(self._subscription, name)

    @property
    def handle(self) -> LeanSubscription:
        """Itself."""
        return self

    def __enter__(self) -> LeanSubscription:
        self._subscription.handle.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._subscription.handle.__exit__(*raised)

    def take_message(self, _kind: type, _raw: bool) -> tuple[LeanImage, dict[str, Any]] | None:
        """The next message as rclpy's handle would give it, without its info; None if none."""
        return self._library.take(self._subscription.handle.pointer)


def make_lean(subscription: Any) -> None:
    """Gives a subscription to sensor_msgs/Image its stand-in, where that can be."""
    library = _library()
    if library is not None:
        subscription.lean = LeanSubscription(subscription, library)


def taker_of(subscription: Any) -> Any:
    """Who takes the messages of a subscription: its stand-in if it has one, or itself."""
    return getattr(subscription, "lean", subscription)


class _Library:
    """rcl's take and the functions that rosidl generated for the message."""

    def __init__(self) -> None:
        """Raises OSError or AttributeError where one of them is missing."""
        self._take = ctypes.CDLL("librcl.so").rcl_take
        self._take.argtypes = [ctypes.c_void_p] * 4
        self._take.restype = ctypes.c_int32
        self._forget_error = ctypes.CDLL("librcutils.so").rcutils_reset_error
        self._create = _function(Image, "_CREATE_ROS_MESSAGE", ctypes.c_void_p)
        self._destroy = _function(Image, "_DESTROY_ROS_MESSAGE", None, ctypes.c_void_p)

    def take(self, subscription: int) -> tuple[LeanImage, dict[str, Any]] | None:
        """The next message of an rcl_subscription_t. Raises RuntimeError as rclpy does."""
        message = self._create()
        if not message:
            raise MemoryError("no memory for an image")
        code = self._take(subscription, message, None, None)
        if code == _TAKEN:
            return self.view(message), {}
        self._destroy(message)
        if code == _NOTHING_THERE:
            return None
        self._forget_error()
        raise RuntimeError(f"an image could not be taken (rcl says {code})")

    def view(self, message: int) -> LeanImage:
        """A message's fields, its bytes where they lie; it is freed when they are."""
        fields = _Image.from_address(message)
        # Without an address there are no bytes either, and zero is none to look at.
        data = (ctypes.c_uint8 * fields.size).from_address(fields.data or message)
        weakref.finalize(data, self._destroy, message).atexit = False
        stamp = Time(sec=fields.header.sec, nanosec=fields.header.nanosec)
        return LeanImage(
            Header(stamp=stamp, frame_id=fields.header.frame_id.text()),
            fields.height,
            fields.width,
            fields.encoding.text(),
            fields.is_bigendian,
            fields.step,
            data,
        )

    def holds(self) -> bool:
        """Whether a message that rosidl itself has laid out is read back as it was."""
        told = Image(height=2, width=3, encoding="rgb8", is_bigendian=1, step=9)
        told.header.stamp.sec, told.header.stamp.nanosec = -5, 4_000_000_000
        told.header.frame_id = "camera"
        told.data = bytes(range(18))
        write = _function(
            Image, "_CONVERT_FROM_PY", ctypes.c_bool, ctypes.py_object, ctypes.c_void_p
        )
        message = self._create()
        if not message or not write(told, message):
            return False
        fields = _Image.from_address(message)
        sizes = fields.header.frame_id.size, fields.encoding.size, fields.size
        if sizes != (6, 4, 18):  # before any address is believed
            return False
        read = self.view(message)
        return bytes(read.data) == bytes(told.data) and all(
            getattr(read, name) == getattr(told, name)
            for name in ("header", "height", "width", "encoding", "is_bigendian", "step")
        )


def _function(kind: Any, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """One of the C functions that rosidl hangs on a message's class."""
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    # What takes Python's own objects needs the lock; the others must not hold it.
    make = ctypes.PYFUNCTYPE if ctypes.py_object in arguments else ctypes.CFUNCTYPE
    return make(result, *arguments)(address(getattr(type(kind), name), None))


@functools.cache
def _library() -> _Library | None:
    type(Image).__import_type_support__()
    try:
        library = _Library()
    except (AttributeError, OSError, TypeError, ValueError):
        return None
    return library if library.holds() else None
