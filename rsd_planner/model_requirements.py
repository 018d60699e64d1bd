"""What a checkpoint needs to see, read from the headers of its files.

Opens no weights and imports no torch, so that the node can refuse a bad folder within
milliseconds. It does not know whether the weights are any good.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rsd_planner.errors import ConfigError

__all__ = ["ModelRequirements", "read_requirements"]


@dataclass(frozen=True)
class ModelRequirements:
    """What a checkpoint needs to see, and the grid of the path that it answers with."""

    frames_per_camera: int = 4
    frame_interval_s: float = 0.1
    history_steps: int = 16
    history_step_s: float = 0.1
    horizon_points: int = 64
    horizon_step_s: float = 0.1
    picture_px: int | None = None  # that it looks at, at most; None: nobody says


def read_requirements(model_path: str | Path) -> ModelRequirements:
    """Checks a checkpoint folder by its headers and reads what the model needs.

    Opens no weights: `config.json` must be JSON, every safetensors file must have a
    readable header and the length that its header promises. `max_pixels` of `config.json` is
    the size to which larger pictures are brought. The optional file `rsd_planner.json` gives
    `frames_per_camera` and `frame_interval_s`. Raises ConfigError, whose text names the remedy.
    """
    folder = Path(model_path)
    if not folder.is_dir():
        raise ConfigError(
            f"model_path '{folder}' is not a folder; set it to a checkpoint folder "
            "(`rsd models` lists the known ones)."
        )
    picture_px = _read_json(folder / "config.json").get("max_pixels")
    for weights in _weight_files(folder):
        _check_safetensors(weights)
    extra = folder / "rsd_planner.json"
    found = _requirements_from(_read_json(extra), extra) if extra.is_file() else ModelRequirements()
    return replace(found, picture_px=picture_px if isinstance(picture_px, int) else None)


def _requirements_from(values: Mapping[str, Any], path: Path) -> ModelRequirements:
    frames = values.get("frames_per_camera", 4)
    interval_s = values.get("frame_interval_s", 0.1)
    if not isinstance(frames, int) or not 1 <= frames <= 32:
        raise ConfigError(f"{path}: frames_per_camera is {frames!r}; write a number from 1 to 32.")
    if not isinstance(interval_s, (int, float)) or not 0.01 <= interval_s <= 2.0:
        raise ConfigError(f"{path}: frame_interval_s is {interval_s!r}; write 0.01 to 2.0 seconds.")
    return ModelRequirements(frames_per_camera=frames, frame_interval_s=float(interval_s))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is missing; model_path must be a Hugging Face style checkpoint folder."
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); copy the checkpoint anew.") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no JSON object; copy the checkpoint anew.")
    return value


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ConfigError(f"{single} is missing; copy the checkpoint's weights (safetensors only).")
    names = set(map(str, _read_json(index).get("weight_map", {}).values()))
    if not names or any(Path(name).name != name for name in names):
        raise ConfigError(f"{index} names no usable files; copy the checkpoint anew.")
    return [folder / name for name in sorted(names)]


def _check_safetensors(path: Path) -> None:
    """Header readable, and the file exactly as long as the header says."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, 100_000_000):
                raise ValueError("the header's length is impossible")
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        if max(ends, default=0) != size - 8 - length:
            raise ValueError("the file was cut or does not match its header")
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; copy the checkpoint's weights.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(
            f"{path} is no readable safetensors file ({error}); copy the weights anew "
            "(a Git LFS pointer looks like this: run `git lfs pull`)."
        ) from None
