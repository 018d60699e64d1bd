"""The block drafter learns from its target's hidden states, and drafts what it learned."""

from __future__ import annotations

import json
import shutil
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
from rsd_planner.decoding.drafters.none import NoDrafter
from rsd_planner.errors import CommandError
from rsd_planner.models.pointer import NOTHING
from rsd_planner.training.routine_block import SIZES, SOFT, BlockExamples, BlockRun

STEPS, MAX_TOKENS = 50, 10


def job(model: Path, made: Path, folder: Path, **others: object) -> BlockRun:
    values = {"size": SIZES["toy"], "max_tokens": MAX_TOKENS, "learning_rate": 1e-2}
    values |= {"save_every_s": 1e6, "evaluations": 1, **others}
    return BlockRun(model, made, folder, folder / "drafters", STEPS, **values)


class Noted:
    """The batches that a run was given, and when to kill it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kill_after: int = 10**6) -> None:
        self.batches: list = []
        batch = BlockExamples.batch

        def noting(examples, which, rng):
            if len(self.batches) >= kill_after:
                raise KilledError
            self.batches.append(batch(examples, which, rng))
            return self.batches[-1]

        monkeypatch.setattr(BlockExamples, "batch", noting)


@pytest.fixture(scope="module")
def work(model: Path, made: Path, tmp_path_factory: pytest.TempPathFactory):
    """The folder of a run that nothing disturbed, and the batches that it saw."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patched:
        noted = Noted(patched)
        job(model, made, folder).run()
    return folder, noted.batches


def test_the_loss_falls_and_blocks_are_known(work: tuple[Path, list]) -> None:
    folder, _ = work
    lines = (folder / "routine_block_flat_branch.jsonl").read_text().splitlines()
    losses = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]
    card = json.loads((folder / "drafters" / "routine_block.json").read_text())["card"]
    held_out = card["held_out"]
    assert held_out["block"] > 0.5
    assert held_out["tokens_per_forward"] > 1.2
    assert {"novel_block", "novel_tokens_per_forward", "proposed_per_token"} <= set(held_out)
    assert card["ticks"] == 2 * (FRAMES - 3) and card["seed"] == 0


def test_a_state_of_other_settings_is_refused(
    model: Path, made: Path, work: tuple[Path, list]
) -> None:
    with pytest.raises(CommandError, match="another seed; take another --work"):
        job(model, made, work[0], seed=1).run()


def test_examples_are_texts_with_the_chances_of_the_target(work: tuple[Path, list]) -> None:
    for batch in work[1][:5]:
        length = batch.text.shape[1]
        assert batch.states.shape[1] == batch.prompt + length == batch.places.shape[1]
        torch.testing.assert_close(batch.labels.sum(-1), torch.ones(batch.text.shape))
        told = batch.labels.gather(-1, batch.text[..., None])[..., 0]
        assert (told >= 1 - SOFT - 1e-6).all()
        # It is the target's own greedy text: no token is likelier than the one that it wrote.
        real = batch.text != NOTHING
        assert (batch.labels.max(-1).values - told)[real].max() < 1e-6
        lengths = real.sum(1, keepdim=True)
        assert (batch.anchors >= 1).all() and (batch.anchors < lengths.clamp(min=2)).all()
        assert (batch.anchors[:, 0] == 1).all()


def test_a_killed_run_ends_like_one_that_was_not(
    model: Path, made: Path, work: tuple[Path, list], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made_before = shutil.ignore_patterns("routine_block*", "drafters")  # texts and features stay
    shutil.copytree(work[0], tmp_path, dirs_exist_ok=True, ignore=made_before)
    with monkeypatch.context() as patched, pytest.raises(KilledError):
        Noted(patched, STEPS // 2)
        job(model, made, tmp_path, save_every_s=0.0).run()
    state = tmp_path / "routine_block_flat_branch.safetensors"
    assert int(load_file(str(state))["step"]) == STEPS // 2
    job(model, made, tmp_path).run()
    for name in ("routine_block.safetensors", "routine_block.json"):
        ours, whole = (folder / "drafters" / name for folder in (tmp_path, work[0]))
        assert ours.read_bytes() == whole.read_bytes(), name


def test_at_work_it_does_what_the_card_says(
    model: Path, made: Path, work: tuple[Path, list], tmp_path: Path
) -> None:
    """With the target's own features, tick by tick in the planner; the text is the plain one."""
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    shutil.copytree(work[0] / "drafters", folder / "drafters")
    settings = PlannerSettings.from_mapping(
        {
            "model_path": str(folder), "drafter": "routine_block", "worker_threads": 1,
            "max_reasoning_tokens": MAX_TOKENS,
        }
    )  # fmt: skip
    planner = build_planner(settings)
    planner.warm_up((32, 64))
    (drive,) = open_shards(made / "heldout")
    tokens = forwards = ticks = 0
    for observation in drive.observations(settings, planner.requirements, 5.0):
        prompt = planner.parts.prompts.build(observation)
        plain = planner.decode(prompt, observation.history, NoDrafter())
        decoded = planner.decode(prompt, observation.history, planner.drafter)
        assert decoded.tokens == plain.tokens or min(plain.top2_gaps) < 1e-4
        tokens, forwards = tokens + len(decoded.tokens), forwards + decoded.target_forwards
        ticks += 1
    card = json.loads((folder / "drafters" / "routine_block.json").read_text())["card"]
    assert ticks == FRAMES - 3
    per_forward = card["held_out"]["tokens_per_forward"]
    assert tokens / forwards == pytest.approx(per_forward, abs=0.12)  # near ties fall either way
    assert np.isfinite(per_forward)


@pytest.mark.parametrize("switches", [["--rope", "mrope"], ["--no-branch"]], ids=str)
def test_the_command_trains_with_its_switches(
    model: Path, made: Path, tmp_path: Path, switches: list[str]
) -> None:
    words = ["--data", str(made), "--model", str(model), "--work", str(tmp_path / "work")]
    more = ["--out", str(tmp_path / "out"), "--size", "toy", "--steps", "2", "--evaluations", "1"]
    few = ["--limit", "1"]
    assert main(["train", "routine-block", *words, *more, *few, *switches]) == 0
    config = json.loads((tmp_path / "out" / "routine_block.json").read_text())["config"]
    assert (config["rope"], config["branch"]) == ("mrope" if "mrope" in switches else "flat",
                                                  "--no-branch" not in switches)  # fmt: skip
    assert (tmp_path / "out" / "routine_block.safetensors").stat().st_size < 1e6


def test_the_command_names_what_is_missing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(tmp_path), "--model", str(model), "--work", str(tmp_path)]
    assert main(["train", "routine-block", *words]) == 2
    assert "rsd data" in capsys.readouterr().err
