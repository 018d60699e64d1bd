"""Values come out of the bytes as they went in; nonsense is refused by name."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import msgpack
import numpy as np
import pytest
from drives import START_NS, filled_buffer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from results import result_at

from rsd_planner.types import Frame, Observation
from rsd_planner.worker import protocol


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if dataclasses.is_dataclass(left):
        for f in dataclasses.fields(left):
            assert_same(getattr(left, f.name), getattr(right, f.name))
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    else:
        assert left == right


def through_the_wire(kind: str, **values: Any) -> dict[str, Any]:
    (message,) = protocol.Inbox().feed(protocol.encode(kind, **values))
    return message


def test_a_result_survives_the_wire_field_by_field() -> None:
    result = result_at()
    message = through_the_wire("result", result=protocol.encode_result(result))
    assert_same(protocol.decode_result(message["result"]), result)


@settings(max_examples=30, deadline=None)
@given(st.text(), st.lists(st.floats(width=64), min_size=64, max_size=64), st.integers(0, 2**62))
def test_any_text_and_numbers_survive(text: str, numbers: list[float], t0_ns: int) -> None:
    made = result_at(text=text)
    trajectory = dataclasses.replace(made.trajectory, speed_mps=np.array(numbers))
    made = dataclasses.replace(made, trajectory=trajectory, t0_ns=t0_ns)
    found = protocol.decode_result(
        through_the_wire("result", result=protocol.encode_result(made))["result"]
    )
    assert_same(found, made)


def test_an_observation_takes_new_pixels_from_memory_and_old_ones_from_before() -> None:
    buffer, now = filled_buffer()
    seen = buffer.snapshot(now, 5)
    assert isinstance(seen, Observation)
    new = dataclasses.replace(seen.frames[-1], image=np.arange(72, dtype=np.uint8).reshape(4, 6, 3))
    seen = dataclasses.replace(seen, frames=(*seen.frames[:-1], new))
    known = {(f.camera, f.stamp_ns): f for f in seen.frames[:-1]}
    memory = bytearray(100)
    memory[8:80] = new.image.tobytes()
    references = tuple(
        protocol.FrameReference(f.camera, f.stamp_ns, 4, 6, 8 if f is new else -1)
        for f in seen.frames
    )
    plain = through_the_wire("plan", observation=protocol.encode_observation(seen, references))
    found = protocol.decode_observation(plain["observation"], known, memoryview(memory))
    memory[:] = bytes(100)  # the copy is the server's own
    assert_same(found, seen)


def test_pixels_outside_the_memory_are_refused() -> None:
    buffer, now = filled_buffer()
    seen = buffer.snapshot(now, 5)
    assert isinstance(seen, Observation)
    reference = protocol.FrameReference("front_wide", START_NS, 4, 6, 50)
    plain = protocol.encode_observation(seen, (reference,))
    with pytest.raises(protocol.ProtocolError, match="beyond the end"):
        protocol.decode_observation(plain, {}, memoryview(bytearray(100)))
    unknown: dict[tuple[str, int], Frame] = {}
    plain = protocol.encode_observation(seen, (dataclasses.replace(reference, offset=-1),))
    with pytest.raises(protocol.ProtocolError, match="cannot be read"):
        protocol.decode_observation(plain, unknown, memoryview(bytearray(100)))


@given(st.integers(1, 40))
def test_messages_may_arrive_in_any_pieces(size: int) -> None:
    data = protocol.encode("one", x=1) + protocol.encode("two", y="é" * 30)
    inbox = protocol.Inbox()
    kinds = []
    for start in range(0, len(data), size):
        kinds += [m["kind"] for m in inbox.feed(data[start : start + size])]
    assert kinds == ["one", "two"]


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


def test_other_versions_and_nonsense_are_refused() -> None:
    with pytest.raises(protocol.ProtocolError, match="install the same rsd_planner"):
        protocol.Inbox().feed(framed(msgpack.packb({"v": 99, "kind": "hello"})))
    for nonsense in (b"\xff\xff\xff\xff", framed(b"\xc1"), framed(msgpack.packb([1]))):
        with pytest.raises(protocol.ProtocolError):
            protocol.Inbox().feed(nonsense)
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_result({"tick": 1})
    plain = protocol.encode_result(result_at())
    plain["trajectory"]["speed_mps"]["dtype"] = "|O"
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_result(plain)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
@example(b"\x82\x00\x00\x90\x00")  # a list as a key
def test_random_bytes_raise_nothing_but_protocol_errors(data: bytes) -> None:
    with contextlib.suppress(protocol.ProtocolError):
        protocol.Inbox().feed(framed(data))
