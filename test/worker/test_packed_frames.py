"""Compressed pictures stay packed in the node; the worker decodes each of them once."""

from __future__ import annotations

import dataclasses
import queue
import socket
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import START_NS, filled_buffer, state_at
from fakes import FakePlanner, write_fake_worker
from numpy.typing import NDArray
from session_bench import MS, Bench, StandIn

from rsd_planner.bags import messages
from rsd_planner.bags.reader import open_bag
from rsd_planner.config import PlannerSettings
from rsd_planner.model_requirements import read_requirements
from rsd_planner.planning.pictures import (
    PackedFrame,
    PictureError,
    packed_picture,
    raw_to_rgb,
)
from rsd_planner.types import Frame, Observation
from rsd_planner.worker import protocol
from rsd_planner.worker.client import Answer, Outcome, WorkerClient, WorkerPhase
from rsd_planner.worker.health import PlannerState
from rsd_planner.worker.process import FrameMemory
from rsd_planner.worker.server import Server

ROOT = Path(__file__).resolve().parents[2]
MINI, BAG = ROOT / "assets/models/mini", ROOT / "assets/bags/street_30s"
CAMERA = "front_wide"


def jpeg(value: int, height: int = 32, width: int = 64) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), value, np.uint8))[1].tobytes()


def undecodable() -> bytes:
    """A JPEG with a sound header and end, and a table of codes that cannot be."""
    data = bytearray(jpeg(90))
    at = data.index(b"\xff\xc4") + 5
    data[at : at + 16] = b"\xff" * 16
    return bytes(data)


def packed(data: bytes, stamp_ns: int, enough_px: int | None = None) -> PackedFrame:
    return PackedFrame(CAMERA, stamp_ns, packed_picture(data, "jpeg", enough_px))


def through_the_memory(frame: Frame) -> Frame:
    """What the server gets of a frame."""
    buffer, now = filled_buffer()
    seen = buffer.snapshot(now, 1)
    assert isinstance(seen, Observation)
    seen = dataclasses.replace(seen, frames=(frame,))
    memory = FrameMemory()
    try:
        references = memory.place(seen.frames)
        plain = protocol.encode_observation(seen, references)
        found = protocol.decode_observation(plain, {}, memoryview(memory._map or b""))
    finally:
        memory._map = None
        memory.close()
    return found.frames[0]


def test_the_pictures_of_the_bundled_drive_reach_the_model_as_they_are_decoded_elsewhere() -> None:
    enough_px = read_requirements(MINI).picture_px
    assert enough_px is not None
    with open_bag(BAG) as bag:
        topic = bag.image_topic(CAMERA)
        for number, (raw, offline) in enumerate(zip(bag.messages([topic]), bag.read_frames())):
            message = messages.TYPES.deserialize_cdr(raw.data, raw.type_name)
            picture = packed_picture(message.data.data, message.format, enough_px)
            found = through_the_memory(PackedFrame(CAMERA, offline.stamp_ns, picture))
            assert isinstance(found, PackedFrame)
            assert np.array_equal(found.unpacked().image, offline.image)
            if number == 20:
                return
    raise AssertionError("the drive is too short")


@pytest.mark.parametrize(
    ("form", "swapped"), [("jpeg", False), ("rgb8; jpeg compressed rgb8", True)]
)
def test_the_order_of_channels_and_the_scale_go_along(form: str, swapped: bool) -> None:
    red = np.zeros((64, 128, 3), np.uint8)
    red[..., 0] = 200
    data = cv2.imencode(".jpg", red if swapped else red[..., ::-1])[1].tobytes()
    found = through_the_memory(PackedFrame(CAMERA, START_NS, packed_picture(data, form, 1000)))
    assert found.image.shape == (32, 64, 3)
    assert np.max(np.abs(found.image.astype(int) - red[::2, ::2])) <= 3


class Asking:
    """A client of a real worker, whose text tells how bright the pictures are."""

    def __init__(self, folder: Path) -> None:
        self.answers: queue.Queue[Answer] = queue.Queue()
        settings = PlannerSettings.from_mapping({"worker_python": write_fake_worker(folder)})
        self.client = WorkerClient(settings, self.answers.put)
        self.client.start()
        buffer, now = filled_buffer()
        seen = buffer.snapshot(now, 1)
        assert isinstance(seen, Observation)
        self.seen = seen

    def ask(self, tick: int, frames: tuple[Frame, ...]) -> Answer:
        seen = dataclasses.replace(self.seen, tick=tick, frames=frames)
        for _ in range(3000):
            if self.client.submit(seen, 0, 30.0):
                return self.answers.get(timeout=30.0)
            assert self.client.status().phase is not WorkerPhase.BACK_OFF
            self.client._stopping.wait(0.01)
        raise AssertionError(self.client.status())


def test_the_worker_decodes_and_an_undecodable_picture_costs_one_tick_only(tmp_path: Path) -> None:
    asking = Asking(tmp_path)
    try:
        good = tuple(packed(jpeg(20 * k), START_NS + k) for k in range(1, 5))
        first = asking.ask(1, good)
        assert first.result is not None, first
        assert "[20, 40, 60, 80]" in first.result.text
        bad = packed(undecodable(), START_NS + 5)
        second = asking.ask(2, (*good[1:], bad))
        assert (second.outcome, second.bad_frame) == (Outcome.ERROR, (CAMERA, START_NS + 5))
        assert second.reason == "front_wide: the picture cannot be decoded"
        third = asking.ask(3, (*good[1:], bad))  # still in the worker's hands: the same again
        assert third.bad_frame == (CAMERA, START_NS + 5)
        fourth = asking.ask(4, (*good[1:], packed(jpeg(100), START_NS + 6)))
        assert fourth.result is not None, fourth
        assert "[40, 60, 80, 100]" in fourth.result.text
        assert asking.client.status().generation == 1
    finally:
        asking.client.close()


def test_each_picture_is_decoded_once() -> None:
    buffer, now = filled_buffer()
    seen = buffer.snapshot(now, 1)
    assert isinstance(seen, Observation)
    seen = dataclasses.replace(seen, frames=(packed(jpeg(50), START_NS),))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = Server(theirs, -1, lambda settings: FakePlanner(settings))
        first = server._unpacked(seen).frames[0]
        again = server._unpacked(dataclasses.replace(seen, frames=(first,))).frames[0]
    assert type(first) is Frame
    assert again is first


def test_an_undecodable_picture_is_taken_out_named_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch)
    client: StandIn = bench.session._client  # type: ignore[assignment]
    bench.session.activate()
    bench.drive(1.9)
    bench.session.tick()
    client.answer()
    other = packed(undecodable(), bench.now_ns + 2 * MS)  # nobody has looked at it
    stamp = bench.now_ns + 5 * MS
    bench.now_ns += 30 * MS
    assert bench.session.add_frame(other).ok
    assert bench.session.add_state(state_at(bench.now_ns), "odom", "base_link").ok
    assert bench.session.add_frame(packed(undecodable(), stamp)).ok
    bench.session.tick()
    asked = client.asked[-1][0]
    assert asked.frames[-1].stamp_ns == stamp
    why = "front_wide: the picture cannot be decoded"
    client.phase = WorkerPhase.READY
    client.on_answer(Answer(Outcome.ERROR, asked.tick, reason=why, bad_frame=(CAMERA, stamp)))
    health = bench.session.watch()
    assert health.state is PlannerState.DEGRADED
    assert health.reasons == (why,)
    camera = next(h for h in health.inputs if h.name == CAMERA)
    assert (camera.dropped, camera.last_drop, camera.drop_now) == (1, why, why)
    kept = [f.stamp_ns for f in bench.session._buffer._frames[CAMERA]]
    assert stamp not in kept
    assert other.stamp_ns in kept


def scene(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth shapes with sharp edges and a camera's noise."""
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.integers(0, 255, (9, 16, 3), np.uint8), (width, height))
    for _ in range(40):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        colour = [int(c) for c in rng.integers(0, 255, 3)]
        cv2.rectangle(image, (x, y), (x + width // 20, y + height // 12), colour, -1)
    noisy = image + rng.normal(0.0, 4.0, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("enough_px", "scale"), [(32_768, 4), (196_608, 2)])
def test_a_reduced_picture_is_to_the_model_what_the_whole_one_is(
    enough_px: int, scale: int
) -> None:
    image_module = pytest.importorskip("PIL.Image")
    data = cv2.imencode(".jpg", scene(1080, 1920), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    picture = packed_picture(data, "jpeg", enough_px)
    assert picture.scale == scale
    size = (round((enough_px * 16 / 9) ** 0.5), round((enough_px * 9 / 16) ** 0.5))
    pictures = [p.unpacked() for p in (picture, dataclasses.replace(picture, scale=1))]
    compare(image_module, pictures, size, scale)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "mono8"])
def test_so_is_a_reduced_raw_picture(encoding: str) -> None:
    image_module = pytest.importorskip("PIL.Image")
    pixels = scene(1080, 1920)[..., : {"rgba8": 3, "mono8": 1}.get(encoding, 3)]
    if encoding == "rgba8":
        pixels = np.concatenate([pixels, pixels[..., :1]], axis=2)
    row = pixels.reshape(1080, -1)
    data = np.pad(row, ((0, 0), (0, 7))).tobytes()
    pictures = [
        raw_to_rgb(data, encoding, 1080, 1920, row.shape[1] + 7, enough_px)
        for enough_px in (32_768, None)
    ]
    assert pictures[0].shape == (270, 480, 3)
    assert pictures[1].shape == (1080, 1920, 3)
    compare(image_module, pictures, (241, 136), 4)


def compare(
    image_module: Any, pictures: list[np.ndarray], size: tuple[int, int], scale: int
) -> None:
    """What the model's own resampling makes of the reduced picture and of the whole one."""
    seen = [
        np.asarray(image_module.fromarray(p).resize(size, image_module.Resampling.BICUBIC))
        for p in pictures
    ]
    difference = np.abs(seen[0].astype(int) - seen[1])
    print(
        f"1/{scale}: mean {difference.mean():.2f}, p99 {np.percentile(difference, 99):.0f} of 255"
    )
    assert difference.mean() < 1.0
    assert np.percentile(difference, 99) < 10


def test_a_picture_is_reduced_only_where_the_models_grid_stays(tmp_path: Path) -> None:
    resize = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    landscape = [(3840, 2160), (2880, 1860), (1936, 1216), (1928, 1208), (1920, 1208), (1920, 1080)]
    sizes = [
        *landscape,
        (1600, 900),
        (1280, 720),
        (1242, 376),
        (1024, 768),
        (1001, 999),
        (640, 480),
    ]
    for enough_px in (32_768, 196_608):
        for width, height in sizes:
            scale = packed_picture(jpeg(9, height, width), "jpeg", enough_px).scale
            assert (width // scale) * (height // scale) >= min(2 * enough_px, width * height)
            whole, reduced = (
                resize.smart_resize(height // s, width // s, 32, enough_px, enough_px)
                for s in (1, scale)
            )
            assert whole == reduced, (width, height, scale)


def test_nothing_is_reduced_where_nobody_says_how_much_is_enough() -> None:
    assert packed_picture(jpeg(9, 1080, 1920), "jpeg").scale == 1
    png = cv2.imencode(".png", np.zeros((1080, 1920, 3), np.uint8))[1].tobytes()
    assert packed_picture(png, "png", 1000).scale == 1


def test_packed_frames_fill_the_buffer_by_their_own_size_and_are_not_decoded() -> None:
    buffer, now = filled_buffer()
    frame = packed(undecodable(), now - 1)
    assert buffer.add_frame(frame, now).ok
    with pytest.raises(PictureError, match="cannot be decoded"):
        _ = frame.image
