"""What client and server say to each other: versioned plain bytes, field by field.

A message is a 4-byte length and a msgpack map with the protocol's version and a kind;
values of `rsd_planner.types` are maps of their fields, arrays are dtype, shape and bytes.
Nothing is ever unpickled. Pictures do not travel here but through anonymous shared memory,
as pixels or packed as they came: an observation names for each frame where it lies, or that
the server has it already.
"""

from __future__ import annotations

import dataclasses
import struct
import typing
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, TypeVar

import msgpack
import numpy as np
from numpy.typing import NDArray

from rsd_planner.planning.pictures import PackedFrame, PackedPicture
from rsd_planner.types import EgoHistory, Frame, Observation, PlanResult

__all__ = [
    "VERSION",
    "FrameReference",
    "Inbox",
    "ProtocolError",
    "decode_observation",
    "decode_result",
    "encode",
    "encode_observation",
    "encode_result",
]

VERSION = 2
MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # pixels are not in messages
_LENGTH = struct.Struct("<I")
_DTYPES = ("|u1", "<i8", "<f4", "<f8", "|b1")
_T = TypeVar("_T")


class ProtocolError(Exception):
    """The other side speaks another version, or nonsense."""


def encode(kind: str, **values: Any) -> bytes:
    """One message with its length in front. `values` are plain: numbers, text, bytes, maps."""
    body: bytes = msgpack.packb({"v": VERSION, "kind": kind, **values}, use_bin_type=True)
    if len(body) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a '{kind}' message of {len(body)} bytes is too long")
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Cuts the bytes that arrive into messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are complete now. Raises ProtocolError on nonsense."""
        self._bytes += data
        messages = []
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            if length > MAX_MESSAGE_BYTES:
                raise ProtocolError(f"a message claims {length} bytes")
            if len(self._bytes) < _LENGTH.size + length:
                break
            body = bytes(self._bytes[_LENGTH.size : _LENGTH.size + length])
            del self._bytes[: _LENGTH.size + length]
            messages.append(_parse(body))
        return messages


def _parse(body: bytes) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(body, raw=False, strict_map_key=False)
    except (TypeError, ValueError, msgpack.exceptions.UnpackException) as error:
        raise ProtocolError(f"a message is no msgpack ({error})") from None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ProtocolError("a message has no kind")
    if message.get("v") != VERSION:
        raise ProtocolError(
            f"the other side speaks protocol version {message.get('v')}, this one {VERSION}; "
            "install the same rsd_planner on both sides"
        )
    return message


# -- observations ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FrameReference:
    """Where a frame's picture is: at `offset` in shared memory, or known (-1).

    It is RGB pixels (height, width, 3), or a JPEG or PNG of `packed_bytes`.
    """

    camera: str
    stamp_ns: int
    height: int
    width: int
    offset: int
    packed_bytes: int = 0
    is_rgb: bool = False
    scale: int = 1

    @classmethod
    def of(cls, frame: Frame, offset: int) -> FrameReference:
        """The reference to a frame that lies at `offset`."""
        if isinstance(frame, PackedFrame):
            packed = frame.picture
            return cls(
                frame.camera,
                frame.stamp_ns,
                packed.height,
                packed.width,
                offset,
                len(packed.data),
                packed.is_rgb,
                packed.scale,
            )
        height, width = frame.image.shape[:2]
        return cls(frame.camera, frame.stamp_ns, height, width, offset)

    @property
    def known(self) -> bool:
        """Whether the server kept this frame from the observation before."""
        return self.offset < 0

    @property
    def size(self) -> int:
        """Bytes of the picture in the memory."""
        return self.packed_bytes or self.height * self.width * 3


def encode_observation(
    observation: Observation, references: tuple[FrameReference, ...]
) -> dict[str, Any]:
    """Plain values of an observation whose pixels are elsewhere."""
    return {
        "tick": observation.tick,
        "t0_ns": observation.t0_ns,
        "frames": [_to_plain(reference) for reference in references],
        "history": _to_plain(observation.history),
        "navigation": observation.navigation,
        "missing": list(observation.missing),
    }


def decode_observation(
    plain: Mapping[str, Any], known: Mapping[tuple[str, int], Frame], memory: memoryview
) -> Observation:
    """The observation; new pictures are copied out of `memory`, so that it may be reused.

    What came packed stays packed.
    """
    try:
        frames = []
        for item in plain["frames"]:
            reference = _from_plain(FrameReference, item)
            if reference.known:
                frames.append(known[(reference.camera, reference.stamp_ns)])
            else:
                frames.append(_read_frame(reference, memory))
        return Observation(
            tick=int(plain["tick"]),
            t0_ns=int(plain["t0_ns"]),
            frames=tuple(frames),
            history=_from_plain(EgoHistory, plain["history"]),
            navigation=str(plain["navigation"]),
            missing=tuple(str(item) for item in plain["missing"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"an observation cannot be read: {error!r}") from None


def _read_frame(reference: FrameReference, memory: memoryview) -> Frame:
    if reference.height <= 0 or reference.width <= 0:
        raise ValueError(f"picture of {reference.height} x {reference.width}")
    if reference.offset + reference.size > len(memory):
        raise ValueError("picture beyond the end of the shared memory")
    flat = np.frombuffer(memory, np.uint8, reference.size, reference.offset)
    if reference.packed_bytes:
        size = (reference.height, reference.width)
        packed = PackedPicture(flat.tobytes(), *size, reference.is_rgb, reference.scale)
        return PackedFrame(reference.camera, reference.stamp_ns, packed)
    image = flat.reshape(reference.height, reference.width, 3).copy()
    return Frame(reference.camera, reference.stamp_ns, image)


# -- results ---------------------------------------------------------------------------


def encode_result(result: PlanResult) -> dict[str, Any]:
    """Plain values of a result, field by field."""
    plain: dict[str, Any] = _to_plain(result)
    return plain


def decode_result(plain: Mapping[str, Any]) -> PlanResult:
    """The result. Raises ProtocolError when a field is missing or of another type."""
    try:
        return _from_plain(PlanResult, plain)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"a result cannot be read: {error!r}") from None


# -- values ----------------------------------------------------------------------------


_NAMES: dict[type, tuple[str, ...]] = {}


def _to_plain(value: Any) -> Any:
    kind = type(value)
    if kind in (int, float, str, bool, bytes):
        return value
    names = _NAMES.get(kind)
    if names is None and dataclasses.is_dataclass(kind):
        names = _NAMES[kind] = tuple(f.name for f in dataclasses.fields(kind))
    if names is not None:
        return {name: _to_plain(getattr(value, name)) for name in names}
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        return {"dtype": array.dtype.str, "shape": list(value.shape), "data": array.tobytes()}
    if isinstance(value, IntEnum):
        return int(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [_to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item) for key, item in value.items()}
    return value


_READERS: dict[Any, Callable[[Any], Any]] = {}


def _from_plain(kind: type[_T], plain: Any) -> _T:
    """A dataclass from a map of exactly its fields."""
    made: _T = _reader(kind)(plain)
    return made


def _reader(hint: Any) -> Callable[[Any], Any]:
    """What turns a plain value into one of this type; looked up once for each type, since
    reading type hints takes longer than reading the values."""
    reader = _READERS.get(hint)
    if reader is None:
        reader = _READERS[hint] = _new_reader(hint)
    return reader


def _new_reader(hint: Any) -> Callable[[Any], Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is np.ndarray:
        return _array
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda plain: tuple([item(one) for one in plain])
    if origin is not None:  # the one mapping: names to numbers
        number = _reader(arguments[1])
        return lambda plain: {str(key): number(one) for key, one in plain.items()}
    if dataclasses.is_dataclass(hint):
        return _fields_reader(typing.cast(type, hint))
    if hint in (bool, int, float, str):
        allowed = (bool,) if hint is bool else (int, float, str)

        def simple(plain: Any) -> Any:
            if not isinstance(plain, allowed):
                raise TypeError(f"{plain!r} is no {hint.__name__}")
            return hint(plain)

        return simple
    return typing.cast("Callable[[Any], Any]", hint)  # an enumeration


def _fields_reader(kind: type) -> Callable[[Any], Any]:
    readers = [(name, _reader(hint)) for name, hint in typing.get_type_hints(kind).items()]

    def read(plain: Any) -> Any:
        if not isinstance(plain, Mapping):
            raise TypeError(f"{kind.__name__} must be a map")
        return kind(**{name: reader(plain[name]) for name, reader in readers})

    return read


def _array(plain: Mapping[str, Any]) -> NDArray[Any]:
    if plain["dtype"] not in _DTYPES:
        raise TypeError(f"arrays of {plain['dtype']!r} are not sent")
    shape = tuple(int(side) for side in plain["shape"])
    return np.frombuffer(plain["data"], dtype=plain["dtype"]).reshape(shape).copy()
