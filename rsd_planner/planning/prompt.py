"""The prompt of a tick: the chat template with pictures, history and the question.

Follows the published checkpoints: 1.0 shows pictures alone, 1.5 names cameras and frames
and takes a route. The token ids of the fixed part are computed once for each layout of
pictures; only the history's tokens change from tick to tick.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.types import Frame, Observation, Prompt

__all__ = ["CAMERA_NAMES", "PromptBuilder", "make_prompt_builder"]

SYSTEM = "You are a driving assistant that generates safe and accurate actions."
QUESTION = (
    "output the chain-of-thought reasoning of the driving process, "
    "then output the future trajectory."
)

# How the 1.5 checkpoints call a camera, by the names that the settings use.
CAMERA_NAMES = {
    "front_left": "Front left camera",
    "front_wide": "Front camera",
    "front": "Front camera",
    "front_right": "Front right camera",
    "rear_left": "Rear left camera",
    "rear": "Rear camera",
    "rear_right": "Rear right camera",
    "front_tele": "Front telephoto camera",
}


class Codec(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text with special tokens."""

    def id_of(self, token: str) -> int:
        """The id of one token."""


class PromptBuilder:
    """Turns observations into prompts for one checkpoint."""

    def __init__(
        self,
        codec: Codec,
        encode_history: Callable[[NDArray[np.float64]], NDArray[np.int64]],
        history_token_start: int,
        history_tokens: int,
        image_tokens: Callable[[tuple[int, int]], int],
        names_cameras: bool,
    ) -> None:
        """`image_tokens` gives the tokens of a picture of (height, width) pixels."""
        self._codec = codec
        self._encode_history = encode_history
        self._history_start = history_token_start
        self._history_tokens = history_tokens
        self._image_tokens = image_tokens
        self._names_cameras = names_cameras
        self._placeholder = codec.id_of("<|traj_history|>")
        self._cached = lru_cache(maxsize=64)(self._make_template)

    def build(self, observation: Observation) -> Prompt:
        """The prompt of an observation.

        Raises:
            ValueError: the history does not have as many steps as the checkpoint reads.
        """
        bins = self._encode_history(observation.history.position_m)
        if len(bins) != self._history_tokens:
            raise ValueError(
                f"a history of {len(bins)} tokens; the checkpoint reads {self._history_tokens}: "
                "set the history's steps as the checkpoint's requirements say"
            )
        pictures = tuple((f.camera, self._image_tokens(_size(f))) for f in observation.frames)
        route = observation.navigation if self._names_cameras else ""
        template = self.template(pictures, route)
        ids = template.copy()
        ids[template == self._placeholder] = bins + self._history_start
        return Prompt(ids, observation.frames)

    def template(self, pictures: tuple[tuple[str, int], ...], route: str = "") -> NDArray[np.int64]:
        """A prompt with history placeholders, for pictures of (camera, tokens)."""
        return self._cached(pictures, route)

    def _make_template(
        self, pictures: tuple[tuple[str, int], ...], route: str
    ) -> NDArray[np.int64]:
        history = "<|traj_history|>" * self._history_tokens
        asked = f"<|traj_history_start|>{history}<|traj_history_end|>"
        if route:
            asked += f"<|route_start|>{route}<|route_end|>"
        text = (
            f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
            f"{self._picture_text(pictures)}{asked}{QUESTION}<|im_end|>\n"
            "<|im_start|>assistant\n<|cot_start|>"
        )
        return np.asarray(self._codec.encode(text), dtype=np.int64)

    def _picture_text(self, pictures: tuple[tuple[str, int], ...]) -> str:
        parts, last, index = [], "", 0
        for camera, tokens in pictures:
            index = index + 1 if camera == last else 0
            if self._names_cameras:
                if index == 0:
                    parts.append(f"{CAMERA_NAMES.get(camera, f'Camera {camera}')}: ")
                parts.append(f"frame {index} ")
            parts.append(f"<|vision_start|>{'<|image_pad|>' * tokens}<|vision_end|>")
            last = camera
        return "".join(parts)


def _size(frame: Frame) -> tuple[int, int]:
    return frame.image.shape[0], frame.image.shape[1]


def make_prompt_builder(checkpoint: Checkpoint) -> PromptBuilder:
    """Prompts in the form that a checkpoint was trained on."""
    config, processor = checkpoint.vla.config, checkpoint.image_processor
    unit = processor.patch_size * processor.merge_size

    def image_tokens(size: tuple[int, int]) -> int:
        height, width = smart_resize(
            size[0],
            size[1],
            factor=unit,
            min_pixels=processor.size["shortest_edge"],
            max_pixels=processor.size["longest_edge"],
        )
        return (height // unit) * (width // unit)

    return PromptBuilder(
        checkpoint.codec,
        config.history_tokens.encode,
        config.history_token_start,
        config.tokens_per_history_traj,
        image_tokens,
        names_cameras=config.model_type == "alpamayo1_5",
    )
