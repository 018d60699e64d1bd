"""Measures drafters on the same ticks, in the same process, alternating tick by tick.

Each tick: the pictures are encoded once, then every drafter decodes the same prompt, each
with a bare prefill of its own just before. The order of the drafters rotates, so that what
warms a cache or a core favours nobody. Knows planners and observations, not bags.

Reasoning time is `t_tick − t_vision − t_prefill_alone − t_head`, where the bare prefill is
the tick's median over the drafters.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rsd_planner.evaluation.acceptance import Exactness, judge
from rsd_planner.evaluation.causes import parse_reasoning
from rsd_planner.interfaces import Drafter
from rsd_planner.planning.planner import Planner
from rsd_planner.simulation.text_changes import novel_frames
from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    Observation,
    Prompt,
    SpanSource,
    Trajectory,
)

__all__ = ["OracleDrafter", "TickMeasurement", "measure_drive", "novel_by_text"]


@dataclass(frozen=True)
class TickMeasurement:
    """One drafter's tick. Milliseconds of a monotonic clock."""

    drafter: str
    rule: str
    t0_ns: int
    decoded: Decoded
    exactness: Exactness
    trajectory: Trajectory
    floor_ms: float  # what the tick costs without any reasoning
    reasoning_ms: float
    head_ms: float = 0.0  # of the floor: the path head
    background_ms: float = 0.0  # work between ticks
    isolated: bool = False  # the drafter knew no earlier tick

    @property
    def tick_ms(self) -> float:
        """The whole tick."""
        return self.floor_ms + self.reasoning_ms


class OracleDrafter:
    """Drafts exactly the text that plain decoding wrote: the bound that no drafter can beat."""

    name = "oracle"

    def __init__(self) -> None:
        self.text: tuple[int, ...] = ()

    def begin(self) -> None:
        """Nothing to prepare."""

    def propose(self, context: DraftContext) -> Draft:
        """What of the text is still missing."""
        start = len(context.committed)
        tokens = self.text[start : start + context.budget]
        return Draft(tokens, (SpanSource.LOOKUP,) * len(tokens))

    def end(self, decoded: Decoded) -> None:
        """Nothing to remember."""

    def reset(self) -> None:
        """Forget the text."""
        self.text = ()


@dataclass(frozen=True, eq=False)
class _Runner:
    """A drafter and how it is run; each is itself alone, whatever its drafter is called."""

    drafter: Drafter
    isolated: bool = False


@dataclass(frozen=True)
class _Parts:
    """One drafter's raw times within a tick, in milliseconds."""

    decoded: Decoded
    trajectory: Trajectory
    prefill_ms: float
    decode_ms: float
    head_ms: float


def measure_drive(
    planner: Planner,
    observations: Iterable[Observation],
    drafters: Sequence[Drafter],
    *,
    isolated: Sequence[Drafter] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[list[TickMeasurement]]:
    """The ticks of one drive in order, each measured once for every drafter.

    The first drafter is plain decoding, against which the others are judged; an
    `OracleDrafter` among them is told its text. Drafters start without a past, and those in
    `isolated` forget it before every tick.
    """
    planner.reset()
    runners = [_Runner(d) for d in drafters] + [_Runner(d, isolated=True) for d in isolated]
    for runner in runners:
        runner.drafter.reset()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number, observation in enumerate(observations):
            yield _measure_tick(planner, observation, runners, number, clock)
            gc.collect(0)
    finally:
        if collecting:
            gc.enable()


def novel_by_text(stamps_ns: Sequence[int], texts: Sequence[str]) -> tuple[bool, ...]:
    """Which ticks of a drive come less than a second after the causes in its texts changed.

    For drives without truth: what is novel to the model, not to the world.
    """
    causes = [[cause.name for cause in parse_reasoning(text).causes] for text in texts]
    found = novel_frames(np.asarray(stamps_ns, dtype=np.int64), causes)
    return tuple(bool(is_novel) for is_novel in found)


def _measure_tick(
    planner: Planner,
    observation: Observation,
    runners: Sequence[_Runner],
    number: int,
    clock: Callable[[], float],
) -> list[TickMeasurement]:
    start = clock()
    prompt = planner.parts.prompts.build(observation)
    features = planner.parts.target.encode(prompt.frames)
    shared_ms = 1e3 * (clock() - start)
    found: dict[_Runner, _Parts] = {}
    for runner in _order(runners, number):
        if isinstance(runner.drafter, OracleDrafter):
            runner.drafter.text = found[runners[0]].decoded.tokens
        elif runner.isolated:
            runner.drafter.reset()
        found[runner] = _run(planner, prompt, observation, runner.drafter, features, clock)
    plain = found[runners[0]].decoded
    prefill_ms = statistics.median(parts.prefill_ms for parts in found.values())
    return [
        TickMeasurement(
            drafter=runner.drafter.name,
            rule=planner.acceptance.name,
            t0_ns=observation.t0_ns,
            decoded=parts.decoded,
            exactness=judge(plain, parts.decoded),
            trajectory=parts.trajectory,
            floor_ms=shared_ms + prefill_ms + parts.head_ms,
            reasoning_ms=parts.decode_ms - prefill_ms,
            head_ms=parts.head_ms,
            isolated=runner.isolated,
        )
        for runner, parts in ((r, found[r]) for r in runners)
    ]


def _run(
    planner: Planner,
    prompt: Prompt,
    observation: Observation,
    drafter: Drafter,
    features: object,
    clock: Callable[[], float],
) -> _Parts:
    start = clock()
    planner.parts.target.prefill(prompt, Draft(), features)  # type: ignore[arg-type]
    prefilled = clock()
    decoded = planner.decode(prompt, observation.history, drafter, features)  # type: ignore[arg-type]
    reasoned = clock()
    trajectory = planner.sample(observation.history)
    done = clock()
    return _Parts(
        decoded=decoded,
        trajectory=trajectory,
        prefill_ms=1e3 * (prefilled - start),
        decode_ms=1e3 * (reasoned - prefilled),
        head_ms=1e3 * (done - reasoned),
    )


def _order(runners: Sequence[_Runner], number: int) -> list[_Runner]:
    """The drafters in this tick's order; an oracle never before plain decoding."""
    turn = number % len(runners)
    order = [*runners[turn:], *runners[:turn]]
    plain = order.index(runners[0])
    late = [r for r in order[:plain] if isinstance(r.drafter, OracleDrafter)]
    for runner in late:
        order.remove(runner)
        order.insert(order.index(runners[0]) + 1, runner)
    return order
