"""The last tick's text with a memory: since when, and how far ago, each of its tokens stands.

A distance told in steps of 3 m changes when the car has gone another 3 m; how far it went
since the number came tells when the next one is due. Knows nothing about what tokens mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

__all__ = ["Told"]


class Told:
    """A text and the time and way since each of its tokens came to its place."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing was told."""
        self.tokens: tuple[int, ...] = ()
        self.since_s: list[float] = []
        self.since_m: list[float] = []

    def moved(self, seconds: float, metres: float) -> None:
        """Time passed and the car went on."""
        self.since_s = [value + seconds for value in self.since_s]
        self.since_m = [value + metres for value in self.since_m]

    def say(self, tokens: Sequence[int]) -> None:
        """A new text takes the old one's place; what stays of it keeps its memory."""
        new = tuple(tokens)
        if new == self.tokens:
            return
        since_s, since_m = [0.0] * len(new), [0.0] * len(new)
        for old, place in _kept(self.tokens, new):
            since_s[place], since_m[place] = self.since_s[old], self.since_m[old]
        self.tokens, self.since_s, self.since_m = new, since_s, since_m


def _kept(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[int, int]]:
    """Places (old, new) of the tokens that stay."""
    if len(old) == len(new):
        return [(i, i) for i, (a, b) in enumerate(zip(old, new, strict=True)) if a == b]
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [
        (block.a + i, block.b + i) for block in matcher.get_matching_blocks()
        for i in range(block.size)
    ]  # fmt: skip
