"""List the drafters and the models that are here, with sizes, licences and card figures.

Reads headers and cards only: no weights are loaded and torch is not imported.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "find_models", "run"]

EXAMPLES = """\
examples:
  rsd models
  rsd models --folder ~/checkpoints           look there too
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd models`."""
    parser.add_argument(
        "--folder",
        type=Path,
        action="append",
        default=[],
        help="a folder of checkpoints, or one checkpoint, to list as well",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print two tables."""
    from rich.table import Table

    from rsd_planner.config import bundled_model_path
    from rsd_planner.decoding.drafters.catalog import DRAFTERS
    from rsd_planner.errors import CommandError
    from rsd_planner.viz.terminal import make_console

    for folder in arguments.folder:
        if not folder.is_dir():
            raise CommandError(f"{folder} is not a folder; name one that holds checkpoints.")
    console = make_console()
    drafters = Table(title="Drafters", title_justify="left", box=None, pad_edge=False)
    drafters.add_column("name", style="bold")
    drafters.add_column("what it does")
    for name, kind in DRAFTERS.items():
        drafters.add_row(name, _first_line(kind.__doc__))
    console.print(drafters)
    console.print()
    bundled = Path(bundled_model_path())
    models = list(find_models([bundled.parent, *arguments.folder]))
    if not models:
        console.print(
            f"No model was found in {bundled.parent}; copy a checkpoint there or use --folder."
        )
    else:
        console.print(_model_table(models, bundled))
    if arguments.json is not None:
        value = {"drafters": list(DRAFTERS), "models": models}
        arguments.json.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return 0


def find_models(folders: list[Path]) -> Iterator[dict[str, Any]]:
    """What is known of each checkpoint in or at the folders, without loading weights."""
    for folder in folders:
        here = [folder] if (folder / "config.json").is_file() else sorted(folder.glob("*/"))
        for path in here:
            if (path / "config.json").is_file():
                yield _describe(path)


def _model_table(models: list[dict[str, Any]], bundled: Path) -> Any:
    from rich.table import Table

    table = Table(title="Models", title_justify="left", box=None, pad_edge=False)
    for name in ("name", "layout", "parameters", "on disk", "licence", "card", "folder"):
        table.add_column(name, style="bold" if name == "name" else "")
    for model in models:
        default = " (default)" if Path(model["folder"]) == bundled else ""
        if model["problem"]:
            table.add_row(model["name"] + default, f"unusable: {model['problem']}")
            continue
        table.add_row(
            model["name"] + default,
            model["layout"],
            f"{model['parameters'] / 1e6:.1f} M",
            f"{model['bytes'] / 1e6:.1f} MB",
            model["licence"] or "–",
            ", ".join(f"{key} {value}" for key, value in model["figures"].items()) or "–",
            model["folder"],
        )
    return table


def _describe(path: Path) -> dict[str, Any]:
    from rsd_planner.config import read_requirements
    from rsd_planner.errors import ConfigError

    found: dict[str, Any] = {
        "name": path.name, "folder": str(path), "layout": "", "parameters": 0, "bytes": 0,
        "licence": "", "figures": {}, "problem": "",
    }  # fmt: skip
    try:
        read_requirements(path)
        found["layout"] = str(json.loads((path / "config.json").read_text())["model_type"])
        files = sorted(path.glob("*.safetensors"))
        found["parameters"] = sum(map(_parameters, files))
        found["bytes"] = sum(file.stat().st_size for file in files)
    except ConfigError as error:
        found["problem"] = str(error)
    except (OSError, ValueError, KeyError) as error:
        found["problem"] = f"config.json cannot be read ({error!r})"
    found["licence"], found["figures"] = _card(path / "README.md")
    return found


def _parameters(path: Path) -> int:
    """Weights in a safetensors file, from its header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name[0] != "_")


def _card(path: Path) -> tuple[str, dict[str, str]]:
    """Licence and figures of a model card's front matter; empty where it has none."""
    if not path.is_file():
        return "", {}
    front = re.match(r"---\n(.*?)\n---\n", path.read_text(encoding="utf-8"), re.DOTALL)
    if front is None:
        return "", {}
    import yaml

    try:
        values = yaml.safe_load(front.group(1)) or {}
    except yaml.YAMLError:
        return "", {}
    figures = values.get("metrics", {})
    figures = figures if isinstance(figures, dict) else {}
    licence = values.get("license") or values.get("licence") or ""
    return str(licence), {str(key): str(value) for key, value in figures.items()}


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0].rstrip(".") if text else ""
