"""Run the reference's public code at a tiny size and write what it gives as numbers.

    make_parity_fixtures.py --r1 CLONE --v15 CLONE --chat-template FILE --out test/models/parity

`--r1` and `--v15` are checkouts of NVlabs/alpamayo and NVlabs/alpamayo1.5, `--chat-template`
is the Jinja text that Qwen3-VL's tokenizer brings. Needs the versions that the reference
pins (transformers 4.57.1, with einops, hydra-core, colorlog and scipy) and no torchvision.
Holds no code of the reference: it imports it from where the user says. docs/parity.md
tells what each file holds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoProcessor, PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.processing_utils import ProcessorMixin

SEED = 19
WAYPOINTS = 20
HISTORY = 16
FRAME = (64, 64)  # height and width of a picture: no resizing takes place
QWEN_TOKENS = [
    f"<|{name}|>"
    for name in (
        "endoftext",
        "im_start",
        "im_end",
        "vision_start",
        "vision_end",
        "image_pad",
        "video_pad",
    )
]
SPACE = {"accel_mean": 0.1, "accel_std": 0.9, "curvature_mean": 0.002, "curvature_std": 0.03}


@dataclass(frozen=True)
class Family:
    """Where a family's parts lie in its package."""

    model_type: str
    package: str
    config_class: str
    model_module: str
    model_class: str

    def module(self, name: str) -> ModuleType:
        """A module of the package."""
        return importlib.import_module(f"{self.package}.{name}")


R1 = Family("alpamayo_r1", "alpamayo_r1", "AlpamayoR1Config", "models.alpamayo_r1", "AlpamayoR1")
V15 = Family("alpamayo1_5", "alpamayo1_5", "Alpamayo1_5Config", "models.alpamayo1_5", "Alpamayo1_5")


class TinyProcessor(Qwen3VLProcessor):
    """The class's own processor without its video part, which needs torchvision."""

    attributes = ("image_processor", "tokenizer")
    tokenizer_class = "PreTrainedTokenizerFast"

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str) -> None:
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, with Qwen's special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=inner)
    fast.add_tokens(QWEN_TOKENS, special_tokens=True)
    fast.pad_token, fast.eos_token = "<|endoftext|>", "<|im_end|>"
    return fast


def make_processor(template: str, **pixels: int) -> TinyProcessor:
    """What stands for `AutoProcessor.from_pretrained`."""
    images = Qwen2VLImageProcessor(
        patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3, **pixels
    )
    return TinyProcessor(images, byte_tokenizer(), template)


def vlm_config() -> dict[str, Any]:
    """A tiny Qwen3-VL, its fields as the published ones write them."""
    tokens = byte_tokenizer()
    text = {
        "model_type": "qwen3_vl_text",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "intermediate_size": 48,
        "vocab_size": len(tokens),
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5_000_000,
        "rope_scaling": {
            "rope_type": "default",
            "mrope_interleaved": True,
            "mrope_section": [2, 2, 2],
        },
    }
    vision = {
        "model_type": "qwen3_vl",
        "hidden_size": 8,
        "depth": 2,
        "num_heads": 2,
        "intermediate_size": 20,
        "out_hidden_size": 32,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    }
    names = ("image", "video")
    return {
        "model_type": "qwen3_vl",
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "text_config": text,
        "vision_config": vision,
        "tie_word_embeddings": False,
        "vision_start_token_id": tokens.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokens.convert_tokens_to_ids("<|vision_end|>"),
        **{f"{n}_token_id": tokens.convert_tokens_to_ids(f"<|{n}_pad|>") for n in names},
    }


def checkpoint_config(family: Family, vlm: str) -> dict[str, Any]:
    """What the reference's config class is built from."""
    package = family.package
    space = f"{package}.action_space.UnicycleAccelCurvatureActionSpace"
    action_space = {"_target_": space, "n_waypoints": WAYPOINTS, **SPACE}
    return {
        "vlm_name_or_path": vlm,
        "traj_vocab_size": 56,
        "tokens_per_history_traj": 3 * HISTORY,
        "tokens_per_future_traj": 2 * WAYPOINTS,
        "model_dtype": "float32",
        "attn_implementation": "sdpa",
        "min_pixels": FRAME[0] * FRAME[1],
        "max_pixels": FRAME[0] * FRAME[1],
        "add_special_tokens": True,
        "hist_traj_tokenizer_cfg": {
            "_target_": f"{package}.models.delta_tokenizer.DeltaTrajectoryTokenizer",
            "num_bins": 32,
        },
        "traj_tokenizer_cfg": {
            "_target_": f"{package}.action_space.discrete_action_space.DiscreteTrajectoryTokenizer",
            "_recursive_": False,
            "action_space_cfg": action_space,
            "dims_min": [-9.8, -0.2],
            "dims_max": [9.8, 0.2],
            "num_bins": 24,
        },
        "action_space_cfg": action_space,
        "action_in_proj_cfg": {
            "_target_": f"{package}.models.action_in_proj.PerWaypointActionInProjV2",
            "num_enc_layers": 2,
            "hidden_size": 24,
            # At the default of 100 each step would multiply differences by twenty.
            "max_freq": 8.0,
        },
        "action_out_proj_cfg": {"_target_": "torch.nn.Linear"},
        "diffusion_cfg": {
            "_target_": f"{package}.diffusion.flow_matching.FlowMatching",
            "num_inference_steps": 5,
        },
        "expert_cfg": {"hidden_size": 16, "intermediate_size": 24},
    }


def build(family: Family, folder: Path) -> Any:
    """The reference's model at a tiny size with seeded weights that fp16 holds exactly."""
    (folder / "config.json").write_text(json.dumps(vlm_config()))
    config = getattr(family.module("config"), family.config_class)(
        **checkpoint_config(family, str(folder))
    )
    model = getattr(family.module(family.model_module), family.model_class)(config)
    model.processor = AutoProcessor.from_pretrained(
        folder, min_pixels=config.min_pixels, max_pixels=config.max_pixels
    )
    model.processor.tokenizer = model.tokenizer
    rng = np.random.default_rng(SEED)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            steps = rng.integers(-31, 32, tuple(parameter.shape)) / 32
            parameter.copy_(torch.from_numpy(scaled(name, steps)))
        ends = model.tokenizer.convert_tokens_to_ids(["<|cot_end|>", "<|traj_future_start|>"])
        model.vlm.lm_head.weight[ends] *= 2  # so that the greedy text comes to its end
    return model.float().eval()


def scaled(name: str, steps: np.ndarray) -> np.ndarray:
    """Weights of a tensor from numbers between −1 and 1, by powers of two."""
    if steps.ndim == 1:
        norm = name.endswith("weight")
        return np.float32(steps / 4 + 1) if norm else np.float32(steps / 8)
    fan_in = int(np.prod(steps.shape[1:]))
    gain = 4.0 if name.startswith("vlm.") else 0.25 if name.startswith("action_out") else 0.5
    return np.float32(steps * 2.0 ** np.round(np.log2(gain / np.sqrt(fan_in))))


def drive(seed: int, steps: int, v0: float, dt: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Positions (steps, 3) and rotations (steps, 3, 3) of a wavy drive that ends at zero."""
    rng = np.random.default_rng(seed)
    speed = np.maximum(v0 + np.cumsum(rng.normal(0, 0.15, steps)), 0)
    yaw = np.cumsum(rng.normal(0, 0.02, steps) * np.minimum(speed, 1))
    xy = np.cumsum(speed[:, None] * dt * np.stack([np.cos(yaw), np.sin(yaw)], 1), axis=0)
    xyz = np.concatenate([xy, np.cumsum(rng.normal(0, 0.01, (steps, 1)), axis=0)], axis=1)
    back = yaw_matrix(-yaw[-1:])[0]
    return (xyz - xyz[-1]) @ back.T, yaw_matrix(yaw - yaw[-1])


def yaw_matrix(yaw: np.ndarray) -> np.ndarray:
    """(n, 3, 3) rotations about z."""
    out = np.zeros((len(yaw), 3, 3))
    out[:, 0, 0] = out[:, 1, 1] = np.cos(yaw)
    out[:, 1, 0], out[:, 0, 1], out[:, 2, 2] = np.sin(yaw), -np.sin(yaw), 1
    return out


def history_fixture(family: Family) -> dict[str, np.ndarray]:
    """Positions and the bins of the reference's tokenizer for several configs."""
    tokenizer = family.module("models.delta_tokenizer").DeltaTrajectoryTokenizer
    drives = [drive(seed, HISTORY, v0)[0] for seed, v0 in enumerate((0.0, 2.0, 12.0, 45.0))]
    rng = np.random.default_rng(SEED)
    drives.append(np.cumsum(rng.normal(0, 6, (HISTORY, 3)), axis=0))  # saturates both ways
    edges = np.zeros((HISTORY, 3))
    edges[1:] = np.cumsum((rng.integers(-90, 90, (HISTORY - 1, 3)) + 0.5) * 8 / 999, axis=0)
    drives.append(edges)  # displacements half-way between two bins
    xyz = np.stack(drives).astype(np.float32)
    out = {"xyz": xyz}
    for bins, low, high in (
        (1000, (-4.0, -4.0, -10.0), (4.0, 4.0, 10.0)),
        (32, (-4.0, -4.0, -10.0), (4.0, 4.0, 10.0)),
        (400, (-1.0, -2.0, -0.5), (6.0, 2.5, 0.25)),
    ):
        encode = tokenizer(ego_xyz_min=low, ego_xyz_max=high, num_bins=bins).encode
        tensor = torch.from_numpy(xyz)
        none = torch.zeros(len(xyz), HISTORY, 3, 3)
        out[f"bins_{bins}"] = encode(tensor[:, :1], none[:, :1], tensor, none).numpy()
        out[f"limits_{bins}"] = np.array([low, high])
    return out


def action_fixture(family: Family) -> dict[str, np.ndarray]:
    """Paths to actions and actions to paths, in fp32 and fp64, with speeds at t0."""
    space = family.module("action_space").UnicycleAccelCurvatureActionSpace(**SPACE)
    cases = []
    for seed, v0 in enumerate((0.0, 1.0, 8.0, 14.0, 30.0)):
        xyz, rot = drive(100 + seed, HISTORY + 64, v0)
        at = HISTORY - 1  # t0
        cases.append(((xyz - xyz[at]) @ rot[at], rot[at].T @ rot))
    cases.append((np.zeros((HISTORY + 64, 3)), np.tile(np.eye(3), (HISTORY + 64, 1, 1))))
    xyz = np.stack([c[0] for c in cases]).astype(np.float32)
    rot = np.stack([c[1] for c in cases]).astype(np.float32)
    wild = np.random.default_rng(SEED).normal(0, 1, (len(cases), 64, 2)).astype(np.float32)
    out = {"history_xyz": xyz[:, :HISTORY], "history_rot": rot[:, :HISTORY]}
    out |= {"future_xyz": xyz[:, HISTORY:], "future_rot": rot[:, HISTORY:], "action": wild}
    for name, dtype in (("fp32", torch.float32), ("fp64", torch.float64)):
        given = {k: torch.from_numpy(v).to(dtype) for k, v in list(out.items())[:5]}
        past = given["history_xyz"], given["history_rot"]
        out[f"speed_{name}"] = space.estimate_t0_states(*past)["v"].numpy()
        action = space.traj_to_action(*past, given["future_xyz"], given["future_rot"])
        out[f"from_path_{name}"] = action.numpy()
        path, turn = space.action_to_traj(given["action"], *past)
        out[f"path_xyz_{name}"] = path.numpy()
        out[f"path_yaw_{name}"] = torch.atan2(turn[..., 1, 0], turn[..., 0, 0]).numpy()
    scale = torch.tensor([0.1, 1.0, 5.0, 12.0, 3.0, 0.5])[:, None, None]
    out["bounds_action"] = (torch.from_numpy(wild) * scale).numpy()
    out["within_bounds"] = space.is_within_bounds(torch.from_numpy(out["bounds_action"])).numpy()
    return out


def position_fixture(model: Any) -> list[dict[str, Any]]:
    """M-RoPE positions and deltas of made-up prompts with pictures of several sizes."""
    image = model.vlm.config.image_token_id
    start = model.vlm.config.vision_start_token_id
    cases = []
    for grids, gaps in (
        ([(1, 2, 4)], [3, 2]),
        ([(1, 2, 4), (1, 2, 4)], [0, 0, 5]),
        ([(1, 8, 4), (1, 4, 12), (1, 2, 2)], [7, 4, 9, 1]),
    ):
        ids: list[int] = []
        for grid, gap in zip(grids, gaps):
            ids += [5] * gap + [start] + [image] * (grid[1] * grid[2] // 4) + [6]
        ids += [7] * gaps[-1]
        positions, delta = model.vlm.model.get_rope_index(
            torch.tensor([ids]), image_grid_thw=torch.tensor(grids)
        )
        case = {"is_image": [int(i == image) for i in ids], "grids": grids}
        cases.append(case | {"positions": positions[:, 0].tolist(), "delta": int(delta)})
    return cases


def segments(tokenizer: Any, ids: list[int]) -> list[Any]:
    """Runs of special tokens as [token, count], other text as it is."""
    out: list[Any] = []
    special = {*tokenizer.get_added_vocab()}
    for token in tokenizer.convert_ids_to_tokens(ids):
        if token in special:
            if out and isinstance(out[-1], list) and out[-1][0] == token:
                out[-1][1] += 1
            else:
                out.append([token, 1])
        else:
            char = tokenizer.convert_tokens_to_string([token])
            out = [*out[:-1], out[-1] + char] if out and isinstance(out[-1], str) else [*out, char]
    return out


def tokenize(model: Any, messages: Any) -> Any:
    """As the reference's `test_inference.py` does it."""
    return model.processor.apply_chat_template(
        messages,
        tokenize=True,
        add_generation_prompt=False,
        continue_final_message=True,
        return_dict=True,
        return_tensors="pt",
    )


def prompt_fixture(family: Family, model: Any) -> list[dict[str, Any]]:
    """The layout of prompts: which cameras, how many frames, which route."""
    helper = family.module("helper")
    cases = []
    for cameras, frames, route in (
        ([1], 4, None),
        ([0, 1, 2, 6], 4, "Turn left onto Main Street in 40m"),
        ([3, 4, 5], 1, None),
        ([1, 9], 2, "Keep right"),
    ):
        pictures = torch.zeros(len(cameras) * frames, 3, *FRAME, dtype=torch.uint8)
        if family is R1:
            messages = helper.create_message(pictures)
        else:
            messages = helper.create_message(pictures, torch.tensor(cameras), frames, route)
        ids = tokenize(model, messages)["input_ids"][0].tolist()
        case = {"cameras": cameras, "frames": frames, "route": route or ""}
        cases.append(case | {"segments": segments(model.tokenizer, ids)})
    return cases


def rollout_fixture(family: Family, model: Any) -> dict[str, np.ndarray]:
    """The reference's whole inference for two cameras of two frames, with what it passes on."""
    rng = np.random.default_rng(SEED + 1)
    pictures = (rng.integers(0, 16, (4, 3, *FRAME)) * 17).astype(np.uint8)
    frames = torch.from_numpy(pictures)
    helper = family.module("helper")
    if family is R1:
        messages = helper.create_message(frames)
    else:
        messages = helper.create_message(frames, torch.tensor([0, 1]), 2, "Keep right")
    xyz, rot = (torch.from_numpy(v).float()[None, None] for v in drive(7, HISTORY, 9.0))
    data = {"tokenized_data": tokenize(model, messages)}
    data |= {"ego_history_xyz": xyz, "ego_history_rot": rot}
    samples = 2
    noise = torch.randn(samples, WAYPOINTS, 2, generator=torch.Generator().manual_seed(SEED))
    seen: dict[str, Any] = {"velocity": []}
    generate, sample = model.vlm.generate, model.diffusion.sample

    def watched_generate(**given: Any) -> Any:
        seen["prompt"] = given["input_ids"][0].numpy().copy()
        result = generate(**given)
        seen["logits"] = torch.stack([row[0] for row in result.logits]).numpy()
        seen["sequence"] = result.sequences[0].numpy().copy()
        return result

    def watched_sample(*, step_fn: Any, **given: Any) -> torch.Tensor:
        def step(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            velocity = step_fn(x=x, t=t)
            seen["velocity"].append(velocity.numpy().copy())
            return velocity

        with mock.patch.object(torch, "randn", lambda *_, **__: noise.clone()):
            result = sample(step_fn=step, **given)
        seen["actions"] = result.numpy().copy()
        return result

    def keep_positions(name: str) -> Any:
        def hook(_: Any, __: Any, given: dict[str, Any]) -> None:
            seen.setdefault(name, given["position_ids"][:, 0].numpy().copy())

        return hook

    hooks = [
        module.register_forward_pre_hook(keep_positions(name), with_kwargs=True)
        for name, module in (
            ("prompt_positions", model.vlm.model.language_model),
            ("expert_positions", model.expert),
        )
    ]
    model.vlm.generate, model.diffusion.sample = watched_generate, watched_sample
    with torch.no_grad():
        path, turn = model.sample_trajectories_from_data_with_vlm_rollout(
            data=data, top_k=1, num_traj_samples=samples, max_generation_length=24
        )
    for hook in hooks:
        hook.remove()
    model.vlm.generate, model.diffusion.sample = generate, sample
    seen |= {"rope_delta": model.vlm.model.rope_deltas[0].numpy().copy(), "noise": noise.numpy()}
    seen |= {"pictures": pictures.transpose(0, 2, 3, 1), "velocity": np.stack(seen["velocity"])}
    seen |= {"history_xyz": xyz[0, 0].numpy(), "history_rot": rot[0, 0].numpy()}
    yaw = torch.atan2(turn[0, 0, ..., 1, 0], turn[0, 0, ..., 0, 0])
    return seen | {"path_xyz": path[0, 0].numpy(), "path_yaw": yaw.numpy()}


def write_family(family: Family, out: Path) -> None:
    """Everything that depends on the family."""
    with tempfile.TemporaryDirectory() as name:
        model = build(family, Path(name))
        state = model.state_dict()
        facts = {
            "config": json.loads(model.config.to_json_string()) | {"vlm_name_or_path": "vlm"},
            "vlm_config": vlm_config(),
            "tensors": {key: list(value.shape) for key, value in sorted(state.items())},
            "added_tokens": sorted(
                model.tokenizer.get_added_vocab().items(), key=lambda item: item[1]
            ),
            "prompts": prompt_fixture(family, model),
        }
        (out / f"{family.model_type}.json").write_text(json.dumps(facts, indent=1) + "\n")
        np.savez_compressed(
            out / f"rollout_{family.model_type}.npz", **rollout_fixture(family, model)
        )
        if family is R1:
            (out / "positions.json").write_text(json.dumps(position_fixture(model)) + "\n")
            np.savez_compressed(out / "weights.npz", **packed(state))


def packed(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Parameters in fp16 behind each other, sorted by name; buffers by name in fp32."""
    values = {name: state[name].numpy() for name in sorted(state)}
    halves = {k: v for k, v in values.items() if np.array_equal(v.astype(np.float16), v)}
    flat = np.concatenate([v.ravel() for v in halves.values()]).astype(np.float16)
    return {"flat": flat, **{k: v for k, v in values.items() if k not in halves}}


def main() -> None:
    """Write all fixtures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("--r1", "--v15", "--chat-template", "--out"):
        parser.add_argument(name, type=Path, required=True)
    given = parser.parse_args()
    sys.path[:0] = [str(given.r1 / "src"), str(given.v15 / "src")]
    template = given.chat_template.read_text()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)

    def processor(*_: Any, **pixels: int) -> TinyProcessor:
        return make_processor(template, **pixels)

    with mock.patch.object(AutoProcessor, "from_pretrained", processor):
        for family in (R1, V15):
            write_family(family, given.out)
    np.savez_compressed(given.out / "history.npz", **history_fixture(R1))
    np.savez_compressed(given.out / "actions.npz", **action_fixture(R1))


if __name__ == "__main__":
    main()
