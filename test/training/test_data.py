"""Shards: what a drive becomes, and how it is read again."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from rsd_planner.commands import data as command
from rsd_planner.errors import CommandError
from rsd_planner.models.vision_batch import patchify
from rsd_planner.planning.ego_history import OdometryTrack
from rsd_planner.planning.pictures import compressed_to_rgb
from rsd_planner.simulation.record import (
    RecordedDrive,
    ego_states,
    record_clips,
    record_drive,
)
from rsd_planner.training import shards
from rsd_planner.training.card import read_card, write_card
from rsd_planner.training.data import FRAMES, DriveSet


@pytest.fixture(scope="module")
def recorded() -> RecordedDrive:
    return record_drive(seed=7, duration_s=2.0, fps=shards.TICK_HZ)


@pytest.fixture(scope="module")
def folder(recorded: RecordedDrive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drives")
    shards.write_shard(recorded, path)
    write_card(path)
    return path


def test_pictures_are_what_the_image_processor_makes_of_the_same_jpeg(
    recorded: RecordedDrive, folder: Path
) -> None:
    data = DriveSet(folder)
    pixels = 256 * 128
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": pixels, "longest_edge": pixels},
        patch_size=16,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    image = compressed_to_rgb(recorded.jpegs[12], "jpeg")
    wanted = processor(images=[image], return_tensors="pt")["pixel_values"]
    stills = wanted.view(len(wanted), 3, 2, 256)[:, :, 0].flatten(1)  # (patches, 768)
    ours = patchify(torch.from_numpy(data.pictures([12])), 16, 2)[0]
    assert float((ours - stills).abs().max()) < 1e-5


def test_poses_are_those_of_the_planner(recorded: RecordedDrive, folder: Path) -> None:
    data = DriveSet(folder)
    now = int(recorded.stamps_ns[14])
    grid = now + np.arange(-100, 350) * 20_000_000
    track = OdometryTrack(ego_states(recorded.drive, grid))
    history = track.history(now, 16, 0.1, 0.25)
    assert history is not None
    np.testing.assert_allclose(data.history_xyz[14], history.position_m, atol=2e-3)
    np.testing.assert_allclose(data.history_rot[14], history.rotation, atol=2e-4)
    ahead = data.future_xyz[14, :, 0]
    assert np.all(np.diff(ahead) > -1e-3)
    # 0.2 s later the ego stands where the second future step said.
    moved = data.history_rot[15, -3].T @ (data.history_xyz[15, -1] - data.history_xyz[15, -3])
    np.testing.assert_allclose(moved, data.future_xyz[14, 1], atol=5e-3)


def test_ticks_are_learned_frames_with_their_past(folder: Path) -> None:
    data = DriveSet(folder)
    ticks = data.ticks()
    assert len(data) == 20 and ticks.shape == (10, FRAMES)
    assert ticks[0].tolist() == [7, 8, 9, 10]
    assert data.labels.shape == (20, len(data.label_table))
    assert data.patch_bits.shape == (20, 8, 16)
    assert data.cause_names(12) and len(data.views(0)) == 20


def test_novel_are_the_frames_within_a_second_of_a_change(folder: Path) -> None:
    data = DriveSet(folder)
    names = [data.cause_names(i) for i in range(len(data))]
    for i in range(len(data)):
        window = range(max(1, i - shards.TICK_HZ), i + 1)
        assert data.novel[i] == any(names[k] != names[k - 1] for k in window)


def test_card_counts_the_learned_ticks(folder: Path) -> None:
    card = read_card(folder)
    assert (card["drives"], card["ticks"], card["pairs"]) == (1, 10, 9)
    assert sum(card["decisions"].values()) == sum(card["words"].values()) == 10
    assert "| cause | ticks | share | drives |" in (folder / "README.md").read_text()


def test_clips_are_ticks_of_the_whole_drive(tmp_path: Path) -> None:
    clips, whole = tmp_path / "clips", tmp_path / "whole"
    for path, recorded in (
        (clips, record_clips(seed=20003, duration_s=6.0, pictures=FRAMES)),
        (whole, record_drive(seed=20003, duration_s=6.0, fps=shards.TICK_HZ)),
    ):
        path.mkdir()
        shards.write_shard(recorded, path)
    few, all_ = DriveSet(clips), DriveSet(whole)
    all_.require_whole_drives()
    with pytest.raises(CommandError, match="seconds apart"):
        few.require_whole_drives()
    ticks = few.ticks()
    assert 3 <= len(ticks) <= 6 and len(few) == FRAMES * len(ticks)
    place = {stamp: i for i, stamp in enumerate(all_.stamps_ns)}
    same = np.array([place[stamp] for stamp in few.stamps_ns])
    assert np.array_equal(
        same[ticks], all_.ticks()[np.isin(all_.ticks()[:, -1], same[ticks[:, -1]])]
    )
    assert few.texts == [all_.texts[i] for i in same]
    assert few.causes == [all_.causes[i] for i in same]
    for name in ("novel", "patch_bits", "labels", "history_xyz", "future_xyz"):
        np.testing.assert_array_equal(getattr(few, name), getattr(all_, name)[same])
    np.testing.assert_array_equal(few.pictures(range(len(few))), all_.pictures(same))


def test_drives_that_are_there_are_kept(tmp_path: Path) -> None:
    assert shards.make_shards(tmp_path, [7], processes=1, duration_s=1.0) == {}
    made = (tmp_path / "drive_000007.npz").stat().st_mtime_ns
    assert shards.make_shards(tmp_path, [7, 8], processes=1, duration_s=1.0) == {}
    assert (tmp_path / "drive_000007.npz").stat().st_mtime_ns == made
    names = sorted(p.name for p in tmp_path.iterdir())
    drives = [
        f"drive_00000{k}{end}" for k in (7, 8) for end in (".classes.npy", ".npz", ".pictures.npy")
    ]
    assert names == ["README.md", "card.json", *drives]


def test_an_empty_folder_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="rsd data --out"):
        DriveSet(tmp_path)


def test_shards_of_another_format_are_refused(
    recorded: RecordedDrive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_FORMAT", 1)
    path = shards.write_shard(recorded, tmp_path)
    with pytest.raises(CommandError, match=f"{path.name} was made by another version"):
        DriveSet(tmp_path)


def test_lengths_beyond_the_roads_are_refused(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["--drives", "1", "--out", str(tmp_path), "--seconds", "90"])
    with pytest.raises(CommandError, match="90"):
        command.run(args)
