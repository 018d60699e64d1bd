"""The messages say the same as the Python enums, and every field says its unit or frame."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from rsd_planner import types

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = sorted((ROOT / "msg").glob("*.msg"))
CONSTANT = re.compile(r"^uint8 ([A-Z_]+)=(\d+)")
FIELD = re.compile(r"^([A-Za-z0-9_/]+(?:\[\])?) ([a-z][a-z0-9_]*)\s*(#.*)?$")

# The fields of autoware_planning_msgs/TrajectoryPoint, in its order.
AUTOWARE_POINT = [
    ("builtin_interfaces/Duration", "time_from_start"),
    ("geometry_msgs/Pose", "pose"),
    ("float32", "longitudinal_velocity_mps"),
    ("float32", "lateral_velocity_mps"),
    ("float32", "acceleration_mps2"),
    ("float32", "heading_rate_rps"),
    ("float32", "front_wheel_angle_rad"),
    ("float32", "rear_wheel_angle_rad"),
]


def constants(message: str) -> dict[str, int]:
    lines = (ROOT / "msg" / f"{message}.msg").read_text().splitlines()
    return {m[1]: int(m[2]) for m in map(CONSTANT.match, lines) if m}


def fields(path: Path) -> list[tuple[str, str, str | None]]:
    lines = path.read_text().splitlines()
    return [(m[1], m[2], m[3]) for m in map(FIELD.match, lines) if m]


@pytest.mark.parametrize(
    ("message", "enums"),
    [
        ("ReasoningSpan", [types.SpanSource, types.SpanKind]),
        ("Reasoning", [types.Decision, types.FinishReason]),
        ("PlannedTrajectory", [types.PlanSource]),
    ],
)
def test_message_constants_equal_the_enums(message: str, enums: list[type[IntEnum]]) -> None:
    expected = {member.name: int(member) for enum in enums for member in enum}
    assert constants(message) == expected


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_every_field_has_a_comment(path: Path) -> None:
    found = fields(path)
    assert found
    assert [name for _, name, comment in found if not comment] == []


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_a_unit_in_a_field_name_is_in_its_comment(path: Path) -> None:
    units = {"_ms": "[ms]", "_s": "[s]", "_hz": "[Hz]", "_mps": "[m/s]", "_rad": "[rad]"}
    for _, name, comment in fields(path):
        for suffix, unit in units.items():
            if name.endswith(suffix):
                assert unit in (comment or ""), name


def test_trajectory_point_has_the_fields_of_autoware() -> None:
    found = [(kind, name) for kind, name, _ in fields(ROOT / "msg" / "TrajectoryPoint.msg")]
    assert found == AUTOWARE_POINT


def test_generated_messages_carry_the_constants_and_fields() -> None:
    msg = pytest.importorskip("rsd_planner.msg", reason="the messages are not built")
    for path in MESSAGES:
        cls = getattr(msg, path.stem)
        assert set(cls.get_fields_and_field_types()) == {name for _, name, _ in fields(path)}, (
            f"{path.stem} was built from another definition; run `make build`"
        )
        for name, value in constants(path.stem).items():
            assert getattr(cls, name) == value
