"""The reference's numbers, given tiny random weights: docs/parity.md says how they came about."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rsd_planner.models.action_space import UnicycleActionSpace, UnicycleConfig
from rsd_planner.models.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from rsd_planner.models.flat_rope import mrope_positions
from rsd_planner.models.history_tokens import HistoryTokens
from rsd_planner.models.target import VlaTarget
from rsd_planner.models.tokenizer import train_tokenizer
from rsd_planner.models.trajectory_head import integrate_flow
from rsd_planner.planning.prompt import make_prompt_builder
from rsd_planner.types import Draft, EgoHistory, EgoState, Frame, Observation, Prompt

FIXTURES = Path(__file__).parent / "parity"
FAMILIES = ("alpamayo_r1", "alpamayo1_5")
TOLERANCE = 1e-4
CAMERAS = ["front_left", "front_wide", "front_right", "rear_left", "rear", "rear_right"]
CAMERAS += ["front_tele", "7", "8", "9"]


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


@cache
def facts(family: str) -> dict[str, Any]:
    return dict(json.loads((FIXTURES / f"{family}.json").read_text()))


def assert_near(ours: Any, theirs: np.ndarray, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(
        torch.as_tensor(ours).double(), torch.from_numpy(theirs).double(), rtol=0, atol=tolerance
    )


def reference_weights() -> dict[str, torch.Tensor]:
    """All tensors of the 1.0 model by the reference's names."""
    packed, start = arrays("weights"), 0
    weights = {}
    for name, shape in sorted(facts("alpamayo_r1")["tensors"].items()):
        if name in packed:
            weights[name] = torch.from_numpy(packed[name]).float()
            continue
        size = int(np.prod(shape))
        piece = packed["flat"][start : start + size].astype(np.float32)
        weights[name] = torch.from_numpy(piece).reshape(shape)
        start += size
    assert start == len(packed["flat"])
    return weights


def write_reference_checkpoint(folder: Path, family: str, **changes: Any) -> Path:
    """A checkpoint's files as the reference writes them."""
    (folder / "vlm").mkdir()
    config = {**facts(family)["config"], **changes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vlm" / "config.json").write_text(json.dumps(facts(family)["vlm_config"]))
    train_tokenizer([], vocab_size=256).save_pretrained(str(folder / "vlm"))
    names = facts(family)["tensors"]
    weights = {name: value for name, value in reference_weights().items() if name in names}
    save_file(weights, str(folder / "model.safetensors"))
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp(request.param)
    return load_checkpoint(write_reference_checkpoint(folder, request.param))


def family_of(checkpoint: Checkpoint) -> str:
    return checkpoint.vla.config.model_type


# What a checkpoint is made of


def test_checkpoint_has_the_tensors_of_the_reference(loaded: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, loaded.vla, loaded.codec.tokenizer, {})
    with safe_open(str(tmp_path / "model.safetensors"), "pt") as file:
        ours = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    assert ours == facts(family_of(loaded))["tensors"]


def test_config_has_the_fields_of_the_reference(loaded: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, loaded.vla, loaded.codec.tokenizer, {})
    ours = json.loads((tmp_path / "config.json").read_text())
    theirs = facts(family_of(loaded))["config"]
    assert set(ours) <= set(theirs)
    plain = {name for name, value in theirs.items() if not name.endswith("_cfg")}
    assert {n: ours[n] for n in plain & set(ours)} == {n: theirs[n] for n in plain & set(ours)}


def test_added_tokens_have_the_ids_of_the_reference(loaded: Checkpoint) -> None:
    theirs = dict(facts(family_of(loaded))["added_tokens"])
    assert loaded.codec.tokenizer.get_added_vocab() == theirs


def test_history_tokens_lie_behind_those_of_the_future(loaded: Checkpoint) -> None:
    config = loaded.vla.config
    assert config.history_token_start == loaded.codec.id_of("<i24>")
    assert config.history_tokens.num_bins == 32


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    ids = facts("alpamayo_r1")["config"]["traj_token_ids"]
    folder = write_reference_checkpoint(
        tmp_path, "alpamayo_r1", traj_token_ids={**ids, "history": ids["history"] + 1}
    )
    with pytest.raises(CheckpointError, match=r"traj_history\|> the id"):
        load_checkpoint(folder)


def test_history_told_in_actions_is_refused(tmp_path: Path) -> None:
    folder = write_reference_checkpoint(tmp_path, "alpamayo_r1", hist_traj_tokenizer_cfg=None)
    with pytest.raises(CheckpointError, match="hist_traj_tokenizer_cfg"):
        load_checkpoint(folder)


# Inputs


@pytest.mark.parametrize("case", range(4))
def test_prompt_is_laid_out_as_the_reference_does(loaded: Checkpoint, case: int) -> None:
    wanted = facts(family_of(loaded))["prompts"][case]
    tokens = int(next(s[1] for s in wanted["segments"] if s[0] == "<|image_pad|>"))
    pictures = [(CAMERAS[c], tokens) for c in wanted["cameras"] for _ in range(wanted["frames"])]
    route = wanted["route"] if family_of(loaded) == "alpamayo1_5" else ""
    ids = make_prompt_builder(loaded).template(tuple(pictures), route)
    tokenizer = loaded.codec.tokenizer
    expected = "".join(
        part if isinstance(part, str) else part[0] * part[1] for part in wanted["segments"]
    )
    assert tokenizer.decode(ids, skip_special_tokens=False) == expected
    special = tokenizer.get_added_vocab()
    runs = [part for part in wanted["segments"] if not isinstance(part, str)]
    ours = [t for t in tokenizer.convert_ids_to_tokens(ids) if t in special]
    assert ours == [token for token, count in runs for _ in range(count)]


def test_history_falls_into_the_bins_of_the_reference() -> None:
    given = arrays("history")
    for bins in (1000, 32, 400):
        low, high = given[f"limits_{bins}"].tolist()
        ours = HistoryTokens(tuple(low), tuple(high), bins).encode(given["xyz"].astype(np.float64))
        np.testing.assert_array_equal(ours, given[f"bins_{bins}"])
    first = given["bins_1000"].reshape(-1, 16, 3)[:, 0]
    assert first.min() == 0 and first.max() == 999


def test_positions_are_those_of_the_reference() -> None:
    for case in json.loads((FIXTURES / "positions.json").read_text()):
        is_image = np.array(case["is_image"], dtype=bool)
        ours = mrope_positions(is_image, [tuple(g) for g in case["grids"]], merge=2)
        assert ours.tolist() == case["positions"]
        assert ours.max() + 1 - len(is_image) == case["delta"]


# Actions


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [("fp32", torch.float32, TOLERANCE), ("fp64", torch.float64, 1e-9)],
)
def test_actions_and_paths_are_those_of_the_reference(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    given = arrays("actions")
    space = UnicycleActionSpace(UnicycleConfig(**facts_space()))
    past_xyz, past_rot, xyz, rot, action = (
        torch.from_numpy(given[k]).to(dtype)
        for k in ("history_xyz", "history_rot", "future_xyz", "future_rot", "action")
    )
    speed = space.speed_at_t0(past_xyz, past_rot)
    assert_near(speed, given[f"speed_{name}"], tolerance)
    theirs = torch.from_numpy(given[f"speed_{name}"])
    xy, theta, _ = space.action_to_path(action, theirs)
    assert_near(xy, given[f"path_xyz_{name}"][..., :2], tolerance)
    turned = torch.atan2(theta.sin(), theta.cos())
    assert_near(turned, given[f"path_yaw_{name}"], tolerance)
    assert_near(space.path_to_action(theirs, xyz, rot), given[f"from_path_{name}"], tolerance)


def test_bounds_are_those_of_the_reference() -> None:
    given = arrays("actions")
    space = UnicycleActionSpace(UnicycleConfig(**facts_space()))
    ours = space.within_bounds(torch.from_numpy(given["bounds_action"]))
    assert ours.tolist() == given["within_bounds"].tolist()
    assert len(set(ours.tolist())) == 2


def facts_space() -> dict[str, float]:
    """Means and deviations of the action space in the fixtures."""
    config = facts("alpamayo_r1")["config"]["action_space_cfg"]
    return {name: value for name, value in config.items() if name.endswith(("mean", "std"))}


# The whole inference


@dataclass
class Rollout:
    """One inference of the reference, and ours over the same pictures."""

    theirs: dict[str, np.ndarray]
    checkpoint: Checkpoint
    prompt: Prompt
    target: VlaTarget  # with the reference's text in its cache
    logits: torch.Tensor


@pytest.fixture(scope="module")
def rollout(loaded: Checkpoint) -> Rollout:
    theirs = arrays(f"rollout_{family_of(loaded)}")
    names = [CAMERAS[camera] for camera in (0, 0, 1, 1)]
    frames = tuple(
        Frame(name, index, picture)
        for index, (name, picture) in enumerate(zip(names, theirs["pictures"], strict=True))
    )
    zero = np.zeros(3)
    now = EgoState(0, zero, np.array([0.0, 0, 0, 1]), zero, zero)
    xyz, rot = (theirs[f"history_{k}"].astype(np.float64) for k in ("xyz", "rot"))
    history = EgoHistory(0, 0.1, xyz, rot, now)
    prompt = make_prompt_builder(loaded).build(Observation(0, 0, frames, history, "Keep right"))
    target = VlaTarget(loaded.vla, loaded.image_processor)
    rows = [target.prefill(prompt, Draft()).logits]
    for token in theirs["sequence"][len(theirs["prompt"]) : -1]:
        rows.append(target.verify(int(token), Draft()).logits)
    return Rollout(theirs, loaded, prompt, target, torch.cat(rows))


def test_prompt_ids_are_those_of_the_reference(rollout: Rollout) -> None:
    np.testing.assert_array_equal(rollout.prompt.token_ids, rollout.theirs["prompt"])


def test_logits_of_prompt_and_text_are_those_of_the_reference(rollout: Rollout) -> None:
    assert_near(rollout.logits, rollout.theirs["logits"])
    assert np.isinf(rollout.theirs["logits"]).sum(axis=1).tolist() == [56] * len(rollout.logits)
    text = rollout.theirs["sequence"][len(rollout.prompt.token_ids) :]
    assert rollout.logits.argmax(dim=1).tolist() == text.tolist()


def test_expert_stands_behind_the_text_as_in_the_reference(rollout: Rollout) -> None:
    count = rollout.theirs["expert_positions"].shape[1]
    start = rollout.target.next_position
    assert start == len(rollout.theirs["sequence"]) - 1 + int(rollout.theirs["rope_delta"][0])
    assert rollout.theirs["expert_positions"].tolist() == [list(range(start, start + count))] * 3
    image = rollout.checkpoint.vla.vlm.config.image_token_id
    ours = mrope_positions(rollout.prompt.token_ids == image, [(1, 4, 4)] * 4, merge=2)
    np.testing.assert_array_equal(ours, rollout.theirs["prompt_positions"])


@torch.inference_mode()
def test_each_flow_step_is_that_of_the_reference(rollout: Rollout) -> None:
    vla, theirs = rollout.checkpoint.vla, rollout.theirs
    samples, points, _ = theirs["noise"].shape
    prefix = rollout.target.prefix_view(samples)
    positions = torch.from_numpy(theirs["expert_positions"])[:, None].expand(3, samples, points)
    steps = len(theirs["velocity"])
    x = torch.from_numpy(theirs["noise"])
    for step in range(steps):
        velocity = vla.velocity(x, torch.full((samples,), step / steps), positions, prefix)
        assert_near(velocity, theirs["velocity"][step])
        x = x + torch.from_numpy(theirs["velocity"][step]) / steps
    assert vla.config.flow_steps == steps


@pytest.mark.parametrize("non_causal", [True, False])
@torch.inference_mode()
def test_sampled_path_is_that_of_the_reference(
    rollout: Rollout, non_causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference's path is the same whatever `expert_non_causal_attention` says."""
    vla, theirs, target = rollout.checkpoint.vla, rollout.theirs, rollout.target
    config = replace(vla.config, expert_non_causal_attention=non_causal)
    monkeypatch.setattr(vla, "config", config)
    noise = torch.from_numpy(theirs["noise"])
    prefix = target.prefix_view(len(noise))
    actions = integrate_flow(vla, prefix, target.next_position, noise, vla.config.flow_steps)
    assert_near(actions, theirs["actions"])
    speed = vla.action_space.speed_at_t0(
        torch.from_numpy(theirs["history_xyz"]), torch.from_numpy(theirs["history_rot"])
    )
    xy, theta, _ = vla.action_space.action_to_path(actions, speed.expand(len(noise)))
    assert_near(xy, theirs["path_xyz"][..., :2])
    assert_near(theta, theirs["path_yaw"])
