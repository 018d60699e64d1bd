"""Transformers' own decoding of our prompts: the same texts, or it is no control."""

from __future__ import annotations

import copy
import itertools

import pytest

from rsd_planner.build import build_planner
from rsd_planner.commands._drives import bundled_bag_path, open_drive
from rsd_planner.commands._shard_drives import open_shards
from rsd_planner.config import PlannerSettings, bundled_model_path
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.evaluation.acceptance import Exactness, judge
from rsd_planner.evaluation.benchmark import measure_drive, text_alone
from rsd_planner.evaluation.controls import (
    ASSISTED,
    GENERATE,
    LOOKUP,
    Assistant,
    TransformersControls,
)

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
            self.vla, parts.codec.end, max_tokens, Assistant(self.twin, self.target.encode)
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
