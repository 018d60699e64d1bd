"""What a tick would cost with longer texts, more pictures or more cameras, on this machine.

Times forwards of the planner's own target on noise, so it needs no drive; the tokens are
arbitrary, since a forward costs the same whatever they say.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rsd_planner.planning.planner import Planner, blank_observation
from rsd_planner.planning.prompt import CAMERA_NAMES
from rsd_planner.types import Draft, Observation, SpanSource

__all__ = ["cost_rows"]

_TEXTS = (8, 16, 32, 64)
_FRAMES = (1, 2, 4, 8)
_CAMERAS = (1, 2, 3, 4)
_TEXT = 30  # tokens, where something else grows
_TOKEN = 1


def cost_rows(
    planner: Planner,
    image_size: tuple[int, int],
    rounds: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, Any]]:
    """One row for each size of what grows: medians of `rounds`, in milliseconds.

    `vision_ms` is one new picture of each camera, `plain_ms` a text token by token, `drafted_ms`
    what the same text adds to the prefill as a draft that is right throughout.
    """
    usual = planner.requirements.frames_per_camera
    sizes = [("text", tokens, (1, usual, tokens)) for tokens in _TEXTS]
    sizes += [("frames", frames, (1, frames, _TEXT)) for frames in _FRAMES]
    sizes += [("cameras", cameras, (cameras, usual, _TEXT)) for cameras in _CAMERAS]
    rows = []
    for grows, size, (cameras, frames, tokens) in sizes:
        observation = _noise(planner, cameras, frames, image_size)
        _once(planner, observation, tokens, frames, clock)
        taken = [_once(planner, observation, tokens, frames, clock) for _ in range(rounds)]
        medians = {key: statistics.median(one[key] for one in taken) for key in taken[0]}
        rows.append({"grows": grows, "size": size, **medians})
    planner.reset()
    return rows


def _once(
    planner: Planner,
    observation: Observation,
    tokens: int,
    frames: int,
    clock: Callable[[], float],
) -> dict[str, float]:
    target, marks = planner.parts.target, [clock()]
    prompt = planner.parts.prompts.build(observation)
    planner.reset()
    marks.append(clock())
    target.encode(prompt.frames[::frames])  # one of each camera
    marks.append(clock())
    features = target.encode(prompt.frames)
    marks.append(clock())
    target.prefill(prompt, Draft(), features)
    marks.append(clock())
    for _ in range(tokens):
        target.verify(_TOKEN, Draft())
    marks.append(clock())
    target.prefill(prompt, Draft((_TOKEN,) * tokens, (SpanSource.LOOKUP,) * tokens), features)
    marks.append(clock())
    planner.sample(observation.history)
    marks.append(clock())
    spent = [1e3 * (later - earlier) for earlier, later in zip(marks, marks[1:])]
    return {
        "prompt_tokens": float(len(prompt.token_ids)),
        "vision_ms": spent[1],
        "prefill_ms": spent[3],
        "plain_ms": spent[4],
        "drafted_ms": spent[5] - spent[3],
        "head_ms": spent[6],
    }


def _noise(planner: Planner, cameras: int, frames: int, image_size: tuple[int, int]) -> Observation:
    """Noise before every camera, a car that stands."""
    rng = np.random.default_rng(0)
    requirements = replace(planner.requirements, frames_per_camera=frames)
    seen = blank_observation(requirements, tuple(CAMERA_NAMES)[:cameras], image_size)
    pictures = tuple(
        replace(frame, image=rng.integers(0, 255, frame.image.shape, dtype=np.uint8))
        for frame in seen.frames
    )
    return replace(seen, frames=pictures)
