"""The routine reasoner at work: one tick after the other, and its files.

`read` takes what is known before any picture, `write` drafts behind a committed text. What was
read is run through the layers once a tick; a draft after a rejection runs the new text alone.
Weights are safetensors, the rest is JSON; nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsd_planner.models.drafter_files import load_drafter, save_drafter
from rsd_planner.models.pointer import NOTHING, UNKNOWN, places_in
from rsd_planner.models.routine import RoutineConfig, RoutineNet, end_of_draft
from rsd_planner.models.routine_forward import RoutineForward

__all__ = ["Expected", "RoutineReasoner", "load_routine", "save_routine"]

_MARGIN = 8  # places asked for behind the old text's end


class Expected:
    """The distribution at a place: its likeliest token (the target's id; −1: none), and others."""

    __slots__ = ("_index", "_row", "chance", "token")

    def __init__(
        self, token: int, chance: float, row: NDArray[np.float32], index: Mapping[int, int]
    ) -> None:
        self.token, self.chance = token, chance
        self._row, self._index = row, index

    def of(self, token: int) -> float:
        """The chance of one of the target's ids."""
        place = self._index.get(token)
        return float(self._row[place]) if place is not None else 0.0


class RoutineReasoner:
    """Drafts with a trained network, one sequence at a time."""

    def __init__(self, net: RoutineNet, device: str = "cpu") -> None:
        self.config = net.config
        self._device = torch.device(device)
        self._net = RoutineForward(net, self._device)
        self._index = places_in(self.config.vocabulary)
        self._ids = {place: token for token, place in self._index.items()}
        self._end = self._index.get(self.config.end_token, NOTHING)
        self.read(np.zeros(self.config.motion_width, np.float32), (), (), ())

    @torch.inference_mode()
    def read(
        self,
        motion: NDArray[np.float32],
        old: Sequence[int],
        since_s: Sequence[float],
        since_m: Sequence[float],
    ) -> None:
        """A tick starts: the car's motion, and the last text (the target's ids; may be empty)."""
        tokens = [self._index.get(token, UNKNOWN) for token in old[: self.config.longest]]
        since = [since_s[: len(tokens)], since_m[: len(tokens)]]
        self._old_tokens = tokens
        self._memory = self._net.read(
            torch.from_numpy(motion).to(self._device),
            torch.tensor(tokens, dtype=torch.long, device=self._device),
            torch.tensor(since, dtype=torch.float32, device=self._device).T,
        )

    @torch.inference_mode()
    def write(
        self, committed: Sequence[int], shift: int, most: int
    ) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """A continuation of at most `most` tokens, and each one's chance given those before it.

        Place i of the new text is likely place i + `shift` of the old one. The continuation
        ends with the end token, or where a token is none that can be written, or where it is
        too unlikely to be right so far.
        """
        states = self._states(committed, shift, most)
        if states is None:
            return (), ()
        before = self._index.get(committed[-1], UNKNOWN) if committed else NOTHING
        tokens, chances = self._agree(states, before, len(committed), shift)
        return self._cut(tokens, chances)

    @torch.inference_mode()
    def look_ahead(self, committed: Sequence[int], shift: int) -> int:
        """Get ready to be asked by `expect` for places behind the committed text; how many.

        Place i of the new text is likely place i + `shift` of the old one.
        """
        states = self._states(committed, shift, self.config.longest)
        if states is None:
            return 0
        self._ahead = states, len(committed)
        return len(states)

    @torch.inference_mode()
    def expect(self, places: Sequence[int], fronts: Sequence[int | None]) -> list[Expected]:
        """What may stand at some places, each given the token in front (None: nothing)."""
        states, start = self._ahead
        front = [NOTHING if token is None else self._index.get(token, UNKNOWN) for token in fronts]
        which = torch.tensor([front, places], device=self._device)
        rows = self._net.chances(self._memory, states[which[1] - start], which[0], which[1])
        best, choice = rows.max(dim=-1)
        likeliest = [self._ids.get(place, -1) for place in choice.tolist()]
        found = zip(likeliest, best.tolist(), rows.cpu().numpy())
        return [Expected(token, chance, row, self._index) for token, chance, row in found]

    def _states(self, committed: Sequence[int], shift: int, most: int) -> Tensor | None:
        """Last rows of the places behind a text; None where there is nothing to say."""
        start = len(committed)
        asked = min(most, self.config.block, self.config.longest - start)
        if self._old_tokens:
            left = len(self._old_tokens) - start - shift + _MARGIN
            asked = min(asked, max(left, _MARGIN))
        if asked <= 0:
            return None
        given = [self._index.get(token, UNKNOWN) for token in committed]
        text = torch.tensor(given, dtype=torch.long, device=self._device)
        return self._net.states(self._memory, text, shift, asked)

    def _agree(
        self, states: Tensor, before: int, start: int, shift: int
    ) -> tuple[list[int], list[float]]:
        """Tokens that follow from each other, and the chance of each.

        A round asks only where the token in front has changed. What stands in front of all of
        these is settled; once the draft ends there, nobody needs the rest.
        """
        asked = len(states)
        tokens = [self._old_at(start + i + shift) for i in range(asked)]
        chances = [0.0] * asked
        open_places = list(range(asked))
        for _ in range(self.config.rounds):
            if not open_places or self._end_in(tokens, chances, open_places[0]) is not None:
                break
            front = [tokens[i - 1] if i else before for i in open_places]
            every = len(open_places) == asked
            which = torch.tensor([front, open_places], device=self._device)
            found = self._net.chances(
                self._memory, states if every else states[which[1]], which[0], start + which[1]
            )
            best, choice = found.max(dim=-1)
            changed = []
            for i, token, chance in zip(open_places, choice.tolist(), best.tolist()):
                if token != tokens[i]:
                    changed.append(i + 1)
                tokens[i], chances[i] = token, chance
            open_places = [i for i in changed if i < asked]
        return tokens, chances

    def _old_at(self, place: int) -> int:
        return self._old_tokens[place] if 0 <= place < len(self._old_tokens) else NOTHING

    def _cut(
        self, tokens: list[int], chances: list[float]
    ) -> tuple[tuple[int, ...], tuple[float, ...]]:
        end = self._end_in(tokens, chances, len(tokens))
        return tuple(self._ids[token] for token in tokens[:end]), tuple(chances[:end])

    def _end_in(self, tokens: list[int], chances: list[float], settled: int) -> int | None:
        """How many tokens are drafted, if the first `settled` places say so."""
        choices = zip(tokens[:settled], chances)
        return end_of_draft(choices, self._end, self.config.least_chance)


def save_routine(stem: Path, net: RoutineNet, card: Mapping[str, Any]) -> None:
    """Write the drafter's two files; `card` says how it was made."""
    save_drafter(stem, net, net.config, card)


def load_routine(weights: Path, facts: Path, device: str = "cpu") -> RoutineReasoner:
    """A drafter from its two files.

    Raises:
        ConfigError: a file is damaged, or the two do not belong together.
    """

    def make(raw: dict[str, Any]) -> RoutineNet:
        return RoutineNet(RoutineConfig(**{**raw, "vocabulary": tuple(raw["vocabulary"])}))

    return RoutineReasoner(load_drafter(weights, facts, make, "rsd train routine"), device)
