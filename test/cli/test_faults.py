"""Fault drills: the catalog is whole, the verdicts are strict, and the fast ones pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rsd_planner.commands._fault_actions import Fault
from rsd_planner.commands._fault_catalog import FAULTS, PARAMETERS
from rsd_planner.commands.faults import Row, verdict
from rsd_planner.config import PlannerSettings

NAN = next(fault for fault in FAULTS if fault.name == "the plan is NaN")
FALLBACK = ("LAST_VALID", "SAFE_STOP")


def judged(
    fault: Fault = NAN,
    detect_s: float = 0.1,
    recover_s: float = 0.1,
    published: tuple[str, ...] = FALLBACK,
    why: str = "",
) -> Row:
    return verdict(fault, 1.0, detect_s, recover_s, published, "words", why)


def test_all_twenty_faults_have_a_drill() -> None:
    assert {fault.number for fault in FAULTS} >= set(range(1, 21))
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    PlannerSettings.from_mapping(PARAMETERS)


def test_a_drill_passes_only_if_all_is_as_it_must_be() -> None:
    assert judged().passed
    assert judged(detect_s=-1.0).why == "never detected"
    assert judged(detect_s=9.0).why == "detected too late"
    assert judged(recover_s=-1.0).why == "never recovered"
    assert judged(recover_s=9.0).why == "recovered too late"
    assert judged(published=("MODEL", "SAFE_STOP")).why == "published what it must not"
    assert judged(published=()).why == "published nothing"
    assert judged(why="the node died").why == "the node died"
    assert not judged(why="the node died").passed


@pytest.mark.ros
@pytest.mark.slow
def test_bad_plans_pass_their_drills(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("rsd_planner.msg")
    file = tmp_path / "rows.json"
    command = [sys.executable, "-m", "rsd_planner.cli", "faults", "--only", "the plan is"]
    # Limits are for a machine of its own; this one may be crowded.
    done = subprocess.run(
        [*command, "--json", str(file), "--slack", "10"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert [row["passed"] for row in rows] == [True] * 5
    assert all("plan rejected" in row["says"] for row in rows)
