"""The routine reasoner learns what its target says, from drives that cost nothing to make."""

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

from rsd_planner.build import build_planner, drafter_resources
from rsd_planner.cli import main
from rsd_planner.config import PlannerSettings
from rsd_planner.decoding.decoder import DecodeLimits
from rsd_planner.decoding.drafters.blend import BlendDrafter
from rsd_planner.decoding.drafters.previous_tick import PreviousTickDrafter
from rsd_planner.decoding.drafters.routine import RoutineDrafter
from rsd_planner.decoding.drafters.suffix import SuffixDrafter
from rsd_planner.errors import CommandError
from rsd_planner.evaluation.benchmark import OracleDrafter
from rsd_planner.evaluation.known_texts import accepted_first, recite
from rsd_planner.evaluation.proposals import Listener
from rsd_planner.models.checkpoint import load_checkpoint
from rsd_planner.models.pointer import NOTHING
from rsd_planner.models.presets import write_random_checkpoint
from rsd_planner.training import routine
from rsd_planner.training.data import DriveSet
from rsd_planner.training.routine import SIZES, RoutineRun, known_ticks
from rsd_planner.training.routine_examples import RoutineExamples, vocabulary_of
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.target_texts import TargetTexts, target_texts
from rsd_planner.types import SpanSource

STEPS, MAX_TOKENS = 60, 10


def job(model: Path, made: Path, folder: Path, **others: object) -> RoutineRun:
    values = {"size": SIZES["toy"], "max_tokens": MAX_TOKENS, "learning_rate": 1e-2}
    values |= {"save_every_s": 1e6, "evaluations": 1, **others}
    return RoutineRun(model, made, folder, folder / "drafters", STEPS, **values)


@pytest.fixture(scope="module")
def work(model: Path, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("work")
    job(model, made, folder).run()
    return folder


def test_the_loss_falls_and_drafts_get_longer(work: Path) -> None:
    entries = [json.loads(line) for line in (work / "routine.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < 0.6 * losses[0]
    card = json.loads((work / "drafters" / "routine.json").read_text())["card"]
    held_out = card["held_out"]
    assert held_out["first"] > 1.0
    assert {"novel_first", "copy_first", "copy_novel_whole", "isolated_first"} <= set(held_out)
    assert card["ticks"] == 2 * (FRAMES - 3) and card["seed"] == 0


def test_a_killed_run_ends_like_one_that_was_not(
    model: Path, made: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, calls = RoutineExamples.batch, []

    def until_killed(self, ticks, rng):
        calls.append(1)
        if len(calls) > STEPS // 2:
            raise KilledError
        return batch(self, ticks, rng)

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(RoutineExamples, "batch", until_killed)
        job(model, made, tmp_path, save_every_s=0.0).run()
    assert int(load_file(str(tmp_path / "routine.safetensors"))["step"]) == STEPS // 2
    job(model, made, tmp_path).run()
    for name in ("routine.safetensors", "routine.json", "texts.json"):
        ours, whole = (folder / "drafters" / name for folder in (tmp_path, work))
        assert ours.read_bytes() == whole.read_bytes(), name


def test_a_state_of_another_target_or_of_other_settings_is_refused(
    model: Path, made: Path, work: Path, tmp_path: Path
) -> None:
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)
    run = job(model, made, tmp_path)
    state, note = (tmp_path / f"routine.{end}" for end in ("safetensors", "made_for.json"))
    before = state.read_bytes(), note.read_bytes()
    with pytest.raises(CommandError, match="another seed, batch; take another --work"):
        replace(run, seed=1, size=replace(SIZES["toy"], batch=8)).run()
    with pytest.raises(CommandError, match="another checkpoint"):
        replace(run, model=write_random_checkpoint(tmp_path / "other", seed=4)).run()
    with pytest.raises(CommandError, match="ticks; take another --work"):
        replace(run, limit=1).run()
    assert (state.read_bytes(), note.read_bytes()) == before


def test_an_old_state_without_a_note_goes_on(
    model: Path, made: Path, work: Path, tmp_path: Path
) -> None:
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)
    note = tmp_path / "routine.made_for.json"
    note.unlink()
    scores = job(model, made, tmp_path).run()
    card = json.loads((work / "drafters" / "routine.json").read_text())["card"]
    assert scores["first"] == pytest.approx(card["held_out"]["first"], abs=1e-3)
    assert not note.exists(), "nobody knows whose it is"


def test_the_weights_that_are_saved_are_scored(
    model: Path, made: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)  # the training is done
    scores, are_halves = routine._scores, []

    def noting(drafter, *others):
        weights = drafter._reasoner._net._net.parameters()
        are_halves.append(all(torch.equal(w, w.half().float()) for w in weights))
        return scores(drafter, *others)

    monkeypatch.setattr(routine, "_scores", noting)
    job(model, made, tmp_path).run()
    assert are_halves == [True]


def test_the_planner_drafts_with_what_was_learned(model: Path, work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    shutil.copytree(work / "drafters", folder / "drafters")
    settings = {"model_path": str(folder), "drafter": "routine", "worker_threads": 1}
    planner = build_planner(PlannerSettings.from_mapping(settings))
    assert planner.drafter.name == "routine"
    planner.warm_up((32, 64))


def test_what_was_learned_has_a_vote_in_the_blend(model: Path, made: Path, work: Path) -> None:
    checkpoint = load_checkpoint(model)
    resources = replace(drafter_resources(checkpoint), folder=work / "drafters")
    blend = Listener(BlendDrafter(SuffixDrafter(), RoutineDrafter.make(resources)))
    data = DriveSet(made / "heldout")
    ticks = list(known_ticks(data, said_by(model, data, work), 0.1))
    limits = DecodeLimits(checkpoint.codec.end, MAX_TOKENS, 48, resources.vocab_size)
    sources: set[SpanSource] = set()
    for tick, decoded in zip(ticks, recite(blend, ticks, limits), strict=True):
        assert decoded.tokens == tick.text
        assert blend.noted[0].start == 0, "before any picture is encoded"
        sources |= {source for one in blend.noted for source in one.draft.sources}
    assert sources == {SpanSource.LOOKUP, SpanSource.ROUTINE}


# The target's texts


def said_by(model: Path, data: DriveSet, folder: Path) -> TargetTexts:
    return target_texts(load_checkpoint(model), data, folder, Runtime(), MAX_TOKENS)


def test_texts_are_kept_and_torn_ones_are_made_again(
    model: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DriveSet(made / "train")
    first = said_by(model, data, tmp_path)
    assert len(first) == 2 * (FRAMES - 3)
    assert all(1 <= len(text) <= MAX_TOKENS for text in first.texts)
    (file,) = tmp_path.glob("texts_*.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    again = said_by(model, data, tmp_path)
    assert again.texts == first.texts and file.read_bytes() == whole
    monkeypatch.setattr("rsd_planner.training.target_texts.BatchedModel", None)
    one_drive = said_by(model, DriveSet(made / "train", 1), tmp_path)
    assert one_drive.texts == first.texts[: FRAMES - 3]


def test_texts_of_another_checkpoint_are_others(model: Path, made: Path, tmp_path: Path) -> None:
    other = write_random_checkpoint(tmp_path / "other", seed=4)
    data = DriveSet(made / "heldout")
    ours, theirs = (said_by(folder, data, tmp_path) for folder in (model, other))
    assert ours.texts != theirs.texts
    assert len(list(tmp_path.glob("texts_*.jsonl"))) == 2


# Examples


def told_texts(data: DriveSet) -> TargetTexts:
    """Texts in which one token counts up every second tick."""
    frames = data.ticks()[:, -1]
    texts = tuple((5, 20 + i // 2, 6, 7) for i in range(len(frames)))
    return TargetTexts(frames, texts)


def test_examples_are_what_the_drafter_would_know(made: Path) -> None:
    data = DriveSet(made / "train")
    said = told_texts(data)
    examples = RoutineExamples(data, said, vocabulary_of(said.texts), MAX_TOKENS, 0.1)
    ticks = np.repeat(np.arange(len(said)), 30)
    batch = examples.batch(ticks, np.random.default_rng(0))
    assert batch.old.valid is not None
    gap_s = (batch.motion[:, -2] / 2).double().numpy().round(3)
    counts = dict(zip(*np.unique(gap_s[batch.old.valid.any(1).numpy()], return_counts=True)))
    assert set(counts) == {0.0, 0.2, 0.4, 0.6}
    assert max(counts, key=counts.get) == 0.2
    index = {token: i for i, token in enumerate(vocabulary_of(said.texts), start=2)}
    for row, tick in enumerate(ticks):
        text = [index[t] for t in said.texts[tick]]
        assert batch.new[row, :4].tolist() == text
        assert 0 <= int(batch.committed[row]) < 4
        if batch.old.valid[row].any():
            before = tick - round(float(gap_s[row]) / 0.2)
            assert data.drive[said.frames[before]] == data.drive[said.frames[tick]]
            old = batch.old.tokens[row, :4].tolist()
            assert old == [index[t] for t in said.texts[before]]
            assert (batch.old.tokens[row, 4:] == NOTHING).all()
            if gap_s[row] in (0.0, 0.2):  # the number came with even ticks, the rest at first
                start = 0 if tick < FRAMES - 3 else FRAMES - 3
                since_s = 0.2 * np.array([tick - start, tick - max(start, before // 2 * 2)])
                found = batch.old.since[row, :2, 0].numpy()
                if start % 2 == 0:
                    np.testing.assert_allclose(found, since_s, atol=2e-3)


def test_known_texts_count_forwards_like_the_decoder(made: Path) -> None:
    data = DriveSet(made / "heldout")
    ticks = list(known_ticks(data, told_texts(data), 0.1))
    assert [tick.first for tick in ticks] == [True] + [False] * (len(ticks) - 1)
    limits = DecodeLimits(7, MAX_TOKENS, 48, 100)
    copied = list(recite(PreviousTickDrafter(), ticks, limits))
    assert [d.tokens for d in copied] == [tick.text for tick in ticks]
    assert [accepted_first(d) for d in copied] == [0] + [
        4 if i % 2 else 1 for i in range(1, FRAMES - 3)
    ]
    assert [d.target_forwards for d in copied[:3]] == [5, 1, 2]
    alone = list(recite(PreviousTickDrafter(), ticks, limits, isolated=True))
    assert {d.accepted for d in alone} == {0}
    oracle = OracleDrafter()
    oracle.text = ticks[0].text
    (whole,) = recite(oracle, [replace(ticks[0], first=False)], limits)
    assert whole.target_forwards == 1


def test_the_command_names_what_is_missing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(tmp_path), "--model", str(model), "--work", str(tmp_path)]
    assert main(["train", "routine", *words]) == 2
    assert "rsd data" in capsys.readouterr().err


def test_the_command_trains(model: Path, made: Path, tmp_path: Path) -> None:
    words = ["--data", str(made), "--model", str(model), "--work", str(tmp_path / "work")]
    more = ["--out", str(tmp_path / "out"), "--size", "toy", "--steps", "2", "--evaluations", "1"]
    assert main(["train", "routine", *words, *more]) == 0
    assert (tmp_path / "out" / "routine.safetensors").stat().st_size < 1e6
