"""Measures the drafters on one drive, a bag's or a shard's, and keeps what rows are made of."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rsd_planner.config import PlannerSettings
from rsd_planner.decoding.drafters.catalog import DRAFTERS, make_drafter
from rsd_planner.errors import CommandError, ConfigError
from rsd_planner.evaluation.benchmark import (
    EVERY_TICK,
    FLOOR,
    OracleDrafter,
    Sparsely,
    measure_drive,
    novel_by_text,
)
from rsd_planner.evaluation.controls import TransformersControls
from rsd_planner.evaluation.report import Drive
from rsd_planner.evaluation.trajectory import PathError
from rsd_planner.interfaces import Drafter
from rsd_planner.model_requirements import ModelRequirements
from rsd_planner.planning.planner import Planner
from rsd_planner.types import Observation

__all__ = ["Drafters", "MeasurableDrive", "make_drafters", "measure"]


class MeasurableDrive(Protocol):
    """A recorded drive: what the planner would see of it, and what came of it."""

    path: Path
    skipped: Counter[str]

    @property
    def name(self) -> str:
        """How to call it."""

    def image_size(self) -> tuple[int, int]:
        """Height and width of the first picture."""

    def observations(
        self, settings: PlannerSettings, requirements: ModelRequirements, rate_hz: float
    ) -> Iterator[Observation]:
        """One observation a tick."""

    def driven(
        self, observation: Observation, points: int, step_s: float
    ) -> NDArray[np.float64] | None:
        """Where the car went (points, 3), in the ego frame at t0, if that is known."""

    def novel(self, stamps_ns: Sequence[int]) -> tuple[bool, ...] | None:
        """Which instants come within a second after the true causes changed, if that is known."""


@dataclass(frozen=True)
class Drafters:
    """Who is measured. Plain decoding comes first; `forgetful` ones know no earlier tick."""

    streaming: tuple[Drafter, ...]
    forgetful: tuple[Drafter, ...] = ()
    missing: tuple[str, ...] = ()  # who could not be made, and why


def make_drafters(
    planner: Planner, names: Sequence[str] | None = None, *, isolated: bool = False
) -> Drafters:
    """Plain decoding and drafters by name; with `isolated` forgetful ones of them too.

    Without names, all of the catalog whose files are there.

    Raises:
        ConfigError: a drafter that was named cannot be made.
    """
    resources = planner.parts.resources
    streaming, missing = [make_drafter("none", resources)], []
    for name in dict.fromkeys(names or DRAFTERS):
        try:
            streaming += [make_drafter(name, resources)] if name != "none" else []
        except ConfigError as error:
            if names:
                raise
            missing.append(f"{name}: {error}")
    twins = [make_drafter(made.name, resources) for made in streaming[1:] if isolated]
    return Drafters(tuple(streaming), tuple(twins), tuple(missing))


def measure(
    planner: Planner,
    drive: MeasurableDrive,
    drafters: Drafters,
    settings: PlannerSettings,
    rate_hz: float,
    limit: int | None = None,
    *,
    bounds: bool = True,
    controls: TransformersControls | None = None,
    every: Sparsely = EVERY_TICK,
) -> Drive:
    """The measured ticks of one drive, with the errors of the paths against the driven one.

    With `bounds`, oracle and floor stand beside the drafters.

    Raises:
        CommandError: the drive gives no tick.
    """
    oracle = [OracleDrafter()] if bounds and planner.acceptance.repeatable else []
    streaming = [*drafters.streaming, *oracle]
    found = Drive({}, {}, {}, hz=rate_hz)
    made = itertools.islice(drive.observations(settings, planner.requirements, rate_hz), limit)
    seen: list[Observation] = []

    def remember() -> Iterator[Observation]:
        for observation in made:
            seen[:] = [observation]
            yield observation

    with _Progress(f"measuring {drive.name}") as progress:
        for tick in measure_drive(
            planner,
            remember(),
            streaming,
            isolated=drafters.forgetful,
            controls=controls,
            every=every,
        ):
            for one in (one for one in tick if bounds or one.drafter != FLOOR):
                kept = found.isolated if one.isolated else found.ticks
                kept.setdefault(one.drafter, []).append(one)
                path = one.trajectory
                if path is not None and not one.isolated:
                    driven = drive.driven(seen[0], len(path.position_m), path.step_s)
                    found.path_errors.setdefault(one.drafter, PathError()).add(path, driven)
            progress.step()
    if not found.ticks:
        reason = drive.skipped.most_common(1)
        raise CommandError(
            f"{drive.path} gives no tick that can be planned"
            + (f" ({reason[0][0]})." if reason else ".")
        )
    return replace(found, novel=_novel(drive, found, planner))


def _novel(drive: MeasurableDrive, found: Drive, planner: Planner) -> tuple[bool, ...]:
    plain, codec = found.ticks["none"], planner.parts.codec
    stamps = [tick.t0_ns for tick in plain]
    truth = drive.novel(stamps)
    if truth is not None:
        return truth
    return novel_by_text(stamps, ["".join(codec.pieces(tick.decoded.tokens)) for tick in plain])


class _Progress:
    """A counter on the terminal's last line, silent elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def step(self) -> None:
        """One tick more."""
        self._count += 1
        if self._shown:
            print(f"\r{self._what}: {self._count} ticks ", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: Any) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
