"""Pictures as they come in messages, turned into RGB arrays.

Knows the encodings that cameras of cars deliver and refuses the others by name. Looks at a
compressed picture's header before it decodes, so that a hostile one costs no memory. It
keeps no ROS types: bytes and numbers in, an array or a PictureError out.
"""

from __future__ import annotations

import re

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["PictureError", "compressed_to_rgb", "raw_to_rgb"]

MAX_SIDE_PX = 8192
MAX_PIXELS = 1 << 24  # 4096 x 4096: a decoded picture takes 48 MiB at most
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}
_PADDING = 4096  # some drivers round a picture's size up
_VIDEO = ("h264", "h265", "hevc", "vp8", "vp9", "av1", "mpeg")


class PictureError(ValueError):
    """A picture cannot be used; the text says why and what to publish instead."""


def raw_to_rgb(
    data: bytes | memoryview, encoding: str, height: int, width: int, step: int
) -> NDArray[np.uint8]:
    """An RGB picture (height, width, 3) of its own memory from a raw image's fields.

    Raises PictureError.
    """
    channels = _CHANNELS.get(encoding.lower())
    if channels is None:
        known = ", ".join(_CHANNELS)
        raise PictureError(
            f"encoding '{encoding[:40]}' is not supported{_hint(encoding)}; publish one of: {known}"
        )
    _check_size(width, height)
    if step < width * channels or len(data) < step * height:
        raise PictureError(f"{len(data)} bytes are too few for {width} x {height} {encoding}")
    flat = np.frombuffer(data, dtype=np.uint8, count=step * height).reshape(height, step)
    image = flat[:, : width * channels].reshape(height, width, channels)
    if encoding.lower() == "rgb8":
        return image.copy()
    return np.asarray(cv2.cvtColor(image, _TO_RGB[encoding.lower()]), dtype=np.uint8)


def compressed_to_rgb(data: bytes | memoryview, form: str) -> NDArray[np.uint8]:
    """An RGB picture (height, width, 3) from a JPEG or PNG.

    `form` is a format text such as `jpeg` or `rgb8; jpeg compressed bgr8`. Raises
    PictureError.
    """
    swapped = _check_format(form)
    head = bytes(data[:262144])  # metadata may come before the size
    size = _png_size(head) or _jpeg_size(head)
    if size is None:
        raise PictureError("the data is neither JPEG nor PNG, or was cut")
    _check_size(*size)
    if not _is_whole(data):
        raise PictureError("the picture was cut: it has no end")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # cameras on cars do not turn
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise PictureError(f"the picture cannot be decoded ({error})") from None
    if image is None:
        raise PictureError("the picture cannot be decoded")
    if image.shape[:2] != (size[1], size[0]):
        raise PictureError("the picture's size is not that of its header")
    if swapped:
        return np.asarray(image, dtype=np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _check_format(form: str) -> bool:
    """Reads a format text such as `rgb8; jpeg compressed bgr8`; True where it says that the
    channels were compressed in the order RGB, as image_transport has it. Raises PictureError.
    """
    words = form.lower()
    shown = form[:60]
    if "compresseddepth" in words:
        raise PictureError("compressedDepth is not a colour picture; use image/compressed")
    if any(codec in words for codec in _VIDEO):
        raise PictureError(
            f"format '{shown}' is a video stream (CompressedVideo); publish JPEG or PNG pictures"
        )
    if words and not any(kind in words for kind in ("jpeg", "jpg", "png")):
        raise PictureError(f"format '{shown}' is not supported; publish JPEG or PNG")
    source, _, target = words.partition("compressed")
    if "bayer" in source and "bgr" not in target and "rgb" not in target:
        raise PictureError(f"format '{shown}' is a raw Bayer mosaic; publish colour pictures")
    if re.search(r"(?<!\d)(16|32)", source):
        raise PictureError(f"format '{shown}' has more than 8 bits; publish 8-bit colour pictures")
    return target.strip().startswith("rgb")


def _hint(encoding: str) -> str:
    words = encoding.lower()
    if words.startswith("bayer"):
        return " (a raw Bayer mosaic: run it through image_proc)"
    return " (more than 8 bits)" if re.search(r"16|32|64", words) else ""


def _check_size(width: int, height: int) -> None:
    sides = 0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX
    if not sides or width * height > MAX_PIXELS:
        raise PictureError(f"a picture of {width} x {height} pixels is not usable")


def _is_whole(data: bytes | memoryview) -> bool:
    """Whether the end marker is there: a decoder would make up what is missing."""
    tail = bytes(data[-_PADDING:])
    return b"\xff\xd9" in tail if bytes(data[:2]) == b"\xff\xd8" else b"IEND" in tail


def _png_size(head: bytes) -> tuple[int, int] | None:
    """Width and height. Raises PictureError for more than 8 bits a channel: a depth picture."""
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 25:
        return None
    if head[24] > 8:
        raise PictureError(f"a PNG of {head[24]} bits a channel; publish 8-bit colour pictures")
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Width and height from the start-of-frame segment."""
    if head[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(
                head[at + 5 : at + 7], "big"
            )
        elif 0xD0 <= marker <= 0xD9 or marker == 0x01:
            at += 2
        else:
            at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
