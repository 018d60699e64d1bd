"""Outside controls: transformers' own decoding of the same prompt by the same weights.

`generate` (greedy), its prompt lookup and, with an assistant model, its assisted generation, all
on the very module that our target runs. Pictures are handed over encoded, so that only the
text stack works. Traps (see the tests): positions must be given, trajectory tokens masked,
and an assistant has pictures of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    BaseModelOutputWithDeepstackFeatures,
    Qwen3VLForConditionalGeneration,
)

from rsd_planner.models.flat_rope import mrope_positions
from rsd_planner.models.vision_cache import VisionFeatures
from rsd_planner.models.vla import Vla
from rsd_planner.types import Frame, Prompt

__all__ = ["ASSISTED", "GENERATE", "LOOKUP", "Assistant", "ControlInputs", "TransformersControls"]

GENERATE = "transformers_generate"
LOOKUP = "transformers_prompt_lookup"
ASSISTED = "transformers_assisted"
_LOOKUP_TOKENS = 10  # the library's own default


@dataclass(frozen=True)
class Assistant:
    """A small model that sees the pictures with its own tower, on the target's vocabulary."""

    module: Qwen3VLForConditionalGeneration
    encode: Callable[[tuple[Frame, ...]], Sequence[VisionFeatures]]


@dataclass(frozen=True)
class ControlInputs:
    """What `generate` is given for one tick, apart from how to decode."""

    values: dict[str, Any]
    frames: tuple[Frame, ...]


class TransformersControls:
    """Writes texts by `generate`. Holds no state from tick to tick."""

    def __init__(
        self, vla: Vla, end_token: int, max_tokens: int, assistant: Assistant | None = None
    ) -> None:
        self._vlm = vla.vlm
        self._assistant = assistant
        self._end, self._max_tokens = end_token, max_tokens
        self._merge = vla.vlm.config.vision_config.spatial_merge_size
        start = vla.config.traj_token_start_idx
        self._processors = LogitsProcessorList(
            [_Masked(slice(start, start + vla.config.traj_vocab_size))]
        )
        self.names = (GENERATE, LOOKUP) + ((ASSISTED,) if assistant else ())

    def inputs(self, prompt: Prompt, features: Sequence[VisionFeatures]) -> ControlInputs:
        """The arguments of `generate` for a prompt whose pictures are encoded."""
        device = self._vlm.device
        is_image = prompt.token_ids == self._vlm.config.image_token_id
        grids = [f.grid_thw for f in features]
        ids = torch.from_numpy(prompt.token_ids)[None].to(device)  # (1, prompt)
        values = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "position_ids": _positions(is_image, grids, self._merge).to(device),
            "mm_token_type_ids": torch.from_numpy(is_image.astype(np.int32))[None].to(device),
            "image_grid_thw": torch.tensor(grids, device=device),
            "mm_encoder_outputs": {"image": _encoded(features)},
        }
        return ControlInputs(values, prompt.frames)

    def first_token(self, inputs: ControlInputs) -> int:
        """The first token: a bare prefill with the overhead of `generate`."""
        return self._generate(inputs, 1)[0]

    def write(self, name: str, inputs: ControlInputs) -> tuple[tuple[int, ...], int]:
        """The greedy text, end tokens included, and how many forwards the target made."""
        counted = _Counter()
        hook = self._vlm.register_forward_pre_hook(counted)
        try:
            tokens = self._by_name(name, inputs)
        finally:
            hook.remove()
        return tokens, counted.count

    def _by_name(self, name: str, inputs: ControlInputs) -> tuple[int, ...]:
        if name == GENERATE:
            return self._generate(inputs, self._max_tokens)
        if name == LOOKUP:
            return self._generate(inputs, self._max_tokens, prompt_lookup_num_tokens=_LOOKUP_TOKENS)
        if name == ASSISTED and self._assistant is not None:
            return self._assisted(inputs, self._assistant)
        raise ValueError(f"no control {name!r}; there are {', '.join(self.names)}")

    def _assisted(self, inputs: ControlInputs, assistant: Assistant) -> tuple[int, ...]:
        own = {"image": _encoded(assistant.encode(inputs.frames))}

        def see(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            # The library shows an assistant no pictures (5.23); this is the better control.
            if bool((kwargs["input_ids"] == module.config.image_token_id).any()):
                kwargs = {**kwargs, "mm_encoder_outputs": dict(own)}
            return args, kwargs

        hook = assistant.module.register_forward_pre_hook(see, with_kwargs=True)
        try:
            return self._generate(inputs, self._max_tokens, assistant_model=assistant.module)
        finally:
            hook.remove()

    @torch.inference_mode()
    def _generate(self, inputs: ControlInputs, max_tokens: int, **how: Any) -> tuple[int, ...]:
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_tokens,
            eos_token_id=self._end,
            pad_token_id=self._end,
            use_cache=True,
            prompt_lookup_num_tokens=how.pop("prompt_lookup_num_tokens", None),
        )
        made = self._vlm.generate(
            **inputs.values, generation_config=config, logits_processor=self._processors, **how
        )
        return tuple(made[0, inputs.values["input_ids"].shape[1] :].tolist())


class _Masked(LogitsProcessor):
    """No trajectory token is ever text."""

    def __init__(self, masked: slice) -> None:
        self._masked = masked

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[..., self._masked] = -torch.inf
        return scores


class _Counter:
    """Counts forward passes."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_: Any) -> None:
        self.count += 1


def _positions(is_image: np.ndarray, grids: Sequence[tuple[int, int, int]], merge: int) -> Tensor:
    """(4, 1, prompt): the place in the sequence, then M-RoPE's three axes."""
    axes = mrope_positions(is_image, grids, merge)
    places = np.arange(len(is_image), dtype=axes.dtype)[None]
    return torch.from_numpy(np.concatenate([places, axes]))[:, None]


def _encoded(features: Sequence[VisionFeatures]) -> BaseModelOutputWithDeepstackFeatures:
    layers = zip(*(f.deepstack for f in features), strict=True)
    return BaseModelOutputWithDeepstackFeatures(
        pooler_output=tuple(f.embeddings for f in features),
        deepstack_features=[tuple(layer) for layer in layers],
    )
