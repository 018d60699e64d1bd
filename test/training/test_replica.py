"""The replica learns what its target says and how surely, from drives that cost nothing to make."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_drives import FRAMES, KilledError
from safetensors.torch import load_file

from rsd_planner.build import build_planner
from rsd_planner.cli import main
from rsd_planner.commands._shard_drives import open_shards
from rsd_planner.config import PlannerSettings
from rsd_planner.decoding.drafters.catalog import make_drafter
from rsd_planner.errors import CommandError
from rsd_planner.evaluation.known_texts import accepted_first
from rsd_planner.models.checkpoint import Checkpoint, load_checkpoint
from rsd_planner.models.replica import ReplicaNet
from rsd_planner.training.asked_target import LIKELIEST, TargetLabels, target_labels
from rsd_planner.training.data import DriveSet
from rsd_planner.training.features import cached_features
from rsd_planner.training.replica import (
    SIZES,
    ReplicaRun,
    Told,
    _Student,
    count_forwards,
    distillation,
)
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.said_ticks import SaidTicks
from rsd_planner.training.target_texts import target_texts
from rsd_planner.types import Draft, SpanSource

STEPS, MAX_TOKENS = 50, 10


@pytest.fixture(scope="module")
def checkpoint(model: Path) -> Checkpoint:
    return load_checkpoint(model)


def job(model: Path, made: Path, folder: Path, **others: object) -> ReplicaRun:
    values = {"size": SIZES["toy"], "max_tokens": MAX_TOKENS, "learning_rate": 1e-2}
    values |= {"save_every_s": 1e6, "evaluations": 1, **others}
    return ReplicaRun(model, made, folder, folder / "drafters", STEPS, **values)


@pytest.fixture(scope="module")
def work(model: Path, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("work")
    job(model, made, folder).run()
    return folder


@pytest.fixture(scope="module")
def ticks(checkpoint: Checkpoint, made: Path, work: Path) -> SaidTicks:
    """The training ticks, as the run saw them."""
    data = DriveSet(made / "train")
    said = target_texts(checkpoint, data, work, Runtime(), MAX_TOKENS)
    features = cached_features(checkpoint.vla, data, work, "replica_train", Runtime())
    return SaidTicks(checkpoint, data, said, features)


# A run


def test_the_loss_falls_and_texts_are_known(work: Path) -> None:
    lines = (work / "replica_mrope.jsonl").read_text().splitlines()
    losses = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    assert losses[-1] < 0.6 * losses[0]
    card = json.loads((work / "drafters" / "replica.json").read_text())["card"]
    held_out = card["held_out"]
    assert held_out["token_accuracy"] > 0.5
    assert held_out["tokens_per_forward"] > 1.2
    assert {"first", "whole", "novel_first", "novel_tokens_per_forward"} <= set(held_out)
    assert card["ticks"] == 2 * (FRAMES - 3) and card["seed"] == 0


def test_a_killed_run_ends_like_one_that_was_not(
    model: Path, made: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, calls = _Student.loss, []

    def until_killed(self, which, labels):
        calls.append(1)
        if len(calls) > STEPS // 2:
            raise KilledError
        return loss(self, which, labels)

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(_Student, "loss", until_killed)
        job(model, made, tmp_path, save_every_s=0.0).run()
    assert int(load_file(str(tmp_path / "replica_mrope.safetensors"))["step"]) == STEPS // 2
    job(model, made, tmp_path).run()
    for name in ("replica.safetensors", "replica.json"):
        ours, whole = (folder / "drafters" / name for folder in (tmp_path, work))
        assert ours.read_bytes() == whole.read_bytes(), name


def test_a_state_of_other_settings_is_refused(model: Path, made: Path, work: Path) -> None:
    with pytest.raises(CommandError, match="another seed; take another --work"):
        job(model, made, work, seed=1).run()


def test_scores_are_those_of_the_decoder(model: Path, made: Path, work: Path) -> None:
    """Counted from one forward over each text, or drafted token by token before the target."""
    settings = PlannerSettings.from_mapping(
        {"model_path": str(model), "max_reasoning_tokens": MAX_TOKENS, "worker_threads": 1}
    )
    planner = build_planner(settings)
    resources = replace(planner.parts.resources, folder=work / "drafters")
    drafter = make_drafter("replica", resources)
    (drive,) = open_shards(made / "heldout")
    first, forwards, tokens = [], 0, 0
    for observation in drive.observations(settings, planner.requirements, 5.0):
        prompt = planner.parts.prompts.build(observation)
        decoded = planner.decode(prompt, observation.history, drafter)
        first.append(accepted_first(decoded))
        forwards += decoded.target_forwards
        tokens += len(decoded.tokens)
    held_out = json.loads((work / "drafters" / "replica.json").read_text())["card"]["held_out"]
    assert len(first) == FRAMES - 3
    # A near tie may fall otherwise in one tick or two.
    assert np.mean(first) == pytest.approx(held_out["first"], abs=0.25)
    assert tokens / forwards == pytest.approx(held_out["tokens_per_forward"], abs=0.12)
    assert 0 < np.mean(first) < MAX_TOKENS


def test_the_planner_drafts_with_what_was_learned(model: Path, work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    shutil.copytree(work / "drafters", folder / "drafters")
    settings = {"model_path": str(folder), "drafter": "replica", "worker_threads": 1}
    planner = build_planner(PlannerSettings.from_mapping(settings))
    assert planner.drafter.name == "replica"
    planner.warm_up((32, 64))


def test_the_command_trains(model: Path, made: Path, tmp_path: Path) -> None:
    words = ["--data", str(made), "--model", str(model), "--work", str(tmp_path / "work")]
    more = ["--out", str(tmp_path / "out"), "--size", "toy", "--steps", "2", "--evaluations", "1"]
    assert main(["train", "replica", *words, *more, "--rope", "flat"]) == 0
    facts = json.loads((tmp_path / "out" / "replica.json").read_text())
    assert facts["config"]["rope"] == "flat" and facts["card"]["steps"] == 2
    assert (tmp_path / "out" / "replica.safetensors").stat().st_size < 1e6


# What the target says of its texts


def test_labels_are_the_target_s_own_chances(
    checkpoint: Checkpoint, made: Path, ticks: SaidTicks, work: Path
) -> None:
    start = checkpoint.vla.config.traj_token_start_idx
    masked = ((start, start + checkpoint.vla.config.traj_vocab_size),)
    labels = target_labels(checkpoint, ticks, work, Runtime(), masked)
    settings = PlannerSettings.from_mapping({"model_path": str(checkpoint.folder)})
    planner = build_planner(settings)
    seen = [o for d in open_shards(made / "train") for o in d.observations(
        settings, planner.requirements, 5.0)]  # fmt: skip
    assert len(seen) == len(ticks) == len(labels.start) - 1
    for tick in (0, 4, FRAMES - 3, 2 * (FRAMES - 3) - 1):
        text = ticks.said.texts[tick]
        draft = Draft(text, (SpanSource.LOOKUP,) * len(text))
        step = planner.parts.target.prefill(planner.parts.prompts.build(seen[tick]), draft)
        best, which = torch.softmax(step.logits[:-1], dim=-1).topk(LIKELIEST, dim=-1)
        tokens, chances = labels.batch(np.array([tick]), 16)
        assert tokens[0, : len(text), 0].tolist() == list(text)
        assert tokens[0, : len(text)].tolist() == which.tolist()
        torch.testing.assert_close(chances[0, : len(text)], best, atol=2e-3, rtol=4e-3)
        assert not chances[0, len(text) :].any()


def test_labels_are_kept_drive_by_drive(
    checkpoint: Checkpoint,
    ticks: SaidTicks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = target_labels(checkpoint, ticks, tmp_path, Runtime(), ())
    files = sorted(tmp_path.glob("logits_*/drive_*.npz"))
    assert len(files) == 2
    files[1].unlink()
    again = target_labels(checkpoint, ticks, tmp_path, Runtime(), ())
    assert (again.tokens == first.tokens).all() and (again.log_chances == first.log_chances).all()
    monkeypatch.setattr("rsd_planner.training.asked_target.run_text_stack", None)
    kept = target_labels(checkpoint, ticks, tmp_path, Runtime(), ())
    assert (kept.tokens == first.tokens).all()


def test_labels_belong_to_what_can_be_written(
    checkpoint: Checkpoint, ticks: SaidTicks, tmp_path: Path
) -> None:
    free = target_labels(checkpoint, ticks, tmp_path, Runtime(), ())
    first = int(free.tokens[0, 0])
    bound = target_labels(checkpoint, ticks, tmp_path, Runtime(), ((first, first + 1),))
    assert not (bound.tokens[:, 0] == first).any() and (free.tokens[:, 0] == first).any()
    assert len(list(tmp_path.glob("logits_*/drive_*.npz"))) == 4


# The loss


def test_distillation_is_least_where_the_chances_are_the_target_s() -> None:
    """With the target's own chances what is left is their entropy and the text's surprise."""
    theirs = torch.tensor([[[2.0, 1.0, 0.0, -1.0, -1.0]]])
    chances, likeliest = torch.softmax(theirs, dim=-1).topk(3, dim=-1)
    token = torch.tensor([[0]])
    alike = distillation(theirs, token, likeliest, chances)
    parts = torch.cat([chances, 1 - chances.sum(-1, keepdim=True)], dim=-1)
    entropy = -(parts * parts.log()).sum(-1)
    torch.testing.assert_close(alike, 0.5 * entropy - 0.5 * chances[..., 0].log())
    for change in ([0, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0, -1, 1, 0, 0]):
        other = theirs + torch.tensor(change) * 0.5
        soft = 2 * distillation(other, token, likeliest, chances)
        soft += torch.log_softmax(other, -1)[..., 0]
        assert soft > entropy + 1e-3


def test_tokens_that_it_cannot_write_teach_nothing(ticks: SaidTicks, checkpoint: Checkpoint):
    """A target that writes a picture's placeholder must not blow up the loss."""
    config = job(checkpoint.folder, Path(), Path())._config(checkpoint)
    start = config.image_token
    text = (ticks.said.texts[0][0], start, *ticks.said.texts[0][2:])
    said = replace(ticks.said, texts=(text,) * len(ticks))
    odd = SaidTicks(checkpoint, ticks.data, said, ticks.features)
    torch.manual_seed(0)
    student = _Student(ReplicaNet(config), odd, Runtime())
    count = len(text) * len(ticks)
    labels = replace(target_labels_of_nothing(count), start=np.arange(0, count + 1, len(text)))
    loss, _ = student.loss(np.arange(2), labels)
    assert 0 < float(loss.detach()) < 100


def target_labels_of_nothing(rows: int) -> TargetLabels:
    zeros = np.zeros((rows, LIKELIEST))
    return TargetLabels(np.zeros(1, np.int64), zeros.astype(np.int32), zeros.astype(np.float16))


# Counts


def test_forwards_are_counted_as_the_decoder_makes_them() -> None:
    sure = Told([True] * 5, [1.0] * 5)
    assert count_forwards(sure, 0.3, 32) == (5, 1)
    assert count_forwards(sure, 0.3, 2) == (2, 2)  # two, one of the target, two
    wrong = Told([True, False, True, True, False], [1.0] * 5)
    assert count_forwards(wrong, 0.3, 32) == (1, 3)  # the target writes the last one: fed once more
    unsure = Told([True] * 5, [0.5] * 5)
    assert count_forwards(unsure, 0.3, 32) == (1, 3)
    assert count_forwards(unsure, 0.2, 32) == (2, 2)
    assert count_forwards(Told([False] * 3, [1.0] * 3), 0.3, 32) == (0, 4)
