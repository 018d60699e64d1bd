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
from heapq import heappop, heappush
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
VOCABULARY = 1 << 32  # more than a vocabulary has tokens
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

    def alternatives(self, context: DraftContext, least: float = UNLIKELY) -> Draft:
        """All continuations whose chance is `least` or more as one tree, the likeliest first.

        A token's chance is its share times that of the token before (EAGLE-2, arXiv 2406.16858).
        """
        tokens: list[int] = []
        parents: list[int] = []
        open_ends: list[tuple[float, int, int, int, _Place]] = []  # −chance, number, parent, token

        def offer(parent: int, chance: float, place: _Place) -> None:
            for token, share in place.shares().items():
                if chance * share >= least:
                    number = len(tokens) * VOCABULARY + token  # no two ends compare their places
                    heappush(open_ends, (-chance * share, number, parent, token, place))

        offer(-1, 1.0, _Place.of(self._recent, self._learned, context.committed))
        while open_ends and len(tokens) < context.budget:
            chance, _, parent, token, place = heappop(open_ends)
            tokens.append(token)
            parents.append(parent)
            offer(len(tokens) - 1, -chance, place.behind(token))
        return Draft(tuple(tokens), (SpanSource.LOOKUP,) * len(tokens), tuple(parents))

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
        place = _Place.of(self._recent, self._learned, text)
        while shares := place.shares():
            token = max(shares, key=shares.__getitem__)
            yield token, shares
            place = place.behind(token)

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

    __slots__ = ("_index", "_state", "length")

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

    def behind(self, token: int) -> _Walk:
        """The place one token on."""
        walk: _Walk = object.__new__(_Walk)
        walk._index, walk._state, walk.length = self._index, self._state, self.length
        if self._index is not None and self._state is not None:
            walk._state = self._index.step(self._state, token)
            walk.length += 1
        return walk

    def _match(self, text: tuple[int, ...]) -> None:
        if self._index is not None:
            self._state, self.length = longest_match(self._index, text)

    def _found(self) -> Mapping[int, float]:
        if self._index is None or self._state is None:
            return {}
        return self._index.following(self._state)


class _Place:
    """The end of a text, in the recent and in the learned texts."""

    __slots__ = ("_learned", "_recent", "_text")

    def __init__(self, text: tuple[int, ...], recent: _Walk, learned: _Walk) -> None:
        self._text, self._recent, self._learned = text, recent, learned

    @classmethod
    def of(cls, recent: SuffixIndex, learned: SuffixIndex | None, text: Sequence[int]) -> _Place:
        """The end of a committed text."""
        known = (START, *text)
        return cls(known, _Walk(recent, known), _Walk(learned, known))

    def behind(self, token: int) -> _Place:
        """The text with one token more."""
        return _Place((*self._text, token), self._recent.behind(token), self._learned.behind(token))

    def shares(self) -> Mapping[int, float]:
        """What may come next, with its share; empty where nothing is known."""
        weights = self._weights()
        everything = sum(weights.values())
        return {token: weight / everything for token, weight in weights.items()}

    def _weights(self) -> dict[int, float]:
        """What may come next, and how much speaks for it; empty where nothing is known."""
        recent, learned = self._recent, self._learned
        weights, usual = dict(recent.following(self._text)), learned.following(self._text)
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
