"""What the node imports works in an interpreter that has neither torch nor transformers.

import-linter sees modules; this also sees what a package's `__init__` drags in.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11

ROOT = Path(__file__).resolve().parents[2]
BLOCK = """
import importlib, importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "tokenizers", "safetensors"):
            raise ImportError(f"{name} is imported on the node's side")
sys.meta_path.insert(0, Block())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def contract() -> list[str]:
    """The modules of the import-linter contract, and the modules inside rsd_planner.ros."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = config["tool"]["importlinter"]["contracts"]
    modules = next(c["source_modules"] for c in contracts if c["type"] == "forbidden")
    inside = [path.stem for path in (ROOT / "rsd_planner/ros").glob("[a-z]*.py")]
    return [*modules, *(f"rsd_planner.ros.{name}" for name in inside)]


def test_node_side_imports_without_torch() -> None:
    pytest.importorskip("rclpy")
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, *contract()], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_block_would_notice() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, "rsd_planner.models.vla"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert "is imported on the node's side" in done.stderr
