"""Pictures of every supported kind come out as RGB; the others are refused by name."""

from __future__ import annotations

import resource
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_planner.planning.pictures import (
    PictureError,
    compressed_to_rgb,
    packed_picture,
    raw_to_rgb,
)

RED = np.zeros((4, 6, 3), np.uint8)
RED[..., 0] = 200


@pytest.mark.parametrize(
    ("encoding", "pixel"),
    [
        ("rgb8", (200, 0, 0)),
        ("bgr8", (0, 0, 200)),
        ("rgba8", (200, 0, 0, 9)),
        ("bgra8", (0, 0, 200, 9)),
    ],
)
def test_raw_encodings_and_padded_rows(encoding: str, pixel: tuple[int, ...]) -> None:
    row = bytes(pixel) * 6 + b"\0" * 5
    found = raw_to_rgb(row * 4, encoding, 4, 6, len(row))
    assert np.array_equal(found, RED)


def test_gray_becomes_three_equal_channels() -> None:
    found = raw_to_rgb(bytes(range(24)), "mono8", 4, 6, 6)
    assert found.shape == (4, 6, 3)
    assert np.array_equal(found[..., 0].ravel(), np.arange(24))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_pictures(suffix: str) -> None:
    _, data = cv2.imencode(suffix, RED[..., ::-1])
    found = compressed_to_rgb(data.tobytes(), "rgb8; jpeg compressed bgr8")
    assert np.max(np.abs(found.astype(int) - RED)) <= 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((b"", "16UC1", 4, 6, 12), "publish one of"),
        ((b"", "bayer_rggb8", 4, 6, 6), "bayer_rggb8"),
        ((b"\0" * 10, "rgb8", 4, 6, 18), "too few"),
        ((b"\0" * 72, "rgb8", 4, 6, 17), "too few"),
        ((b"", "rgb8", 0, 0, 0), "not usable"),
        ((b"", "rgb8", 60000, 60000, 180000), "not usable"),
    ],
)
def test_bad_raw_pictures(arguments: tuple[bytes, str, int, int, int], words: str) -> None:
    with pytest.raises(PictureError, match=words):
        raw_to_rgb(*arguments)


def test_hostile_and_damaged_compressed_pictures() -> None:
    _, png = cv2.imencode(".png", RED)
    huge = bytearray(png.tobytes())
    huge[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(PictureError, match="60000 x 60000"):
        compressed_to_rgb(bytes(huge), "png")
    with pytest.raises(PictureError, match="compressedDepth"):
        compressed_to_rgb(png.tobytes(), "16UC1; compressedDepth png")
    with pytest.raises(PictureError, match="video stream"):
        compressed_to_rgb(b"", "h264")
    with pytest.raises(PictureError):
        compressed_to_rgb(png.tobytes()[:20], "png")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("16UC1; compressedDepth png", "compressedDepth"),
        ("32FC1; compressedDepth rvl", "compressedDepth"),
        ("h264", "CompressedVideo"),
        ("av1", "CompressedVideo"),
        ("bayer_rggb8; jpeg compressed ", "Bayer"),
        ("mono16; png compressed ", "more than 8 bits"),
        ("16UC1; png compressed ", "more than 8 bits"),
        ("rgb16; png compressed bgr16", "more than 8 bits"),
        ("tiff", "publish JPEG or PNG"),
    ],
)
def test_formats_that_are_refused_by_name(form: str, words: str) -> None:
    _, png = cv2.imencode(".png", RED)
    with pytest.raises(PictureError, match=words):
        compressed_to_rgb(png.tobytes(), form)


@pytest.mark.parametrize(
    "form",
    [
        "",
        "jpeg",
        "JPEG",
        "image/png",
        "rgb8; jpeg compressed bgr8",
        "bgra8; png compressed bgr8",
        "bayer_rggb8; jpeg compressed bgr8",
        "mono8; jpeg compressed ",
    ],
)
def test_formats_that_are_read(form: str) -> None:
    _, png = cv2.imencode(".png", RED[..., ::-1])
    assert np.array_equal(compressed_to_rgb(png.tobytes(), form), RED)


def test_channels_that_were_compressed_as_rgb_are_not_swapped() -> None:
    _, png = cv2.imencode(".png", RED)  # without turning RGB into BGR first
    assert np.array_equal(compressed_to_rgb(png.tobytes(), "rgb8; png compressed rgb8"), RED)


def test_a_deep_png_is_refused_whatever_its_format_says() -> None:
    _, png = cv2.imencode(".png", np.zeros((4, 6), np.uint16))
    with pytest.raises(PictureError, match="16 bits"):
        compressed_to_rgb(png.tobytes(), "png")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_cut_pictures_are_refused_wherever_they_end(suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    whole = cv2.imencode(suffix, noise)[1].tobytes()
    assert compressed_to_rgb(whole + bytes(900), "png").shape == (40, 60, 3)  # padded, not cut
    for end in range(0, len(whole) - 12, 37):
        with pytest.raises(PictureError):
            compressed_to_rgb(whole[:end], "png")


@pytest.mark.parametrize("sides", [(60_000, 60_000), (8192, 8192), (65_535, 1), (1, 40_000)])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_hostile_header_costs_no_memory(suffix: str, sides: tuple[int, int]) -> None:
    width, height = sides
    data = bytearray(cv2.imencode(suffix, RED)[1].tobytes())
    if suffix == ".png":
        data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    else:
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureError, match="not usable"):
        compressed_to_rgb(bytes(data), "jpeg")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 20_000


def test_a_header_of_nothing_but_fillers_or_segments_is_read_fast() -> None:
    end = b"\xff\xd9"
    for hostile in (b"\xff" * 250_000, b"\xff\xe0\x00\x02" * 60_000):
        took_s = []
        for _ in range(5):  # the best of them: others may have had the caches
            began_s = time.process_time()
            with pytest.raises(PictureError, match="neither JPEG nor PNG"):
                packed_picture(b"\xff\xd8" + hostile + end, "jpeg")
            took_s.append(time.process_time() - began_s)
        assert min(took_s) < 0.01


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 500), st.booleans())
def test_damage_raises_picture_errors_only(noise: bytes, at: int, jpeg: bool) -> None:
    _, data = cv2.imencode(".jpg" if jpeg else ".png", RED)
    damaged = bytearray(data.tobytes())
    damaged[at : at + len(noise)] = noise
    try:
        found = compressed_to_rgb(bytes(damaged), "jpeg")
    except PictureError:
        return
    assert found.ndim == 3
