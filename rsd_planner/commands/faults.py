"""Hurt a planner node in twenty ways, from outside, and time what it says and does.

Starts real nodes in a ROS domain of their own, with a worker whose planner is made up and
misbehaves on order, or with a model, and drives a car past them. Each fault is injected, detected
by an outside subscriber, ended, and recovered from. Exit code 1 when one of them failed.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsd_planner.errors import CommandError

if TYPE_CHECKING:
    from rsd_planner.commands._children import Child, Children
    from rsd_planner.commands._fault_actions import Drill, Fault, Timing

__all__ = ["Row", "add_arguments", "run", "verdict"]

EXAMPLES = """\
examples:
  rsd faults                       all of them, about two minutes
  rsd faults --only odometry       those with this word in their name
  rsd faults --json out/faults.json
  rsd faults --model assets/models/mini   with a real planner, those that need no made-up one
"""

_NODE = "/rsd_planner"
_PATIENCE_S = 8.0  # beyond a limit, so that a slow detection is measured and not only missed
_STEADY_S = 30.0
_SETTLE_S = 0.15  # messages that were on their way when the fault was detected
_MENDED_S = 1.0  # until each input has sent a good message again
_SOURCES = ("MODEL", "LAST_VALID", "SAFE_STOP")
_STEADY = ("plain", "simulated")  # nodes that plan before the fault; others are hurt earlier


@dataclass(frozen=True)
class Row:
    """What came of one fault. Seconds are -1 where the thing never happened."""

    number: int
    fault: str
    passed: bool
    detect_s: float
    detect_limit_s: float
    recover_s: float
    recover_limit_s: float
    published: tuple[str, ...]
    says: str
    why: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd faults`."""
    add = parser.add_argument
    add("--only", default="", metavar="WORD", help="faults whose name or number has this word")
    add("--json", type=Path, metavar="FILE", help="write the rows into this file")
    add("--model", type=Path, metavar="FOLDER", help="checkpoint of a real planner")
    add("--domain", type=int, help="ROS_DOMAIN_ID (a free one is drawn)")
    add("--slack", type=float, default=1.0, help="multiplies all limits (%(default)g)")


def run(arguments: argparse.Namespace) -> int:
    """All chosen faults; 1 when one failed."""
    from rsd_planner.commands._fault_catalog import STAND_IN, catalog
    from rsd_planner.commands._ros import enter_domain, require_ros

    require_ros()
    timing = STAND_IN if arguments.model is None else _model_timing(arguments.model)
    faults = catalog(timing)
    word = arguments.only.lower()
    chosen = [f for f in faults if word in f.name.lower() or word == str(f.number)]
    if not chosen:
        raise CommandError(f"No fault has '{arguments.only}' in its name.")
    other = "model" if arguments.model is None else "stand-in"
    left_out = [fault for fault in chosen if fault.needs == other]
    chosen = [fault for fault in chosen if fault not in left_out]
    if left_out:
        print(f"{len(left_out)} left out, which need the {other} as planner")
    enter_domain(arguments.domain)
    rows: list[Row] = []
    for kind in dict.fromkeys(fault.node for fault in chosen):
        mine = [fault for fault in chosen if fault.node == kind]
        with _node(kind, timing, arguments.model) as (drill, child):
            for fault in mine:
                rows.append(_inflict(fault, drill, child, arguments.slack))
                _tell(rows[-1])
    from rsd_planner.commands._measured import write_node_json

    figures = {"timing": asdict(timing), "rows": [asdict(row) for row in rows]}
    write_node_json(arguments.json, arguments, figures)
    failed = [row for row in rows if not row.passed]
    print(f"{len(rows) - len(failed)} of {len(rows)} faults passed")
    return int(bool(failed))


def _model_timing(model: Path) -> Timing:
    """A node's times that leave a real planner the time that it needs. Raises ConfigError."""
    from rsd_planner.commands._fault_actions import Timing
    from rsd_planner.config import read_requirements

    need = read_requirements(model)
    return Timing(
        period_s=0.2,
        deadline_s=1.0,
        hang_s=2.0,
        answer_s=0.5,
        pictures_s=(need.frames_per_camera - 1) * need.frame_interval_s,
        history_s=(need.history_steps - 1) * need.history_step_s,
        restart_s=10.0,  # 5 s, and as much for loading and warming
    )


@contextmanager
def _node(kind: str, timing: Timing, real_model: Path | None) -> Iterator[tuple[Drill, Child]]:
    """A node of this kind with its rig; left unconfigured where the faults configure it."""
    from rsd_planner.commands._children import Children
    from rsd_planner.commands._fault_actions import CAMERAS, Drill
    from rsd_planner.commands._fault_worker import write_worker
    from rsd_planner.ros.fault_rig import FaultRig

    with tempfile.TemporaryDirectory(prefix="rsd_faults_") as name:
        folder = Path(name)
        order_file, model = folder / "order", folder / "model"
        if real_model is None:
            python = write_worker(folder, order_file)
            _make_model(model)
        else:
            python = ""
            shutil.copytree(real_model, model)  # a drill spoils its weights
        with Children(folder) as children:
            child = _start_node(children, folder, kind, _parameters(timing, model, python))
            simulated, jpeg = kind == "simulated", b"" if real_model is None else _street()
            with FaultRig(_NODE, CAMERAS, simulated=simulated, jpeg=jpeg) as rig:
                drill = Drill(rig, order_file, model, python, timing)
                steady = kind in _STEADY
                if steady and not (rig.transition("configure") and rig.transition("activate")):
                    raise CommandError(f"The node does not start: {child.last_words()}")
                yield drill, child


def _parameters(timing: Timing, model: Path, worker_python: str) -> dict[str, Any]:
    from rsd_planner.commands._fault_catalog import PARAMETERS, parameters

    values = dict(PARAMETERS) if worker_python else parameters(timing)
    return {**values, "model_path": str(model), "worker_python": worker_python}


def _street() -> bytes:
    """The first picture of the bundled drive, which a real model can make something of."""
    from rsd_planner.bags import open_bag
    from rsd_planner.bags.messages import TYPES
    from rsd_planner.commands._drives import bundled_bag_path

    with open_bag(bundled_bag_path()) as bag:
        raw = next(bag.messages([bag.image_topic("front_wide")]))
        message: Any = TYPES.deserialize_cdr(raw.data, raw.type_name)
        return bytes(message.data)


def _start_node(children: Children, folder: Path, kind: str, values: dict[str, Any]) -> Child:
    import yaml

    values["use_sim_time"] = kind == "simulated"
    if kind == "mismatched":
        values[f"qos_overrides.{_NODE}/input/odometry.subscription.reliability"] = "reliable"
    file = folder / "parameters.yaml"
    file.write_text(yaml.safe_dump({_NODE: {"ros__parameters": values}}), encoding="utf-8")
    command = [sys.executable, "-m", "rsd_planner.ros.node", "--ros-args"]
    return children.start("planner_node", [*command, "--params-file", str(file)])


def _make_model(folder: Path) -> None:
    """A checkpoint whose headers are right; the substituted worker reads no more of it."""
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    (folder / "model.safetensors").write_bytes(weights)


def _inflict(fault: Fault, drill: Drill, child: Child, slack: float) -> Row:
    """One fault from a steady node to a steady node."""
    rig = drill.rig
    steady = fault.node in _STEADY
    if steady and not rig.wait(rig.is_steady, _STEADY_S * slack):
        why = "it did not plan before the fault"
        return verdict(fault, slack, -1.0, -1.0, (), rig.reasons(), why)
    if not steady:
        rig.transition("deactivate")
        rig.transition("cleanup")
    fault.prepare(drill)
    rig.forget()
    injected_s = time.monotonic()
    fault.start(drill)
    limit_s = fault.detect_s * slack + _PATIENCE_S
    rig.wait(lambda: _detections(fault, rig, injected_s), limit_s)
    found = _detections(fault, rig, injected_s)
    began_s = rig.hurt_s() or injected_s
    detect_s = max(0.0, found[0][0] - began_s) if found else -1.0
    hold_s = began_s + fault.lasts_s - time.monotonic() if fault.lasts_s else fault.hold_s
    time.sleep(max(0.0, hold_s))
    ended_s = time.monotonic()
    after_s = max(found[0][0] if found else began_s, began_s + fault.judged_s) + _SETTLE_S
    trajectories = [s for s in rig.seen("trajectory", after_s) if s.at_s < ended_s]
    if fault.node != "simulated":  # there t0 is of another clock
        began_ns = time.time_ns() - int(1e9 * (time.monotonic() - began_s))
        trajectories = [s for s in trajectories if not _saw_nothing_of_it(s.message, began_ns)]
    published = sorted({_SOURCES[s.message.source] for s in trajectories})
    since_start = {_SOURCES[s.message.source] for s in rig.seen("trajectory", began_s)}
    finite = all(_is_finite(s.message) for s in rig.seen("trajectory"))
    fault.stop(drill)
    if fault.sudden:
        recover_s = _recovery(fault, rig, found[0][0] if found else began_s, began_s, slack)
    else:
        ended_s = _end_of_cause(rig, ended_s, slack)
        recover_s = _recovery(fault, rig, ended_s, ended_s, slack)
    why = "" if finite else "a trajectory was not finite"
    why = why if child.code is None else f"the node died: {child.last_words()}"
    if fault.seen and not fault.seen & since_start:
        why = why or "the fallback never spoke"
    said = found[0][1] if found else rig.reasons()
    return verdict(fault, slack, detect_s, recover_s, tuple(published), said, why)


def _end_of_cause(rig: Any, stopped_s: float, slack: float) -> float:
    """The first good message of the input that was tampered with last, or `stopped_s`."""
    if rig.hurt_s() is None:
        return stopped_s
    rig.wait(lambda: rig.mended_s() is not None, _MENDED_S * slack)
    return float(rig.mended_s() or stopped_s)


def _recovery(fault: Fault, rig: Any, since_s: float, ended_s: float, slack: float) -> float:
    """Seconds from the end of the cause to the first plan of the model since `since_s` that is
    followed by a calm status.
    """
    if fault.recover_s == 0.0:
        return 0.0
    goes_on = fault.published == frozenset({"MODEL"})
    rig.wait(lambda: _first_model(rig, since_s) is not None, fault.recover_s * slack + _PATIENCE_S)
    at_s = _first_model(rig, since_s)
    if at_s is None:
        return -1.0
    return 0.0 if goes_on else max(0.0, at_s - ended_s)


def verdict(
    fault: Fault,
    slack: float,
    detect_s: float,
    recover_s: float,
    published: tuple[str, ...],
    says: str,
    why: str,
) -> Row:
    """The row of a fault: passed if seen and over in time, and only the right thing published."""
    detect_limit_s, recover_limit_s = fault.detect_s * slack, fault.recover_s * slack
    checks = (
        (detect_s < 0, "never detected"),
        (detect_s > detect_limit_s, "detected too late"),
        (recover_s < 0, "never recovered"),
        (recover_s > recover_limit_s, "recovered too late"),
        (not set(published) <= fault.published, "published what it must not"),
        (not published and fault.published and not why, "published nothing"),
    )
    why = why or next((text for bad, text in checks if bad), "")
    return Row(
        fault.number, fault.name, not why, detect_s, detect_limit_s, recover_s, recover_limit_s,
        published, says, why,
    )  # fmt: skip


def _detections(fault: Fault, rig: Any, since_s: float) -> list[tuple[float, str]]:
    """When and in which words the fault was named first; what was said before does not count."""
    pattern = re.compile(fault.says)
    found: list[tuple[float, str]] = []
    for kind, words in (("status", _status_words), ("diagnostics", _diagnostic_words),
                        ("reasoning", _text_words)):  # fmt: skip
        before = [text for s in rig.seen(kind) if s.at_s < since_s for text in words(s.message)]
        old = set(before) if kind == "diagnostics" else set()
        for seen in rig.seen(kind, since_s):
            new = (text for text in words(seen.message) if text not in old)
            hit = next((text for text in new if pattern.search(text)), None)
            if hit is not None:
                found.append((seen.at_s, hit))
                break
    return sorted(found)[:1]


def _status_words(message: Any) -> list[str]:
    return [*message.reasons, *(f"{item.name}: {item.detail}" for item in message.inputs)]


def _diagnostic_words(message: Any) -> list[str]:
    texts = [status.message for status in message.status]
    return texts + [
        f"{pair.key}: {pair.value}"
        for s in message.status
        for pair in s.values
        if pair.key.endswith("last_drop")
    ]


def _text_words(message: Any) -> list[str]:
    return [message.text]


def _first_model(rig: Any, since_s: float) -> float | None:
    """When the first plan of the model came that is followed by no complaint."""
    if not rig.is_steady():
        return None
    for seen in rig.seen("trajectory", since_s):
        if seen.message.source == 0:
            return float(seen.at_s)
    return None


def _saw_nothing_of_it(trajectory: Any, began_ns: int) -> bool:
    """Whether it is the model's answer to a tick that was under way when the fault began."""
    from rsd_planner.ros.conversions import stamp_ns

    return bool(trajectory.source == 0 and stamp_ns(trajectory.header.stamp) < began_ns)


def _is_finite(trajectory: Any) -> bool:
    return all(
        math.isfinite(p.pose.position.x) and math.isfinite(p.longitudinal_velocity_mps)
        for p in trajectory.points
    )


def _tell(row: Row) -> None:
    verdict = "ok  " if row.passed else "FAIL"
    shown = "+".join(row.published) or "nothing"
    print(
        f"{verdict} {row.number:2d} {row.fault:<45} seen {row.detect_s:5.2f} s "
        f"(≤ {row.detect_limit_s:.2f})  over {row.recover_s:5.2f} s (≤ {row.recover_limit_s:.2f})"
        f"  {shown}: {row.says[:70]}" + (f"  [{row.why}]" if row.why else ""),
        flush=True,
    )
