"""Figures from what the target said and planned: rows by split and input, and their tables.

Sums over drives first, rates from them, intervals by drawing drives. Field names are fixed:
other tools and the docs read them. A figure that cannot be had is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsd_planner.evaluation.attributes import ATTRIBUTES, score_attributes
from rsd_planner.evaluation.grounding import (
    CANONICAL_CAUSES,
    SHOWN_BY_HISTORY,
    count_causes,
    history_prior_f1,
    macro,
    pack,
    unpack,
)
from rsd_planner.evaluation.intervals import bootstrap, sums_by_drive
from rsd_planner.evaluation.paths import (
    ade,
    calibrate,
    constant_turn_rate,
    constant_velocity,
    distances,
    fde,
    min_ade,
)
from rsd_planner.evaluation.target import Answers, Ticks

__all__ = [
    "HORIZONS_S",
    "ROW_FIELDS",
    "cause_rows",
    "motion_classes",
    "path_rows",
    "report_of",
    "target_rows",
]

HORIZONS_S = (1.0, 3.0, 6.0)
ROW_FIELDS = (
    "split",
    "input",
    "ticks",
    "drives",
    "macro_f1",
    "macro_f1_low",
    "macro_f1_high",
    "min_f1",
    "prior_f1",
    "unshown_f1",
    "unshown_prior_f1",
    "unshown_history_f1",
    "recall",
    "decision_accuracy",
    "decision_low",
    "decision_high",
    "decision_macro",
    "decision_prior",
    "complete_share",
    "samples",
    "ade_3s_m",
    "ade_3s_low",
    "ade_3s_high",
    "cv_ade_3s_m",
    "ctr_ade_3s_m",
    "silent_ade_3s_m",
    "min_ade_3s_m",
    "fde_6s_m",
    "cv_fde_6s_m",
)
_UNSHOWN = np.array([name not in SHOWN_BY_HISTORY for name in CANONICAL_CAUSES])

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def report_of(ticks: Ticks, answers: Sequence[Answers], seed: int = 0) -> dict[str, Any]:
    """All figures as plain values: `rows`, `causes`, `paths`, `calibration`, `attributes`."""
    first = answers[0]
    found = (calibrate(first.samples, first.chosen, ticks.driven, h) for h in HORIZONS_S)
    return {
        "rows": target_rows(ticks, answers, seed),
        "causes": cause_rows(ticks, answers, seed),
        "paths": path_rows(ticks, first, seed),
        "calibration": [asdict(one) for one in found if one is not None],
        "attributes": attribute_rows(ticks, first),
    }


def target_rows(ticks: Ticks, answers: Sequence[Answers], seed: int = 0) -> list[dict[str, Any]]:
    """One row for each split and input.

    Splits are `streaming` (all ticks), `novel`, `event` and `event:CAUSE`. `unshown_…` are
    macro figures over the causes that a history cannot show; `…_prior_f1` belongs to saying a
    cause always, `…_history_f1` to the best guess from the car's motion.
    """
    return [
        _row(ticks, given, split, mask, seed) for split, mask in _splits(ticks) for given in answers
    ]


def _splits(ticks: Ticks) -> Iterator[tuple[str, Mask]]:
    yield "streaming", np.ones(len(ticks), np.bool_)
    yield "novel", ticks.novel
    yield "event", ticks.event
    for index, name in enumerate(CANONICAL_CAUSES):
        yield f"event:{name}", ticks.truth[:, index]


def _row(ticks: Ticks, given: Answers, split: str, mask: Mask, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(ROW_FIELDS)
    row |= {"split": split, "input": given.input, "ticks": int(mask.sum())}
    row["drives"] = len(np.unique(ticks.drive[mask]))
    if not mask.any():
        return row
    drive = np.unique(ticks.drive[mask], return_inverse=True)[1].astype(np.int64)
    if split.startswith("event:"):
        cause = CANONICAL_CAUSES.index(split.removeprefix("event:"))
        row["recall"] = float(given.said[mask, cause].mean())
    else:
        row |= _cause_figures(ticks.truth[mask], given.said[mask], drive, seed)
        if split == "streaming":
            shown = history_prior_f1(ticks.truth, motion_classes(ticks), ticks.drive)
            row["unshown_history_f1"] = _number(macro(shown, _UNSHOWN))
    row |= _decision_figures(ticks.decision[mask], given.decision[mask], drive, seed)
    complete = [given.finished[i] and given.parsed[i].complete for i in np.flatnonzero(mask)]
    row["complete_share"] = float(np.mean(complete))
    row |= _path_figures(ticks, given, mask, drive, seed)
    return row


def _cause_figures(truth: Mask, said: Mask, drive: NDArray[np.int64], seed: int) -> dict[str, Any]:
    counts = count_causes(truth, said)
    sums = pack(count_causes(truth, said, drive))
    interval = bootstrap(sums, lambda drawn: macro(unpack(drawn).f1), seed)
    known = counts.f1[~np.isnan(counts.f1)]
    return {
        "macro_f1": _number(macro(counts.f1)),
        "macro_f1_low": interval[0] if interval else None,
        "macro_f1_high": interval[1] if interval else None,
        "min_f1": float(known.min()) if len(known) else None,
        "prior_f1": _number(macro(counts.prior_f1)),
        "unshown_f1": _number(macro(counts.f1, _UNSHOWN)),
        "unshown_prior_f1": _number(macro(counts.prior_f1, _UNSHOWN)),
    }


def _decision_figures(
    truth: NDArray[np.int64], said: NDArray[np.int64], drive: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    right = truth == said
    low, high = _mean_interval(right.astype(np.float64), drive, seed)
    by_decision = [right[truth == decision].mean() for decision in np.unique(truth)]
    return {
        "decision_accuracy": float(right.mean()),
        "decision_low": low,
        "decision_high": high,
        "decision_macro": float(np.mean(by_decision)),
        "decision_prior": float(np.bincount(truth).max() / len(truth)),
    }


def _path_figures(
    ticks: Ticks, given: Answers, mask: Mask, drive: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    errors = _planners(ticks, given)
    own = ade(errors["model"][mask], 3.0)
    low, high = _mean_interval(own, drive, seed)
    silent = errors.get("silent")
    return {
        "samples": given.samples.shape[1],
        "ade_3s_m": float(own.mean()),
        "ade_3s_low": low,
        "ade_3s_high": high,
        "cv_ade_3s_m": float(ade(errors["constant_velocity"][mask], 3.0).mean()),
        "ctr_ade_3s_m": float(ade(errors["constant_turn_rate"][mask], 3.0).mean()),
        "silent_ade_3s_m": None if silent is None else float(ade(silent[mask], 3.0).mean()),
        "min_ade_3s_m": float(min_ade(given.samples[mask], ticks.driven[mask], 3.0).mean()),
        "fde_6s_m": float(fde(errors["model"][mask], 6.0).mean()),
        "cv_fde_6s_m": float(fde(errors["constant_velocity"][mask], 6.0).mean()),
    }


def path_rows(ticks: Ticks, given: Answers, seed: int = 0) -> list[dict[str, Any]]:
    """Path errors by split and planner: the model, the same without reasoning, simple ones.

    `ade_3s_against_cv` is the ratio to constant velocity, `…_less_silent` the mean difference to
    the same model without reasoning in the same ticks, each with its interval.
    """
    errors = _planners(ticks, given)
    splits = list(_splits(ticks))[:3]
    return [
        _path_row(split, name, {key: value[mask] for key, value in errors.items()},
                  ticks.drive[mask], given.samples[mask] if name == "model" else None,
                  ticks.driven[mask], seed)
        for split, mask in splits
        if mask.any()
        for name in errors
    ]  # fmt: skip


def _path_row(
    split: str,
    name: str,
    errors: dict[str, Floats],
    drive: NDArray[np.int64],
    samples: Floats | None,
    driven: Floats,
    seed: int,
) -> dict[str, Any]:
    row: dict[str, Any] = {"split": split, "planner": name, "ticks": len(drive)}
    drive = np.unique(drive, return_inverse=True)[1].astype(np.int64)
    for horizon in HORIZONS_S:
        row[f"ade_{horizon:.0f}s_m"] = float(ade(errors[name], horizon).mean())
        row[f"fde_{horizon:.0f}s_m"] = float(fde(errors[name], horizon).mean())
        best = None if samples is None else float(min_ade(samples, driven, horizon).mean())
        row[f"min_ade_{horizon:.0f}s_m"] = best
    own, simple = ade(errors[name], 3.0), ade(errors["constant_velocity"], 3.0)
    sums = sums_by_drive(np.stack([own, simple], axis=1), drive)
    row["ade_3s_against_cv"] = float(own.sum() / simple.sum()) if simple.sum() > 0 else None
    row |= _named("against_cv", bootstrap(sums, lambda s: _ratio(s[:, 0], s[:, 1]), seed))
    if "silent" in errors:
        less = own - ade(errors["silent"], 3.0)
        row["ade_3s_less_silent_m"] = float(less.mean())
        row |= _named("less_silent", _mean_interval(less, drive, seed))
    return row


def cause_rows(ticks: Ticks, answers: Sequence[Answers], seed: int = 0) -> list[dict[str, Any]]:
    """One row for each cause that is true or said: scores on the first input, F1 on the others."""
    first = answers[0]
    counts = count_causes(ticks.truth, first.said)
    sums = pack(count_causes(ticks.truth, first.said, ticks.drive))
    history = history_prior_f1(ticks.truth, motion_classes(ticks), ticks.drive)
    others = {given.input: count_causes(ticks.truth, given.said).f1 for given in answers[1:]}
    rows = []
    for index in np.flatnonzero(~np.isnan(counts.f1)):
        interval = bootstrap(sums, _f1_of(int(index)), seed)
        rows.append(
            {
                "cause": CANONICAL_CAUSES[index],
                "ticks": int(ticks.truth[:, index].sum()),
                "drives": len(np.unique(ticks.drive[ticks.truth[:, index]])),
                "precision": _number(counts.precision[index]),
                "recall": _number(counts.recall[index]),
                "f1": _number(counts.f1[index]),
                "f1_low": interval[0] if interval else None,
                "f1_high": interval[1] if interval else None,
                "prior_f1": _number(counts.prior_f1[index]),
                "history_f1": _number(history[index]),
                **{f"{name}_f1": _number(scores[index]) for name, scores in others.items()},
            }
        )
    return rows


def attribute_rows(ticks: Ticks, given: Answers) -> list[dict[str, Any]]:
    """How often what is said of a cause that is true and said is right, by attribute."""
    right, told = Counter[str](), Counter[str]()
    for frame, parsed in zip(ticks.now, given.parsed, strict=True):
        truth = {cause["name"]: cause["attributes"] for cause in ticks.data.causes[frame]}
        said = {cause.name: cause.attributes for cause in parsed.causes}
        for name, (good, total) in score_attributes(truth, said).items():
            right[name] += good
            told[name] += total
    return [
        {
            "attribute": name,
            "told": told[name],
            "right": right[name],
            "accuracy": right[name] / told[name],
        }
        for name in ATTRIBUTES
        if told[name]
    ]


def _f1_of(cause: int) -> Callable[[Floats], Floats]:
    return lambda sums: unpack(sums).f1[:, cause]


def motion_classes(ticks: Ticks) -> NDArray[np.int64]:
    """(ticks,): a class for each tick by speed, acceleration and turn in its history."""
    xy = ticks.history_xyz[..., :2]
    speed = np.linalg.norm(np.diff(xy, axis=1), axis=-1) / 0.1  # (ticks, steps − 1)
    rot = ticks.history_rot
    turn = np.abs(np.arctan2(rot[:, 0, 1, 0], rot[:, 0, 0, 0]))
    parts = (
        (speed[:, -1], (0.3, 2.0, 5.0, 8.0, 11.0, 15.0, 20.0, 25.0)),
        ((speed[:, -1] - speed[:, -6]) / 0.5, (-1.5, -0.4, 0.4, 1.5)),
        (turn, (0.04, 0.15)),
    )
    classes = np.zeros(len(xy), np.int64)
    for values, edges in parts:
        classes = classes * (len(edges) + 1) + np.digitize(values, edges)
    return classes


def _planners(ticks: Ticks, given: Answers) -> dict[str, Floats]:
    """Distances (ticks, points) from the driven path, by planner."""
    driven, xy, rot = ticks.driven, ticks.history_xyz[..., :2], ticks.history_rot
    heading = np.arctan2(rot[..., 1, 0], rot[..., 0, 0])
    points = driven.shape[1]
    errors = {"model": distances(given.paths, driven)}
    silent = given.silent_paths
    if silent is not None:
        errors["silent"] = distances(silent, driven)
    errors["constant_velocity"] = distances(constant_velocity(xy, points), driven)
    errors["constant_turn_rate"] = distances(constant_turn_rate(xy, heading, points), driven)
    return errors


def _mean_interval(
    values: Floats, drive: NDArray[np.int64], seed: int
) -> tuple[float | None, float | None]:
    sums = sums_by_drive(values[:, None], drive)
    return bootstrap(sums, lambda drawn: _ratio(drawn[:, 0], drawn[:, 1]), seed) or (None, None)


def _named(
    name: str, interval: tuple[float | None, float | None] | None
) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
