"""Writes frames as an H.264 video that browsers play while it still loads.

Pipes raw RGB into the ffmpeg binary that comes with imageio-ffmpeg: no system package, no
codec of OpenCV's. It does not know what the frames show.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["VideoError", "write_video"]


class VideoError(RuntimeError):
    """The encoder is missing or failed; the text carries what it said."""


def write_video(
    frames: Iterable[NDArray[np.uint8]], path: Path, *, fps: float, quality: int = 21
) -> int:
    """Write RGB frames (height, width, 3) of one even size; returns how many there were.

    `quality` is x264's constant rate factor: lower is better and larger. Raises VideoError.
    """
    encoder: subprocess.Popen[bytes] | None = None
    count = 0
    with tempfile.TemporaryFile() as said:
        try:
            for frame in frames:
                if encoder is None:
                    height, width = frame.shape[:2]
                    encoder = _start(path, width, height, fps, quality, said)
                assert encoder.stdin is not None
                encoder.stdin.write(np.ascontiguousarray(frame, np.uint8).tobytes())
                count += 1
            if encoder is None:
                raise VideoError("There is no frame to make a video of.")
            _finish(encoder, said, path)
        except BrokenPipeError:
            raise VideoError(f"The video encoder stopped: {_words(said)}") from None
        finally:
            if encoder is not None and encoder.poll() is None:
                encoder.kill()
                encoder.wait()
    return count


def _start(
    path: Path, width: int, height: int, fps: float, quality: int, said: object
) -> subprocess.Popen[bytes]:
    try:
        import imageio_ffmpeg

        binary = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise VideoError(
            "No video encoder was found; install it with: pip install imageio-ffmpeg"
        ) from None
    command = [
        *(binary, "-y", "-loglevel", "error", "-nostdin"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}"),
        *("-i", "-", "-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", str(quality)),
        *("-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)),
    ]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,  # type: ignore[call-overload]
    )


def _finish(encoder: subprocess.Popen[bytes], said: object, path: Path) -> None:
    assert encoder.stdin is not None
    encoder.stdin.close()
    try:
        code = encoder.wait(timeout=120)
    except subprocess.TimeoutExpired:
        raise VideoError(f"The video encoder did not finish {path} within 120 s.") from None
    if code != 0:
        raise VideoError(f"The video encoder failed: {_words(said)}")


def _words(said: object) -> str:
    said.seek(0)  # type: ignore[attr-defined]
    text = said.read().decode(errors="replace").strip()  # type: ignore[attr-defined]
    return text.splitlines()[-1] if text else "no reason given"
