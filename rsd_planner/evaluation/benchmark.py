"""Measures drafters on the same ticks, in the same process, alternating tick by tick.

Each tick: the pictures are encoded once, then every drafter decodes the same prompt. Bare
prefills stand between them, and their order rotates, so that what warms a cache or a core
favours nobody. Knows planners and observations, not bags.

Reasoning time is `t_tick − t_vision − t_prefill_alone − t_head`, where the bare prefill is
the tick's median. The head runs once for each text that the tick brings, since the same text
gives the same path; its time is the tick's median too.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rsd_planner.evaluation.acceptance import Exactness, judge
from rsd_planner.evaluation.causes import parse_reasoning
from rsd_planner.evaluation.controls import TransformersControls
from rsd_planner.evaluation.proposals import Listener, Proposal
from rsd_planner.interfaces import Drafter
from rsd_planner.models.vision_cache import VisionFeatures
from rsd_planner.planning.planner import Planner
from rsd_planner.simulation.text_changes import novel_frames
from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    FinishReason,
    Observation,
    Prompt,
    SpanKind,
    SpanSource,
    Trajectory,
)

__all__ = [
    "EVERY_TICK",
    "FLOOR",
    "ORACLE",
    "OracleDrafter",
    "Sparsely",
    "TickMeasurement",
    "measure_drive",
    "novel_by_text",
    "text_alone",
]

FLOOR, ORACLE = "floor", "oracle"
_LEAST_PREFILLS = 3
_RUNNERS_A_PREFILL = 3


@dataclass(frozen=True)
class TickMeasurement:
    """One drafter's tick. Milliseconds of a monotonic clock."""

    drafter: str
    rule: str
    t0_ns: int
    decoded: Decoded
    exactness: Exactness | None  # None where nothing claims to be the plain text
    trajectory: Trajectory | None
    floor_ms: float  # what the tick costs without any reasoning
    reasoning_ms: float
    head_ms: float = 0.0  # of the floor: the path head
    background_ms: float = 0.0  # work between ticks
    vision_ms: float = 0.0  # of the floor: the prompt and the pictures
    prefill_ms: float = 0.0  # of the floor: a bare prefill
    isolated: bool = False  # the drafter knew no earlier tick
    reasoning_only: bool = False  # an outside control: no tick of ours
    proposals: tuple[Proposal, ...] = ()

    @property
    def tick_ms(self) -> float:
        """The whole tick."""
        return self.floor_ms + self.reasoning_ms


class OracleDrafter:
    """Drafts exactly the text that plain decoding wrote: the bound that no drafter can beat."""

    name = ORACLE
    yardstick = True  # no controller interferes

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
class Sparsely:
    """How often what needs no earlier tick is measured: at every n-th tick."""

    isolated: int = 1
    controls: int = 1


EVERY_TICK = Sparsely()


@dataclass(frozen=True, eq=False)
class _Runner:
    """A drafter and how it is run; each is itself alone, whatever its drafter is called."""

    drafter: Drafter
    listener: Listener
    isolated: bool = False


@dataclass
class _Tick:
    """A tick that is being measured: what its runners share, and their times in ms."""

    planner: Planner
    observation: Observation
    clock: Callable[[], float]
    prompt: Prompt = field(init=False)
    features: list[VisionFeatures] = field(init=False)
    vision_ms: float = field(init=False)
    prefills_ms: list[float] = field(default_factory=list)
    heads_ms: list[float] = field(default_factory=list)
    paths: dict[tuple[int, ...], Trajectory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start = self.clock()
        self.prompt = self.planner.parts.prompts.build(self.observation)
        self.features = self.planner.parts.target.encode(self.prompt.frames)
        self.vision_ms = self._since(start)

    def prefill(self) -> None:
        """A bare prefill."""
        start = self.clock()
        self.planner.parts.target.prefill(self.prompt, Draft(), self.features)
        self.prefills_ms.append(self._since(start))

    def head_ms(self) -> float:
        """The head behind what the target's cache holds, without a look at the path."""
        start = self.clock()
        self.planner.sample(self.observation.history)
        return self._since(start)

    def run(self, drafter: Drafter) -> tuple[Decoded, float]:
        """One text and its time; the first of its kind in the tick is followed by the head."""
        start = self.clock()
        decoded = self.planner.decode(self.prompt, self.observation.history, drafter, self.features)
        decode_ms = self._since(start)
        if decoded.tokens not in self.paths:
            start = self.clock()
            self.paths[decoded.tokens] = self.planner.sample(self.observation.history)
            self.heads_ms.append(self._since(start))
        return decoded, decode_ms

    def _since(self, start: float) -> float:
        return 1e3 * (self.clock() - start)


def measure_drive(
    planner: Planner,
    observations: Iterable[Observation],
    drafters: Sequence[Drafter],
    *,
    isolated: Sequence[Drafter] = (),
    controls: TransformersControls | None = None,
    every: Sparsely = EVERY_TICK,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[list[TickMeasurement]]:
    """The ticks of one drive in order, each measured once for every drafter.

    The first drafter is plain decoding, against which the others are judged; an
    `OracleDrafter` among them is told its text. Drafters start without a past, and those in
    `isolated` forget it before every tick. Each tick brings a `floor` too: vision, a bare
    prefill and the head, no text. The first tick is run once unmeasured.
    """
    streaming = [_Runner(d, Listener(d)) for d in drafters]
    alone = [_Runner(d, Listener(d), isolated=True) for d in isolated]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number, observation in enumerate(observations):
            runners = streaming + (alone if number % every.isolated == 0 else [])
            asked = controls if number % every.controls == 0 else None
            if number == 0:
                _measure_tick(planner, observation, runners, asked, number, clock)
                planner.reset()
                for runner in runners:
                    runner.drafter.reset()
            yield _measure_tick(planner, observation, runners, asked, number, clock)
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
    controls: TransformersControls | None,
    number: int,
    clock: Callable[[], float],
) -> list[TickMeasurement]:
    tick = _Tick(planner, observation, clock)
    tick.prefill()
    floor_head_ms = tick.head_ms()
    found: dict[_Runner, tuple[Decoded, float]] = {}
    between = min(_RUNNERS_A_PREFILL, max(1, len(runners) // (_LEAST_PREFILLS - 1)))
    for place, runner in enumerate(_order(runners, number)):
        if isinstance(runner.drafter, OracleDrafter):
            runner.drafter.text = found[runners[0]][0].tokens
        elif runner.isolated:
            runner.drafter.reset()
        found[runner] = tick.run(runner.listener)
        if place % between == 0:
            tick.prefill()
    plain = found[runners[0]][0]
    measured = [_measured(tick, runner, *found[runner], plain) for runner in runners]
    measured.append(_floor(tick, floor_head_ms))
    if controls is not None:
        measured += _controlled(tick, controls, plain, number)
    return measured


def _measured(
    tick: _Tick, runner: _Runner, decoded: Decoded, decode_ms: float, plain: Decoded
) -> TickMeasurement:
    prefill_ms, head_ms = statistics.median(tick.prefills_ms), statistics.median(tick.heads_ms)
    return TickMeasurement(
        drafter=runner.drafter.name,
        rule=tick.planner.acceptance.name,
        t0_ns=tick.observation.t0_ns,
        decoded=decoded,
        exactness=judge(plain, decoded) if tick.planner.acceptance.repeatable else None,
        trajectory=tick.paths[decoded.tokens],
        floor_ms=tick.vision_ms + prefill_ms + head_ms,
        reasoning_ms=decode_ms - prefill_ms,
        head_ms=head_ms,
        vision_ms=tick.vision_ms,
        prefill_ms=prefill_ms,
        isolated=runner.isolated,
        proposals=runner.listener.noted,
    )


def _floor(tick: _Tick, head_ms: float) -> TickMeasurement:
    prefill_ms = statistics.median(tick.prefills_ms)
    return TickMeasurement(
        drafter=FLOOR,
        rule=tick.planner.acceptance.name,
        t0_ns=tick.observation.t0_ns,
        decoded=text_alone((), forwards=1),
        exactness=None,
        trajectory=None,
        floor_ms=tick.vision_ms + prefill_ms + head_ms,
        reasoning_ms=0.0,
        head_ms=head_ms,
        vision_ms=tick.vision_ms,
        prefill_ms=prefill_ms,
    )


def _controlled(
    tick: _Tick, controls: TransformersControls, plain: Decoded, number: int
) -> list[TickMeasurement]:
    """The controls' reasoning: what they spend beyond the first token."""
    inputs = controls.inputs(tick.prompt, tick.features)
    turn = number % len(controls.names)
    spent: dict[str, tuple[Decoded, float]] = {}
    first_ms = []
    for name in (*controls.names[turn:], *controls.names[:turn]):
        start = tick.clock()
        controls.first_token(inputs)
        begun = tick.clock()
        tokens, forwards = controls.write(name, inputs)
        spent[name] = text_alone(tokens, forwards), 1e3 * (tick.clock() - begun)
        first_ms.append(1e3 * (begun - start))
    return [
        TickMeasurement(
            drafter=name,
            rule="greedy",
            t0_ns=tick.observation.t0_ns,
            decoded=decoded,
            exactness=judge(plain, decoded),
            trajectory=None,
            floor_ms=0.0,
            reasoning_ms=write_ms - statistics.median(first_ms),
            reasoning_only=True,
        )
        for name, (decoded, write_ms) in ((name, spent[name]) for name in controls.names)
    ]


def text_alone(tokens: tuple[int, ...], forwards: int) -> Decoded:
    """A text of which nothing but its tokens and forwards is known."""
    count = len(tokens)
    return Decoded(
        tokens=tokens,
        sources=(SpanSource.TARGET,) * count,
        kinds=(SpanKind.UNDRAFTED,) * count,
        finish_reason=FinishReason.COMPLETE,
        target_forwards=forwards,
        drafter_calls=0,
        proposed=0,
        accepted=0,
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
