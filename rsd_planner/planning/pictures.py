"""Pictures as they come in messages, turned into RGB arrays.

Knows the encodings that cameras of cars deliver and refuses the others by name. Looks at a
compressed picture's header before it decodes, so that a hostile one costs no memory. It
keeps no ROS types: bytes and numbers in, an array or a PictureError out.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["PictureError", "compressed_to_rgb", "raw_to_rgb"]

MAX_SIDE_PX = 8192
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}


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
        raise PictureError(f"encoding '{encoding}' is not supported; publish one of: {known}")
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise PictureError(f"a picture of {width} x {height} pixels is not usable")
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
    words = form.lower()
    if "compresseddepth" in words:
        raise PictureError("compressedDepth is not a colour picture; use image/compressed")
    if words and not any(kind in words for kind in ("jpeg", "jpg", "png")):
        raise PictureError(f"format '{form}' is not supported; publish JPEG or PNG")
    head = bytes(data[:262144])  # metadata may come before the size
    size = _png_size(head) or _jpeg_size(head)
    if size is None:
        raise PictureError("the data is neither JPEG nor PNG, or was cut")
    width, height = size
    if not (0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX):
        raise PictureError(f"a picture of {width} x {height} pixels is not usable")
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise PictureError(f"the picture cannot be decoded ({error.err})") from None
    if image is None:
        raise PictureError("the picture cannot be decoded")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _png_size(head: bytes) -> tuple[int, int] | None:
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 24:
        return None
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
