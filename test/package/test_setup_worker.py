"""The script that makes the worker's venv: what it refuses, and what it would install."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "setup_worker.py"


@pytest.fixture
def setup_worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_worker", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_help_says_where_the_venv_goes() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--torch-index" in done.stdout


def test_an_unfit_python_is_refused_with_the_remedy(setup_worker: ModuleType) -> None:
    with pytest.raises(SystemExit, match="is not a Python 3.11 or newer"):
        setup_worker.find_python("/bin/false")


def test_this_python_is_found(setup_worker: ModuleType) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("this interpreter is too old for the model")
    assert setup_worker.version_of(setup_worker.find_python(None)) >= (3, 11)


def test_pins_are_found_and_torch_is_first(setup_worker: ModuleType) -> None:
    lines = setup_worker.requirements_file().read_text().splitlines()
    pins = [line for line in lines if "==" in line]
    assert pins[0].startswith("torch==")
    assert any(pin.startswith("transformers==") for pin in pins)


def test_commands_run_without_the_packages_of_ros(
    setup_worker: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/opt/ros/x")
    code = "import os, sys; sys.exit('PYTHONPATH' in os.environ)"
    setup_worker.run([sys.executable, "-S", "-c", code], "A check")
    with pytest.raises(SystemExit, match="A check failed"):
        setup_worker.run([sys.executable, "-S", "-c", "raise SystemExit(3)"], "A check")
