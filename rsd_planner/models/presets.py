"""Model sizes by name: `mini` as bundled, `tiny` with random weights for tests.

Builds untrained models; training and tests start here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig

from rsd_planner.models.action_space import UnicycleConfig
from rsd_planner.models.checkpoint import save_checkpoint
from rsd_planner.models.history_tokens import HistoryTokens
from rsd_planner.models.tokenizer import IMAGE_PAD, extend_tokenizer, train_tokenizer
from rsd_planner.models.vla import Vla, VlaConfig

__all__ = ["MINI", "TINY", "ModelSize", "build_vla", "write_random_checkpoint"]

MAX_FOURIER_FREQUENCY = 3.0
PROMPT_TEXTS = (
    "system\nYou are a driving assistant that generates safe and accurate actions.",
    "user\n",
    "assistant\n",
    "output the chain-of-thought reasoning of the driving process, "
    "then output the future trajectory.",
)


@dataclass(frozen=True)
class ModelSize:
    """The dimensions of a model in the Alpamayo layout."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vision_hidden: int
    vision_layers: int
    vision_heads: int
    expert_hidden: int
    expert_heads: int
    expert_intermediate: int
    pixels: int
    history_bins: int
    deepstack: tuple[int, ...] = ()
    flow_steps: int = 5


MINI = ModelSize(256, 4, 8, 4, 32, 768, 192, 5, 6, 160, 8, 448, 256 * 128, 400)
TINY = ModelSize(
    32, 2, 4, 2, 12, 64, 16, 2, 2, 16, 4, 32, 64 * 32, 32, deepstack=(0,), flow_steps=2
)


def build_vla(
    size: ModelSize,
    tokenizer: PreTrainedTokenizerFast,
    action_space: UnicycleConfig,
    model_type: str = "alpamayo_r1",
    seed: int = 0,
) -> Vla:
    """An untrained model; the tokenizer must already be extended."""
    vocabulary = tokenizer.get_vocab()
    config = VlaConfig(
        model_type=model_type,
        vlm_name_or_path="vlm",
        traj_vocab_size=size.history_bins,
        traj_token_start_idx=vocabulary["<i0>"],
        min_pixels=size.pixels,
        max_pixels=size.pixels,
        expert={
            "hidden_size": size.expert_hidden,
            "num_attention_heads": size.expert_heads,
            "intermediate_size": size.expert_intermediate,
        },
        # The reference's frequencies up to 100 make a small expert's flow so steep that the
        # last bits of the KV cache move the path by centimetres.
        action_in={
            "num_enc_layers": 2,
            "hidden_size": size.expert_hidden,
            "max_freq": MAX_FOURIER_FREQUENCY,
        },
        action_space=action_space,
        history_tokens=HistoryTokens(num_bins=size.history_bins),
        flow_steps=size.flow_steps,
    )
    torch.manual_seed(seed)
    vla = Vla(config, _vlm_config(size, vocabulary))
    return vla.eval()


def _vlm_config(size: ModelSize, vocabulary: dict[str, int]) -> Qwen3VLConfig:
    half = size.head_dim // 2
    side = half // 3
    return Qwen3VLConfig(
        text_config={
            "hidden_size": size.hidden,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "head_dim": size.head_dim,
            "intermediate_size": size.intermediate,
            "vocab_size": max(vocabulary.values()) + 1,
            "max_position_embeddings": 4096,
            "pad_token_id": None,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [half - 2 * side, side, side],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "hidden_size": size.vision_hidden,
            "depth": size.vision_layers,
            "num_heads": size.vision_heads,
            "intermediate_size": 3 * size.vision_hidden,
            "out_hidden_size": size.hidden,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": list(size.deepstack),
        },
        image_token_id=vocabulary[IMAGE_PAD],
        video_token_id=vocabulary["<|video_pad|>"],
        vision_start_token_id=vocabulary["<|vision_start|>"],
        vision_end_token_id=vocabulary["<|vision_end|>"],
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )


def write_random_checkpoint(
    folder: str | Path,
    seed: int = 0,
    size: ModelSize = TINY,
    model_type: str = "alpamayo_r1",
) -> Path:
    """A complete checkpoint with random weights; returns its folder.

    The VLM's weights are drawn larger than at initialisation, so that its texts vary; the
    expert's are not, or its flow would be chaotic.
    """
    texts = [*PROMPT_TEXTS, "Slow down because the car ahead is braking 1 2 3 4 5 6 7 8 9 0"]
    tokenizer = train_tokenizer(texts, vocab_size=300)
    extend_tokenizer(tokenizer, size.history_bins, model_type)
    space = UnicycleConfig(accel_std=1.0, curvature_std=0.02)
    vla = build_vla(size, tokenizer, space, model_type, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in vla.named_parameters():
            if parameter.ndim > 1:
                gain = 1.5 if name.startswith("vlm.") else 0.5
                scale = gain / parameter.shape[-1] ** 0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    path = Path(folder)
    save_checkpoint(path, vla, tokenizer, {"frames_per_camera": 4, "frame_interval_s": 0.2})
    return path
