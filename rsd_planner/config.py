"""The settings of the planner: one schema for the node's parameters, the worker and the CLI.

A field's metadata (description, unit, range, choices, whether it may change while active)
becomes the ROS parameter's descriptor and the table in the docs. This module knows neither
torch nor ROS.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rsd_planner.errors import ConfigError, suggest
from rsd_planner.model_requirements import ModelRequirements, read_requirements

__all__ = [
    "DRAFTERS",
    "RULES",
    "ConfigError",
    "ModelRequirements",
    "PlannerSettings",
    "SettingInfo",
    "bundled_model_path",
    "read_requirements",
    "setting_infos",
    "suggest",
]

DRAFTERS = (
    "none",
    "previous_tick",
    "prompt_lookup",
    "suffix",
    "routine",
    "routine_block",
    "glance",
    "replica",
    "blend",
    "cascade",
    "cascade_block",
)
RULES = ("greedy", "coupled", "rejection")
DEVICES = ("cpu", "cuda")

_FRONT_POSE = (1.5, 0.0, 1.5, 0.0, 0.0, 0.0)


def bundled_model_path() -> str:
    """The folder of the bundled mini model: in the source tree, else in an ament share folder."""
    relative = Path("assets") / "models" / "mini"
    source = Path(__file__).resolve().parents[1] / relative
    if source.is_dir():
        return str(source)
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        shared = Path(prefix) / "share" / "rsd_planner" / relative
        if prefix and shared.is_dir():
            return str(shared)
    return str(source)


def default_worker_threads() -> int:
    """All usable cores but one, which stays with the node."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        cores = os.cpu_count() or 1
    return max(1, cores - 1)


@dataclass(frozen=True)
class SettingInfo:
    """What one setting is. `low` and `high` are inclusive; `kind` is a plain type's name."""

    name: str
    kind: str  # bool, int, float, str, list (of str), pose (6 floats) or poses (by camera)
    default: Any
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    dynamic: bool = False  # may change while the node is active


def _setting(
    default: Any, kind: str, description: str, *, unit: str = "", low: float | None = None,
    high: float | None = None, choices: tuple[str, ...] = (), dynamic: bool = False,
) -> Any:  # fmt: skip
    meta: dict[str, Any] = {"kind": kind, "description": description, "unit": unit}
    meta.update(low=low, high=high)
    meta.update(choices=choices, dynamic=dynamic)
    if callable(default):
        return field(default_factory=default, metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class PlannerSettings:
    """Everything that can be set. Build it with `from_mapping`, which checks every value."""

    # model and worker
    model_path: str = _setting(
        bundled_model_path,
        "str",
        "Folder of the checkpoint (config.json, model.safetensors); empty for the bundled one.",
    )
    device: str = _setting("cpu", "str", "Where the model runs: cpu, cuda or cuda:<n>.")
    worker_python: str = _setting(
        "", "str", "Interpreter with torch that runs the model; empty for the node's own."
    )
    worker_threads: int = _setting(
        default_worker_threads, "int", "CPU threads of the model; leave one core to the node.",
        low=1, high=1024,
    )  # fmt: skip
    worker_memory_limit_mb: int = _setting(
        0, "int", "A worker that holds more memory than this is killed and started anew; "
        "0 for no limit.",
        unit="MB", low=0, high=10_000_000,
    )  # fmt: skip
    worker_standby: bool = _setting(
        True, "bool", "Keep a second process with torch imported, so that a new worker plans "
        "4 s sooner; it costs about 280 MB of memory.",
    )  # fmt: skip
    worker_start_timeout_s: float = _setting(
        120.0, "float", "A worker that is not warm after this long is killed and started anew.",
        unit="s", low=1.0, high=3600.0,
    )  # fmt: skip
    hang_timeout_s: float = _setting(
        5.0, "float", "A worker that is busy with one tick for this long is killed.",
        unit="s", low=0.2, high=600.0, dynamic=True,
    )  # fmt: skip

    # decoding
    drafter: str = _setting(
        "cascade", "str", "Who drafts the reasoning; 'none' decodes plainly.",
        choices=DRAFTERS,
    )  # fmt: skip
    rule: str = _setting(
        "greedy", "str", "How drafted tokens are accepted; all but greedy sample the text.",
        choices=RULES,
    )  # fmt: skip
    temperature: float = _setting(
        0.6, "float", "Of the sampled text: below 1 likely tokens become likelier.",
        low=0.05, high=5.0,
    )  # fmt: skip
    top_p: float = _setting(
        0.98, "float", "The sampled text keeps to the likeliest tokens that hold this probability.",
        low=0.01, high=1.0,
    )  # fmt: skip
    draft_control: str = _setting(
        "off", "str", "On: as much is drafted and verified as has paid off on this machine.",
        choices=("off", "on"),
    )  # fmt: skip
    draft_budget: int = _setting(
        64, "int", "Most drafted tokens that one forward verifies.", low=1, high=512
    )
    max_reasoning_tokens: int = _setting(
        64, "int", "A text is cut at this many tokens.", low=1, high=1024
    )
    flow_steps: int = _setting(
        0, "int", "Integration steps of the trajectory head; 0 takes the checkpoint's.",
        low=0, high=100,
    )  # fmt: skip
    num_samples: int = _setting(
        0, "int", "Trajectories sampled each tick; 0 takes the checkpoint's.", low=0, high=64
    )
    seed: int = _setting(0, "int", "Seed of all sampling.", low=0, high=2**31 - 1)

    # inputs
    cameras: tuple[str, ...] = _setting(
        ("front_wide",), "list", "Cameras that every plan needs, in the order of the prompt."
    )
    optional_cameras: tuple[str, ...] = _setting(
        (), "list", "Cameras that are used while they deliver; [''] for none."
    )
    camera_compressed: bool = _setting(
        False, "bool", "Subscribe to image/compressed (JPEG or PNG) instead of image."
    )
    frame_tolerance_s: float = _setting(
        0.12, "float", "A frame may be this much older than the instant it stands for.",
        unit="s", low=0.001, high=1.0,
    )  # fmt: skip
    navigation: str = _setting(
        "", "str", "Route hint until a message on ~/input/navigation arrives.", dynamic=True
    )
    max_input_age_s: float = _setting(
        0.5, "float", "No plan from inputs whose common instant is older than this.",
        unit="s", low=0.05, high=2.0, dynamic=True,
    )  # fmt: skip
    base_frame: str = _setting("base_link", "str", "Frame of the ego pose: the rear axle's middle.")
    odometry_frame: str = _setting(
        "", "str", "Expected header.frame_id of the odometry; empty holds the first one seen."
    )
    odometry_child_frame: str = _setting(
        "", "str", "Expected child_frame_id of the odometry; empty holds the first one seen."
    )
    base_pose_in_child: tuple[float, ...] = _setting(
        (0.0,) * 6, "pose",
        "Pose x y z roll pitch yaw of base_frame in the odometry's child frame, "
        "where tf2 does not give it.",
        unit="m, rad",
    )  # fmt: skip
    camera_poses: Mapping[str, tuple[float, ...]] = _setting(
        dict, "poses",
        "Pose x y z roll pitch yaw of each camera in base_frame; x is along its view. "
        "Used for the overlay.",
        unit="m, rad",
    )  # fmt: skip

    # timing
    period_s: float = _setting(
        0.2, "float", "Time between ticks on the ROS clock.", unit="s", low=0.02, high=10.0
    )
    deadline_s: float = _setting(
        1.0, "float", "An answer later than this (steady clock) is dropped.",
        unit="s", low=0.05, high=10.0, dynamic=True,
    )  # fmt: skip
    validity_s: float = _setting(
        1.0, "float", "How long after its t0 a plan may be followed.",
        unit="s", low=0.2, high=2.0, dynamic=True,
    )  # fmt: skip

    # what a plan may ask of the car
    max_speed_mps: float = _setting(
        25.0, "float", "Fastest speed in a plan.", unit="m/s", low=0.5, high=70.0, dynamic=True
    )
    max_acceleration_mps2: float = _setting(
        6.0, "float", "Hardest acceleration in a plan.",
        unit="m/s^2", low=0.2, high=20.0, dynamic=True,
    )  # fmt: skip
    max_deceleration_mps2: float = _setting(
        8.0, "float", "Hardest braking in a plan.",
        unit="m/s^2", low=0.5, high=20.0, dynamic=True,
    )  # fmt: skip
    max_jerk_mps3: float = _setting(
        15.0, "float", "Hardest change of acceleration in a plan, over half a second.",
        unit="m/s^3", low=0.5, high=100.0, dynamic=True,
    )  # fmt: skip
    safe_stop_deceleration_mps2: float = _setting(
        3.0, "float", "Braking of SAFE_STOP.", unit="m/s^2", low=0.5, high=10.0, dynamic=True
    )
    max_lateral_acceleration_mps2: float = _setting(
        6.0, "float", "Hardest cornering in a plan.",
        unit="m/s^2", low=0.5, high=20.0, dynamic=True,
    )  # fmt: skip
    max_curvature_1pm: float = _setting(
        0.3, "float", "Tightest curve in a plan, checked above walking pace.",
        unit="1/m", low=0.01, high=2.0, dynamic=True,
    )  # fmt: skip
    max_displacement_m: float = _setting(
        1.5, "float", "A plan's path may be this far from where the car is now.",
        unit="m", low=0.1, high=10.0, dynamic=True,
    )  # fmt: skip
    require_agreement: bool = _setting(
        False, "bool",
        "Reject a plan whose text is empty, cut or decides what its path does not do.",
        dynamic=True,
    )  # fmt: skip

    # outputs
    dry_run: bool = _setting(False, "bool", "Publish trajectory and path under ~/dry_run/ only.")
    publish_debug: bool = _setting(
        True, "bool", "Publish markers and overlay while somebody subscribes.", dynamic=True
    )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PlannerSettings:
        """Settings from plain values; fields that are not named keep their defaults.

        Raises ConfigError for an unknown name, a wrong type or a value out of range.
        """
        infos = {info.name: info for info in setting_infos()}
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in infos:
                raise ConfigError(f"There is no setting '{name}'.{suggest(name, list(infos))}")
            checked[name] = _check(infos[name], value)
        settings = cls(**checked)
        _check_together(settings)
        return (
            settings if settings.model_path else replace(settings, model_path=bundled_model_path())
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain values (lists, no tuples) that JSON can carry and `from_mapping` takes back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @property
    def all_cameras(self) -> tuple[str, ...]:
        """Required cameras, then optional ones."""
        return self.cameras + self.optional_cameras

    def camera_pose(self, camera: str) -> tuple[float, ...]:
        """x y z roll pitch yaw of a camera in the base frame; a typical front pose by default."""
        return self.camera_poses.get(camera, _FRONT_POSE)


def setting_infos() -> tuple[SettingInfo, ...]:
    """The schema, in the order in which it is documented."""
    return tuple(_info(f) for f in fields(PlannerSettings))


def _info(f: Field[Any]) -> SettingInfo:
    default = f.default_factory() if f.default_factory is not MISSING else f.default
    return SettingInfo(name=f.name, default=default, **f.metadata)


def _check(info: SettingInfo, value: Any) -> Any:
    """The value in the type of its field, or ConfigError."""
    if info.kind in ("int", "float"):
        return _check_number(info, value)
    if info.kind == "bool":
        if not isinstance(value, bool):
            raise ConfigError(f"{info.name} must be true or false, not {value!r}.")
        return value
    if info.kind == "str":
        return _check_text(info, value)
    if info.kind == "list":
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigError(f"{info.name} must be a list of names, not {value!r}.")
        if not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{info.name} must hold names only, not {list(value)!r}.")
        return tuple(item for item in value if item)
    if info.kind == "pose":
        return _check_pose(info.name, value)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{info.name} must map camera names to poses, not {value!r}.")
    return {str(key): _check_pose(f"{info.name}.{key}", pose) for key, pose in value.items()}


def _check_number(info: SettingInfo, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{info.name} must be a number, not {value!r}.")
    if info.kind == "int" and value != int(value if math.isfinite(value) else 0):
        raise ConfigError(f"{info.name} must be a whole number, not {value!r}.")
    low = -math.inf if info.low is None else info.low
    high = math.inf if info.high is None else info.high
    if not low <= value <= high:  # also refuses NaN
        unit = f" {info.unit}" if info.unit else ""
        raise ConfigError(
            f"{info.name} is {value!r}; choose a value from {low:g} to {high:g}{unit}."
        )
    return int(value) if info.kind == "int" else float(value)


def _check_text(info: SettingInfo, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{info.name} must be text, not {value!r}.")
    if info.choices and value not in info.choices:
        known = ", ".join(info.choices)
        raise ConfigError(
            f"{info.name} '{value}' is unknown; choose one of: {known}."
            f"{suggest(value, info.choices)}"
        )
    return value


def _check_pose(name: str, value: Any) -> tuple[float, ...]:
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    good = len(numbers) == 6 and all(
        isinstance(n, (int, float)) and math.isfinite(n) for n in numbers
    )
    if not good:
        raise ConfigError(f"{name} must be six numbers x y z roll pitch yaw, not {value!r}.")
    return tuple(float(n) for n in numbers)


def _check_together(settings: PlannerSettings) -> None:
    """What single fields cannot see."""
    device, _, index = settings.device.partition(":")
    if device not in DEVICES or (index and not index.isdigit()):
        known = ", ".join(DEVICES)
        raise ConfigError(
            f"device '{settings.device}' is unknown; choose one of: {known}."
            f"{suggest(device, DEVICES)}"
        )
    if not settings.cameras:
        raise ConfigError("cameras is empty; name at least one camera, for example [front_wide].")
    seen: set[str] = set()
    for camera in settings.all_cameras:
        if not camera.isidentifier():
            raise ConfigError(
                f"Camera name '{camera}' cannot be part of a topic; use letters, digits and '_'."
            )
        if camera in seen:
            raise ConfigError(f"Camera '{camera}' is named twice; name it once.")
        seen.add(camera)
