"""Outside controls: transformers' own decoding of the same prompt by the same weights.

`generate` (greedy), its prompt lookup and, with an assistant model, its assisted generation, all
on the very module that our target runs. Pictures are handed over encoded, so that only the
text stack works. The assistant is the drafter `replica`, with the same weights, drafting by the
library's own rules (how many tokens, and when to stop). Traps (see the tests): positions must be
given, trajectory tokens masked, and the assistant shown the pictures, which the library forgets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, Qwen3VLConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    BaseModelOutputWithDeepstackFeatures,
    Qwen3VLForConditionalGeneration,
)

from rsd_planner.decoding.drafters.replica import REPLICA_FACTS, REPLICA_WEIGHTS, require_fit
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.models.flat_rope import mrope_positions
from rsd_planner.models.replica import ReplicaNet, load_net
from rsd_planner.models.vision_cache import VisionFeatures
from rsd_planner.models.vla import Vla
from rsd_planner.types import Prompt

__all__ = [
    "ASSISTED",
    "GENERATE",
    "LOOKUP",
    "Assistant",
    "ControlInputs",
    "TransformersControls",
    "assistant_of",
    "replica_assistant",
]

GENERATE = "transformers_generate"
LOOKUP = "transformers_prompt_lookup"
ASSISTED = "transformers_assisted"
_LOOKUP_TOKENS = 10  # the library's own default


@dataclass(frozen=True)
class Assistant:
    """A small model on the target's vocabulary."""

    module: Qwen3VLForConditionalGeneration
    # What it makes of the target's features of the pictures.
    see: Callable[[Sequence[VisionFeatures]], Sequence[VisionFeatures]]
    flat: bool = False  # its positions count tokens


def assistant_of(resources: DrafterResources) -> Assistant | None:
    """The checkpoint's replica as an assistant, or None where it has none.

    Raises:
        ConfigError: its files are damaged, or made for another checkpoint.
    """
    weights, facts = (resources.find(name) for name in (REPLICA_WEIGHTS, REPLICA_FACTS))
    if weights is None or facts is None:
        return None
    net = load_net(weights, facts)
    require_fit(net.config, resources, weights)
    return replica_assistant(net.to(resources.device))


def replica_assistant(net: ReplicaNet) -> Assistant:
    """A replica's very weights in the class that `generate` asks for.

    The class brings a vision tower of its own, which is left out: the replica sees what the
    target's tower saw.
    """
    config = net.config
    shell = Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            text_config=config.text_config().to_dict(),
            vision_config={"depth": 0, "hidden_size": 8, "num_heads": 1, "intermediate_size": 8,
                           "out_hidden_size": config.hidden, "deepstack_visual_indexes": []},
            image_token_id=config.image_token,
            attn_implementation="sdpa",
        )
    )  # fmt: skip
    shell.model.visual = None
    shell.model.language_model = net.text
    shell.lm_head = nn.Linear(config.hidden, config.vocab_size)
    shell.lm_head.weight = net.text.embed_tokens.weight
    shell.lm_head.bias = nn.Parameter(net.never, requires_grad=False)

    @torch.inference_mode()
    def see(features: Sequence[VisionFeatures]) -> list[VisionFeatures]:
        return [VisionFeatures(net.see(f.embeddings.float()), (), f.grid_thw) for f in features]

    return Assistant(shell.eval(), see, flat=config.rope == "flat")


@dataclass(frozen=True)
class ControlInputs:
    """What `generate` is given for one tick, apart from how to decode."""

    values: dict[str, Any]
    features: tuple[VisionFeatures, ...]


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
        return ControlInputs(values, tuple(features))

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
        own = {"image": _encoded(assistant.see(inputs.features))}

        def see(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            # The library shows an assistant no pictures (5.23); this is the better control.
            if bool((kwargs["input_ids"] == module.config.image_token_id).any()):
                kwargs = {**kwargs, "mm_encoder_outputs": dict(own)}
            if assistant.flat:  # the first axis counts tokens
                places = kwargs["position_ids"]
                kwargs = {**kwargs, "position_ids": places[:1].expand_as(places)}
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
