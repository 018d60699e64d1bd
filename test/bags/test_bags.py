"""Bags are written and read without ROS, and a bad one is explained in a sentence."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer

from rsd_planner.bags import BagError, BagWriter, messages, open_bag
from rsd_planner.types import CameraModel, EgoState

IMAGE_TOPIC = "/camera/front_wide/image/compressed"


def state(stamp_ns: int) -> EgoState:
    """A car at 10 m/s along x, turned by 90 degrees."""
    return EgoState(
        stamp_ns,
        np.array([stamp_ns * 1e-8, 2.0, 0.5]),
        np.array([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)]),
        np.array([10.0, 0.0, 0.0]),
        np.array([0.0, 0.0, 0.1]),
    )


def picture() -> NDArray[np.uint8]:
    """Red on the left, green on the right, RGB."""
    image = np.zeros((24, 32, 3), np.uint8)
    image[:, :16, 0], image[:, 16:, 1] = 250, 250
    return image


def jpeg() -> bytes:
    """The picture as a JPEG."""
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR))[1])


def write_bag(path: Path, odometry: bool = True, frames: int = 5) -> Path:
    """A small bag."""
    with BagWriter(path) as writer:
        for i in range(frames):
            writer.jpeg(i * 10**8 + 10**7, IMAGE_TOPIC, i * 10**8, "camera_optical", jpeg())
        if odometry:
            for i in range(20):
                writer.odometry(i * 10**7, "/odometry", state(i * 10**7), "odom", "base_link")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with open_bag(write_bag(tmp_path / "bag")) as bag:
        frames, states = list(bag.read_frames("front_wide")), list(bag.read_odometry())
        assert [t.name for t in bag.topics] == [IMAGE_TOPIC, "/odometry"]
        assert bag.odometry_frames() == ("odom", "base_link")
        assert bag.camera_model() is None
    assert [f.stamp_ns for f in frames] == [i * 10**8 for i in range(5)]
    assert np.abs(frames[0].image.astype(int) - picture()).mean() < 6
    assert len(states) == 20
    np.testing.assert_allclose(states[3].position_m, state(3 * 10**7).position_m)
    np.testing.assert_allclose(states[3].orientation_xyzw, state(0).orientation_xyzw)


def test_raw_messages_come_in_the_order_of_their_log_times(tmp_path: Path) -> None:
    with open_bag(write_bag(tmp_path / "bag")) as bag:
        times = [raw.log_time_ns for raw in bag.messages()]
        kinds = {raw.topic: raw.type_name for raw in bag.messages()}
    assert times == sorted(times) and len(times) == 25
    assert kinds["/odometry"] == "nav_msgs/msg/Odometry"


def test_the_file_alone_is_enough(tmp_path: Path) -> None:
    file = next(write_bag(tmp_path / "bag").glob("*.mcap"))
    with open_bag(file) as bag:
        assert len(list(bag.read_frames())) == 5


def test_late_messages_are_put_in_order_of_their_stamps(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for log, stamp in ((1, 30), (2, 10), (3, 20), (4, 50), (5, 40)):
            writer.odometry(log, "/odometry", state(stamp), "odom", "base_link")
    with open_bag(tmp_path / "bag") as bag:
        assert [s.stamp_ns for s in bag.read_odometry()] == [10, 20, 30, 40, 50]


def test_camera_model_follows_the_static_transforms(tmp_path: Path) -> None:
    mount = np.eye(4)
    mount[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    mount[:3, 3] = [1.9, 0.1, 1.5]
    lift = np.eye(4)
    lift[2, 3] = 0.2
    model = CameraModel(640, 320, 500.0, 501.0, 319.5, 159.5, mount)
    with BagWriter(tmp_path / "bag") as writer:
        writer.jpeg(5, IMAGE_TOPIC, 5, "optical", jpeg())
        writer.camera_info(6, "/camera/front_wide/camera_info", 5, "optical", model)
        writer.static_transform(1, 1, "roof", "optical", mount)
        writer.static_transform(2, 1, "base_link", "roof", lift)
    with open_bag(tmp_path / "bag") as bag:
        read = bag.camera_model("front_wide")
    assert read is not None
    assert (read.width, read.focal_y_px, read.center_x_px) == (640, 501.0, 319.5)
    np.testing.assert_allclose(read.pose_ego_from_camera, lift @ mount, atol=1e-12)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_raw_images_become_rgb(encoding: str) -> None:
    codes = {
        "bgr8": cv2.COLOR_RGB2BGR,
        "rgba8": cv2.COLOR_RGB2RGBA,
        "bgra8": cv2.COLOR_RGB2BGRA,
        "mono8": cv2.COLOR_RGB2GRAY,
    }
    pixels = picture() if encoding == "rgb8" else cv2.cvtColor(picture(), codes[encoding])
    rows = np.pad(pixels.reshape(24, -1), ((0, 0), (0, 4)))  # rows padded by four bytes
    header = messages.compressed_image_message(7, "camera", b"").header
    message = messages.TYPES.types[messages.IMAGE](
        header, 24, 32, encoding, 0, rows.shape[1], rows.ravel()
    )
    image = messages.frame_of(message, messages.IMAGE, "front").image
    expected = picture()
    if encoding == "mono8":
        expected = np.repeat(pixels[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(image, expected)


def test_sqlite3_bags_are_read_too(tmp_path: Path) -> None:
    message = messages.odometry_message(state(5), "odom", "base_link")
    with Writer(tmp_path / "old", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/odom", messages.ODOMETRY, typestore=messages.TYPES)
        data = messages.TYPES.serialize_cdr(message, messages.ODOMETRY)
        writer.write(connection, 5, data)
    with open_bag(tmp_path / "old") as bag:
        assert next(bag.read_odometry()).stamp_ns == 5


def test_missing_bag_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"there is no bag at .*nowhere"):
        open_bag(tmp_path / "nowhere")
    with pytest.raises(BagError, match=r"is no bag"):
        open_bag(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_bag_is_said_to_be_damaged(tmp_path: Path, share: float) -> None:
    file = next(write_bag(tmp_path / "bag").glob("*.mcap"))
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    for path in (file, file.parent):
        with pytest.raises(BagError, match=r"truncated or damaged.*record it again"):
            list(open_bag(path).messages())


def test_flipped_bytes_are_noticed(tmp_path: Path) -> None:
    file = next(write_bag(tmp_path / "bag").glob("*.mcap"))
    data = bytearray(file.read_bytes())
    inside = data.index(b"zstd") + 40  # of the first chunk's messages
    data[inside : inside + 20] = bytes(20)
    file.write_bytes(bytes(data))
    with pytest.raises(BagError, match="truncated or damaged"):
        list(open_bag(file).messages())


def test_bag_without_odometry_names_what_it_has(tmp_path: Path) -> None:
    with open_bag(write_bag(tmp_path / "bag", odometry=False)) as bag:
        with pytest.raises(BagError, match=r"no odometry.*CompressedImage"):
            bag.odometry_topic()
        with pytest.raises(BagError, match="no odometry"):
            list(bag.read_odometry())


def test_unknown_topic_gets_a_suggestion(tmp_path: Path) -> None:
    with open_bag(write_bag(tmp_path / "bag")) as bag:
        with pytest.raises(BagError, match=r"did you mean /odometry\?"):
            bag.odometry_topic("/odometri")
        with pytest.raises(BagError, match=r"not odometry"):
            bag.odometry_topic(IMAGE_TOPIC)


def test_unknown_camera_names_the_picture_topics(tmp_path: Path) -> None:
    with (
        open_bag(write_bag(tmp_path / "bag")) as bag,
        pytest.raises(BagError, match=rf"no camera 'rear'.*{IMAGE_TOPIC}"),
    ):
        bag.image_topic("rear")
    with (
        open_bag(write_bag(tmp_path / "blind", frames=0)) as bag,
        pytest.raises(BagError, match="no camera pictures"),
    ):
        bag.image_topic("front_wide")


def test_existing_bag_is_not_overwritten(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag")
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "bag")


def test_nothing_is_written_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "bag"):
        raise RuntimeError
    assert not (tmp_path / "bag").exists()
