"""The glance learns what its target says, from drives that cost nothing to make."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_drives import KilledError
from safetensors.torch import load_file

from rsd_planner.build import build_planner, drafter_resources
from rsd_planner.cli import main
from rsd_planner.config import PlannerSettings
from rsd_planner.decoding.drafters.glance import GlanceDrafter
from rsd_planner.errors import CommandError, ConfigError
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.glance_kernel import load_glance
from rsd_planner.models.pointer import Asked, Pointer
from rsd_planner.models.presets import write_random_checkpoint
from rsd_planner.training.glance import SIZES, GlanceExamples, GlanceRun

STEPS, MAX_TOKENS = 60, 10


def job(model: Path, made: Path, folder: Path, **others: object) -> GlanceRun:
    values = {"size": SIZES["toy"], "max_tokens": MAX_TOKENS, "learning_rate": 1e-2}
    values |= {"save_every_s": 1e6, "evaluations": 1, **others}
    return GlanceRun(model, made, folder, folder / "drafters", STEPS, **values)


@pytest.fixture(scope="module")
def work(model: Path, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("work")
    job(model, made, folder).run()
    return folder


def test_the_loss_falls_and_held_out_texts_are_known(work: Path) -> None:
    entries = [json.loads(line) for line in (work / "glance.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < 0.6 * losses[0]
    held_out = json.loads((work / "drafters" / "glance.json").read_text())["card"]["held_out"]
    assert held_out["token_accuracy"] > 0.5
    assert {"whole", "novel_whole", "isolated_whole", "isolated_novel_whole"} <= set(held_out)


def test_a_killed_run_ends_like_one_that_was_not(
    model: Path, made: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, calls = GlanceExamples.batch, []

    def until_killed(self, *others):
        calls.append(1)
        if len(calls) > STEPS // 2:
            raise KilledError
        return batch(self, *others)

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(GlanceExamples, "batch", until_killed)
        job(model, made, tmp_path, save_every_s=0.0).run()
    assert int(load_file(str(tmp_path / "glance.safetensors"))["step"]) == STEPS // 2
    job(model, made, tmp_path).run()
    for name in ("glance.safetensors", "glance.json"):
        ours, whole = (folder / "drafters" / name for folder in (tmp_path, work))
        assert ours.read_bytes() == whole.read_bytes(), name


@pytest.mark.parametrize("skip", [0, 1])
def test_at_work_it_judges_as_it_learned(model: Path, made: Path, work: Path, skip: int) -> None:
    """One text with its tree of ends says what the batch of whole texts does. Without a last text
    too (`skip` 0)."""
    checkpoint = load_checkpoint(model)
    ticks = job(model, made, work).ticks(checkpoint, "train")
    glance = load_glance(*(work / "drafters" / f"glance.{end}" for end in ("safetensors", "json")))
    config = glance.config
    examples = GlanceExamples(ticks, config, 0.1)
    which = np.arange(1, 7)
    batch = examples.batch(which, None, skip)
    for row, tick in enumerate(which):
        old = ticks.said.texts[tick - 1] if skip else ()
        pictures = torch.from_numpy(ticks.features[ticks.shown[tick]]).float()
        pasts = examples._texts.pasts(which, None, skip)
        since = np.asarray(pasts.texts[row][1], np.float32)[: len(old)]
        if row == 0:  # as in a tick that follows minutes of the same
            since = since + 1e4
            batch.since[0, : len(old)] += 1e4
        with torch.inference_mode():
            expected = torch.softmax(glance._net.logits(batch), dim=-1)
        known = glance.known(old)
        glance.read(list(pictures), pasts.motion[row], known, *since.T.tolist())
        text = ticks.said.texts[tick]
        known = glance.known(text)
        places = Pointer(glance.known(old)).along(known)
        # The text as one guess, and each of its ends for itself, all at once.
        whole = Asked((), known[:-1], places[:-1])
        ends = [
            Asked(known[:length], (), places[length : length + 1]) for length in range(len(text))
        ]
        first, *others = glance.judge([whole, *ends])
        for place, (options, alone) in enumerate(zip(first, others, strict=True)):
            assert [token for token, _ in alone[0]] == [token for token, _ in options]
            np.testing.assert_allclose(
                *zip(*((a[1], b[1]) for a, b in zip(alone[0], options))), atol=1e-5
            )
            chances = expected[row, place]
            best = chances.topk(len(options))
            assert [token for token, _ in options] == best.indices.tolist()
            np.testing.assert_allclose([c for _, c in options], best.values.numpy(), atol=1e-5)


def test_the_pointer_goes_on_finds_pairs_again_and_takes_what_is_new_for_a_replacement() -> None:
    along = Pointer((5, 6, 7, 8, 6, 9)).along
    assert along((5, 6, 7)) == [0, 1, 2, 3]
    assert along((5, 4, 7)) == [0, 1, 2, 3], "4 took the place of 6"
    assert along((5, 6, 9)) == [0, 1, 2, 6], "what stood between was left out"
    assert along((7, 8, 6)) == [0, 1, 4, 5], "its beginning was left out"
    assert along((5, 6, 7, 8, 6, 9, 3, 3)) == [0, 1, 2, 3, 4, 5, 6, 6, 6], "never behind the end"


def in_model(model: Path, work: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    shutil.copytree(work / "drafters", folder / "drafters")
    return folder


@pytest.mark.parametrize("name", ["glance", "cascade"])
def test_the_planner_drafts_with_what_was_learned(
    model: Path, work: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = in_model(model, work, tmp_path / "model")
    settings = {"model_path": str(folder), "drafter": name, "worker_threads": 1}
    planner = build_planner(PlannerSettings.from_mapping(settings))
    assert planner.drafter.name == name
    drafted: list[int] = []
    grow = GlanceDrafter._grow

    def noting(self, committed, budget):
        draft = grow(self, committed, budget)
        drafted.append(len(draft))
        return draft

    monkeypatch.setattr(GlanceDrafter, "_grow", noting)
    planner.warm_up((32, 64))
    assert any(drafted), "it sees the planner's pictures"


def resources_of(checkpoint: Checkpoint, work: Path):
    return replace(drafter_resources(checkpoint), folder=work / "drafters", encode=lambda _: [])


def test_what_was_made_for_another_target_is_refused(
    model: Path, work: Path, tmp_path: Path
) -> None:
    resources = resources_of(load_checkpoint(model), work)
    GlanceDrafter.make(resources)
    for other in ({"vocab_size": 9}, {"end_token": 1}, {"visual_width": 3}, {"history_tokens": 6}):
        with pytest.raises(ConfigError, match="rsd train glance"):
            GlanceDrafter.make(replace(resources, **other))
    with pytest.raises(ConfigError, match="vision tower"):
        GlanceDrafter.make(replace(resources, encode=None))
    with pytest.raises(ConfigError, match="rsd train glance"):
        GlanceDrafter.make(replace(resources, folder=tmp_path))


def test_a_state_of_another_target_is_refused(
    model: Path, made: Path, work: Path, tmp_path: Path
) -> None:
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)
    other = write_random_checkpoint(tmp_path / "other", seed=4)
    with pytest.raises(CommandError, match="another checkpoint"):
        replace(job(model, made, tmp_path), model=other).run()


def test_the_command_trains(model: Path, made: Path, tmp_path: Path) -> None:
    words = ["--data", str(made), "--model", str(model), "--work", str(tmp_path / "work")]
    more = ["--out", str(tmp_path / "out"), "--size", "toy", "--steps", "2", "--evaluations", "1"]
    assert main(["train", "glance", *words, *more]) == 0
    assert (tmp_path / "out" / "glance.safetensors").stat().st_size < 1e6
