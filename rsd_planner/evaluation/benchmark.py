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

from rsd_planner.evaluation.acceptance import Exactness, judge
from rsd_planner.interfaces import Drafter
from rsd_planner.planning.planner import Planner
from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    Observation,
    Prompt,
    SpanSource,
    Trajectory,
)

__all__ = ["OracleDrafter", "TickMeasurement", "measure_drive"]


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
    background_ms: float = 0.0  # work between ticks

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
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[list[TickMeasurement]]:
    """The ticks of one drive in order, each measured once for every drafter.

    The first drafter is plain decoding, against which the others are judged; an
    `OracleDrafter` among them is told its text. Drafters start without a past.
    """
    planner.reset()
    for drafter in drafters:
        drafter.reset()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number, observation in enumerate(observations):
            yield _measure_tick(planner, observation, drafters, number, clock)
            gc.collect(0)
    finally:
        if collecting:
            gc.enable()


def _measure_tick(
    planner: Planner,
    observation: Observation,
    drafters: Sequence[Drafter],
    number: int,
    clock: Callable[[], float],
) -> list[TickMeasurement]:
    start = clock()
    prompt = planner.parts.prompts.build(observation)
    features = planner.parts.target.encode(prompt.frames)
    shared_ms = 1e3 * (clock() - start)
    found: dict[str, _Parts] = {}
    for drafter in _order(drafters, number):
        if isinstance(drafter, OracleDrafter):
            drafter.text = found[drafters[0].name].decoded.tokens
        found[drafter.name] = _run(planner, prompt, observation, drafter, features, clock)
    plain = found[drafters[0].name].decoded
    prefill_ms = statistics.median(parts.prefill_ms for parts in found.values())
    return [
        TickMeasurement(
            drafter=drafter.name,
            rule=planner.acceptance.name,
            t0_ns=observation.t0_ns,
            decoded=parts.decoded,
            exactness=judge(plain, parts.decoded),
            trajectory=parts.trajectory,
            floor_ms=shared_ms + prefill_ms + parts.head_ms,
            reasoning_ms=parts.decode_ms - prefill_ms,
        )
        for drafter, parts in ((d, found[d.name]) for d in drafters)
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


def _order(drafters: Sequence[Drafter], number: int) -> list[Drafter]:
    """The drafters in this tick's order; an oracle never before plain decoding."""
    turn = number % len(drafters)
    order = [*drafters[turn:], *drafters[:turn]]
    plain = order.index(drafters[0])
    late = [d for d in order[:plain] if isinstance(d, OracleDrafter)]
    for drafter in late:
        order.remove(drafter)
        order.insert(order.index(drafters[0]) + 1, drafter)
    return order
