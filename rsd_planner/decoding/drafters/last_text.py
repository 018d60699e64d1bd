"""The last tick's text as it stands now, and the car's motion: what a tick starts with."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from rsd_planner.decoding.drafters.told import Told
from rsd_planner.models.motion import motion_features, travelled_m
from rsd_planner.types import NANOSECONDS, Decoded, EgoHistory

__all__ = ["LONGEST_GAP_S", "LastText"]

LONGEST_GAP_S = 1.0  # an older text is none
REMEMBERED = 8  # texts of ticks that were not read


class LastText:
    """Remembers texts from tick to tick for a drafter that reads the last one.

    A tick without a `read` has no time: it counts as one of equally long ones.
    """

    def __init__(self) -> None:
        self.told = Told()
        self._last_ns: int | None = None  # of the newest tick that was read
        self._ticks = 0  # since
        self._unseen = deque[tuple[int, ...]](maxlen=REMEMBERED)  # texts of the newest of these
        self.begin()

    @property
    def tokens(self) -> tuple[int, ...]:
        """The last text; empty where there is none."""
        return self.told.tokens

    @property
    def is_read(self) -> bool:
        """Whether this tick was read."""
        return self._t0_ns is not None

    def begin(self) -> None:
        """A tick starts."""
        self._t0_ns: int | None = None

    def read(self, history: EgoHistory) -> NDArray[np.float32]:
        """The car's motion (`models.motion.motion_width`,); ages of the last text are as of now."""
        told = self.told
        gap_s, way_m = 0.0, 0.0
        if self._last_ns is not None:
            gap_s = (history.t0_ns - self._last_ns) / NANOSECONDS / (self._ticks + 1)
            if 0.0 <= gap_s <= LONGEST_GAP_S:
                way_m = float(travelled_m(history.position_m, history.step_s, gap_s))
                forgotten = self._ticks - len(self._unseen)
                told.moved(forgotten * gap_s, forgotten * way_m)
                for text in self._unseen:
                    told.moved(gap_s, way_m)
                    told.say(text)
                told.moved(gap_s, way_m)
            else:
                told.forget()
                gap_s = 0.0
        elif self._unseen:
            told.say(self._unseen[-1])
        self._forget_unseen()
        self._t0_ns = history.t0_ns
        return motion_features(history.position_m, history.rotation, history.step_s, gap_s, way_m)

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        if self._t0_ns is None:
            self._unseen.append(decoded.tokens)
            self._ticks += 1
        else:
            self.told.say(decoded.tokens)
            self._last_ns = self._t0_ns

    def reset(self) -> None:
        """Forget the last text."""
        self.told.forget()
        self._last_ns = None
        self._forget_unseen()

    def _forget_unseen(self) -> None:
        self._unseen.clear()
        self._ticks = 0
