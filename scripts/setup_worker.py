#!/usr/bin/env python3
"""Makes the venv in which the model runs: `ros2 run rsd_planner setup_worker`.

ROS from apt brings its own Python and numpy; torch and transformers want newer ones. So the
node starts a worker with the interpreter of this venv (parameter `worker_python`). Uses the
standard library only; needs Python 3.11 or newer for the venv, not for itself.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
NAMES = ("python3.12", "python3.11", "python3.13", "python3")


def default_path():
    """Where the launch files look for the worker's venv."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "rsd_planner" / "worker"


def requirements_file():
    """The pins: in the package's share folder, or in the source tree."""
    here = Path(__file__)
    candidates = [here.resolve().parents[1] / "requirements" / "worker.txt"]
    candidates += [here.absolute().parents[2] / "share" / "rsd_planner" / "requirements/worker.txt"]
    for path in candidates:
        if path.is_file():
            return path
    sys.exit(f"There is no {candidates[-1]}: build the package again with colcon.")


def version_of(python):
    """(major, minor) of an interpreter, or None where it does not start."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
        return tuple(int(part) for part in done.stdout.split()) if not done.returncode else None
    except (OSError, ValueError):
        return None


def find_python(wanted):
    """An interpreter that is new enough; exits with the remedy where there is none."""
    needed = ".".join(map(str, OLDEST))
    if wanted:
        version = version_of(wanted)
        if version is None or version < OLDEST:
            sys.exit(f"--python {wanted} is not a Python {needed} or newer; name another one.")
        return wanted
    for name in (sys.executable, *NAMES):
        path = shutil.which(name) if name else None
        if path and (version_of(path) or (0, 0)) >= OLDEST:
            return path
    sys.exit(
        f"There is no Python {needed} or newer on the PATH. Install one (for example with "
        "`uv python install 3.12`, pyenv, or apt install python3.11 python3.11-venv) and name it "
        "with --python."
    )


def run(command, what):
    """Run a command with its output shown; exit with the remedy if it fails."""
    # A sourced ROS puts its packages on PYTHONPATH: they are not for this interpreter.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    print(f"\n{what}:\n  {' '.join(map(str, command))}", flush=True)
    if subprocess.run(list(map(str, command)), env=env).returncode:
        sys.exit(f"\n{what} failed; see above. Running this command again continues.")


def main():
    """Make or complete the venv, check that torch works, say how to use it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", type=Path, default=default_path(), help="where (%(default)s)")
    parser.add_argument("--python", help="interpreter for it, 3.11 or newer")
    parser.add_argument(
        "--torch-index", help="take torch from this package index: a CPU, CUDA or Jetson build"
    )
    options = parser.parse_args()
    path = options.path.expanduser().absolute()
    python = path / "bin" / "python"
    if version_of(str(python)) is None:
        command = [find_python(options.python), "-m", "venv", path]
        run(command, "Making the venv (on Debian and Ubuntu needs python3-venv)")
    pins = requirements_file()
    install = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    torch = next(line for line in pins.read_text().splitlines() if line.startswith("torch=="))
    source = ["--index-url", options.torch_index] if options.torch_index else []
    run([*install, torch, *source], "Installing torch")
    run([*install, "-r", pins], "Installing transformers and the rest")
    check = (
        "import torch, transformers; print('torch', torch.__version__, 'transformers', "
        "transformers.__version__, 'cuda', torch.cuda.is_available())"
    )
    run([python, "-c", check], "Checking")
    print(f"\nThe worker is ready. Parameter of the node: worker_python: {python}")
    if path == default_path():
        print("The launch files find it there by themselves.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
