"""Every transition from every state, asked for by whom it may concern, at the worst moment."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_config import write_checkpoint

pytest.importorskip("rclpy")
pytest.importorskip("rsd_planner.msg")

from hurt_node import HURTS
from ros_harness import TRANSITIONS, Harness, alive, crowding
from rsd_planner.msg import PlannerStatus
from sensor_msgs.msg import Image

pytestmark = pytest.mark.ros

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE, SHUTDOWN = 1, 2, 3, 4, (5, 6, 7)
PUBLIC = (0, CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE, *SHUTDOWN, 8)
ENDS = tuple(range(10, 63))  # how transitions end; nobody outside may say it
# state: the transitions that it allows
ALLOWED = {
    "unconfigured": (CONFIGURE, 5),
    "inactive": (ACTIVATE, CLEANUP, 6),
    "active": (DEACTIVATE, 7),
    "finalized": (),
}
WAY = {  # from a fresh node
    "unconfigured": (),
    "inactive": (CONFIGURE,),
    "active": (CONFIGURE, ACTIVATE),
}


@pytest.fixture(scope="module")
def hurting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A node for all tests that leave it alive."""
    node = hurt_node(tmp_path_factory.mktemp("hurting"), "hurting")
    yield node
    hurt(node)
    node.close()


@pytest.fixture
def node(hurting: Harness) -> Harness:
    """That node, unhurt and unconfigured."""
    hurt(hurting)
    for number in (DEACTIVATE, CLEANUP):  # whichever is due
        hurting.trigger(number)
    assert hurting.lifecycle_state() == "unconfigured", hurting.explain()
    hurting.wait(lambda: not children(hurting))
    for name in ("model_path", "worker_python"):
        assert hurting.set_parameter(name, hurting.parameters[name]).successful
    return hurting


def hurt_node(folder: Path, name: str) -> Harness:
    program = (str(Path(__file__).parent / "hurt_node.py"),)
    (folder / "hurts.json").write_text("{}")
    return Harness(folder, {}, program, {HURTS: str(folder / "hurts.json")}, name)


def hurt(node: Harness, **orders: str) -> None:
    """What goes wrong from now on: `on_activate="raise"`; nothing ends it."""
    file = node.log.parent / "hurts.json"
    file.with_suffix(".new").write_text(json.dumps(orders))
    file.with_suffix(".new").replace(file)


def refuses_all_but(node: Harness, state: str, allowed: tuple[int, ...]) -> None:
    for number in (*PUBLIC, *ENDS):
        if number not in allowed:
            assert not node.trigger(number), f"transition {number} from {state}"
            assert node.lifecycle_state() == state
    assert not node.trigger(0, "no such transition")


def test_each_state_allows_its_transitions_and_refuses_all_others(
    start: Callable[..., Harness],
) -> None:
    node = start()
    for number in (CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
        state = node.lifecycle_state()
        refuses_all_but(node, state, ALLOWED[state])
        assert node.trigger(number), node.explain()
    pid = node.worker_pid()
    assert node.trigger(7)
    refuses_all_but(node, "finalized", ())
    node.wait(lambda: "shut down" in node.reasons() and not alive(pid))
    assert node.process.poll() is None
    assert "Traceback" not in node.log.read_text()


@pytest.mark.parametrize(
    "state", [pytest.param("unconfigured", marks=pytest.mark.exhaustive), "inactive"]
)
def test_shutdown_ends_everything_from_each_state(
    start: Callable[..., Harness], state: str
) -> None:
    node = start()
    for number in WAY[state]:
        assert node.trigger(number), node.explain()
    pid = node.worker_pid() if WAY[state] else 0
    assert node.trigger(ALLOWED[state][-1])
    assert node.lifecycle_state() == "finalized"
    node.wait(lambda: not pid or not alive(pid))
    node.wait(lambda: "shut down: end the process" in node.reasons())
    assert node.state() == PlannerStatus.WAITING
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(10.0 * crowding()) == 0


def test_a_transition_that_is_asked_for_twice_at_once_happens_once(node: Harness) -> None:
    for number in (CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP, CONFIGURE):
        assert sorted(node.trigger_at_once([number] * 3)) == [False, False, True]
    assert node.lifecycle_state() == "inactive"
    node.wait(lambda: node.diagnostic("worker").get("restarts") == "0")
    node.wait(lambda: len(children(node)) == 2)  # the worker and who stands by


@pytest.mark.exhaustive
def test_a_storm_of_transitions_leaves_a_node_that_plans(node: Harness) -> None:
    dice = random.Random(5)
    for _ in range(4):
        node.trigger_at_once(dice.choices((CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE), k=8))
        assert node.lifecycle_state() in ("unconfigured", "inactive", "active")
    for number in (DEACTIVATE, CLEANUP):  # whichever is due
        node.trigger(number)
    node.start_planning()
    node.wait(lambda: len(children(node)) == 2)  # the worker and who stands by


TRANSIENT = {
    "configure": ("unconfigured", "configuring", "inactive"),
    "activate": ("inactive", "activating", "active"),
    "deactivate": ("active", "deactivating", "inactive"),
    "cleanup": ("inactive", "cleaningup", "unconfigured"),
}


def test_nothing_interrupts_a_transition_and_get_state_answers_meanwhile(
    node: Harness,
) -> None:
    for name, (before, during, after) in TRANSIENT.items():
        assert node.lifecycle_state() == before
        hurt(node, **{f"on_{name}": f"sleep {1.0 * crowding():.1f}"})
        future = ask(node, TRANSITIONS[name])
        node.wait(lambda during=during: node.lifecycle_state() == during)
        assert node.trigger_at_once(PUBLIC) == [False] * len(PUBLIC)
        assert node.lifecycle_state() == during
        node.wait(future.done)
        assert future.result().success
        assert node.lifecycle_state() == after


def test_who_ends_a_transition_from_outside_gets_no_plan_without_a_configuration(
    node: Harness,
) -> None:
    assert node.set_parameter("model_path", "/nowhere").successful
    hurt(node, on_configure=f"sleep {1.0 * crowding():.1f}")
    future = ask(node, CONFIGURE)
    node.wait(lambda: node.lifecycle_state() == "configuring")
    node.trigger(10)  # claims that it went well
    node.wait(future.done)
    assert not future.result().success
    if node.lifecycle_state() == "inactive":  # the claim was believed
        assert not node.trigger(ACTIVATE)
        assert node.trigger(CLEANUP)
    assert node.lifecycle_state() == "unconfigured"


RARER = ("configure", "deactivate", "cleanup", "shutdown")


@pytest.mark.parametrize(
    "name", ["activate", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in RARER)]
)
def test_an_exception_in_a_transition_leaves_nothing_and_can_be_mended(
    node: Harness, name: str
) -> None:
    before = TRANSIENT.get(name, ("active",))[0]
    for number in WAY[before]:
        assert node.trigger(number), node.explain()
    hurt(node, **{f"on_{name}": "raise", "on_error": f"sleep {0.5 * crowding():.1f}"})
    future = ask(node, 7 if name == "shutdown" else TRANSITIONS[name])
    node.wait(lambda: node.lifecycle_state() == "errorprocessing")
    assert node.trigger_at_once(PUBLIC) == [False] * len(PUBLIC)
    node.wait(future.done)
    assert not future.result().success
    assert node.lifecycle_state() == "unconfigured"
    node.wait(lambda: "failed unexpectedly" in node.reasons())
    assert node.state() == PlannerStatus.FAULT
    assert f"on_{name} is hurt" in node.log.read_text()
    node.wait(lambda: not children(node))
    hurt(node)
    node.start_planning()


def test_an_exception_in_error_processing_finalizes_and_ends_the_worker(tmp_path: Path) -> None:
    node = hurt_node(tmp_path, "dying")
    try:
        assert node.trigger(CONFIGURE), node.explain()
        node.worker_pid()
        hurt(node, on_activate="raise", on_error="raise")
        assert not node.trigger(ACTIVATE)
        assert node.lifecycle_state() == "finalized"
        refuses_all_but(node, "finalized", ())
        node.wait(lambda: node.state() == PlannerStatus.FAULT)
        node.wait(lambda: "start it anew" in node.reasons() and not children(node))
    finally:
        hurt(node)
        node.close()


@pytest.mark.exhaustive
def test_a_configure_without_file_descriptors_is_an_error_that_can_be_mended(
    node: Harness,
) -> None:
    pid = node.process.pid
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    one_more = min(set(range(len(used) + 1)) - used) + 1  # a file can be read, no socket made
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (one_more, old[1]))
    try:
        assert not node.trigger(CONFIGURE)
        assert node.lifecycle_state() == "unconfigured"
        node.wait(lambda: "failed unexpectedly" in node.reasons())
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
    node.start_planning()


def spoilt_folders(folder: Path) -> Iterator[tuple[str, str]]:
    """Checkpoint folders that are of no use, and what must be said of each."""
    for name, file, content, words in (
        ("list", "config.json", b"[]", "no JSON object"),
        ("cut", "config.json", b'{"a": ', "cannot be read"),
        ("binary", "config.json", b"\xff\xfe\x00", "cannot be read"),
        ("pointer", "model.safetensors", b"version https://git-lfs", "git lfs pull"),
        ("empty", "model.safetensors", b"", "no readable safetensors"),
        ("frames", "rsd_planner.json", b'{"frames_per_camera": 0}', "from 1 to 32"),
    ):
        spoilt = write_checkpoint(folder / name)
        (spoilt / file).write_bytes(content)
        yield str(spoilt), words
    nested = write_checkpoint(folder / "nested")
    (nested / "config.json").unlink()
    (nested / "config.json").mkdir()
    yield str(nested), "cannot be read"
    yield str(folder / "cut" / "config.json"), "is not a folder"


def test_useless_checkpoints_and_interpreters_are_refused_with_the_remedy(
    node: Harness,
) -> None:
    folder = node.log.parent
    cases = [("model_path", value, words) for value, words in spoilt_folders(folder)]
    cases += [("worker_python", str(folder), "is no executable")]
    cases += [("worker_python", str(folder / "params.yaml"), "is no executable")]
    for name, value, words in cases:
        assert node.set_parameter(name, value).successful
        assert not node.trigger(CONFIGURE), value
        assert node.lifecycle_state() == "unconfigured"
        node.wait(lambda words=words: words in node.reasons())
        assert node.state() == PlannerStatus.FAULT
        assert node.set_parameter(name, node.parameters[name]).successful
    assert node.trigger(CONFIGURE), node.explain()


def test_transitions_go_on_while_the_worker_is_killed_again_and_again(
    node: Harness,
) -> None:
    node.start_planning()
    for number, state in (
        (DEACTIVATE, "inactive"),
        (ACTIVATE, "active"),
        (DEACTIVATE, "inactive"),
        (CLEANUP, "unconfigured"),
        (CONFIGURE, "inactive"),
        (ACTIVATE, "active"),
    ):
        for pid in children(node):
            os.kill(pid, signal.SIGKILL)
        assert node.trigger(number), node.explain()
        assert node.lifecycle_state() == state
    node.wait(lambda: node.state() == PlannerStatus.ACTIVE)


@pytest.mark.exhaustive
def test_get_state_answers_while_every_camera_is_busy(node: Harness) -> None:
    cameras = [f"camera{number}" for number in range(8)]
    assert node.set_parameter("optional_cameras", cameras).successful
    assert node.trigger(CONFIGURE), node.explain()
    base = f"{node.node_name}/input/camera"
    publishers = [node.node.create_publisher(Image, f"{base}/{c}/image", 5) for c in cameras]
    node.wait(lambda: all(p.get_subscription_count() for p in publishers))
    hurt(node, picture=f"sleep {3.0 * crowding():.1f}")
    for _ in range(3):
        for publisher in publishers:
            publisher.publish(picture(node))
    waits = [answer_s(node) for _ in range(10)]
    inputs = node.wait_for_new("status").inputs  # of odometry another test may publish
    received = sum(item.received for item in inputs if item.name in cameras)
    assert sorted(waits)[5] < 0.5 * crowding()
    assert not received, "the pictures were to be in the making all the while"
    hurt(node)
    assert node.trigger(CLEANUP)
    assert node.set_parameter("optional_cameras", [""]).successful


def ask(node: Harness, number: int) -> Any:
    """A transition whose answer is not waited for."""
    request = node._change.srv_type.Request()
    request.transition.id = number
    return node._change.call_async(request)


def answer_s(node: Harness) -> float:
    began = time.monotonic()
    node.lifecycle_state()
    return time.monotonic() - began


def picture(node: Harness) -> Image:
    message = Image(height=2, width=2, encoding="bgr8", step=6, data=bytes(12))
    node.stamp(message, time.time_ns(), "c")
    return message


def children(node: Harness) -> list[int]:
    """Process ids of the node's workers."""
    tasks = Path(f"/proc/{node.process.pid}/task").glob("*/children")
    return [pid for task in tasks for pid in map(int, task.read_text().split()) if alive(pid)]
