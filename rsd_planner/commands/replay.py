"""Run the planner over a bag without ROS, through the node's own input buffer.

Writes a bag with the messages that the node would publish, and a report page. With
--against-none every tick is decoded plainly too, in the same process and alternating, so that
speed-up and exactness are measured and not estimated.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsd_planner.commands._drives import BagDrive
    from rsd_planner.evaluation.report import Drive
    from rsd_planner.types import PlanResult
    from rsd_planner.viz.recording import Recording

__all__ = ["add_arguments", "run"]

EXAMPLES = """\
examples:
  rsd replay assets/bags/street_30s
  rsd replay A_BAG --against-none --json out/replay.json
  rsd replay A_BAG --drafter none --hz 2 --video --out out/slow
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rsd replay`."""
    from rsd_planner.commands._measured import add_planner_arguments
    from rsd_planner.config import PlannerSettings

    add = parser.add_argument
    add("bag", type=Path, metavar="BAG", help="a rosbag2 folder with pictures and odometry")
    who = PlannerSettings.drafter
    add("--drafter", default=who, metavar="NAME", help="who drafts (%(default)s)")
    add("--against-none", action="store_true", help="measure plain decoding beside it")
    add("--video", action="store_true", help="write an overlay video too")
    add("--out", type=Path, help="folder of the results (out/replay/<bag>)")
    add("--max-ticks", type=int, default=0, metavar="N", help="stop after N ticks")
    add_planner_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Replay; 1 if no tick could be planned or a text was not the plain one."""
    from rsd_planner.commands._drives import check_rate, open_drive
    from rsd_planner.commands._measured import print_rows, settings_of, warm_planner, write_json
    from rsd_planner.evaluation.report import bench_rows
    from rsd_planner.viz.terminal import make_console

    check_rate(arguments.hz)
    settings = settings_of(arguments, arguments.drafter)
    drive = open_drive(
        arguments.bag, arguments.camera, arguments.image_topic, arguments.odometry_topic
    )
    image_size = drive.image_size()
    recording = _record(drive)
    console = make_console()
    planner = warm_planner(settings, image_size)
    out = arguments.out or Path("out") / "replay" / drive.name
    results = _plan(planner, drive, settings, arguments, recording, out / "plans", console)
    if not results:
        reason = drive.skipped.most_common(1)[0][0] if drive.skipped else "no messages"
        print(f"rsd: no tick of {drive.path} could be planned: {reason}.", file=sys.stderr)
        return 1
    measured = _measure(planner, drive, settings, arguments, results, recording)
    rows = bench_rows([measured], split="streaming", seed=arguments.seed)
    print_rows(rows, f"{drive.name} at {arguments.hz:g} Hz")
    _write(recording, out, arguments, rows)
    write_json(arguments.json, arguments, rows, settings.worker_threads)
    for reason, count in drive.skipped.most_common(3):
        console.print(f"{count} tick{'s' if count > 1 else ''} without a plan: {reason}")
    console.print(f"plans: {out / 'plans'}    report: {out / 'report.html'}")
    good = not planner.acceptance.repeatable or all(
        r["exact_ticks"] is None or r["exact_ticks"] + r["excused_ticks"] == r["ticks"]
        for r in rows
    )
    return 0 if good else 1


def _record(drive: BagDrive) -> Recording:
    """Pictures and poses of the bag, for the report."""
    from rsd_planner.viz.recording import Picture, Recording

    recording = Recording(drive.model, drive.camera)
    recording.pictures = [Picture.encode(f.stamp_ns, f.image) for f in drive.frames()]
    recording.ego = drive.states()
    return recording


def _plan(
    planner: Any,
    drive: BagDrive,
    settings: Any,
    arguments: argparse.Namespace,
    recording: Recording,
    path: Path,
    console: Any,
) -> list[PlanResult]:
    """Plan tick by tick, print each, and write the output bag."""
    from rsd_planner.commands._output_bag import OutputBag
    from rsd_planner.viz.terminal import plain_lines
    from rsd_planner.viz.tick_view import view_of_result

    results = []
    start_ns = recording.pictures[0].stamp_ns
    colour = console.is_terminal and not console.no_color
    planner.reset()
    with OutputBag(path, drive.odometry_frame, settings.validity_s) as bag:
        for observation in drive.observations(settings, planner.requirements, arguments.hz):
            result = planner.plan(observation)
            bag.add(result)
            results.append(result)
            view = view_of_result(result)
            recording.ticks.append(view)
            for line in plain_lines(view, start_ns, colour=colour):
                console.print(line)
            if len(results) == arguments.max_ticks:
                break
    return results


def _measure(
    planner: Any,
    drive: BagDrive,
    settings: Any,
    arguments: argparse.Namespace,
    results: list[PlanResult],
    recording: Recording,
) -> Drive:
    """The rows' material: measured beside plain decoding, or as the planner reported it."""
    from rsd_planner.commands._bench_drives import make_drafters, measure

    if not arguments.against_none or arguments.drafter == "none":
        return _as_reported(results, recording)
    names = ["none", arguments.drafter]
    drafters = make_drafters(planner, names[1:])
    limit = arguments.max_ticks or None
    measured = measure(planner, drive, drafters, settings, arguments.hz, limit, bounds=False)
    for i, (plain, own) in enumerate(zip(*(measured.ticks[n] for n in names), strict=True)):
        recording.ticks[i] = dataclasses.replace(
            recording.ticks[i],
            reasoning_ms=own.reasoning_ms,
            plain_ms_estimate=plain.reasoning_ms,
            total_ms=own.tick_ms,
        )
    return measured


def _as_reported(results: list[PlanResult], recording: Recording) -> Drive:
    from rsd_planner.evaluation.acceptance import Exactness
    from rsd_planner.evaluation.benchmark import TickMeasurement
    from rsd_planner.evaluation.report import Drive
    from rsd_planner.evaluation.trajectory import PathError, driven_path
    from rsd_planner.planning.ego_history import OdometryTrack

    track, errors = OdometryTrack(recording.ego), PathError()
    ticks = []
    for result in results:
        path = result.trajectory
        driven = driven_path(track, result.ego, result.t0_ns, len(path.position_m), path.step_s)
        errors.add(path, driven)
        spent = result.durations
        ticks.append(
            TickMeasurement(
                result.drafter, result.rule, result.t0_ns, result.decoded, Exactness.EXACT, path,
                floor_ms=spent.total_ms - spent.reasoning_ms, reasoning_ms=spent.reasoning_ms,
            )
        )  # fmt: skip
    name = results[0].drafter
    return Drive({name: ticks}, {name: errors})


def _write(
    recording: Recording, out: Path, arguments: argparse.Namespace, rows: list[dict[str, Any]]
) -> None:
    from rsd_planner.viz.overlay_video import frames, video_rate
    from rsd_planner.viz.report import write_report
    from rsd_planner.viz.video import write_video

    video = ""
    if arguments.video:
        write_video(frames(recording), out / "overlay.mp4", fps=video_rate(recording))
        video = "overlay.mp4"
    measured = arguments.against_none and arguments.drafter != "none"
    write_report(
        out / "report.html",
        recording,
        title=f"Replay of {arguments.bag.name}",
        subtitle=f"{arguments.command_line}",
        video=video,
        rows=rows if measured else (),
        plain_measured=measured,
    )
