"""The bundled mini on the bundled bag: exact, readable, grounded, and on the road."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rsd_planner.build import build_planner
from rsd_planner.commands._drives import BagDrive, bundled_bag_path, open_drive
from rsd_planner.config import PlannerSettings, bundled_model_path
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.evaluation.acceptance import Exactness, judge
from rsd_planner.planning.decision import decision_of
from rsd_planner.planning.ego_history import OdometryTrack, rotation_matrix
from rsd_planner.planning.planner import Planner
from rsd_planner.types import Decision, Decoded, EgoHistory, Observation, Trajectory

pytestmark = pytest.mark.slow

HZ = 5.0
TWO_SECONDS = 19  # row of a path at t0 + 2 s


@dataclass
class Tick:
    observation: Observation
    plain: Decoded
    fast: Decoded
    cache_difference: float
    path_difference_m: float
    trajectory: Trajectory
    text: str


@pytest.fixture(scope="module")
def planner() -> Planner:
    return build_planner(PlannerSettings.from_mapping({"worker_threads": 2}))


@pytest.fixture(scope="module")
def drive() -> BagDrive:
    return open_drive(bundled_bag_path(), "front_wide")


@pytest.fixture(scope="module")
def ticks(planner: Planner, drive: BagDrive) -> list[Tick]:
    """Every tick of the drive, decoded plainly and with the drafts that the node would use."""
    settings = PlannerSettings.from_mapping({})
    plain, fast = NoDrafter(), make_drafter(settings.drafter, planner.parts.resources)
    made = []
    for seen in drive.observations(settings, planner.requirements, HZ):
        prompt = planner.parts.prompts.build(seen)
        features = planner.parts.target.encode(prompt.frames)
        reference = planner.decode(prompt, seen.history, plain, features)
        cache, path = _cache_of(planner), planner.sample(seen.history)
        drafted = planner.decode(prompt, seen.history, fast, features)
        again, fast_path = _cache_of(planner), planner.sample(seen.history)
        same_shape = cache.shape == again.shape
        made.append(
            Tick(
                seen,
                reference,
                drafted,
                float((cache - again).abs().max()) if same_shape else float("inf"),
                float(np.abs(path.position_m - fast_path.position_m).max()),
                path,
                "".join(planner.parts.codec.pieces(reference.tokens)),
            )
        )
    return made


def _cache_of(planner: Planner) -> torch.Tensor:
    """Keys and values of every layer, as one tensor."""
    layers = planner.parts.target.layers
    pairs = [planner.parts.target.cache_layer(i) for i in range(layers)]
    return torch.stack([t.clone() for pair in pairs for t in pair])


def test_nearly_every_tick_gets_an_observation(ticks: list[Tick], drive: BagDrive) -> None:
    """All but those before the first 1.5 s of history have come in."""
    assert len(ticks) >= 0.95 * (len(ticks) + sum(drive.skipped.values()))


def test_every_tick_is_exact(ticks: list[Tick]) -> None:
    verdicts = Counter(judge(t.plain, t.fast) for t in ticks)
    assert verdicts[Exactness.WRONG] == 0
    assert verdicts[Exactness.EXCUSED] <= 0.001 * len(ticks)


def test_cache_and_path_are_those_of_plain_decoding(ticks: list[Tick]) -> None:
    exact = [t for t in ticks if judge(t.plain, t.fast) is Exactness.EXACT]
    assert max(t.cache_difference for t in exact) <= 1e-4
    assert max(t.path_difference_m for t in exact) <= 1e-4


def test_drafts_save_target_forwards(ticks: list[Tick]) -> None:
    plain = sum(t.plain.target_forwards for t in ticks)
    assert sum(t.fast.target_forwards for t in ticks) * 8 < plain


@pytest.mark.parametrize("name", ["routine", "glance", "blend", "routine_block", "cascade_block"])
def test_what_was_learned_saves_forwards_and_changes_nothing(
    planner: Planner, ticks: list[Tick], name: str
) -> None:
    drafter = make_drafter(name, planner.parts.resources)
    plain = fast = 0
    for tick in ticks[40:80]:
        prompt = planner.parts.prompts.build(tick.observation)
        drafted = planner.decode(prompt, tick.observation.history, drafter)
        assert judge(tick.plain, drafted) is not Exactness.WRONG
        plain += tick.plain.target_forwards
        fast += drafted.target_forwards
    assert fast * 4 < plain


def test_texts_are_short_and_change(ticks: list[Tick]) -> None:
    lengths = [len(t.plain.tokens) for t in ticks]
    assert 20 <= np.mean(lengths) <= 36
    assert np.quantile(lengths, 0.02) >= 12
    assert np.quantile(lengths, 0.98) <= 48
    texts = [t.text for t in ticks]
    equal = np.mean([a == b for a, b in zip(texts, texts[1:], strict=False)])
    assert equal <= 0.7
    assert len(set(texts)) >= 8
    decisions = {decision_of(t) for t in texts} - {Decision.UNKNOWN}
    assert len(decisions) >= 4
    assert np.mean([decision_of(t) is Decision.UNKNOWN for t in texts]) <= 0.02


def test_path_stays_in_the_lane(ticks: list[Tick], drive: BagDrive) -> None:
    """Lateral error at 2 s against what the car drove, in the ego frame at t0."""
    track = OdometryTrack(drive.states())
    errors, straight = [], []
    for tick in ticks:
        now = tick.observation.history.now
        later = track.at(np.array([now.stamp_ns + 2_000_000_000]), 0.25)
        if later is None:
            continue
        offset = later[0].position_m - now.position_m
        driven = rotation_matrix(now.orientation_xyzw).T @ offset
        errors.append(abs(tick.trajectory.position_m[TWO_SECONDS, 1] - driven[1]))
        straight.append(abs(driven[1]) < 0.5)
    on_line, around = np.array(errors)[straight], np.array(errors)[~np.array(straight)]
    assert len(on_line) > 100 and len(around) > 8  # it goes around cones
    assert np.mean(errors) <= 0.5
    assert np.quantile(on_line, 0.95) <= 0.5
    assert np.mean(around) <= 1.0


def texts_of(planner: Planner, seen: list[Observation]) -> list[str]:
    found = []
    for observation in seen:
        prompt = planner.parts.prompts.build(observation)
        decoded = planner.decode(prompt, observation.history, NoDrafter())
        found.append("".join(planner.parts.codec.pieces(decoded.tokens)))
    return found


def test_text_depends_on_the_picture_and_on_the_history(
    planner: Planner, ticks: list[Tick]
) -> None:
    some = [t.observation for t in ticks[:: max(1, len(ticks) // 25)]]
    normal = texts_of(planner, some)
    grey = [
        replace(o, frames=tuple(replace(f, image=np.full_like(f.image, 127)) for f in o.frames))
        for o in some
    ]
    standing = [replace(o, history=_standing(o.history)) for o in some]
    for changed in (grey, standing):
        differs = [a != b for a, b in zip(normal, texts_of(planner, changed), strict=True)]
        assert np.mean(differs) >= 0.6


def _standing(history: EgoHistory) -> EgoHistory:
    return replace(
        history,
        position_m=np.zeros_like(history.position_m),
        rotation=np.broadcast_to(np.eye(3), history.rotation.shape).copy(),
    )


def test_bundled_files_are_small_and_have_cards() -> None:
    for folder, most in ((bundled_bag_path(), 8e6), (Path(bundled_model_path()), 30e6)):
        assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= most
        assert (folder / "README.md").is_file()
