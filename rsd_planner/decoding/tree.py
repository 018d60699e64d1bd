"""Draft trees: who stands behind whom, and what of that a forward pass has to know.

A node's parent is an earlier node, or −1 for the committed text. A chain is a tree in which
everybody stands behind the one before; `Draft.parents` is then empty, and the functions here
take the short way. Siblings may repeat a token: the first one counts. Knows neither models nor
rules (SpecInfer 2023, EAGLE-2 2024).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import Draft, SpanSource

__all__ = [
    "ancestor_mask",
    "children",
    "depths",
    "first_path",
    "follow",
    "goes_on",
    "merge",
    "select",
    "without",
]


def depths(draft: Draft) -> list[int]:
    """How many drafted tokens stand in front of each one."""
    if not draft.parents:
        return list(range(len(draft)))
    found: list[int] = []
    for parent in draft.parents:
        found.append(found[parent] + 1 if parent >= 0 else 0)
    return found


def children(draft: Draft) -> list[list[int]]:
    """The nodes behind the committed text, then those behind each node: (draft + 1) lists."""
    found: list[list[int]] = [[] for _ in range(len(draft) + 1)]
    for node, parent in enumerate(draft.parents or range(-1, len(draft) - 1)):
        found[parent + 1].append(node)
    return found


def ancestor_mask(draft: Draft) -> NDArray[np.bool_]:
    """(draft, draft), True where a row's node is the column's or stands behind it."""
    mask = np.eye(len(draft), dtype=bool)
    for node, parent in enumerate(draft.parents or range(-1, len(draft) - 1)):
        if parent >= 0:
            mask[node] |= mask[parent]
    return mask


def follow(draft: Draft, choices: Sequence[int]) -> tuple[int, ...]:
    """The path that a target walks which chooses `choices[0]`, then `choices[node + 1]`."""
    if not draft.parents:
        length = 0
        while length < len(draft) and choices[length] == draft.tokens[length]:
            length += 1
        return tuple(range(length))
    path: list[int] = []
    last = -1
    # Parents come first, so that one pass meets a path's nodes in order.
    for node, (parent, token) in enumerate(zip(draft.parents, draft.tokens, strict=True)):
        if parent == last and token == choices[last + 1]:
            path.append(node)
            last = node
    return tuple(path)


def first_path(draft: Draft) -> Draft:
    """The chain of each token's first successor."""
    if not draft.parents:
        return draft
    path: list[int] = []
    for node, parent in enumerate(draft.parents):
        if parent == (path[-1] if path else -1):
            path.append(node)
    return select(draft, path)


def goes_on(draft: Draft, path: Sequence[int]) -> bool:
    """Whether something is drafted behind a path."""
    if not draft.parents:
        return len(path) < len(draft)
    return (path[-1] if path else -1) in draft.parents


def select(draft: Draft, nodes: Iterable[int]) -> Draft:
    """The tree of some nodes in the order given, each after its parent.

    Raises:
        ValueError: a node is given before its parent, or without it.
    """
    kept: dict[int, int] = {-1: -1}
    parents: list[int] = []
    for node in nodes:
        parent = draft.parents[node] if draft.parents else node - 1
        if parent not in kept:
            raise ValueError(f"draft token {node} is kept without token {parent} before it")
        parents.append(kept[parent])
        kept[node] = len(parents) - 1
    order = list(kept)[1:]
    return Draft(
        tuple(draft.tokens[node] for node in order),
        tuple(draft.sources[node] for node in order),
        tuple(parents),
    )


def without(draft: Draft, dropped: Sequence[bool]) -> Draft:
    """The tree less the marked nodes and all that stands behind them."""
    kept = {-1}
    for node, parent in enumerate(draft.parents or range(-1, len(draft) - 1)):
        if parent in kept and not dropped[node]:
            kept.add(node)
    return select(draft, sorted(kept - {-1}))


def merge(drafts: Iterable[Draft]) -> Draft:
    """One tree of all drafts, in which no two siblings are alike.

    The first draft's nodes come first, so that a cut keeps what was asked for first; a token
    that several propose is the first one's.
    """
    tokens: list[int] = []
    sources: list[SpanSource] = []
    parents: list[int] = []
    known: dict[tuple[int, int], int] = {}
    for draft in drafts:
        place: list[int] = []  # of each node in the merged tree
        for node, token in enumerate(draft.tokens):
            parent = draft.parents[node] if draft.parents else node - 1
            key = (place[parent] if parent >= 0 else -1, token)
            if key not in known:
                known[key] = len(tokens)
                tokens.append(token)
                sources.append(draft.sources[node])
                parents.append(key[0])
            place.append(known[key])
    return Draft(tuple(tokens), tuple(sources), tuple(parents))
