"""ROS parameters from the settings' schema, and settings from ROS parameters.

A value of the wrong type or range at start must not end the node: it is remembered, and
*configure* fails with it. Parameters that are not in the schema (use_sim_time, QoS
overrides) are none of its business, but a misspelt setting is refused: its value would be
ignored without a word.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from rsd_planner.config import ConfigError, PlannerSettings, SettingInfo, setting_infos

__all__ = ["SettingsParameters"]

POSES = "camera_poses"
REMEDY = (
    "takes effect at configure, and the node is configured: run the transitions deactivate (if "
    "it is active) and cleanup first, set it, then configure again."
)
NO_POSE = [0.0] * 6
NEARLY = 0.85  # as alike as validty_s and validity_s


class SettingsParameters:
    """The schema as parameters of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._infos = {info.name: info for info in setting_infos() if info.kind != "poses"}
        self._complaints: dict[str, str] = {}
        for info in self._infos.values():
            self._declare(info.name, _default(info), _descriptor(info))

    def settings(self) -> PlannerSettings:
        """The present values, checked. Raises ConfigError."""
        self._raise_complaints()
        values = {name: _plain(self._node.get_parameter(name).value) for name in self._infos}
        checked = PlannerSettings.from_mapping(values)
        poses = {camera: self._camera_pose(camera) for camera in checked.all_cameras}
        self._raise_complaints()
        values[POSES] = {camera: pose for camera, pose in poses.items() if pose != NO_POSE}
        return PlannerSettings.from_mapping(values)

    def changed(
        self, parameters: Iterable[Parameter], present: PlannerSettings | None
    ) -> PlannerSettings | None:
        """The settings after these changes; None when no setting is among them.

        `present` are the settings in use, or None before configure. Raises ConfigError when
        a value is wrong, or when it cannot change while the node is configured.
        """
        parameters = list(parameters)
        changes = {p.name: _plain(p.value) for p in parameters if p.name in self._infos}
        poses = {p.name: p.value for p in parameters if p.name.startswith(f"{POSES}.")}
        if not changes and not poses:
            return None
        base = present.to_mapping() if present else {}
        settings = PlannerSettings.from_mapping({**base, **changes})
        for name, pose in poses.items():
            PlannerSettings.from_mapping({POSES: {name.partition(".")[2]: _plain(pose)}})
        fixed = [*(name for name in changes if not self._infos[name].dynamic), *poses]
        if present is not None and fixed:
            raise ConfigError(f"{fixed[0]} {REMEDY}")
        for name in (*changes, *poses):
            self._complaints.pop(name, None)
        return settings

    def _raise_complaints(self) -> None:
        for complaint in self._complaints.values():
            raise ConfigError(complaint)
        for name in getattr(self._node, "_parameter_overrides", {}):  # rclpy tells nowhere else
            if not self._node.has_parameter(name) and (meant := self._meant(name)):
                raise ConfigError(
                    f"There is no parameter '{name}'. Did you mean '{meant}'? Correct it where the "
                    "node is started, and start it anew."
                )

    def _meant(self, name: str) -> str:
        """The setting that a name is nearly; empty where it may be meant for another node."""
        head = name.partition(".")[0]
        near = difflib.get_close_matches(head, [*self._infos, POSES], n=1, cutoff=NEARLY)
        return near[0] if near and near[0] != head else ""

    def _camera_pose(self, camera: str) -> list[float]:
        """A camera's pose parameter, which can be declared only once the camera is known."""
        name = f"{POSES}.{camera}"
        if not self._node.has_parameter(name):
            descriptor = ParameterDescriptor(
                description="Pose x y z roll pitch yaw of this camera in base_frame [m, rad]; "
                "x is along its view. Six zeros for a typical front camera."
            )
            self._declare(name, NO_POSE, descriptor)
        return list(self._node.get_parameter(name).value)

    def _declare(self, name: str, default: Any, descriptor: ParameterDescriptor) -> None:
        try:
            self._node.declare_parameter(name, default, descriptor)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            self._node.declare_parameter(name, default, descriptor, ignore_override=True)
            self._complaints[name] = f"parameter {name}: {error}"


def _default(info: SettingInfo) -> Any:
    if info.kind == "list":
        return list(info.default) or [""]  # an empty list has no type in ROS
    return list(info.default) if info.kind == "pose" else info.default


def _plain(value: Any) -> Any:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return value
    return list(value)


def _descriptor(info: SettingInfo) -> ParameterDescriptor:
    unit = f" [{info.unit}]" if info.unit else ""
    when = "" if info.dynamic else " Takes effect at configure."
    descriptor = ParameterDescriptor(description=f"{info.description}{unit}{when}")
    if info.choices:
        descriptor.additional_constraints = "one of: " + ", ".join(info.choices)
    if info.kind == "float" and info.low is not None and info.high is not None:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(info.low), to_value=float(info.high), step=0.0)
        ]
        descriptor.dynamic_typing = True  # so that `period_s: 1` in a file is no error
    elif info.kind == "int" and info.low is not None and info.high is not None:
        descriptor.integer_range = [
            IntegerRange(from_value=int(info.low), to_value=int(info.high), step=1)
        ]
    return descriptor
