"""The package in a colcon workspace: a plain build, `colcon test`, a package on top of it.

Builds into a temporary folder, about a minute. Needs colcon, from the venv or a sourced ROS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLCON = next(
    (path for path in (Path(sys.prefix, "bin/colcon"), shutil.which("colcon")) if path), None
)
FROM_WHEELS = Path(sys.prefix, "share", "ament_index").is_dir()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "RSD_PLANNER_COLCON_TEST" in os.environ, reason="this is the `colcon test` it would start"
    ),
    pytest.mark.skipif(not COLCON or not Path(COLCON).exists(), reason="colcon is not installed"),
]

PACKAGE_XML = """<?xml version="1.0"?>
<package format="3">
  <name>on_top</name><version>0.0.1</version><description>Embeds a plan.</description>
  <maintainer email="nobody@example.com">nobody</maintainer><license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>rsd_planner</depend>
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""
CMAKELISTS = """cmake_minimum_required(VERSION 3.16)
project(on_top)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(rsd_planner REQUIRED)
rosidl_generate_interfaces(on_top msg/Stored.msg DEPENDENCIES rsd_planner)
ament_package()
"""
MESSAGE = "rsd_planner/PlannedTrajectory plan\nrsd_planner/Reasoning[] reasonings\n"
USE = """
from rclpy.serialization import deserialize_message, serialize_message
from on_top.msg import Stored
from rsd_planner.msg import PlannedTrajectory, Reasoning, TrajectoryPoint
import rsd_planner
plan = PlannedTrajectory(tick=7, points=[TrajectoryPoint(longitudinal_velocity_mps=3.0)])
stored = Stored(plan=plan, reasonings=[Reasoning(text="Keep going.")])
back = deserialize_message(serialize_message(stored), Stored)
assert back == stored, back
print(rsd_planner.__file__)
"""


class Workspace:
    """A temporary workspace and the commands that run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.install = folder / "install"

    def colcon(self, verb: str, base: Path, package: str, *arguments: str) -> None:
        """Run a colcon verb on one package below `base`."""
        env = dict(os.environ)
        if FROM_WHEELS:
            env["PATH"] = f"{Path(sys.prefix, 'bin')}:{env.get('PATH', '')}"
            prefixes = f"{self.install / 'rsd_planner'}:{sys.prefix}"
            env.update(AMENT_PREFIX_PATH=prefixes, CMAKE_PREFIX_PATH=prefixes)
        command = [str(COLCON), f"--log-base={self.folder / 'log'}", verb]
        command += [f"--base-paths={base}", f"--packages-select={package}"]
        command += [f"--build-base={self.folder / 'build'}", f"--install-base={self.install}"]
        done = subprocess.run(
            [*command, *arguments], env=env, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]

    def build(self, base: Path, package: str, testing: str = "OFF") -> None:
        """`colcon build`, files copied and not linked."""
        arguments = ["--cmake-args", f"-DBUILD_TESTING={testing}"]
        if FROM_WHEELS:
            arguments += ["-GNinja", f"-DPython3_EXECUTABLE={sys.executable}"]
        self.colcon("build", base, package, *arguments)

    def python(self, code: str) -> str:
        """Run code with the workspace sourced."""
        command = f". {self.install}/local_setup.sh && exec {sys.executable} -c '{code}'"
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("workspace"))
    made.build(ROOT, "rsd_planner", testing="ON")
    return made


def test_colcon_test_passes(workspace: Workspace) -> None:
    workspace.colcon("test", ROOT, "rsd_planner", "--return-code-on-test-failure")
    results = list((workspace.folder / "build").rglob("*.xunit.xml"))
    assert results
    assert 'tests="0"' not in results[0].read_text()


def test_another_package_embeds_the_messages(workspace: Workspace) -> None:
    source = workspace.folder / "src" / "on_top"
    (source / "msg").mkdir(parents=True)
    (source / "package.xml").write_text(PACKAGE_XML)
    (source / "CMakeLists.txt").write_text(CMAKELISTS)
    (source / "msg" / "Stored.msg").write_text(MESSAGE)
    workspace.build(workspace.folder / "src", "on_top")
    file = Path(workspace.python(USE))
    assert file.is_relative_to(workspace.install), "the installed copy is what a user runs"


def test_executables_and_shared_files_are_installed(workspace: Workspace) -> None:
    prefix = workspace.install / "rsd_planner"
    for name in ("planner_node", "viewer", "setup_worker"):
        assert os.access(prefix / "lib" / "rsd_planner" / name, os.X_OK), name
    for name in ("launch/planner.launch.py", "config/planner.yaml", "requirements/worker.txt"):
        assert (prefix / "share" / "rsd_planner" / name).is_file(), name


def test_the_installed_copy_judges_drafts_by_its_own_compiled_code(workspace: Workspace) -> None:
    code = "from rsd_planner.models.glance_kernel import find_kernel; print(find_kernel()._name)"
    assert Path(workspace.python(code)).is_relative_to(workspace.install)
