"""A page with the curves of a training run, from the lines that its stages logged.

Plain HTML with drawings inside; it needs no library and no network. Lines that a resumed run
wrote twice count once, the later one; a line cut by a kill is passed over.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rsd_planner.errors import CommandError

__all__ = ["StageLog", "read_logs", "write_report"]

_DRAFTERS = (
    "routine",
    "glance",
    *(f"routine_block_{rope}_{kind}" for rope in ("flat", "mrope") for kind in ("branch", "free")),
    "replica_mrope",
    "replica_flat",
)
_STAGES = ("perception", "language", "joint", "action", *_DRAFTERS)
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 760, 220, 56, 24, 12
_COLOURS = ("#1f6feb", "#c2410c", "#15803d", "#7c3aed", "#b45309", "#0e7490", "#be123c")
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body{{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1f2328;background:#fff}} h1,h2{{font-weight:600}} svg{{width:100%;height:auto}}
svg text{{font-size:11px;fill:#59636e}} table{{border-collapse:collapse;font-size:13px}}
td,th{{padding:.1rem .7rem;text-align:right;border-bottom:1px solid #d1d9e0}}
td:first-child,th:first-child{{text-align:left}} .key{{display:inline-block;margin-right:1rem}}
@media (prefers-color-scheme:dark){{body{{color:#e6edf3;background:#0d1117}}
svg text{{fill:#9198a1}} td,th{{border-color:#3d444d}}}}
</style><h1>{title}</h1>{body}</html>
"""


@dataclass(frozen=True)
class StageLog:
    """What a stage logged, by step."""

    name: str
    losses: Mapping[int, Mapping[str, float]]  # loss, minutes and other figures of a batch
    scores: Mapping[int, Mapping[str, float]]  # on held-out drives


def read_logs(work: Path) -> list[StageLog]:
    """The stages of a run that have begun. Raises CommandError where there are none."""
    logs = [_read(name, work / f"{name}.jsonl") for name in _STAGES]
    begun = [log for log in logs if log.losses]
    if not begun:
        raise CommandError(f"{work} holds no logs; is it the --work folder of a training run?")
    return begun


def _read(name: str, file: Path) -> StageLog:
    losses: dict[int, Mapping[str, float]] = {}
    scores: dict[int, Mapping[str, float]] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        step = entry.pop("step")
        if "held_out" in entry:
            scores[step] = entry["held_out"]
        else:
            losses[step] = entry
    return StageLog(name, dict(sorted(losses.items())), dict(sorted(scores.items())))


def write_report(work: Path, page: Path) -> str:
    """Writes the page; returns a sentence about each stage."""
    logs = read_logs(work)
    body, told = [], []
    init = work / "init.json"
    if init.exists():
        body.append(f"<pre>{html.escape(init.read_text())}</pre>")
    for log in logs:
        last = max(log.losses)
        sentence = f"{log.name}: step {last + 1}, {log.losses[last]['minutes']:.0f} minutes"
        if log.scores:
            newest = log.scores[max(log.scores)]
            shown = ", ".join(f"{k} {v:.3f}" for k, v in list(newest.items())[:4])
            sentence += f"; held out at {max(log.scores)}: {shown}"
        told.append(sentence)
        body += [f"<h2>{log.name}</h2><p>{html.escape(sentence)}</p>", *_stage(log)]
    page.write_text(
        _PAGE.format(title=html.escape(f"Training run {work.name}"), body="".join(body))
    )
    return "\n".join([*told, str(page)])


def _stage(log: StageLog) -> Iterator[str]:
    names = sorted({k for entry in log.losses.values() for k in entry} - {"minutes", "gradient"})
    curves = {
        name: [(s, e[name]) for s, e in log.losses.items() if name in e]
        for name in names
        if name != "token_accuracy"
    }
    yield _chart({name: _smooth(points) for name, points in curves.items()}, logarithmic=True)
    keys = [key for key in next(iter(log.scores.values()), {}) if _is_summary(key)]
    shares = {key: [(s, e[key]) for s, e in log.scores.items() if key in e] for key in keys}
    if shares:
        yield _chart(shares)
    yield _table(log.scores)


def _is_summary(key: str) -> bool:
    return not key.startswith(("f1_", "patch_")) and (
        key.startswith(("macro", "mean_b", "mean_p")) or key.endswith(("_accuracy", "_text", "_m"))
    )


def _smooth(points: Sequence[tuple[int, float]], most: int = 120) -> list[tuple[int, float]]:
    """Means of neighbours, so that at most so many points stay."""
    size = max(1, len(points) // most)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(p[-1][0], float(np.mean([value for _, value in p]))) for p in parts]


def _chart(curves: Mapping[str, Sequence[tuple[int, float]]], logarithmic: bool = False) -> str:
    values = np.array([v for points in curves.values() for _, v in points])
    steps = [s for points in curves.values() for s, _ in points]
    if logarithmic:
        values = values[values > 0]
    if len(values) == 0:
        return ""
    low, high = float(values.min()), float(values.max())
    if not logarithmic:
        low, high = min(0.0, low), max(1.0, high) if high <= 1.0 else high
    high = high if high > low else low + 1e-6

    def height(value: float) -> float:
        if logarithmic:
            share = np.log(max(value, low) / low) / np.log(high / low)
        else:
            share = (value - low) / (high - low)
        return float(_HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP))

    def across(step: float) -> float:
        return _LEFT + step / max(1, max(steps)) * (_WIDTH - _LEFT - 12)

    marks = np.geomspace(low, high, 4) if logarithmic else np.linspace(low, high, 5)
    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - 12}" y1="{height(v):.1f}" y2="{height(v):.1f}" '
        f'stroke="#8884"/><text x="{_LEFT - 6}" y="{height(v) + 4:.1f}" text-anchor="end">'
        f"{v:.3g}</text>"
        for v in marks
    ]
    parts += [
        f'<text x="{across(s):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{s:.0f}</text>'
        for s in np.linspace(0, max(steps), 5)
    ]
    keys = []
    for index, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        at = " ".join(f"{across(s):.1f},{height(v):.1f}" for s, v in points)
        parts.append(f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if len(points) < 30:
            parts += [
                f'<circle cx="{across(s):.1f}" cy="{height(v):.1f}" r="2.5" fill="{colour}"/>'
                for s, v in points
            ]
        keys.append(f'<span class="key" style="color:{colour}">{html.escape(name)}</span>')
    picture = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'
    return f"<figure>{picture}<figcaption>{''.join(keys)}</figcaption></figure>"


def _table(scores: Mapping[int, Mapping[str, float]]) -> str:
    if not scores:
        return ""
    steps = sorted(scores)[-6:]
    keys = list(scores[steps[-1]])
    head = "".join(f"<th>{step}</th>" for step in steps)
    rows = "".join(
        f"<tr><td>{html.escape(key)}</td>"
        + "".join(
            f"<td>{scores[s][key]:.3f}</td>" if key in scores[s] else "<td></td>" for s in steps
        )
        + "</tr>"
        for key in keys
    )
    return f"<table><tr><th>held out, by step</th>{head}</tr>{rows}</table>"
