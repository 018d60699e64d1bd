"""What followed a context in texts seen before: one index for many fixed texts, one for few new.

Both answer the same questions: `walk` finds a context, `following` says what stood behind it
and how often, `step` goes on by one token. They know nothing of what tokens mean. A text
begins with `START`, so that its opening has a context too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["START", "RecentTexts", "SuffixArray", "SuffixIndex", "longest_match"]

START = -1  # stands before every text
_STOP = -2  # stands behind every text
_Range = tuple[int, int, int]  # first suffix, one past the last, tokens that they share


class SuffixIndex(Protocol):
    """Contexts that were seen, as states that can be walked."""

    def walk(self, context: Sequence[int]) -> Any | None:
        """The state of exactly this context, or None where it was never seen."""

    def following(self, state: Any) -> Mapping[int, float]:
        """Tokens that stood behind a state, with their weights."""

    def step(self, state: Any, token: int) -> Any | None:
        """The state one token on, or None where that was never seen."""


def longest_match(index: SuffixIndex, context: tuple[int, ...]) -> tuple[Any | None, int]:
    """The state of the longest end of a context that was seen, and its length; else `(None, 0)`.

    What ends a seen context was seen too, so halving finds it.
    """
    found, low, high = None, 0, len(context)
    middle = 0  # most often the whole of it was seen
    while low < high:
        state = index.walk(context[middle:])
        if state is None:
            low = middle + 1
        else:
            found, high = state, middle
        middle = (low + high) // 2
    return found, len(context) - high


class SuffixArray:
    """All suffixes of fixed texts in order (Manber and Myers 1990): small and quickly made."""

    def __init__(self, texts: Sequence[Sequence[int]], counts: Sequence[int]) -> None:
        """`counts` says how often each text was seen."""
        flat = [token for text in texts for token in (START, *text, _STOP)]
        longest = max(map(len, texts), default=0) + 2
        self._tokens = np.array(flat + [_STOP] * longest, dtype=np.int32)
        self._order = _suffix_order(self._tokens[: len(flat)], longest)
        weights = np.repeat(np.asarray(counts, np.int64), [len(text) + 2 for text in texts])
        self._weight = np.concatenate([[0], np.cumsum(weights[self._order])]).tolist()
        self._start_caches()

    def fresh(self) -> SuffixArray:
        """The same texts with caches of its own: nobody is quicker by what another one asked."""
        other = copy.copy(self)
        other._start_caches()
        return other

    def walk(self, context: Sequence[int]) -> _Range | None:
        """See `SuffixIndex`."""
        state = (0, len(self._order), 0)
        for token in context:
            following = self.step(state, token)
            if following is None:
                return None
            state = following
        return state

    def following(self, state: _Range) -> Mapping[int, float]:
        """See `SuffixIndex`. Read-only: others are given the same mapping."""
        return self._following(state)

    def step(self, state: _Range, token: int) -> _Range | None:
        """See `SuffixIndex`."""
        return self._children(state).get(token)

    def _start_caches(self) -> None:
        # Walks pass through the same ranges again and again.
        self._children = lru_cache(maxsize=1 << 14)(self._find_children)
        self._following = lru_cache(maxsize=1 << 14)(self._find_following)

    def _find_following(self, state: _Range) -> dict[int, float]:
        weight = self._weight
        return {
            token: weight[end] - weight[first]
            for token, (first, end, _) in self._children(state).items()
            if token >= 0
        }

    def _find_children(self, state: _Range) -> dict[int, _Range]:
        first, end, depth = state
        only = int(self._tokens[self._order[first] + depth]) if first < end else _STOP
        if first == end or only == int(self._tokens[self._order[end - 1] + depth]):
            # Tokens ascend: if the ends are alike, all are.
            return {only: (first, end, depth + 1)} if only != _STOP else {}
        column = self._tokens[self._order[first:end] + depth]  # ascending
        changes = np.flatnonzero(column[1:] != column[:-1]) + 1
        starts = [0, *changes.tolist()]
        ends = [*starts[1:], len(column)]
        tokens = column[starts].tolist()
        return {
            token: (first + low, first + high, depth + 1)
            for token, low, high in zip(tokens, starts, ends)
            if token != _STOP
        }


def _suffix_order(tokens: NDArray[np.int32], length: int) -> NDArray[np.int64]:
    """The suffixes' starts in the order of their first `length` tokens, by doubling ranks."""
    rank = tokens.astype(np.int64) - int(tokens.min(initial=0)) + 1  # 0 is behind the end
    order = np.argsort(rank, kind="stable")
    known = 1
    while known < length:
        behind = np.concatenate([rank[known:], np.zeros(min(known, len(rank)), np.int64)])
        key = rank * (len(rank) + int(rank.max(initial=0)) + 2) + behind
        order = np.argsort(key, kind="stable")
        rank = np.empty_like(rank)
        rank[order] = np.cumsum(np.diff(key[order], prepend=-1) != 0)
        known *= 2
    return order


class _Node:
    """A seen context: how often, faded with age, and what followed."""

    __slots__ = ("children", "newest", "weight")

    def __init__(self, newest: int = 0) -> None:
        self.weight = 0.0  # as of `newest`
        self.newest = newest
        self.children: dict[int, _Node] = {}


class RecentTexts:
    """The suffixes of the newest texts, in a tree that forgets.

    Weights fade by `fading` with each text that is added. A walk goes `depth` tokens deep.
    """

    def __init__(self, memory: int, depth: int, fading: float) -> None:
        """Remembers the newest `memory` texts."""
        self._memory, self._depth = memory, depth
        self._faded = [fading**age for age in range(memory + 2)]  # what is older was forgotten
        self._texts: dict[int, tuple[int, ...]] = {}  # by the number of the addition
        self._added = 0
        self._root = _Node()

    def add(self, text: Sequence[int]) -> None:
        """The newest text; the oldest one beyond the memory is forgotten."""
        self._added = now = self._added + 1
        self._texts[now] = known = (START, *text)
        faded = self._faded
        for start in range(len(text) + 1):
            children = self._root.children
            for token in known[start : start + self._depth]:
                child = children.get(token)
                if child is None:
                    child = children[token] = _Node(now)
                child.weight = child.weight * faded[now - child.newest] + 1.0
                child.newest = now
                children = child.children
        forgotten = now - self._memory
        if forgotten in self._texts:
            self._forget(self._texts.pop(forgotten), forgotten)

    def walk(self, context: Sequence[int]) -> _Node | None:
        """See `SuffixIndex`."""
        node: _Node | None = self._root
        for token in context:
            node = node.children.get(token) if node else None
        return node

    def following(self, state: _Node) -> Mapping[int, float]:
        """See `SuffixIndex`."""
        return {token: self._weight_now(node) for token, node in state.children.items()}

    def step(self, state: _Node, token: int) -> _Node | None:
        """See `SuffixIndex`."""
        return state.children.get(token)

    def _weight_now(self, node: _Node) -> float:
        return node.weight * self._faded[self._added - node.newest]

    def _forget(self, text: tuple[int, ...], number: int) -> None:
        """Cut what no newer text has passed."""
        for start in range(len(text)):
            node = self._root
            for token in text[start : start + self._depth]:
                child = node.children.get(token)
                if child is None:
                    break
                if child.newest <= number:
                    del node.children[token]
                    break
                node = child
