"""The contracts between the decoder, its models and its drafters.

Protocols only. A provider (a model, a drafter, a rule) knows these and `types`, never
another provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import (
    Decoded,
    Draft,
    DraftContext,
    EgoHistory,
    Prompt,
    Trajectory,
    Verdict,
    Verification,
)

__all__ = [
    "Acceptance",
    "DraftControl",
    "Drafter",
    "FeatureDrafter",
    "Features",
    "Target",
    "TrajectoryHead",
]


class Features(Protocol):
    """What the target has understood so far: hidden states of the tokens in its KV cache.

    These are the prompt's and the committed ones but the last, which is fed with the next draft.
    """

    def __len__(self) -> int:
        """How many tokens."""

    def rows(self, start: int) -> tuple[Any, NDArray[np.int64]]:
        """States and rotary positions of the tokens from `start` on.

        The states are a torch tensor (tokens − start, layers · hidden), the positions
        (3, tokens − start) the target's own.
        """


@runtime_checkable
class Target(Protocol):
    """The deliberative reasoner: an unmodified VLA that verifies drafts.

    Holds one sequence at a time: `prefill` starts it, `verify` extends it by the last
    committed token and a draft, `keep` fixes how much of the draft stays, `close` feeds a
    last token whose KV is missing.
    """

    def prefill(self, prompt: Prompt, draft: Draft) -> Verification:
        """One forward over prompt and draft; `logits` has `len(draft) + 1` rows."""

    def verify(self, last_token: int, draft: Draft) -> Verification:
        """One forward over the last committed token and a draft; `len(draft) + 1` rows."""

    def keep(self, path: Sequence[int]) -> None:
        """Keep the newest draft's tokens at these indices in the KV cache, drop the rest.

        They are a path: the first stands behind the committed text, each behind the last.
        """

    def close(self, last_token: int) -> None:
        """Feed the last committed token, so that its KV is in the cache for the head."""

    def watch(self, layers: Sequence[int]) -> None:
        """From the next prefill on verifications bring `Features` of these layers; () ends it.

        The target computes what it computed before; nothing else is fed.
        """


@runtime_checkable
class Drafter(Protocol):
    """Proposes tokens. It may be wrong at any time; it is never trusted."""

    name: str

    def begin(self) -> None:
        """A tick starts: forget the state of the last one's rejections."""

    def propose(self, context: DraftContext) -> Draft:
        """A continuation of `context.committed`, or a tree of several: `context.budget` tokens."""

    def end(self, decoded: Decoded) -> None:
        """A tick ended with this text."""

    def reset(self) -> None:
        """Time jumped: forget everything about earlier ticks."""


class FeatureDrafter(Drafter, Protocol):
    """A drafter that reads the target's features, in `DraftContext.features`."""

    @property
    def feature_layers(self) -> tuple[int, ...]:
        """Layers of the target's text stack, from 0, whose states it reads; they ascend."""


@runtime_checkable
class Acceptance(Protocol):
    """Decides how much of a draft is valid and which token the target puts after it."""

    name: str
    repeatable: bool  # the text is the same whatever was drafted, so it can be compared

    def accept(self, step: Verification, draft: Draft, position: int) -> Verdict:
        """What of the draft is valid, and the target's token after it.

        `position` is the number of committed text tokens before the draft.
        """


@runtime_checkable
class DraftControl(Protocol):
    """Decides how much to draft and to verify. It cannot change the text, only the time.

    The loop calls `begin`, then for each forward `asks`, `choose` if it does, and `verified`
    when the forward has been judged; `end` when the text is whole.
    """

    def begin(self) -> None:
        """A tick starts."""

    def asks(self) -> bool:
        """Whether the drafter is asked for a draft now."""

    def choose(self, draft: Draft, committed: int) -> Draft:
        """What of the draft to verify; `committed` tokens of the text stand before it."""

    def verified(self, accepted: int) -> None:
        """So many drafted tokens were accepted."""

    def end(self, text: Sequence[int]) -> None:
        """The tick's whole text."""


@runtime_checkable
class TrajectoryHead(Protocol):
    """Turns the target's KV cache into a path."""

    def sample(self, target: Any, history: EgoHistory, seed: int) -> Trajectory:
        """The medoid of K samples, conditioned on everything committed so far."""
