"""The speculative decoding loop (Leviathan 2023, Chen 2023) with a fused prefill.

The first draft is verified by the forward pass that prefills the prompt; later ones by a
pass of their own. Knows nothing of pictures, prompts' contents, ROS or what a drafter is
made of. A drafter cannot change the text: whatever it proposes, the committed tokens are
the target's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rsd_planner.decoding import tree
from rsd_planner.decoding.controller import VerifyAll
from rsd_planner.interfaces import Acceptance, DraftControl, Drafter, Features, Target
from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    EgoHistory,
    FinishReason,
    Prompt,
    SpanKind,
    SpanSource,
    Verdict,
    Verification,
)

__all__ = ["DecodeLimits", "decode"]


@dataclass(frozen=True)
class DecodeLimits:
    """Where a text ends and how much is drafted at once."""

    end_token: int
    max_tokens: int
    draft_budget: int
    vocab_size: int


def decode(
    target: Target,
    drafter: Drafter,
    acceptance: Acceptance,
    prompt: Prompt,
    history: EgoHistory,
    limits: DecodeLimits,
    prefill: Callable[[Prompt, Draft], Verification] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    control: DraftControl | None = None,
) -> Decoded:
    """Decode one text; afterwards the target's KV cache holds prompt and text exactly.

    `prefill` replaces `target.prefill` where the caller has encoded the pictures already.
    Drafts longer than the budget are cut; nothing is read behind a token outside of the
    vocabulary. `control` may draft and verify less; without it all is verified.
    """
    control = control or VerifyAll()
    text = _Text(limits)
    timer = _Timer(clock)

    def propose(features: Features | None = None) -> Draft:
        with timer.drafting():
            if not control.asks():
                return Draft()
            committed = tuple(text.tokens)
            context = DraftContext(prompt, history, committed, limits.draft_budget, features)
            draft = _clean(drafter.propose(context), limits, len(committed))
            return control.choose(draft, len(committed))

    with _watched(target, drafter):
        drafter.begin()
        control.begin()
        draft = propose()
        step = (prefill or target.prefill)(prompt, draft)
        timer.prefilled()
        while True:
            verdict = acceptance.accept(step, draft, len(text.tokens))
            kept = text.commit(draft, verdict)
            target.keep(kept)
            control.verified(len(kept))
            if text.finish_reason is not None:
                break
            draft = propose(step.features)
            step = target.verify(text.tokens[-1], draft)
            text.forwards += 1
        if text.last_is_uncached:
            target.close(text.tokens[-1])
            text.forwards += 1
    decoded = text.result(timer)
    drafter.end(decoded)
    control.end(decoded.tokens)
    return decoded


@contextmanager
def _watched(target: Target, drafter: Drafter) -> Iterator[None]:
    """The layers that a drafter asks for are watched; afterwards none are, whatever happened."""
    layers: tuple[int, ...] = getattr(drafter, "feature_layers", ())
    if layers:
        target.watch(layers)
    try:
        yield
    finally:
        if layers:
            target.watch(())


@dataclass
class _Text:
    """The committed text and the counts of how it came about."""

    limits: DecodeLimits
    tokens: list[int] = field(default_factory=list)
    sources: list[SpanSource] = field(default_factory=list)
    kinds: list[SpanKind] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    forwards: int = 1
    calls: int = 0
    proposed: int = 0
    finish_reason: FinishReason | None = None
    last_is_uncached: bool = False

    def commit(self, draft: Draft, verdict: Verdict) -> tuple[int, ...]:
        """Commit accepted draft tokens and the target's choice after them.

        Returns the path of draft tokens that stay in the cache. Nothing is committed behind
        the end token or the length limit.
        """
        self.calls += 1
        self.proposed += len(draft)
        for done, (index, gap) in enumerate(zip(verdict.path, verdict.gaps, strict=False)):
            self._append(draft.tokens[index], draft.sources[index], SpanKind.ACCEPTED, gap)
            if self.finish_reason is not None:
                return verdict.path[: done + 1]
        drafted = tree.goes_on(draft, verdict.path)
        kind = SpanKind.CORRECTED if drafted else SpanKind.UNDRAFTED
        self._append(verdict.token, SpanSource.TARGET, kind, verdict.gaps[-1])
        self.last_is_uncached = self.finish_reason is not None
        return verdict.path

    def _append(self, token: int, source: SpanSource, kind: SpanKind, gap: float) -> None:
        self.tokens.append(token)
        self.sources.append(source)
        self.kinds.append(kind)
        self.gaps.append(gap)
        if token == self.limits.end_token:
            self.finish_reason = FinishReason.COMPLETE
        elif len(self.tokens) >= self.limits.max_tokens:
            self.finish_reason = FinishReason.LENGTH

    def result(self, timer: _Timer) -> Decoded:
        assert self.finish_reason is not None
        return Decoded(
            tokens=tuple(self.tokens),
            sources=tuple(self.sources),
            kinds=tuple(self.kinds),
            finish_reason=self.finish_reason,
            target_forwards=self.forwards,
            drafter_calls=self.calls,
            proposed=self.proposed,
            accepted=self.kinds.count(SpanKind.ACCEPTED),
            top2_gaps=tuple(self.gaps),
            drafter_ms=1e3 * timer.drafter_s,
            prefill_ms=1e3 * timer.prefill_s,
            decode_ms=1e3 * timer.elapsed(),
        )


class _Timer:
    """Where the loop's time goes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._entered = 0.0
        self.drafter_s = 0.0
        self.prefill_s = 0.0

    def drafting(self) -> _Timer:
        return self

    def __enter__(self) -> None:
        self._entered = self._clock()

    def __exit__(self, *_: object) -> None:
        self.drafter_s += self._clock() - self._entered

    def prefilled(self) -> None:
        self.prefill_s = self.elapsed() - self.drafter_s

    def elapsed(self) -> float:
        return self._clock() - self._start


def _clean(draft: Draft, limits: DecodeLimits, committed: int) -> Draft:
    """What of a draft can be fed: within budget and length, and only tokens that exist."""
    left = limits.max_tokens - committed
    length = min(limits.draft_budget, len(draft) if draft.parents else left)
    if len(draft) > length:
        draft = draft.cut(length)
    bad = [not 0 <= token < limits.vocab_size for token in draft.tokens]
    if draft.parents and len(draft) > left:
        bad = [one or depth >= left for one, depth in zip(bad, tree.depths(draft))]
    return tree.without(draft, bad) if any(bad) else draft
