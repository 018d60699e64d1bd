"""Recorded drives: files for training and the messages of a bag."""

from pathlib import Path

import numpy as np
import pytest

from rsd_planner.bags import BagWriter, open_bag
from rsd_planner.simulation import record
from rsd_planner.simulation.camera import front_wide_camera
from rsd_planner.simulation.narrator import count_words
from rsd_planner.simulation.record import RecordedDrive, record_drive

BUNDLED_BAG = Path(__file__).parents[2] / "assets" / "bags" / "street_30s"
BUNDLED_SEED = 100037


@pytest.fixture(scope="module")
def recorded() -> RecordedDrive:
    return record_drive(seed=7, duration_s=2.0)


def test_lead_in_and_run_out_surround_the_labelled_frames(recorded: RecordedDrive) -> None:
    assert (recorded.first, len(recorded.stamps_ns)) == (20, 40)
    assert len(recorded.jpegs) == len(recorded.narrations) == 40
    end_s = recorded.drive.ego.time_s[-1] - recorded.drive.snapshots[0].time_s
    assert end_s - (recorded.stamps_ns[-1] - record.START_NS) * 1e-9 > 6.4


def test_drive_becomes_a_bag_and_comes_back(recorded: RecordedDrive, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        record.write_drive(recorded, writer)
    with open_bag(tmp_path / "bag") as bag:
        frames, states = list(bag.read_frames()), list(bag.read_odometry())
        camera = bag.camera_model()
        delays = [raw.log_time_ns for raw in bag.messages(["/odometry"])]
    assert len(frames) == 20
    assert camera is not None
    expected = front_wide_camera(recorded.drive.mount)
    np.testing.assert_allclose(
        camera.pose_ego_from_camera, expected.pose_ego_from_camera, atol=1e-9
    )
    assert camera.focal_x_px == pytest.approx(expected.focal_x_px)
    stamps = np.array([s.stamp_ns for s in states])
    assert 0 < np.abs(np.diff(stamps) - 20_000_000).max() <= 4_000_000  # jitter, but a little
    assert np.all((np.array(delays) - stamps > 0) & (np.array(delays) - stamps < 5_000_000))
    # Odometry spans the pictures and starts at its origin.
    assert stamps[0] <= frames[0].stamp_ns and stamps[-1] >= frames[-1].stamp_ns
    np.testing.assert_allclose(states[0].position_m, 0.0, atol=1e-12)
    travelled = np.linalg.norm(states[-1].position_m)
    mean_speed = np.mean([s.linear_mps[0] for s in states])
    assert travelled == pytest.approx(mean_speed * (stamps[-1] - stamps[0]) * 1e-9, rel=0.02)


def test_bundled_drive_tells_a_story() -> None:
    recorded = record_drive(BUNDLED_SEED, duration_s=30.0, fps=5)
    told = recorded.narrations[recorded.first :]
    texts = [n.text for n in told]
    equal = np.mean([a == b for a, b in zip(texts, texts[1:], strict=False)])
    words = [count_words(text) for text in texts]
    assert len({n.decision for n in told}) >= 4
    assert len(set(texts)) >= 8
    assert equal <= 0.7
    assert min(words) >= 12 and max(words) <= 45 and 20 <= np.mean(words) <= 30


def test_bundled_bag_is_what_its_card_says() -> None:
    size = sum(path.stat().st_size for path in BUNDLED_BAG.iterdir())
    assert size <= 8 * 2**20
    with open_bag(BUNDLED_BAG) as bag:
        counts = {topic.name: topic.count for topic in bag.topics}
        assert bag.duration_s == pytest.approx(30.0, abs=0.2)
    assert counts["/camera/front_wide/image/compressed"] == 300
    assert counts["/odometry"] == pytest.approx(1500, abs=5)
    assert f"--seed {BUNDLED_SEED}" in (BUNDLED_BAG / "README.md").read_text()
