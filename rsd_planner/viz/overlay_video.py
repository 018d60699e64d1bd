"""Composes the overlay video: camera with the planned path, the reasoning, time bars.

One video frame for each camera picture. The plan that is drawn is the newest one whose answer
was there at the time of the picture, moved to where the car is in the picture. Knows
recordings, not where they come from.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rsd_planner.types import PlanSource
from rsd_planner.viz.colours import PATH, rgb
from rsd_planner.viz.overlay import draw_path, scale_camera
from rsd_planner.viz.recording import Recording
from rsd_planner.viz.tick_view import Piece, TickView, describe_path, pieces, summarise

__all__ = ["HEIGHT", "WIDTH", "compose", "frames", "video_rate"]

WIDTH, HEIGHT = 1280, 720
_CAMERA = (16, 16, 880, 440)  # left, top, width, height
_SIDE = (920, 16, 344)  # left, top, width; as high as the camera
_TEXT = (476, 616)  # top, bottom
_STRIP = (16, 664, 1248, 32)

_GROUND, _CARD, _INK, _FAINT = "#11151A", "#1B2128", "#E8ECF0", "#8B96A3"
_ROUTINE, _DELIBERATIVE = "#5BA8F0", "#FF9F45"  # the same two hues, lighter on a dark ground


def video_rate(recording: Recording) -> float:
    """Frames a second, from the stamps of the pictures."""
    stamps = [picture.stamp_ns for picture in recording.pictures]
    steps = np.diff(stamps)
    steps = steps[steps > 0]
    return float(np.clip(1e9 / np.median(steps), 1.0, 60.0)) if len(steps) else 10.0


def frames(recording: Recording) -> Iterator[NDArray[np.uint8]]:
    """The video, one RGB frame (HEIGHT, WIDTH, 3) for each picture that can be decoded."""
    for picture in recording.pictures:
        image = picture.decode()
        if image is not None:
            yield compose(recording, image, picture.stamp_ns)


def compose(recording: Recording, image: NDArray[np.uint8], stamp_ns: int) -> NDArray[np.uint8]:
    """One frame of the video: `image` is an RGB picture taken at `stamp_ns`."""
    done = recording.ticks_until(stamp_ns)
    tick = max(done, key=lambda view: view.t0_ns) if done else None
    canvas = Image.new("RGB", (WIDTH, HEIGHT), _GROUND)
    draw = ImageDraw.Draw(canvas)
    canvas.paste(Image.fromarray(_camera_view(recording, image, tick, stamp_ns)), _CAMERA[:2])
    start_ns = recording.pictures[0].stamp_ns if recording.pictures else stamp_ns
    _draw_clock(draw, (stamp_ns - start_ns) / 1e9)
    own = [view for view in done if view.source == PlanSource.MODEL]
    _draw_side(draw, tick, own)
    _draw_text(draw, own[-1] if own else None)
    _draw_strip(draw, recording, stamp_ns)
    return np.asarray(canvas)


def _camera_view(
    recording: Recording, image: NDArray[np.uint8], tick: TickView | None, stamp_ns: int
) -> NDArray[np.uint8]:
    """The picture enlarged into the camera area, with the path on the road."""
    _, _, width, height = _CAMERA
    rows, columns = image.shape[:2]
    scale = min(width / columns, height / rows)
    size = (round(columns * scale), round(rows * scale))
    view = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    pose = recording.pose_odom_from_ego(stamp_ns)
    if tick is not None and recording.camera is not None and pose is not None:
        ahead = tick.path_m[_points_passed(tick, stamp_ns) :]
        path = (ahead - pose[:3, 3]) @ pose[:3, :3]
        camera = scale_camera(recording.camera, *size)
        view = draw_path(view, camera, path, step_s=tick.step_s, source=tick.source)
    area = np.full((height, width, 3), rgb(_GROUND), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    area[top : top + size[1], left : left + size[0]] = view
    return area


def _points_passed(tick: TickView, stamp_ns: int) -> int:
    """How many points of the plan lie before a time."""
    rows = int((stamp_ns - tick.t0_ns) / 1e9 / tick.step_s) - tick.skipped_points
    return max(0, rows)


def _draw_clock(draw: ImageDraw.ImageDraw, seconds: float) -> None:
    box = (_CAMERA[0] + 10, _CAMERA[1] + 10, _CAMERA[0] + 86, _CAMERA[1] + 38)
    draw.rounded_rectangle(box, 6, fill=_GROUND)
    draw.text((box[0] + 38, box[1] + 14), f"{seconds:.1f} s", _INK, _font(16), anchor="mm")


def _draw_side(draw: ImageDraw.ImageDraw, tick: TickView | None, own: list[TickView]) -> None:
    left, top, width = _SIDE
    draw.rounded_rectangle((left, top, left + width, top + _CAMERA[3]), 10, fill=_CARD)
    x, right = left + 20, left + width - 20
    if tick is None:
        draw.text((x, top + 24), "waiting for the first plan", _FAINT, _font(18))
        return
    if tick.source == PlanSource.MODEL:
        draw.text((x, top + 18), tick.decision.name, _INK, _font(34, bold=True))
    else:
        name = tick.source.name.replace("_", " ")
        draw.text((x, top + 18), name, PATH[tick.source], _font(34, bold=True))
    where = describe_path(tick).split(": ", 1)
    draw.text((x, top + 66), where[-1], _INK, _font(17))
    draw.text((x, top + 90), f"planned {where[0]}", _FAINT, _font(15))
    if not own:
        return
    y = _draw_bars(draw, own[-1], x, right, top + 134)
    summary = summarise(own)
    draw.line((x, y + 8, right, y + 8), fill="#2C343D", width=1)
    draw.text((x, y + 22), "drive so far", _FAINT, _font(15))
    draw.text((x, y + 44), f"{summary.speedup:.1f}×", _INK, _font(30, bold=True))
    draw.text((x, y + 84), "as fast as plain decoding (estimated)", _FAINT, _font(15))
    words = f"{summary.routine_share:.0%} of the tokens were routine"
    draw.text((x, y + 112), words, _INK, _font(15))
    draw.text((x, y + 134), f"{summary.tick_ms_p50:.0f} ms a tick (median)", _INK, _font(15))


def _draw_bars(draw: ImageDraw.ImageDraw, tick: TickView, left: int, right: int, top: int) -> int:
    """This tick's reasoning against plain decoding; returns the y below."""
    draw.text((left, top), "reasoning, this tick", _FAINT, _font(15))
    longest = max(tick.plain_ms_estimate, tick.reasoning_ms, 1.0)
    y = top + 26
    rows = (
        (f"{tick.drafter.replace('_', ' ')}", tick.reasoning_ms, _ROUTINE),
        ("plain", tick.plain_ms_estimate, "#6B7683"),
    )
    for name, value, colour in rows:
        draw.text((left, y), name, _INK, _font(15))
        draw.text((right, y), f"{value:.0f} ms", _INK, _font(15), anchor="ra")
        length = max(3.0, (right - left) * value / longest)
        draw.rounded_rectangle((left, y + 24, left + length, y + 36), 4, fill=colour)
        y += 50
    return y


def _draw_text(draw: ImageDraw.ImageDraw, tick: TickView | None) -> None:
    x = _CAMERA[0] + 2
    if tick is not None:
        size, lines = _fit_words(tick, WIDTH - 2 * x, _TEXT[1] - _TEXT[0])
        y = _TEXT[0]
        for line in lines:
            at = float(x)
            for piece in line:
                font = _font(size, bold=not piece.routine)
                end = at + font.getlength(piece.text)
                draw.text((at, y), piece.text, _ROUTINE if piece.routine else _DELIBERATIVE, font)
                if piece.routine and piece.new and piece.text.strip():
                    below = y + int(size * 1.2)
                    seen = at + font.getlength(piece.text.rstrip())
                    draw.line((at, below, seen, below), fill=_ROUTINE, width=2)
                at = end
            y += int(size * 1.4)
    y = 626
    draw.rounded_rectangle((x, y + 4, x + 12, y + 16), 3, fill=_ROUTINE)
    words = "routine: drafted, then verified; underlined where it is new"
    draw.text((x + 20, y), words, _FAINT, _font(15))
    at = x + 44 + _font(15).getlength(words)
    draw.rounded_rectangle((at, y + 4, at + 12, y + 16), 3, fill=_DELIBERATIVE)
    draw.text((at + 20, y), "deliberative: chosen by the model", _FAINT, _font(15))
    if tick is not None:
        words = (
            f"{tick.tokens} tokens in {tick.target_forwards} forward"
            f"{'' if tick.target_forwards == 1 else 's'} of the model"
        )
        draw.text((WIDTH - x, y), words, _FAINT, _font(15), anchor="ra")


def _fit_words(tick: TickView, width: int, height: int) -> tuple[int, list[list[Piece]]]:
    """The largest type size at which the text fits, and its lines of coloured pieces."""
    words = _split_words(tick)
    for size in (25, 22, 20, 18):
        lines = _wrap(words, size, width)
        if len(lines) * int(size * 1.4) <= height:
            return size, lines
    return 16, _wrap(words, 16, width)[: height // 22]


def _split_words(tick: TickView) -> list[list[Piece]]:
    """Words with their trailing blank, each a list of coloured pieces."""
    words: list[list[Piece]] = [[]]
    for piece in pieces(tick.text, tick.spans):
        parts = piece.text.split(" ")
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if part or not last:
                words[-1].append(replace(piece, text=part if last else part + " "))
            if not last:
                words.append([])
    return [word for word in words if word]


def _wrap(words: list[list[Piece]], size: int, width: int) -> list[list[Piece]]:
    lines: list[list[Piece]] = [[]]
    used = 0.0
    for word in words:
        length = sum(_font(size, bold=not one.routine).getlength(one.text) for one in word)
        if lines[-1] and used + length > width:
            lines.append([])
            used = 0.0
        lines[-1].extend(word)
        used += length
    return lines


def _draw_strip(draw: ImageDraw.ImageDraw, recording: Recording, stamp_ns: int) -> None:
    """All ticks along the drive: how much of each text was routine, and where we are."""
    left, top, width, height = _STRIP
    if not recording.pictures:
        return
    start, end = recording.pictures[0].stamp_ns, recording.pictures[-1].stamp_ns
    span = max(1, end - start)
    draw.rounded_rectangle((left, top, left + width, top + height), 6, fill=_CARD)
    own = [view for view in recording.ticks if view.source == PlanSource.MODEL]
    for index, view in enumerate(own):
        following = own[index + 1].t0_ns if index + 1 < len(own) else view.t0_ns + 200_000_000
        x0 = left + width * (view.t0_ns - start) / span
        x1 = min(left + width * (following - start) / span - 1, x0 + width * 0.02)
        if view.tokens == 0 or x0 < left or x1 <= x0 or x1 > left + width:
            continue
        share = view.deliberative / view.tokens
        split = top + 2 + (height - 4) * share
        seen = view.t0_ns <= stamp_ns
        draw.rectangle((x0, split, x1, top + height - 2), fill=_ROUTINE if seen else "#2A3644")
        if share > 0:
            draw.rectangle((x0, top + 2, x1, split), fill=_DELIBERATIVE if seen else "#4A3B2C")
    x = left + width * (stamp_ns - start) / span
    draw.line((x, top - 4, x, top + height + 4), fill=_INK, width=2)
    draw.text((left, top + height + 6), "tokens of every tick", _FAINT, _font(13))


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu where matplotlib brings it, else Pillow's own."""
    found = importlib.util.find_spec("matplotlib")
    if found is not None and found.origin is not None:
        folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
        path = folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
        if path.is_file():
            return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    return ImageFont.load_default(size)  # type: ignore[return-value]
