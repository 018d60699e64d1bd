"""What is said about a tick and a drive, in text and pages."""

from __future__ import annotations

import io
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from viz_drive import START_NS, TEXT, make_tick

from rsd_planner.types import PlanSource, Span, SpanKind, SpanSource
from rsd_planner.viz.overlay_video import HEIGHT, WIDTH, compose, frames, video_rate
from rsd_planner.viz.report import write_report
from rsd_planner.viz.terminal import live_layout, plain_lines, reasoning_text, summary_table
from rsd_planner.viz.tick_view import describe_path, pieces, summarise
from rsd_planner.viz.video import VideoError, write_video


def test_pieces_join_to_the_text_and_alternate(tick):
    found = pieces(tick.text, tick.spans)
    assert "".join(piece.text for piece in found) == TEXT
    assert [piece.routine for piece in found] == [True, False, True]
    assert found[1].text == "14"


def test_text_that_no_span_claims_is_the_models():
    span = Span(0, 2, 1, SpanSource.ROUTINE, SpanKind.ACCEPTED)
    assert [p.routine for p in pieces("abcd", [span])] == [True, False]
    assert all(p.new for p in pieces("abcd", [span]))
    assert pieces("", ()) == ()


def test_what_was_foreseen_stands_apart_from_what_was_copied(tick):
    sources = (SpanSource.PREVIOUS_TICK, SpanSource.ROUTINE, SpanSource.LOOKUP)
    spans = [
        Span(2 * i, 2 * i + 2, 1, source, SpanKind.ACCEPTED) for i, source in enumerate(sources)
    ]
    copied, foreseen = pieces("abcdef", spans)
    assert (copied.text, copied.routine, copied.new) == ("ab", True, False)
    assert (foreseen.text, foreseen.routine, foreseen.new) == ("cdef", True, True)
    shown = reasoning_text(replace(tick, text="abcdef", spans=tuple(spans)))
    assert [("underline" in str(part.style), part.end) for part in shown.spans] == [
        (False, 2),
        (True, 6),
    ]


def test_what_cannot_be_printed_does_not_reach_the_terminal():
    (piece,) = pieces("a\x1b[31mb\u0605\n", ())
    assert piece.text == "a·[31mb··"


def test_the_path_is_described_from_the_car(tick):
    assert describe_path(tick) == "in 3 s: 24.0 m ahead, 29 km/h"


def test_fallback_ticks_do_not_count_as_the_models():
    ticks = [make_tick(0), make_tick(1, source=PlanSource.LAST_VALID), make_tick(2, text="Stop")]
    summary = summarise(ticks)
    assert (summary.ticks, summary.model_ticks) == (3, 2)
    assert summary.speedup == pytest.approx(5.0)
    assert summary.equal_text_share == 0.0


def test_an_empty_drive_has_no_rates():
    summary = summarise([])
    assert summary.speedup == summary.routine_share == summary.equal_text_share == 0.0


def test_plain_lines_mark_deliberative_words_without_colour(tick):
    first, second = plain_lines(tick, START_NS, colour=False)
    assert "‹14›" in first.plain
    assert "5.0× faster" in second.plain
    assert "11+2 tokens in 2 forwards" in second.plain


def test_colour_is_never_the_only_sign(tick):
    styles = [str(span.style) for span in reasoning_text(tick).spans]
    assert sum("bold" in style for style in styles) == 1


@pytest.mark.parametrize("ticks", [0, 1, 30])
def test_the_live_page_fits_small_terminals(ticks):
    console = Console(width=80, height=24, file=io.StringIO(), force_terminal=True)
    console.print(live_layout([make_tick(i) for i in range(ticks)], "ACTIVE", START_NS))
    console.print(summary_table(summarise([make_tick(i) for i in range(ticks)])))


def test_the_plan_that_is_drawn_was_there_at_that_time(recording):
    assert recording.tick_at(START_NS + 100_000_000) is None  # the first answer takes 120 ms
    shown = recording.tick_at(START_NS + 500_000_000)
    assert shown is not None
    assert shown.tick == 1


def test_poses_are_interpolated(recording):
    pose = recording.pose_odom_from_ego(START_NS + 30_000_000)
    assert pose[0, 3] == pytest.approx(0.24)
    assert recording.pose_odom_from_ego(START_NS - 1) is None


def test_frames_are_composed_with_and_without_a_plan(recording):
    made = list(frames(recording))
    assert len(made) == 12
    assert {frame.shape for frame in made} == {(HEIGHT, WIDTH, 3)}
    assert video_rate(recording) == pytest.approx(10.0)
    recording.ticks, recording.camera = [], None
    compose(recording, np.zeros((96, 200, 3), np.uint8), START_NS)


def test_the_video_is_what_browsers_play(recording, tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "overlay.mp4"
    assert write_video(frames(recording), path, fps=10) == 12
    said = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, check=False
    ).stderr.decode()
    assert "h264" in said
    assert "yuv420p" in said
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "plays while it still loads"


def test_no_frames_is_said(tmp_path):
    with pytest.raises(VideoError, match="no frame"):
        write_video([], tmp_path / "none.mp4", fps=10)


def test_the_report_holds_text_charts_and_video(recording, tmp_path):
    recording.ticks.append(make_tick(5, text="Stop <b>now</b>", spans=()))
    path = tmp_path / "report.html"
    rows = [{"drafter": "none", "ticks": 5, "ade_m": None}]
    write_report(path, recording, title="A drive & more", video="overlay.mp4", rows=rows)
    page = path.read_text(encoding="utf-8")
    assert "A drive &amp; more" in page
    assert "Stop &lt;b&gt;now" in page
    assert page.count("<svg") == 3
    assert 'src="overlay.mp4"' in page
    assert "http" not in page.replace("http://www.w3.org", ""), "no links to elsewhere"


def test_a_report_of_nothing_is_a_page_too(tmp_path, recording):
    recording.ticks = []
    write_report(tmp_path / "empty.html", recording, title="Nothing")
