"""Transformers' own decoding of our prompts: the same texts, or it is no control."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch

from rsd_planner.build import build_planner
from rsd_planner.commands._drives import bundled_bag_path, open_drive
from rsd_planner.commands._shard_drives import open_shards
from rsd_planner.config import PlannerSettings, bundled_model_path
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.errors import ConfigError
from rsd_planner.evaluation.acceptance import Exactness, judge
from rsd_planner.evaluation.benchmark import measure_drive, text_alone
from rsd_planner.evaluation.controls import (
    ASSISTED,
    GENERATE,
    LOOKUP,
    Assistant,
    TransformersControls,
    assistant_of,
    replica_assistant,
)
from rsd_planner.models.replica import ROPES, Replica, ReplicaConfig, ReplicaNet, save_replica

MAX_TOKENS = 48


class Bench:
    """A planner, its controls and a few ticks."""

    def __init__(self, model, drive, rate_hz, ticks, max_tokens=MAX_TOKENS):
        settings = PlannerSettings.from_mapping(
            {
                "model_path": str(model),
                "drafter": "none",
                "worker_threads": 1,
                "max_reasoning_tokens": max_tokens,
            }
        )
        self.planner = build_planner(settings)
        parts = self.planner.parts
        self.vla, self.target = parts.head.vla, parts.target
        self.twin = copy.deepcopy(self.vla.vlm)
        self.controls = TransformersControls(
            self.vla, parts.codec.end, max_tokens, Assistant(self.twin, lambda features: features)
        )
        made = drive.observations(settings, self.planner.requirements, rate_hz)
        self.observations = list(itertools.islice(made, ticks))

    def plain(self, observation):
        prompt = self.planner.parts.prompts.build(observation)
        features = self.target.encode(prompt.frames)
        decoded = self.planner.decode(prompt, observation.history, NoDrafter(), features)
        return decoded, self.controls.inputs(prompt, features)


@pytest.fixture(scope="module")
def bundled():
    return Bench(bundled_model_path(), open_drive(bundled_bag_path(), "front_wide"), 0.25, 3)


@pytest.fixture(scope="module")
def tiny(tiny_folder, held_out):
    return Bench(tiny_folder, open_shards(held_out, 1)[0], 5.0, 3, max_tokens=12)


def replica_net(bench, rope="mrope", **others):
    """Random weights, larger than at initialisation so that its texts vary."""
    vla, config = bench.vla, bench.vla.vlm.config
    start = vla.config.traj_token_start_idx
    image = config.image_token_id
    torch.manual_seed(0)
    net = ReplicaNet(
        ReplicaConfig(
            vocab_size=vla.text.embed_tokens.num_embeddings,
            end_token=bench.planner.parts.codec.end,
            image_token=image,
            unwritable=((start, start + vla.config.traj_vocab_size), (image, image + 1)),
            visual_width=config.vision_config.out_hidden_size,
            merge=config.vision_config.spatial_merge_size,
            rope=rope,
            hidden=16,
            heads=2,
            kv_heads=1,
            head_dim=12,
            intermediate=24,
            least_chance=0.0,
            **others,
        )
    )
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
    return net.eval()


def same(plain, tokens):
    return judge(plain, text_alone(tokens, forwards=1)) in (Exactness.EXACT, Exactness.EXCUSED)


@pytest.mark.parametrize("name", [GENERATE, LOOKUP, ASSISTED])
@pytest.mark.parametrize("scene", ["bundled", "tiny"])
def test_every_control_writes_our_text(scene, name, request):
    bench = request.getfixturevalue(scene)
    for observation in bench.observations:
        plain, inputs = bench.plain(observation)
        tokens, forwards = bench.controls.write(name, inputs)
        assert same(plain, tokens)
        assert bench.controls.first_token(inputs) == tokens[0]
        assert 1 <= forwards <= len(tokens)


def test_generate_makes_one_forward_a_token_and_lookup_no_more(bundled):
    _, inputs = bundled.plain(bundled.observations[0])
    tokens, forwards = bundled.controls.write(GENERATE, inputs)
    assert forwards == len(tokens)
    assert bundled.controls.write(LOOKUP, inputs)[1] <= forwards


def test_an_assistant_sees_the_pictures(bundled):
    # One that is the target itself is right throughout, unless it is blind.
    _, inputs = bundled.plain(bundled.observations[0])
    tokens, forwards = bundled.controls.write(ASSISTED, inputs)
    assert forwards <= 1 + len(tokens) // 10


@pytest.mark.parametrize("rope", ROPES)
def test_the_replica_assists_by_its_own_weights(tiny, rope):
    """What `generate` is offered is what the drafter writes, and the text stays ours."""
    net = replica_net(tiny, rope)
    assistant = replica_assistant(net)
    controls = TransformersControls(tiny.vla, tiny.planner.parts.codec.end, 12, assistant)
    module, offered = assistant.module, []
    module.generation_config.assistant_confidence_threshold = 0.0
    module.generation_config.num_assistant_tokens = 4
    generate = module.generate

    def noted(input_ids, **kwargs):
        made = generate(input_ids=input_ids, **kwargs)
        offered.append((input_ids[0].tolist(), made.sequences[0].tolist()))
        return made

    module.generate = noted
    for observation in tiny.observations:
        prompt = tiny.planner.parts.prompts.build(observation)
        plain, inputs = tiny.plain(observation)
        offered.clear()
        tokens, _ = controls.write(ASSISTED, inputs)
        assert same(plain, tokens)
        replica = Replica(net)
        replica.read(prompt.token_ids, tiny.target.encode(prompt.frames))
        assert len(offered) > 1
        for before, behind in offered:
            committed = before[len(prompt.token_ids) :]
            drafted, _ = replica.write(committed, len(behind) - len(before))
            assert list(drafted) == behind[len(before) :]
            assert len(drafted) > 0
    assert not module._forward_pre_hooks


def test_a_checkpoint_without_a_replica_has_no_assistant(tiny, tmp_path):
    resources = replace(tiny.planner.parts.resources, folder=tmp_path)
    assert assistant_of(resources) is None
    save_replica(tmp_path / "replica", replica_net(tiny), {})
    assistant = assistant_of(resources)
    controls = TransformersControls(tiny.vla, tiny.planner.parts.codec.end, 12, assistant)
    assert ASSISTED in controls.names
    plain, inputs = tiny.plain(tiny.observations[0])
    assert same(plain, controls.write(ASSISTED, inputs)[0])
    with pytest.raises(ConfigError, match="`rsd train replica`"):
        assistant_of(replace(resources, vocab_size=resources.vocab_size + 1))


def test_controls_leave_the_module_as_it_was(bundled):
    observation = bundled.observations[0]
    before, inputs = bundled.plain(observation)
    bundled.controls.write(ASSISTED, inputs)
    assert bundled.plain(observation)[0].tokens == before.tokens
    assert not bundled.vla.vlm._forward_pre_hooks
    assert not bundled.twin._forward_pre_hooks


def test_an_unknown_control_is_named(tiny):
    _, inputs = tiny.plain(tiny.observations[0])
    with pytest.raises(ValueError, match="beam"):
        tiny.controls.write("beam", inputs)


def test_controls_are_measured_beside_the_drafters(tiny):
    controls = TransformersControls(tiny.vla, tiny.planner.parts.codec.end, 12)
    (tick,) = measure_drive(tiny.planner, tiny.observations[:1], [NoDrafter()], controls=controls)
    by_name = {one.drafter: one for one in tick}
    assert set(by_name) == {"none", "floor", GENERATE, LOOKUP}
    for name in (GENERATE, LOOKUP):
        assert by_name[name].exactness in (Exactness.EXACT, Exactness.EXCUSED)
        assert by_name[name].reasoning_only
        assert by_name[name].reasoning_ms > 0
