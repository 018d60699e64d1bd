"""The block drafter at work: one tick after the other, and its files.

What the target has understood is run through the layers once, token by token as it is committed;
a draft runs the block alone. Weights are safetensors, the rest is JSON; nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rsd_planner.interfaces import Features
from rsd_planner.models.drafter_files import load_drafter, save_drafter
from rsd_planner.models.pointer import NOTHING, UNKNOWN, places_in
from rsd_planner.models.routine import end_of_draft
from rsd_planner.models.routine_block import BlockConfig, BlockNet, Memory

__all__ = ["BlockReasoner", "Candidate", "load_block", "save_block"]


@dataclass(frozen=True)
class Candidate:
    """A continuation, the likeliest choices behind its first tokens."""

    tokens: tuple[int, ...]  # the target's ids
    chances: tuple[float, ...]  # of each token, given those before it


@dataclass(frozen=True)
class _Choice:
    """The likeliest token at a place and the one behind it, given what stands in front."""

    token: int = NOTHING
    chance: float = 0.0
    second: int = NOTHING
    second_chance: float = 0.0


class BlockReasoner:
    """Drafts with a trained network, one sequence at a time."""

    def __init__(self, net: BlockNet, device: str = "cpu") -> None:
        self._net = net.to(device).eval()
        self.config = net.config
        self._device = torch.device(device)
        self._index = places_in(self.config.vocabulary)
        self._ids = {place: token for token, place in self._index.items()}
        self._end = self._index.get(self.config.end_token, NOTHING)
        self.forget()

    def forget(self) -> None:
        """A tick starts: nothing is known of it."""
        self._memory: Memory | None = None
        self._known = 0  # tokens of the target in the memory
        self._last_place = 0  # position of the last of them

    @torch.inference_mode()
    def write(self, features: Features, last: int, most: int) -> list[Candidate]:
        """Continuations behind the committed text, the likeliest first; none if too unlikely.

        `features` are the tick's, as many as before or more; `last` is the last committed token,
        which they do not hold yet. A continuation has at most `most` tokens and ends with the
        end token, or where a token is none that can be written, or where it is too unlikely to
        be right so far.
        """
        self._learn(features)
        asked = min(most, self.config.block)
        if asked <= 0:
            return []
        before = self._index.get(last, UNKNOWN)
        states = self._states(before, asked)
        first = self._agree(states, [], before)
        found = [first, *(self._others(states, before, first) if self.config.branches > 1 else [])]
        return [one for one in map(self._cut, found) if one.tokens]

    def _learn(self, features: Features) -> None:
        """Put what the target understood since the last draft into the memory."""
        if len(features) == self._known:
            return
        states, target_places = features.rows(self._known)
        places = self.config.places(target_places, self._known)
        new = self._net.memory(
            states[None].to(self._device), torch.from_numpy(places).to(self._device)
        )
        if self._memory is None:
            self._memory = new
        else:
            self._memory = [
                (torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2))
                for (keys, values), (k, v) in zip(self._memory, new, strict=True)
            ]
        self._known = len(features)
        self._last_place = int(places[0, -1])

    def _states(self, before: int, asked: int) -> Tensor:
        """Last states (1, asked, hidden) of the places behind the committed text."""
        assert self._memory is not None
        net, rows = self._net, torch.full((1, asked + 1), NOTHING, device=self._device)
        rows[0, 0] = before
        places = self._last_place + 1 + torch.arange(asked + 1, device=self._device)
        mask = None
        if self.config.branch:
            seen = torch.ones(asked + 1, self._known, dtype=torch.bool, device=self._device)
            mask = torch.cat([seen, net.among(asked + 1)], dim=1)
        return net.run(net.tokens(rows), places.expand(3, -1), self._memory, mask)[:, 1:]

    def _agree(self, states: Tensor, given: Sequence[_Choice], before: int) -> list[_Choice]:
        """Choices that follow from each other, behind the given first ones of the block.

        A round asks only where the token in front has changed. What stands in front of all of
        these is settled; once the candidate ends there, nobody needs the rest.
        """
        choices = [*given, *[_Choice()] * (states.shape[1] - len(given))]
        open_places = list(range(len(given), len(choices)))
        for _ in range(self.config.rounds if self.config.branch else 1):
            if not open_places or self._end_in(choices, open_places[0]) is not None:
                break
            front = [choices[i - 1].token if i else before for i in open_places]
            every = len(open_places) == states.shape[1]
            logits = self._net.logits(
                states if every else states[:, open_places],
                torch.tensor([front], device=self._device),
            )
            values, found = torch.softmax(logits[0].float(), dim=-1).topk(2)
            changed = []
            for i, chances, tokens in zip(open_places, values.tolist(), found.tolist()):
                if tokens[0] != choices[i].token:
                    changed.append(i + 1)
                choices[i] = _Choice(tokens[0], chances[0], tokens[1], chances[1])
            open_places = [i for i in changed if i < len(choices)]
        return choices

    def _others(self, states: Tensor, before: int, first: list[_Choice]) -> Iterator[list[_Choice]]:
        """The likeliest that leave the first candidate somewhere, each on a branch of its own.

        A branch starts with a second choice; what follows is chosen anew behind that.
        """
        so_far, starts = 1.0, []
        for i, choice in enumerate(first):
            starts.append((so_far * choice.second_chance, i))
            so_far *= choice.chance
            if choice.token == self._end or choice.token <= NOTHING:
                break
        for reach, i in sorted(starts, reverse=True)[: self.config.branches - 1]:
            second = _Choice(first[i].second, first[i].second_chance)
            if reach < self.config.least_chance or second.token <= NOTHING:
                break
            yield self._agree(states, [*first[:i], second], before)

    def _cut(self, choices: Sequence[_Choice]) -> Candidate:
        """What is likely enough to be right so far."""
        end = self._end_in(choices, len(choices))
        return Candidate(
            tuple(self._ids[one.token] for one in choices[:end]),
            tuple(one.chance for one in choices[:end]),
        )

    def _end_in(self, choices: Sequence[_Choice], settled: int) -> int | None:
        """How many tokens a candidate has, if its first `settled` places say so."""
        pairs = ((choice.token, choice.chance) for choice in choices[:settled])
        return end_of_draft(pairs, self._end, self.config.least_chance)


def save_block(stem: Path, net: BlockNet, card: Mapping[str, Any]) -> None:
    """Write the drafter's two files; `card` says how it was made."""
    save_drafter(stem, net, net.config, card)


def load_block(weights: Path, facts: Path, device: str = "cpu") -> BlockReasoner:
    """A drafter from its two files.

    Raises:
        ConfigError: a file is damaged, or the two do not belong together.
    """

    def make(raw: dict[str, Any]) -> BlockNet:
        lists = {name: tuple(raw[name]) for name in ("vocabulary", "taps")}
        return BlockNet(BlockConfig(**{**raw, **lists}))

    return BlockReasoner(load_drafter(weights, facts, make, "rsd train routine-block"), device)
