"""The whole way from drives to a checkpoint that plans, at toy size, with kills between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rsd_planner.build import build_planner
from rsd_planner.cli import main
from rsd_planner.config import PlannerSettings
from rsd_planner.training.data import DriveSet
from rsd_planner.training.report import read_logs
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.target import SIZES, STAGES, TargetRun
from rsd_planner.types import EgoHistory, EgoState, Frame, Observation

STEPS = {"perception": 24, "language": 24, "joint": 4, "action": 8}


def command(
    drives: Path, work: Path, stage: str = "all", steps: dict[str, int] = STEPS
) -> list[str]:
    lengths = [word for name, n in steps.items() for word in (f"--{name}-steps", str(n))]
    where = ["--data", str(drives), "--work", str(work), "--out", str(work / "model")]
    size = ["--size", "toy", "--save-every", "0", "--evaluations", "1", "--stage", stage]
    return ["train", "target", *where, *size, *lengths]


def in_process(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "rsd_planner.cli", *words]


def environment() -> dict[str, str]:
    # One thread each: the order of sums must not depend on what else runs.
    return os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def work(drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from the first stage to the last that nothing disturbed."""
    folder = tmp_path_factory.mktemp("work")
    subprocess.run(in_process(command(drives, folder)), env=environment(), check=True)
    return folder


def test_the_checkpoint_plans(drives: Path, work: Path) -> None:
    data = DriveSet(drives / "heldout")
    tick = data.ticks()[0]
    frames = tuple(
        Frame("front_wide", int(data.stamps_ns[i]), image)
        for i, image in zip(tick, data.pictures(tick), strict=True)
    )
    now = int(data.stamps_ns[tick[-1]])
    xyz, rot = (v[tick[-1]].astype(np.float64) for v in (data.history_xyz, data.history_rot))
    still = EgoState(now, np.zeros(3), np.array([0, 0, 0, 1.0]), np.zeros(3), np.zeros(3))
    planner = build_planner(PlannerSettings.from_mapping({"model_path": str(work / "model")}))
    seen = Observation(0, now, frames, EgoHistory(now, 0.1, xyz, rot, still))
    result = planner.plan(seen)
    assert result.trajectory.position_m.shape == (64, 3)
    assert len(result.decoded.tokens) > 1


def test_losses_fall_and_scores_are_logged(work: Path) -> None:
    logs = {log.name: log for log in read_logs(work)}
    assert set(logs) == set(STEPS)
    for name in ("perception", "language"):
        losses = [entry["loss"] for entry in logs[name].losses.values()]
        assert losses[-1] < 0.9 * losses[0]
    assert logs["perception"].scores[24]["mean_patch_f1"] > 0
    assert {"macro_f1", "decision_accuracy"} <= set(logs["joint"].scores[4])
    assert {"ade_3s_m", "silent_ade_3s_m"} <= set(logs["action"].scores[8])


def test_the_report_shows_every_stage(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "report", str(work)]) == 0
    page = (work / "report.html").read_text()
    assert all(f"<h2>{name}</h2>" in page for name in STEPS)
    assert "macro_f1" in page and "<polyline" in page
    assert "action: step 8" in capsys.readouterr().out


def test_a_run_without_logs_names_the_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "report", str(tmp_path)]) == 2
    assert "--work" in capsys.readouterr().err


def test_a_run_killed_in_its_stages_ends_the_same(drives: Path, work: Path, tmp_path: Path) -> None:
    first_two = STEPS | {"joint": 0, "action": 0}
    words = in_process(command(drives, tmp_path, "all", first_two))
    for stage in ("perception", "language"):
        kill_midway(words, tmp_path / f"{stage}.safetensors", STEPS[stage])
    subprocess.run(words, env=environment(), check=True)
    for stage in ("perception", "language"):
        ours, whole = (load_file(str(f / f"{stage}.safetensors")) for f in (tmp_path, work))
        assert int(ours["step"]) == STEPS[stage]
        for key in ours.keys() - {"elapsed_s"}:
            torch.testing.assert_close(ours[key], whole[key], rtol=1e-4, atol=1e-6)


def kill_midway(words: list[str], state: Path, steps: int) -> None:
    """Kills a run as soon as a stage has saved something."""
    victim = subprocess.Popen(words, env=environment(), start_new_session=True)
    until = time.monotonic() + 90
    while not state.exists() and time.monotonic() < until:
        time.sleep(0.002)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    assert 0 < int(load_file(str(state))["step"]) < steps, "killed when there was nothing to resume"


def test_two_peers_learn_one_model(drives: Path, work: Path, tmp_path: Path) -> None:
    """Each of two processes takes half of a batch; they learn what one process learns."""
    words = command(drives, tmp_path, "all", STEPS | {"joint": 0, "action": 0})
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29517"]
    module = ["-m", "rsd_planner.cli", *words]
    subprocess.run([sys.executable, *launch, *module], env=environment(), check=True)
    for stage, module_name in (
        ("perception", "vlm.model.visual"),
        ("language", "vlm.model.language_model"),
    ):
        ours, alone = (load_file(str(f / f"{stage}.safetensors")) for f in (tmp_path, work))
        name = "visual" if stage == "perception" else "text"
        keys = [k for k in ours if k.startswith(f"weight.{name}.") and ours[k].ndim > 1]
        start = initial(work)
        moved = apart = 0.0
        for key in keys:
            before = start[f"{module_name}.{key.removeprefix(f'weight.{name}.')}"]
            moved += float((alone[key] - before).square().sum())
            apart += float((alone[key] - ours[key]).square().sum())
        assert apart < 0.1 * moved


def initial(work: Path) -> dict[str, torch.Tensor]:
    return load_file(str(work / "init" / "model.safetensors"))


def test_a_second_run_starts_from_the_first(drives: Path, work: Path, tmp_path: Path) -> None:
    run = TargetRun(
        drives, tmp_path, tmp_path / "model", STEPS, Runtime(), size=SIZES["toy"],
        start=work / "model",
    )  # fmt: skip
    run.run("init")
    ours, theirs = initial(tmp_path), load_file(str(work / "model" / "model.safetensors"))
    for name, value in theirs.items():
        if not name.startswith("action_space."):
            torch.testing.assert_close(ours[name], value.float())
    fresh = replace(run, folder=tmp_path / "fresh", start=None)
    fresh.run("init")
    name = "vlm.model.language_model.embed_tokens.weight"
    assert not torch.equal(initial(tmp_path / "fresh")[name], ours[name])


def test_a_run_that_goes_on_keeps_tokens_and_weights(
    drives: Path, work: Path, tmp_path: Path
) -> None:
    words = command(drives, tmp_path, stage="init")
    assert main([*words, "--start-from", str(work / "model"), "--go-on"]) == 0
    begun, model = tmp_path / "init", work / "model"
    tokenizer = Path("vlm", "tokenizer.json")
    assert (begun / tokenizer).read_bytes() == (model / tokenizer).read_bytes()
    assert (begun / "config.json").read_text() == (model / "config.json").read_text()
    theirs = load_file(model / "model.safetensors")
    for name, ours in load_file(begun / "model.safetensors").items():
        assert torch.equal(ours, theirs[name].to(ours.dtype))


def test_clips_alone_are_enough_for_a_target(
    drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "heldout").symlink_to(drives / "heldout")
    assert main(command(data, tmp_path / "work", stage="init")) == 2
    assert "no folder train" in capsys.readouterr().err
    (data / "clips").symlink_to(drives / "clips")
    assert main(command(data, tmp_path / "work", stage="init")) == 0


def test_unseen_drives_are_kept_from_the_tower(drives: Path, tmp_path: Path) -> None:
    data, few = tmp_path / "data", STEPS | {"perception": 1, "language": 1}
    data.mkdir()
    for name, source in (("heldout", "heldout"), ("clips", "clips"), ("unseen", "train")):
        (data / name).symlink_to(drives / source)
    for stage in ("init", "perception", "language"):
        assert main(command(data, tmp_path / "with", stage, few)) == 0
    (data / "unseen").unlink()
    shutil.copytree(tmp_path / "with" / "init", tmp_path / "without" / "init")
    shutil.copy(tmp_path / "with" / "init.json", tmp_path / "without")
    assert main(command(data, tmp_path / "without", "perception", few)) == 0
    towers = (tmp_path / f / "perception.safetensors" for f in ("with", "without"))
    first, second = (load_file(str(f)) for f in towers)
    for key in first.keys() - {"elapsed_s"}:
        assert torch.equal(first[key], second[key]), key
    (features,) = (tmp_path / "with").glob("features_train_*.npy")
    frames = len(DriveSet(drives / "clips")) + len(DriveSet(drives / "train"))
    assert len(np.load(features, mmap_mode="r")) == frames


def test_going_on_needs_something_to_go_on_from(
    drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command(drives, tmp_path, stage="init"), "--go-on"]) == 2
    assert "--start-from" in capsys.readouterr().err


def test_stages_out_of_order_name_what_is_missing(
    drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(drives, tmp_path, "language")) == 2
    assert "init" in capsys.readouterr().err
    assert STAGES[0] == "init"
