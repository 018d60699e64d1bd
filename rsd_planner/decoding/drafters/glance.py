"""A look at the picture before the first pass: what of the last text still holds, and what comes.

The target's vision tower has encoded the pictures before its text stack reads them. A small network
(`models/glance.py`) looks at that, at the car's motion and at the last text, and judges what may
follow the end of a text. A whole guess is judged at once: the last text from where the new one has
come to, without one what learned texts say. As far as the judgement agrees the guess stands; where
it does not, the likelier token takes its place and the guess goes on behind it, so that a draft is
a few judgements. In a tree all that is likely enough stands side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rsd_planner.decoding.drafters.last_text import LastText
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.suffix import SuffixDrafter
from rsd_planner.errors import ConfigError
from rsd_planner.types import Decoded, Draft, DraftContext, Frame, SpanSource

__all__ = ["GLANCE_FACTS", "GLANCE_WEIGHTS", "GlanceDrafter"]

GLANCE_WEIGHTS, GLANCE_FACTS = "glance.safetensors", "glance.json"
FIRST_LEAST = 0.2  # chance of what stands beside the likeliest text in a tick's first draft …
LEAST = 0.06  # … and of anything in a draft: a token costs about this share of a forward
ROUNDS = 8  # most judgements for a draft
GUESS = 32  # most tokens of a guess
_REMEDY = "make it with `rsd train glance`"


class _Facts(Protocol):
    """What the drafter asks of a network's config."""

    @property
    def target_vocab_size(self) -> int: ...

    @property
    def end_token(self) -> int: ...

    @property
    def history_steps(self) -> int: ...

    @property
    def visual_width(self) -> int: ...


class Reasoner(Protocol):
    """The network at work; see `models.glance.Glance`."""

    @property
    def config(self) -> _Facts: ...

    def fits(self, pictures: Sequence[Any]) -> bool: ...

    def read(
        self,
        pictures: Sequence[Any],
        motion: NDArray[np.float32],
        old: Sequence[int],
        since_s: Sequence[float],
        since_m: Sequence[float],
    ) -> None: ...

    def pointers(self, text: Sequence[int]) -> list[int]: ...

    def rest(self, place: int) -> tuple[int, ...]: ...

    def judge(
        self, fronts: Sequence[Sequence[int]], places: Sequence[int]
    ) -> list[list[tuple[int, float]]]: ...


@dataclass(frozen=True)
class _End:
    """An end of the tree that was not judged yet."""

    node: int
    text: tuple[int, ...]  # from its start
    chance: float


class GlanceDrafter:
    """Drafts with a small network that looks at the encoded pictures, motion and last text."""

    name = "glance"

    def __init__(
        self,
        reasoner: Reasoner,
        encode: Callable[[tuple[Frame, ...]], Sequence[Any]],
        texts: SuffixDrafter,
    ) -> None:
        """`encode` gives the target's features of frames; `texts` guess where nothing was told."""
        self._reasoner, self._encode, self._texts = reasoner, encode, texts
        self._last = LastText()
        self.begin()

    @classmethod
    def make(cls, resources: DrafterResources) -> GlanceDrafter:
        """With the checkpoint's trained network and, where it has some, its learned texts.

        Raises:
            ConfigError: its files are missing, damaged, or made for another checkpoint; or there
                is no target to see with.
        """
        from rsd_planner.models.glance import load_glance

        facts = resources.require(GLANCE_FACTS, _REMEDY)
        weights = resources.require(GLANCE_WEIGHTS, _REMEDY)
        if resources.encode is None:
            raise ConfigError(
                "glance sees through its target's vision tower; build it with a planner."
            )
        reasoner = load_glance(weights, facts, resources.device)
        config = reasoner.config
        made_for = (config.target_vocab_size, config.end_token, config.visual_width)
        if made_for != (resources.vocab_size, resources.end_token, resources.visual_width) or (
            3 * config.history_steps != resources.history_tokens
        ):
            raise ConfigError(
                f"{weights} was made for a checkpoint of another vocabulary, history or vision "
                f"tower; {_REMEDY}."
            )
        return cls(reasoner, resources.encode, SuffixDrafter.make(resources))

    def begin(self) -> None:
        """The next `propose` looks at the tick's pictures and motion."""
        self._last.begin()
        self._texts.begin()
        self._sees = False

    def propose(self, context: DraftContext) -> Draft:
        """The likeliest text behind the committed one and what else is likely enough.

        Where the pictures are not such as were learned: what the texts propose.
        """
        if not self._last.is_read:
            self._look(context)
        if not self._sees:
            return self._texts.propose(context)
        return self._grow(context.committed, context.budget)

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        self._last.end(decoded)
        self._texts.end(decoded)

    def reset(self) -> None:
        """Forget the last text."""
        self._last.reset()
        self._texts.reset()

    def _look(self, context: DraftContext) -> None:
        motion, told = self._last.read(context.history), self._last.told
        features = self._encode(context.prompt.frames)
        pictures = [one.embeddings for one in features]
        self._sees = self._reasoner.fits(pictures)
        if self._sees:
            self._reasoner.read(pictures, motion, told.tokens, told.since_s, told.since_m)

    def _grow(self, committed: tuple[int, ...], budget: int) -> Draft:
        beside = LEAST if committed else FIRST_LEAST
        last = self._reasoner.config.end_token
        tokens: list[int] = []
        parents: list[int] = []
        chances: list[float] = []
        ends = [_End(-1, committed, 1.0)]
        for _ in range(ROUNDS):
            if not ends or len(tokens) >= budget:
                break
            guesses = [self._guess(end.text, budget) for end in ends]
            judged = self._judge(ends, guesses)
            new_ends: list[_End] = []
            for end, guess, options in zip(ends, guesses, judged, strict=True):
                node, chance = end.node, end.chance
                for done, found in enumerate(options):
                    going = None
                    for rank, (token, share) in enumerate(found):
                        likely = chance * share
                        if likely < (beside if rank else LEAST):
                            break
                        tokens.append(token)
                        parents.append(node)
                        chances.append(likely)
                        if done < len(guess) and token == guess[done]:
                            going = len(tokens) - 1, likely
                        elif token != last:
                            text = (*end.text, *guess[:done], token)
                            new_ends.append(_End(len(tokens) - 1, text, likely))
                    if going is None:
                        break
                    node, chance = going
            ends = new_ends
        return _likeliest_first(tokens, parents, chances, budget)

    def _judge(
        self, ends: Sequence[_End], guesses: Sequence[tuple[int, ...]]
    ) -> list[list[list[tuple[int, float]]]]:
        """Of each end what may follow it, and each token of its guess but the text's last."""
        fronts: list[tuple[int, ...]] = []
        places: list[int] = []
        counts: list[int] = []
        last = self._reasoner.config.end_token
        for end, guess in zip(ends, guesses, strict=True):
            text = (*end.text, *guess)
            start, stop = len(end.text), len(text) - (text[-1:] == (last,))
            stop = max(start, stop)
            along = self._reasoner.pointers(text)
            fronts += [text[:length] for length in range(start, stop + 1)]
            places += along[start : stop + 1]
            counts.append(stop + 1 - start)
        judged = iter(self._reasoner.judge(fronts, places))
        return [list(islice(judged, count)) for count in counts]

    def _guess(self, text: tuple[int, ...], budget: int) -> tuple[int, ...]:
        if self._last.tokens:
            return self._reasoner.rest(self._reasoner.pointers(text)[-1])[:GUESS]
        return tuple(token for token, _ in islice(self._texts.continuation(text), GUESS))


def _likeliest_first(
    tokens: Sequence[int], parents: Sequence[int], chances: Sequence[float], budget: int
) -> Draft:
    """The tree in the order of its nodes' chances; nobody is likelier than the one in front."""
    order = sorted(range(len(tokens)), key=lambda node: (-chances[node], node))[:budget]
    place = {node: index for index, node in enumerate(order)}
    place[-1] = -1
    behind = tuple(place[parents[node]] for node in order)
    chain = behind == tuple(range(-1, len(order) - 1))
    return Draft(
        tuple(tokens[node] for node in order),
        (SpanSource.ROUTINE,) * len(order),
        () if chain else behind,
    )
