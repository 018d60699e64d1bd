"""A drafter's own vocabulary, and where a new text has come to in an old one.

Without torch: drafters, their networks and training share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["NOTHING", "RESERVED", "UNKNOWN", "Asked", "Judged", "Pointer", "places_in"]

Judged = list[list[tuple[int, float]]]  # of each place the likeliest tokens with their chances

# Places in a drafter's vocabulary that stand for none of its tokens:
UNKNOWN = 0  # a token that the drafter cannot write
NOTHING = 1  # no token: before a text, behind it, or not told
RESERVED = 2  # places before the first token's


def places_in(vocabulary: Sequence[int]) -> dict[int, int]:
    """The place of each of the target's ids in the drafter's vocabulary."""
    return {token: place for place, token in enumerate(vocabulary, start=RESERVED)}


@dataclass(frozen=True)
class Asked:
    """An end of a text, and a guess of what follows."""

    text: tuple[int, ...]  # from its start
    guess: tuple[int, ...]
    places: Sequence[int]  # (guess + 1,) of the pointer: at the end, and behind each guessed token


class Pointer:
    """Where in an old text a new one has come to, token by token.

    Where the new text says what the old one does, the pointer goes on; else to where the old one
    has the same two tokens, the nearest of them; else the token took another one's place.
    """

    def __init__(self, old: Sequence[int]) -> None:
        self.old = tuple(old)
        self._pairs: dict[tuple[int | None, int], list[int]] = {}
        for place, pair in enumerate(zip((None, *self.old), self.old)):
            self._pairs.setdefault(pair, []).append(place)

    def step(self, place: int, front: int | None, token: int) -> int:
        """The place behind `token`, which stands behind `front`; `place` was the one before."""
        if place < len(self.old) and self.old[place] == token:
            return place + 1
        found = self._pairs.get((front, token))
        if found:
            return min(found, key=lambda one: abs(one - place)) + 1
        return min(place + 1, len(self.old))

    def knows(self, front: int | None, token: int) -> bool:
        """Whether `token` stands behind `front` anywhere in the old text."""
        return (front, token) in self._pairs

    def along(self, text: Sequence[int]) -> list[int]:
        """The places in front of each token of a text, and behind it."""
        places, front = [0], None
        for token in text:
            places.append(self.step(places[-1], front, token))
            front = token
        return places
