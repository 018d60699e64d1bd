"""Examples for the routine reasoner: what the target said, and what was known before.

An example is a tick with an earlier one as its past: the last, one or two before that, none
(isolated), or itself (nothing has moved; so that rates above the drives' lie between things
seen). Some are given a part of the text, as after a rejection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rsd_planner.decoding.drafters.last_text import LONGEST_GAP_S
from rsd_planner.decoding.drafters.previous_tick import PrefixAlignment
from rsd_planner.decoding.drafters.told import Told
from rsd_planner.models.motion import motion_features, travelled_m
from rsd_planner.models.pointer import NOTHING, UNKNOWN, places_in
from rsd_planner.models.routine import Old, RoutineBatch
from rsd_planner.training.data import DriveSet
from rsd_planner.training.target_texts import TargetTexts
from rsd_planner.types import NANOSECONDS

__all__ = ["Pasts", "RoutineExamples", "padded", "vocabulary_of"]

_SKIPS = (0, 1, 2, 3)  # ticks back; 0 is the tick itself
_ISOLATED = len(_SKIPS)
_SHARES = (0.04, 0.55, 0.15, 0.10, 0.16)  # of the skips, and of isolated ones
_GIVEN_SHARE = 0.5  # examples that continue a committed text
_BEHIND_CHANGE = 0.5  # of these: right behind the first token that the old text has not
_ROUND = 8  # texts are padded to multiples of it


def vocabulary_of(texts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The tokens of some texts, sorted."""
    return tuple(sorted({token for text in texts for token in text}))


@dataclass(frozen=True)
class _Past:
    """One skip's past of every tick."""

    before: NDArray[np.int64]  # (ticks,) the earlier tick, −1 where there is none
    gap_s: NDArray[np.float64]  # (ticks,)
    way_m: NDArray[np.float64]  # (ticks,)
    since: NDArray[np.float16]  # (ticks, longest, 2) seconds and metres


@dataclass(frozen=True)
class Pasts:
    """What some ticks start with."""

    # Of each the last text, and (its tokens or more, 2) seconds and metres that they stand.
    texts: list[tuple[list[int], NDArray[np.float16] | NDArray[np.float32]]]
    motion: NDArray[np.float32]  # (ticks, motion_width)


class RoutineExamples:
    """Every tick of a drive set with the target's text."""

    def __init__(
        self,
        data: DriveSet,
        said: TargetTexts,
        vocabulary: Sequence[int],
        longest: int,
        step_s: float,
    ) -> None:
        """`longest` is the most tokens of a text; `step_s` is the histories' step."""
        self._step_s, self._longest = step_s, longest
        index = places_in(vocabulary)
        self._texts = [[index.get(t, UNKNOWN) for t in text[:longest]] for text in said.texts]
        self._drive = data.drive[said.frames]
        self._stamp_s = data.stamps_ns[said.frames] / NANOSECONDS
        self._position = data.history_xyz[said.frames].astype(np.float64)
        self._rotation = data.history_rot[said.frames].astype(np.float64)
        walks = [self._walk(skip) for skip in _SKIPS[1:]]
        self._pasts = [self._itself(walks[0][1]), *(past for past, _ in walks)]

    def __len__(self) -> int:
        return len(self._texts)

    def batch(self, ticks: NDArray[np.int64], rng: np.random.Generator) -> RoutineBatch:
        """Examples of some ticks; `rng` draws their pasts and what is committed."""
        pasts = self.pasts(ticks, rng)
        committed, shifts = [], []
        for tick, (old, _) in zip(ticks, pasts.texts):
            count = _draw_committed(old, self._texts[tick], rng)
            committed.append(count)
            place = PrefixAlignment(tuple(old)).position(tuple(self._texts[tick][:count]))
            shifts.append(place - count)
        olds = [old for old, _ in pasts.texts]
        old_tokens = padded(olds, self._longest)
        since = np.zeros((*old_tokens.shape, 2), np.float32)
        valid = np.arange(old_tokens.shape[1]) < np.array([[len(old)] for old in olds])
        for row, (old, told) in enumerate(pasts.texts):
            since[row, : len(old)] = told[: len(old)]
        return RoutineBatch(
            torch.from_numpy(pasts.motion),
            Old(torch.from_numpy(old_tokens), torch.from_numpy(since), torch.from_numpy(valid)),
            torch.from_numpy(padded([self._texts[tick] for tick in ticks], self._longest)),
            torch.tensor(committed),
            torch.tensor(shifts),
        )

    def text(self, tick: int) -> list[int]:
        """What the target says at a tick, in the drafter's own places."""
        return self._texts[tick]

    def pasts(
        self, ticks: NDArray[np.int64], rng: np.random.Generator | None, skip: int = 1
    ) -> Pasts:
        """An earlier tick or none for each of some ticks, as `rng` draws them.

        Without `rng` it is always the one `skip` ticks before, 0 for none.
        """
        modes = np.full(len(ticks), skip or _ISOLATED)
        if rng is not None:
            modes[:] = rng.choice(len(_SHARES), size=len(ticks), p=_SHARES)
        chosen = [self._old(tick, mode) for tick, mode in zip(ticks, modes)]
        motion = motion_features(
            self._position[ticks],
            self._rotation[ticks],
            self._step_s,
            np.array([gap for _, _, gap, _ in chosen]),
            np.array([way for _, _, _, way in chosen]),
        )
        return Pasts([(old, since) for old, since, _, _ in chosen], motion)

    def _old(
        self, tick: int, mode: int
    ) -> tuple[list[int], NDArray[np.float16] | NDArray[np.float32], float, float]:
        """The old text, how long its tokens stand, and the time and way since then."""
        if mode != _ISOLATED:
            past = self._pasts[mode]
            before = past.before[tick]
            if before >= 0:
                gap, way = float(past.gap_s[tick]), float(past.way_m[tick])
                return self._texts[before], past.since[tick], gap, way
        return [], np.zeros((0, 2), np.float32), 0.0, 0.0

    def _itself(self, since: NDArray[np.float16]) -> _Past:
        """Every tick as its own past, by what is remembered of a text that was just told."""
        nothing = np.zeros(len(self))
        return _Past(np.arange(len(self)), nothing, nothing, since)

    def _walk(self, skip: int) -> tuple[_Past, NDArray[np.float16]]:
        """The past `skip` ticks before each one, and what is remembered once a tick has told.

        Goes over every n-th tick as the drafter would.
        """
        count = len(self)
        before = np.arange(count) - skip
        inside = before >= 0
        inside &= self._drive[np.maximum(before, 0)] == self._drive
        gap_s = np.where(inside, self._stamp_s - self._stamp_s[np.maximum(before, 0)], 0.0)
        inside &= gap_s <= LONGEST_GAP_S
        gap_s[~inside] = 0.0
        way_m = travelled_m(self._position, self._step_s, gap_s)
        since = np.zeros((2, count, self._longest, 2), np.float16)  # before and after it tells
        for first in range(skip):
            told = Told()
            for tick in range(first, count, skip):
                if inside[tick]:
                    told.moved(float(gap_s[tick]), float(way_m[tick]))
                else:
                    told.forget()
                _remember(since[0, tick], told)
                told.say(self._texts[tick])
                _remember(since[1, tick], told)
        return _Past(np.where(inside, before, -1), gap_s, way_m, since[0]), since[1]


def _remember(row: NDArray[np.float16], told: Told) -> None:
    """Into a row (longest, 2): how long the text's tokens stand."""
    length = len(told.tokens)
    row[:length, 0], row[:length, 1] = told.since_s, told.since_m


def _draw_committed(old: Sequence[int], new: Sequence[int], rng: np.random.Generator) -> int:
    """How many tokens are given."""
    if len(new) < 2 or rng.random() >= _GIVEN_SHARE:
        return 0
    if rng.random() < _BEHIND_CHANGE:
        pairs = enumerate(zip(old, new))
        changed = next((i for i, (a, b) in pairs if a != b), len(new))
        if old and changed + 1 < len(new):
            return changed + 1
    return int(rng.integers(1, len(new)))


def padded(texts: Sequence[Sequence[int]], most: int) -> NDArray[np.int64]:
    """(texts, longest of them or a little more) with NOTHING behind; `most` is the bound."""
    longest = max(1, *(len(text) for text in texts))
    padded = np.full((len(texts), min(-(-longest // _ROUND) * _ROUND, most)), NOTHING, np.int64)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
    return padded
