"""The likeliest continuation by what stood in texts seen before (SuffixDecoding, arXiv 2411.04975).

Texts of the target that were learned beforehand, and those of the earlier ticks of this run,
are two suffix indices. The longest end of the committed text that was seen says what comes
next; the run's own texts weigh more than the learned ones, the less the shorter an end of the
committed text they know beside those. Drafting stops where the draft is
unlikely to be accepted so far. What a memoriser of templates can do; it sees neither pictures
nor the car's motion.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.suffix_index import (
    START,
    RecentTexts,
    SuffixArray,
    SuffixIndex,
    longest_match,
)
from rsd_planner.errors import ConfigError
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

__all__ = ["TEXTS_FILE", "SuffixDrafter", "read_texts", "write_texts"]

TEXTS_FILE = "texts.json"
MEMORY = 128  # texts of earlier ticks
DEPTH = 48  # tokens of a context and what follows it, in earlier ticks' texts
FADING = 0.3  # of an earlier tick's weight, with each tick
PRIOR = 0.3  # earlier ticks that all learned texts together weigh
SHORTNESS = 1.5  # by which power they weigh less, the shorter the end that they know
UNLIKELY = 0.06  # a token costs about this share of a forward


class SuffixDrafter:
    """Drafts what most often followed in learned texts and in earlier ticks."""

    name = "suffix"

    def __init__(self, learned: SuffixArray | None = None) -> None:
        self._learned = learned
        self.reset()

    @classmethod
    def make(cls, resources: DrafterResources) -> SuffixDrafter:
        """With the checkpoint's learned texts, where it has some.

        Raises:
            ConfigError: the file of texts is damaged.
        """
        path = resources.find(TEXTS_FILE)
        if path is None:
            return cls()
        return cls(_learned(path, path.stat().st_mtime_ns).fresh())

    def begin(self) -> None:
        """Nothing to prepare."""

    def propose(self, context: DraftContext) -> Draft:
        """The likeliest continuation, as far as it is likely enough."""
        tokens = self._continue(context.committed, context.budget)
        return Draft(tokens, (SpanSource.LOOKUP,) * len(tokens))

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        self._recent.add(decoded.tokens)

    def reset(self) -> None:
        """Forget the run's texts; the learned ones stay."""
        self._recent = RecentTexts(MEMORY, DEPTH, FADING)

    def continuation(self, text: Sequence[int]) -> Iterator[tuple[int, Mapping[int, float]]]:
        """The likeliest tokens behind a text, each with the shares of all that could stand there.

        Ends where nothing is known; behind the end token nothing is.
        """
        known = (START, *text)
        recent, learned = _Walk(self._recent, known), _Walk(self._learned, known)
        while weights := _weights(recent, learned, known):
            token = max(weights, key=weights.__getitem__)
            everything = sum(weights.values())
            yield token, {other: weight / everything for other, weight in weights.items()}
            known = (*known, token)
            recent.step(token)
            learned.step(token)

    def _continue(self, text: tuple[int, ...], budget: int) -> tuple[int, ...]:
        tokens: list[int] = []
        chance = 1.0
        for token, shares in islice(self.continuation(text), budget):
            chance *= shares[token]
            if chance < UNLIKELY:
                break
            tokens.append(token)
        return tuple(tokens)


@lru_cache(maxsize=1)
def _learned(path: Path, changed_ns: int) -> SuffixArray:
    """The index of a file; drafters of one checkpoint share its arrays."""
    return SuffixArray(*read_texts(path))


class _Walk:
    """A place in an index that follows a growing text."""

    def __init__(self, index: SuffixIndex | None, text: tuple[int, ...]) -> None:
        self._index = index
        self._state: Any = None
        self.length = 0  # of the text's end that the index knows, in tokens
        self._match(text)

    def following(self, text: tuple[int, ...]) -> Mapping[int, float]:
        """What followed; where the text has left what was seen, its longest end that was."""
        found = self._found()
        if not found:
            self._match(text)
            found = self._found()
        return found

    def step(self, token: int) -> None:
        """The text grew by a token."""
        if self._index is not None and self._state is not None:
            self._state = self._index.step(self._state, token)
            self.length += 1

    def _match(self, text: tuple[int, ...]) -> None:
        if self._index is not None:
            self._state, self.length = longest_match(self._index, text)

    def _found(self) -> Mapping[int, float]:
        if self._index is None or self._state is None:
            return {}
        return self._index.following(self._state)


def _weights(recent: _Walk, learned: _Walk, text: tuple[int, ...]) -> dict[int, float]:
    """What may come next, and how much speaks for it; empty where nothing is known."""
    weights, usual = dict(recent.following(text)), learned.following(text)
    if usual:
        # By a factor on the learned weights, the recent ones' share falls with their context.
        longer = max(1.0, learned.length / max(recent.length, 1))
        scale = PRIOR * longer**SHORTNESS / sum(usual.values())
        for token, weight in usual.items():
            weights[token] = weights.get(token, 0.0) + scale * weight
    return weights


def write_texts(
    folder: Path, texts: Iterable[Sequence[int]], counts: Iterable[int] | None = None
) -> Path:
    """Learned texts as `texts.json` in a checkpoint's `drafters/`; equal ones become one.

    `texts` are token ids up to and with the end token; `counts` says how often each was seen.
    """
    seen: Counter[tuple[int, ...]] = Counter()
    for text, count in zip(texts, counts if counts is not None else repeat(1)):
        seen[tuple(map(int, text))] += int(count)
    lines = [json.dumps([seen[text], text], separators=(",", ":")) for text in sorted(seen)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TEXTS_FILE
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    return path


def read_texts(path: Path) -> tuple[list[tuple[int, ...]], list[int]]:
    """Learned texts and their counts.

    Raises:
        ConfigError: the file does not hold what `write_texts` writes.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        texts = [tuple(map(int, text)) for _, text in entries]
        counts = [int(count) for count, _ in entries]
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); copy the checkpoint anew.") from None
    if any(count < 1 for count in counts) or any(token < 0 for text in texts for token in text):
        raise ConfigError(f"{path} holds negative tokens or counts; copy the checkpoint anew.")
    return texts, counts
