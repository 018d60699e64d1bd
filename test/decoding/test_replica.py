"""The replica drafts what its network says, from a cache that never remembers a rejection."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import MAX_TOKENS, assert_same, observation, run

from rsd_planner.build import drafter_resources
from rsd_planner.decoding.acceptance import Greedy, make_rule
from rsd_planner.decoding.decoder import DecodeLimits, decode
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.decoding.drafters.replica import ReplicaDrafter
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.sampling import Sampling
from rsd_planner.errors import ConfigError
from rsd_planner.interfaces import Acceptance, Drafter
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.replica import ROPES, Replica, ReplicaConfig, ReplicaNet, save_replica
from rsd_planner.models.target import VlaTarget
from rsd_planner.models.vision_cache import VisionFeatures
from rsd_planner.planning.prompt import make_prompt_builder
from rsd_planner.types import Decoded, Prompt, SpanSource

EVERYTHING = {"least_chance": 0.0, "block": MAX_TOKENS}


def config_for(checkpoint: Checkpoint, **others: object) -> ReplicaConfig:
    vla = checkpoint.vla
    start = vla.config.traj_token_start_idx
    image = vla.vlm.config.image_token_id
    values = {
        "vocab_size": vla.text.embed_tokens.num_embeddings,
        "end_token": checkpoint.codec.end,
        "image_token": image,
        "unwritable": ((start, start + vla.config.traj_vocab_size), (image, image + 1)),
        "visual_width": vla.vlm.config.vision_config.out_hidden_size,
        "merge": vla.vlm.config.vision_config.spatial_merge_size,
        "hidden": 16, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 12, "intermediate": 24,
    }  # fmt: skip
    return ReplicaConfig(**{**values, **others})


def net_for(checkpoint: Checkpoint, seed: int = 1, **others: object) -> ReplicaNet:
    """Random weights, larger than at initialisation so that its texts vary."""
    torch.manual_seed(seed)
    net = ReplicaNet(config_for(checkpoint, **others))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                scale = 1.5 / parameter.shape[-1] ** 0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return net.eval()


@pytest.fixture(scope="module")
def target(tiny: Checkpoint) -> VlaTarget:
    return VlaTarget(tiny.vla, tiny.image_processor)


@pytest.fixture(scope="module")
def seen(tiny: Checkpoint, target: VlaTarget) -> tuple[Prompt, list[VisionFeatures]]:
    """A prompt of two pictures, and these encoded."""
    prompt = make_prompt_builder(tiny).build(observation(1, 2))
    return prompt, target.encode(prompt.frames)


@pytest.fixture
def resources(tiny: Checkpoint, target: VlaTarget, tmp_path: Path) -> DrafterResources:
    """The tiny checkpoint's, with a replica of random weights."""
    save_replica(tmp_path / "replica", net_for(tiny, **EVERYTHING), {"seed": 1})
    return replace(drafter_resources(tiny), folder=tmp_path, encode=target.encode)


def fresh(net: ReplicaNet, seen: tuple[Prompt, list[VisionFeatures]]) -> Replica:
    replica = Replica(net, capacity=16)
    replica.read(seen[0].token_ids, seen[1])
    return replica


def whole_forward(
    net: ReplicaNet, seen: tuple[Prompt, list[VisionFeatures]], text: tuple[int, ...]
) -> torch.Tensor:
    """Logits (text + 1, vocab) by the class's own forward over prompt and text at once."""
    prompt, features = seen
    is_image = prompt.token_ids == net.config.image_token
    places = net.config.positions(is_image, [f.grid_thw for f in features])
    tail = places.max() + 1 + np.tile(np.arange(len(text)), (3, 1))
    places = torch.from_numpy(np.concatenate([places, tail], axis=1))[:, None]
    ids = torch.from_numpy(np.concatenate([prompt.token_ids, np.array(text, np.int64)]))[None]
    with torch.inference_mode():
        pictures = net.see(torch.cat([f.embeddings for f in features]))
        embeds = net.embed(ids, torch.from_numpy(np.flatnonzero(is_image)), pictures[None])
        made = net.text(inputs_embeds=embeds, position_ids=places, use_cache=False)
        return net.logits(made.last_hidden_state[0, -len(text) - 1 :])


# What it drafts


@pytest.mark.parametrize("rope", ROPES)
def test_drafts_are_the_greedy_text_of_whole_forwards(
    tiny: Checkpoint, seen: tuple[Prompt, list[VisionFeatures]], rope: str
) -> None:
    net = net_for(tiny, rope=rope, **EVERYTHING)
    replica = fresh(net, seen)
    for committed in ((), (70, 71, 72)):
        tokens, chances = replica.write(committed, 12)
        assert len(tokens) == len(chances) > 1
        chance, expected = torch.softmax(whole_forward(net, seen, committed + tokens), -1).max(-1)
        assert expected[len(committed) : -1].tolist() == list(tokens)
        torch.testing.assert_close(chance[len(committed) : -1], torch.tensor(chances))


def test_the_ropes_differ_where_there_are_pictures(
    tiny: Checkpoint, seen: tuple[Prompt, list[VisionFeatures]]
) -> None:
    flat, mrope = (whole_forward(net_for(tiny, rope=rope), seen, (70,)) for rope in ROPES)
    assert (flat - mrope).abs().max() > 1e-2


def test_it_sees_the_pictures(
    tiny: Checkpoint, target: VlaTarget, seen: tuple[Prompt, list[VisionFeatures]]
) -> None:
    prompt, features = seen
    others = target.encode(observation(2, 2).frames)
    net = net_for(tiny, **EVERYTHING)
    ours, theirs = (fresh(net, (prompt, f)).write((), 8) for f in (features, others))
    assert ours != theirs


def test_rolling_back_equals_a_fresh_forward(
    tiny: Checkpoint, seen: tuple[Prompt, list[VisionFeatures]]
) -> None:
    """Whatever was drafted and rejected before, text, chances and cache are a newcomer's."""
    net = net_for(tiny, **EVERYTHING)
    replica = fresh(net, seen)
    drafted, _ = replica.write((), 12)
    committed: tuple[int, ...] = ()
    for accepted, token in ((3, 75), (0, 76), (12, 77), (2, 78)):
        committed += drafted[:accepted] + (token,)
        drafted, chances = replica.write(committed, 12)
        newcomer = fresh(net, seen)
        assert newcomer.write(committed, 12)[0] == drafted
        assert newcomer.write(committed, 12)[1] == pytest.approx(chances, abs=1e-5)
        assert replica.cached_tokens == newcomer.cached_tokens
        for layer in range(net.config.layers):
            for ours, theirs in zip(replica.cache_layer(layer), newcomer.cache_layer(layer)):
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    back, _ = replica.write((), 12)
    assert back == fresh(net, seen).write((), 12)[0], "nothing is committed after all"


def test_a_tick_knows_nothing_of_the_one_before(
    tiny: Checkpoint, target: VlaTarget, seen: tuple[Prompt, list[VisionFeatures]]
) -> None:
    net = net_for(tiny, **EVERYTHING)
    replica = fresh(net, seen)
    replica.write((70, 71), 9)
    other = make_prompt_builder(tiny).build(observation(4, 1))
    replica.read(other.token_ids, target.encode(other.frames))
    assert replica.write((), 9) == fresh(net, (other, target.encode(other.frames))).write((), 9)


def test_a_draft_ends_where_it_is_too_unlikely_or_long_enough(
    tiny: Checkpoint, seen: tuple[Prompt, list[VisionFeatures]]
) -> None:
    whole, chances = fresh(net_for(tiny, **EVERYTHING), seen).write((), 12)
    for least in (0.0, 0.2, 0.6, 1.1):
        replica = fresh(net_for(tiny, least_chance=least, block=12), seen)
        tokens, _ = replica.write((), 99)
        sure = [i for i in range(len(whole)) if np.prod(chances[: i + 1]) < least]
        assert tokens == whole[: sure[0] if sure else 12]
        assert replica.write((), 2)[0] == whole[: min(2, len(tokens))]
        assert replica.write((), 0) == ((), ())


def test_it_never_writes_what_is_no_text(
    tiny: Checkpoint, seen: tuple[Prompt, list[VisionFeatures]]
) -> None:
    net = net_for(tiny, **EVERYTHING)
    tokens, _ = fresh(net, seen).write((), 12)
    banned = ((tokens[0], tokens[0] + 1), (tokens[1], tokens[1] + 1))
    again, _ = fresh(net_for(tiny, unwritable=banned, **EVERYTHING), seen).write((), 12)
    assert not set(tokens[:2]) & set(again)


# With a target


class Noting:
    """A network that notes what it is asked."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self, token_ids, features) -> None:
        self.reads += 1

    def write(self, committed, most):
        return (5, 6)[:most], (0.9, 0.8)[:most]


def test_the_prompt_is_read_once_a_tick(tiny: Checkpoint, target: VlaTarget) -> None:
    noting = Noting()
    drafter = ReplicaDrafter(noting, target.encode)
    for tick in (1, 2):
        outcome = run(tiny, observation(1, 1), drafter)
        assert outcome.decoded.drafter_calls > 1
        assert noting.reads == tick
    assert drafter.chances == (0.9, 0.8)


def rule_of(name: str) -> Acceptance:
    return make_rule(name, Sampling(temperature=0.6, top_p=0.98, seed=3))


@pytest.mark.parametrize("rule", ["greedy", "coupled"])
def test_texts_are_those_of_plain_decoding(
    tiny: Checkpoint, resources: DrafterResources, rule: str
) -> None:
    drafter = make_drafter("replica", resources)
    proposed = 0
    for seed, pictures in ((1, 2), (1, 2), (2, 3), (3, 0)):
        scene = observation(seed, pictures)
        plain = run(tiny, scene, rule=rule_of(rule))
        outcome = run(tiny, scene, drafter, rule=rule_of(rule))
        assert_same(plain, outcome)
        proposed += outcome.decoded.proposed
    assert proposed > 0


def test_a_replica_that_is_the_target_is_accepted_throughout(
    tiny: Checkpoint, target: VlaTarget, seen: tuple[Prompt, list[VisionFeatures]]
) -> None:
    """With the target's weights and eyes it drafts the target's text: nothing is out of place."""
    vla = tiny.vla
    text, start = vla.vlm.config.text_config, vla.config.traj_token_start_idx
    config = config_for(
        tiny, hidden=text.hidden_size, layers=text.num_hidden_layers,
        heads=text.num_attention_heads, kv_heads=text.num_key_value_heads, head_dim=text.head_dim,
        intermediate=text.intermediate_size,
        unwritable=((start, start + vla.config.traj_vocab_size),), **EVERYTHING,
    )  # fmt: skip
    net = ReplicaNet(config)
    net.text.load_state_dict(vla.text.state_dict())
    net.see = torch.nn.Identity()
    prompt, features = seen
    features = [replace(f, deepstack=()) for f in features]  # a replica does not read them

    def text_by(drafter: Drafter) -> Decoded:
        own = VlaTarget(vla, tiny.image_processor)
        limits = DecodeLimits(tiny.codec.end, MAX_TOKENS, MAX_TOKENS, own.vocab_size)
        prefill = partial(own.prefill, features=features)
        history = observation(1, 2).history
        return decode(own, drafter, Greedy(), prompt, history, limits, prefill)

    plain = text_by(NoDrafter())
    drafted = text_by(ReplicaDrafter(Replica(net), lambda _: features))
    assert drafted.tokens == plain.tokens
    assert drafted.accepted == len(plain.tokens) > 10
    assert set(drafted.sources) == {SpanSource.ROUTINE}
    assert drafted.target_forwards == 1


# Files


def test_missing_and_damaged_files_name_the_remedy(resources: DrafterResources) -> None:
    folder = resources.folder
    assert folder is not None
    weights, facts = folder / "replica.safetensors", folder / "replica.json"
    whole = weights.read_bytes(), facts.read_text()
    for file in (weights, facts):
        kept = file.read_bytes()
        file.unlink()
        with pytest.raises(ConfigError, match=f"{file.name} is missing.*`rsd train replica`"):
            make_drafter("replica", resources)
        file.write_bytes(kept)
    weights.write_bytes(whole[0][:-9])
    with pytest.raises(ConfigError, match="cannot be read.*`rsd train replica`"):
        make_drafter("replica", resources)
    weights.write_bytes(whole[0])
    for field, value in (("rope", "round"), ("hidden", 18), ("layers", 3), ("unwritable", 5)):
        raw = json.loads(whole[1])
        raw["config"][field] = value
        facts.write_text(json.dumps(raw))
        with pytest.raises(ConfigError, match="cannot be read.*`rsd train replica`"):
            make_drafter("replica", resources)


@pytest.mark.parametrize("field", ["vocab_size", "end_token", "visual_width"])
def test_files_of_another_checkpoint_are_refused(resources: DrafterResources, field: str) -> None:
    other = replace(resources, **{field: getattr(resources, field) + 1})
    with pytest.raises(ConfigError, match="another vocabulary or vision tower"):
        make_drafter("replica", other)


def test_without_a_target_there_is_nothing_to_see_with(resources: DrafterResources) -> None:
    with pytest.raises(ConfigError, match="vision tower"):
        make_drafter("replica", replace(resources, encode=None))
