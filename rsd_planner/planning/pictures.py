"""Pictures as they come in messages, turned into RGB arrays.

Knows the encodings that cameras of cars deliver and refuses the others by name. A compressed
picture is checked by its format, header and end, which costs no memory, and stays packed:
decoding one of 1080p takes a core 11 ms, so only who looks at the pixels does it. It keeps no
ROS types: bytes and numbers in, an array or a PictureError out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import Frame

__all__ = [
    "PackedFrame",
    "PackedPicture",
    "PictureError",
    "compressed_to_rgb",
    "packed_picture",
    "raw_to_rgb",
]

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
_HEAD = 262144  # metadata may come before the size
_MOST_SEGMENTS = 512  # of a JPEG before its size; a real one has a dozen
# JPEG can be decoded at a fraction of its size; the model's own resampling needs a reserve.
_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_RESERVE = 2.0
_FILL = re.compile(rb"\xff+")  # a segment's first byte may be repeated
_VIDEO = ("h264", "h265", "hevc", "vp8", "vp9", "av1", "mpeg")


class PictureError(ValueError):
    """A picture cannot be used; the text says why and what to publish instead."""


@dataclass(frozen=True)
class PackedPicture:
    """A JPEG or PNG that passed the checks, its pixels not yet decoded.

    `height` and `width` are those of the header. `scale` divides both: the picture is decoded
    at that fraction of its size.
    """

    data: bytes
    height: int
    width: int
    is_rgb: bool = False  # the channels were compressed in the order RGB
    scale: int = 1  # 1, 2, 4 or 8

    def unpacked(self) -> NDArray[np.uint8]:
        """RGB (height / scale, width / scale, 3). Raises PictureError."""
        flags = cv2.IMREAD_IGNORE_ORIENTATION  # cameras on cars do not turn
        flags |= _REDUCED.get(self.scale, cv2.IMREAD_COLOR)
        try:
            image = cv2.imdecode(np.frombuffer(self.data, dtype=np.uint8), flags)
        except (cv2.error, MemoryError) as error:
            raise PictureError(f"the picture cannot be decoded ({error})") from None
        if image is None:
            raise PictureError("the picture cannot be decoded")
        if image.shape[:2] != (self.height // self.scale, self.width // self.scale):
            raise PictureError("the picture's size is not that of its header")
        if self.is_rgb:
            return np.asarray(image, dtype=np.uint8)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


class PackedFrame(Frame):
    """A frame whose picture is decoded anew each time that somebody asks for `image`."""

    picture: PackedPicture

    def __init__(self, camera: str, stamp_ns: int, picture: PackedPicture) -> None:
        vars(self).update(camera=camera, stamp_ns=stamp_ns, picture=picture)

    @property
    def image(self) -> NDArray[np.uint8]:
        """RGB pixels. Raises PictureError."""
        return self.picture.unpacked()

    def unpacked(self) -> Frame:
        """The same frame with its pixels. Raises PictureError."""
        return Frame(self.camera, self.stamp_ns, self.image)


def raw_to_rgb(
    data: bytes | memoryview,
    encoding: str,
    height: int,
    width: int,
    step: int,
    enough_px: int | None = None,
) -> NDArray[np.uint8]:
    """An RGB picture (height, width, 3) of its own memory from a raw image's fields.

    `enough_px` is how many pixels its user looks at: of a picture with many more, squares of
    pixels are averaged, as a JPEG of that size would be decoded. Raises PictureError.
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
    image: NDArray[np.uint8] = flat[:, : width * channels].reshape(height, width, channels)
    if enough_px is not None:
        image = _reduced(image, _scale(width, height, _RESERVE * enough_px))
    if encoding.lower() == "rgb8":
        return image.copy()
    return np.asarray(cv2.cvtColor(image, _TO_RGB[encoding.lower()]), dtype=np.uint8)


def _reduced(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Halved again and again: three times as fast as at once, and as good."""
    while scale > 1:
        height, width = image.shape[:2]
        half = (width // 2, height // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        scale //= 2
    return image


def compressed_to_rgb(data: bytes | memoryview, form: str) -> NDArray[np.uint8]:
    """An RGB picture (height, width, 3) from a JPEG or PNG. Raises PictureError."""
    return packed_picture(data, form).unpacked()


def packed_picture(
    data: bytes | memoryview, form: str, enough_px: int | None = None
) -> PackedPicture:
    """A JPEG or PNG that can be decoded later, as far as format, header and end tell.

    `form` is a format text such as `jpeg` or `rgb8; jpeg compressed bgr8`. `enough_px` is how
    many pixels its user looks at: a JPEG with many more is decoded at a fraction of its size.
    Raises PictureError.
    """
    is_rgb = _check_format(form)
    data = bytes(data)
    head = data[:_HEAD]
    size = _png_size(head) or _jpeg_size(head)
    if size is None:
        raise PictureError("the data is neither JPEG nor PNG, or was cut")
    _check_size(*size)
    if not _is_whole(data):
        raise PictureError("the picture was cut: it has no end")
    width, height = size
    scale = 1
    if enough_px is not None and _is_jpeg(head):
        scale = _scale(width, height, _RESERVE * enough_px)
    return PackedPicture(data, height, width, is_rgb, scale)


def _scale(width: int, height: int, enough_px: float) -> int:
    """The largest fraction that leaves enough, and the aspect ratio as it is: a model's grid
    of patches follows from it.
    """
    fitting = (
        scale
        for scale in sorted(_REDUCED, reverse=True)
        if width % scale == 0
        and height % scale == 0
        and (width // scale) * (height // scale) >= enough_px
    )
    return next(fitting, 1)


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


def _is_jpeg(data: bytes) -> bool:
    return data[:2] == b"\xff\xd8"


def _is_whole(data: bytes) -> bool:
    """Whether the end marker is there: a decoder would make up what is missing."""
    return (b"\xff\xd9" if _is_jpeg(data) else b"IEND") in data[-_PADDING:]


def _png_size(head: bytes) -> tuple[int, int] | None:
    """Width and height. Raises PictureError for more than 8 bits a channel: a depth picture."""
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 25:
        return None
    if head[24] > 8:
        raise PictureError(f"a PNG of {head[24]} bits a channel; publish 8-bit colour pictures")
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Width and height from the start-of-frame segment."""
    if not _is_jpeg(head):
        return None
    at = 2
    for _ in range(_MOST_SEGMENTS):
        filled = _FILL.match(head, at)
        if filled is None:
            return None
        at = filled.end() - 1
        if at + 9 > len(head):
            return None
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(
                head[at + 5 : at + 7], "big"
            )
        if 0xD0 <= marker <= 0xD9 or marker == 0x01:
            at += 2
        else:
            at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
