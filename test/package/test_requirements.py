"""The pins are complete, and everything says the same version."""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
FILES = sorted(REQUIREMENTS.glob("*.txt"))

# Module names that differ from those of the packages that bring them.
PROVIDED_BY = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "cv_bridge": "cv-bridge",
    "direct": "panda3d",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "markupsafe": "jinja2",
    "panda3d": "panda3d",
    "yaml": "pyyaml",
}
OPTIONAL = {"tf2_ros", "bondpy", "launch", "launch_ros", "libsumo", "traci", "sumolib", "sumo"}


def pins() -> dict[str, str]:
    """Package name to version, over all files."""
    lines = [line for file in FILES for line in file.read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, version in pairs}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> set[str]:
    """Top-level modules that the package imports from outside."""
    found: set[str] = set()
    for path in (ROOT / "rsd_planner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"rsd_planner"} - OPTIONAL


def test_every_requirement_is_pinned_exactly() -> None:
    for file in FILES:
        for line in file.read_text().splitlines():
            assert not line or line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), (
                f"{file.name}: {line}"
            )


def test_everything_imported_is_required() -> None:
    pinned = set(pins())
    missing = {
        name
        for name in imported()
        if not {normal(PROVIDED_BY.get(name, name)), f"ros-{normal(name)}"} & pinned
    }
    assert not missing, f"not in requirements/: {sorted(missing)}"


def test_files_agree_on_versions() -> None:
    seen: dict[str, str] = {}
    for file in FILES:
        for line in file.read_text().splitlines():
            if "==" in line and not line.startswith("#"):
                name, version = line.split("==")
                assert seen.setdefault(normal(name), version) == version, f"{file.name}: {name}"


def test_package_and_project_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.findtext("version") == project["version"]
    assert package.findtext("name") == project["name"]


def test_torch_is_no_rosdep_key() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    keys = {element.text for element in package if element.tag.endswith("depend")}
    assert not {key for key in keys if key and ("torch" in key or "transformers" in key)}
