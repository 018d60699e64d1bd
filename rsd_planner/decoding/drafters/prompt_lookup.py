"""What followed the same few tokens before: prompt lookup (Saxena 2023).

The last few tokens are looked for in this text, in the texts of earlier ticks and in the
prompt; the newest place at which they stand is continued to its end, longer matches first. A
text begins as the last one did. A prompt's pictures, history and special tokens are no text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

__all__ = ["PromptLookupDrafter"]

LONGEST = 3  # tokens of a match
MEMORY = 8  # texts of earlier ticks
_START = -1  # stands before every text


class PromptLookupDrafter:
    """Continues the newest place in earlier texts and the prompt that reads the same."""

    name = "prompt_lookup"

    def __init__(self, text_vocab_size: int) -> None:
        """Token ids below `text_vocab_size` are ordinary text."""
        self._text_vocab_size = text_vocab_size
        self._earlier: deque[tuple[int, ...]] = deque(maxlen=MEMORY)  # newest first
        self.begin()

    @classmethod
    def make(cls, resources: DrafterResources) -> PromptLookupDrafter:
        """Has to know which tokens are text."""
        return cls(resources.text_vocab_size)

    def begin(self) -> None:
        """A new prompt comes."""
        self._asked: tuple[int, ...] | None = None

    def propose(self, context: DraftContext) -> Draft:
        """What stood behind the last tokens."""
        if self._asked is None:
            ids = context.prompt.token_ids
            self._asked = tuple(ids[ids < self._text_vocab_size].tolist())
        said = (_START, *context.committed)
        tokens = _continuation(said, (said, *self._earlier, self._asked))[: context.budget]
        return Draft(tokens, (SpanSource.LOOKUP,) * len(tokens))

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        self._earlier.appendleft((_START, *decoded.tokens))

    def reset(self) -> None:
        """Forget the texts of earlier ticks."""
        self._earlier.clear()


def _continuation(said: tuple[int, ...], places: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What stands behind the longest end of `said` in the first place that has it."""
    for length in range(min(LONGEST, len(said)), 0, -1):
        wanted = said[-length:]
        for place in places:
            for end in range(len(place) - 1, length - 1, -1):  # something must follow
                if place[end - 1] == wanted[-1] and place[end - length : end] == wanted:
                    return place[end:]
    return ()
