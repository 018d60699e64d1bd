"""Checkpoints on disk: safetensors, JSON and a tokenizer, read without running any of it.

A folder has `config.json` (the reference's fields), `model.safetensors` or its shards, and
the VLM's own folder (config, tokenizer, image processor) that `vlm_name_or_path` names:
relative to the checkpoint, or a name in the local Hugging Face cache. Nothing is
downloaded, nothing is unpickled, and no class that a config names is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from rsd_planner.models.action_space import UnicycleConfig
from rsd_planner.models.history_tokens import HistoryTokens
from rsd_planner.models.tokenizer import TextCodec, extend_tokenizer
from rsd_planner.models.vla import Vla, VlaConfig

__all__ = ["Checkpoint", "CheckpointError", "load_checkpoint", "save_checkpoint"]

MODEL_TYPES = ("alpamayo_r1", "alpamayo1_5")

# The last part of a Hydra `_target_`: what it is here. Anything else is refused by name.
_KNOWN_TARGETS = {
    "UnicycleAccelCurvatureActionSpace",
    "FlowMatching",
    "PerWaypointActionInProjV2",
    "Linear",
    "DeltaTrajectoryTokenizer",
    "DiscreteTrajectoryTokenizer",
}

_TRAJ_TOKENS = ("history", "future", "history_start", "future_start", "history_end", "future_end")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the text names the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with everything that turns observations into its inputs."""

    folder: Path
    vla: Vla
    codec: TextCodec
    image_processor: Any
    settings: Mapping[str, Any]  # `rsd_planner.json`: what the reference keeps in its data code


def load_checkpoint(folder: str | Path, device: str = "cpu") -> Checkpoint:
    """Load a checkpoint for inference: fp32 on the CPU, bf16 elsewhere.

    Raises:
        CheckpointError: something is missing, damaged or unknown.
    """
    path = Path(folder)
    raw = _read_json(path / "config.json")
    config = parse_config(raw, path)
    vlm_path = _vlm_folder(config.vlm_name_or_path, path)
    vlm_config, tokenizer, processor = _load_vlm_parts(vlm_path, config)
    if len(tokenizer) > vlm_config.text_config.vocab_size or "vocab_size" in raw:
        vlm_config.text_config.vocab_size = int(raw.get("vocab_size", len(tokenizer)))
    vlm_config._attn_implementation = "sdpa"
    _check_tokens(raw, tokenizer, path)
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16
    vla = Vla(config, vlm_config)
    _load_weights(vla, path)
    vla.to(device=device, dtype=dtype).eval()
    vla.action_space.float()
    vla.action_in_proj.float()
    settings = path / "rsd_planner.json"
    return Checkpoint(
        path,
        vla,
        TextCodec(tokenizer),
        processor,
        _read_json(settings) if settings.exists() else {},
    )


def parse_config(raw: Mapping[str, Any], folder: Path) -> VlaConfig:
    """The typed view of a `config.json`.

    Raises:
        CheckpointError: a field is missing or names a class that is not known here.
    """
    if raw.get("model_type") not in MODEL_TYPES:
        raise CheckpointError(
            f"{folder / 'config.json'} has model_type {raw.get('model_type')!r}; "
            f"known are {', '.join(MODEL_TYPES)}"
        )
    _refuse_unknown_targets(raw, folder)
    future = raw.get("traj_tokenizer_cfg")
    history = raw.get("hist_traj_tokenizer_cfg")
    if history is None and _class_name(future) == "DiscreteTrajectoryTokenizer":
        raise CheckpointError(
            f"{folder / 'config.json'} has no hist_traj_tokenizer_cfg, so its history would be "
            "told in actions, which is not supported: name a DeltaTrajectoryTokenizer there"
        )
    offset = 0
    if history is not None and future is not None:
        offset = int(future.get("num_bins", HistoryTokens.num_bins))
    try:
        return VlaConfig(
            model_type=raw["model_type"],
            vlm_name_or_path=raw["vlm_name_or_path"],
            traj_vocab_size=raw["traj_vocab_size"],
            traj_token_start_idx=raw["traj_token_start_idx"],
            tokens_per_history_traj=raw.get("tokens_per_history_traj", 48),
            min_pixels=raw.get("min_pixels"),
            max_pixels=raw.get("max_pixels"),
            expert_non_causal_attention=raw.get("expert_non_causal_attention", True),
            expert=raw.get("expert_cfg") or {},
            action_in=raw.get("action_in_proj_cfg") or {},
            action_space=UnicycleConfig.from_mapping(raw.get("action_space_cfg") or {}),
            history_tokens=HistoryTokens.from_mapping(history or future or {}),
            history_offset=offset,
            flow_steps=int((raw.get("diffusion_cfg") or {}).get("num_inference_steps", 10)),
        )
    except KeyError as missing:
        raise CheckpointError(
            f"{folder / 'config.json'} lacks {missing}: it is no complete checkpoint"
        ) from None
    except TypeError as unknown:
        raise CheckpointError(f"{folder / 'config.json'}: {unknown}") from None


def save_checkpoint(
    folder: str | Path,
    vla: Vla,
    tokenizer: PreTrainedTokenizerFast,
    settings: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a self-contained checkpoint in half precision with the reference's field names."""
    path = Path(folder)
    (path / "vlm").mkdir(parents=True, exist_ok=True)
    config = vla.config
    action_space = asdict(config.action_space)
    raw = {
        "model_type": config.model_type,
        "vlm_name_or_path": "vlm",
        "vocab_size": vla.vlm.config.text_config.vocab_size,
        "traj_vocab_size": config.traj_vocab_size,
        "traj_token_start_idx": config.traj_token_start_idx,
        "traj_token_ids": {
            name: tokenizer.convert_tokens_to_ids(f"<|traj_{name}|>") for name in _TRAJ_TOKENS
        },
        "add_special_tokens": True,
        "tokens_per_history_traj": config.tokens_per_history_traj,
        "min_pixels": config.min_pixels,
        "max_pixels": config.max_pixels,
        "expert_non_causal_attention": config.expert_non_causal_attention,
        "expert_cfg": dict(config.expert),
        "action_in_proj_cfg": dict(config.action_in),
        "action_space_cfg": action_space,
        "hist_traj_tokenizer_cfg": asdict(config.history_tokens),
        "traj_tokenizer_cfg": None,
        "diffusion_cfg": {"num_inference_steps": config.flow_steps},
    }
    _write_json(path / "config.json", raw)
    _write_json(path / "rsd_planner.json", dict(settings))
    vla.vlm.config.save_pretrained(str(path / "vlm"))
    tokenizer.save_pretrained(str(path / "vlm"))
    vision = vla.vlm.config.vision_config
    _processor(config, vision).save_pretrained(str(path / "vlm"))
    skipped = _not_stored(vla)
    weights = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype)
        for name, value in vla.state_dict().items()
        if name not in skipped
    }
    save_file({k: v.contiguous() for k, v in weights.items()}, str(path / "model.safetensors"))


def _not_stored(vla: Vla) -> set[str]:
    """Tensors of the state that a checkpoint of this family does without."""
    tied = {"vlm.lm_head.weight"} if vla.vlm.config.tie_word_embeddings else set()
    # 1.5 works its buffers out of the config; 1.0 stores them.
    buffers = {name for name, _ in vla.named_buffers()}
    return tied | buffers if vla.config.model_type == "alpamayo1_5" else tied


def _load_vlm_parts(path: str, config: VlaConfig) -> tuple[Any, Any, Any]:
    try:
        vlm_config = Qwen3VLConfig.from_pretrained(path, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the VLM's config or tokenizer was not found at {path!r}: put its files there "
            f"or into the local Hugging Face cache ({str(error).splitlines()[0]})"
        ) from None
    if "<|traj_future_start|>" not in tokenizer.get_vocab():
        extend_tokenizer(tokenizer, config.traj_vocab_size, config.model_type)
    return vlm_config, tokenizer, _processor(config, vlm_config.vision_config)


def _processor(config: VlaConfig, vision: Any) -> Qwen2VLImageProcessorPil:
    size = {
        "shortest_edge": config.min_pixels or 163_840,
        "longest_edge": config.max_pixels or 196_608,
    }
    return Qwen2VLImageProcessorPil(
        size=size,
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def _load_weights(vla: Vla, folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(_read_json(index)["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    weights: dict[str, torch.Tensor] = {}
    for name in names:
        file = folder / name
        if file.resolve().parent != folder.resolve():
            raise CheckpointError(f"{index} names {name!r}, outside of the checkpoint's folder")
        if not file.exists():
            raise CheckpointError(
                f"{file} is missing: copy the checkpoint's weights there or set model_path"
            )
        try:
            weights.update(load_file(str(file)))
        except SafetensorError as error:
            raise CheckpointError(f"{file} is damaged ({error}): copy it again") from None
    absent, unexpected = vla.load_state_dict(weights, strict=False)
    missing = sorted(set(absent) - _not_stored(vla))
    if missing or unexpected:
        raise CheckpointError(
            f"the weights in {folder} do not fit its config: {len(missing)} missing "
            f"({', '.join(missing[:3])}), {len(unexpected)} unknown ({', '.join(unexpected[:3])})"
        )


def _check_tokens(raw: Mapping[str, Any], tokenizer: Any, folder: Path) -> None:
    """Refuse a tokenizer whose ids are not those that the checkpoint was trained with."""
    named = raw.get("traj_token_ids") or {}
    wanted = {"<i0>": raw["traj_token_start_idx"]}
    wanted |= {f"<|traj_{name}|>": index for name, index in named.items()}
    vocabulary = tokenizer.get_vocab()
    wrong = [name for name, index in wanted.items() if vocabulary.get(name) != index]
    if wrong:
        raise CheckpointError(
            f"{folder / 'config.json'} gives {wrong[0]} the id {wanted[wrong[0]]}, its tokenizer "
            f"{vocabulary.get(wrong[0])}: use the tokenizer that the checkpoint was made with"
        )


def _class_name(value: Mapping[str, Any] | None) -> str:
    """The last part of a `_target_`, or nothing."""
    return str((value or {}).get("_target_", "")).rsplit(".", 1)[-1]


def _refuse_unknown_targets(value: Any, folder: Path) -> None:
    if isinstance(value, Mapping):
        target = value.get("_target_")
        if target is not None and _class_name(value) not in _KNOWN_TARGETS:
            raise CheckpointError(
                f"{folder / 'config.json'} names the class {target!r}, which is not known here; "
                f"known are {', '.join(sorted(_KNOWN_TARGETS))}"
            )
        for item in value.values():
            _refuse_unknown_targets(item, folder)


def _vlm_folder(name: str, folder: Path) -> str:
    inside = (folder / name).resolve()
    if inside.is_dir() and folder.resolve() in (inside, *inside.parents):
        return str(inside)
    if name.startswith((".", "/")) or ".." in name:
        raise CheckpointError(
            f"vlm_name_or_path {name!r} leaves the checkpoint's folder or is missing: "
            "put the VLM's config and tokenizer into the folder `vlm` and name that"
        )
    return name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: set model_path to a checkpoint's folder"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}): copy the checkpoint again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} does not hold a JSON object: copy the checkpoint again")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
