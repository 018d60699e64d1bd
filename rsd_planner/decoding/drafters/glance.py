"""A look at the picture before the first pass: what of the last text still holds, and what comes.

The target's vision tower has encoded the pictures before its text stack reads them. A small network
(`models/glance.py`) looks at that, at the car's motion and at the last text, and judges what may
follow the end of a text. A whole guess is judged at once: the last text from where the new one has
come to, without one what learned texts say. As far as the judgement agrees the guess stands; where
it does not, the likelier token takes its place and the guess goes on behind it, so that a draft is
a few judgements. In a tree all that is likely enough stands side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rsd_planner.decoding.drafters.last_text import LastText
from rsd_planner.decoding.drafters.phrases import Phrases
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.suffix import TEXTS_FILE, read_texts
from rsd_planner.errors import ConfigError
from rsd_planner.models.pointer import UNKNOWN, Asked, Judged, Pointer, places_in
from rsd_planner.types import Decoded, Draft, DraftContext, Frame, SpanSource

__all__ = ["GLANCE_FACTS", "GLANCE_WEIGHTS", "GlanceDrafter"]

GLANCE_WEIGHTS, GLANCE_FACTS = "glance.safetensors", "glance.json"
FIRST_LEAST = 0.1  # chance of what stands beside the likeliest text in a tick's first draft …
LEAST = 0.06  # … and of anything in a draft: a token costs about this share of a forward
ROUNDS = 8  # most judgements for a draft
WIDTH = 6  # most ends that are judged at once, the likeliest
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

    @property
    def longest(self) -> int: ...


class Reasoner(Protocol):
    """The network at work; see `models.glance_forward.Glance`."""

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

    def known(self, tokens: Sequence[int]) -> tuple[int, ...]: ...

    def ids(self, tokens: Sequence[int]) -> tuple[int, ...]: ...

    def judge(self, asked: Sequence[Asked]) -> list[Judged]: ...


@lru_cache(maxsize=1)
def _phrases(path: Path, changed_ns: int, vocabulary: tuple[int, ...]) -> Phrases:
    """Those of a file's texts; drafters of one checkpoint share them."""
    index = places_in(vocabulary)
    texts, counts = read_texts(path)
    known = (tuple(index.get(token, UNKNOWN) for token in text) for text in texts)
    return Phrases(zip(known, counts))


@dataclass(frozen=True)
class _End:
    """An end of the tree that was not judged yet."""

    text: tuple[int, ...]  # from its start
    place: int  # of the pointer into the last text
    node: int = -1
    chance: float = 1.0


class GlanceDrafter:
    """Drafts with a small network that looks at the encoded pictures, motion and last text."""

    name = "glance"

    def __init__(
        self,
        reasoner: Reasoner,
        encode: Callable[[tuple[Frame, ...]], Sequence[Any]],
        phrases: Phrases | None = None,
    ) -> None:
        """`encode` gives the target's features of frames; `phrases` are those of learned texts, in
        the reasoner's places, of which guesses are made where the last text says nothing."""
        self._reasoner, self._encode = reasoner, encode
        self._phrases = phrases or Phrases(())
        (self._last_token,) = reasoner.known((reasoner.config.end_token,))
        self._last = LastText()
        self.begin()

    @classmethod
    def make(cls, resources: DrafterResources) -> GlanceDrafter:
        """With the checkpoint's trained network and, where it has some, its learned texts.

        Raises:
            ConfigError: its files are missing, damaged, or made for another checkpoint; or there
                is no target to see with.
        """
        from rsd_planner.models.glance_kernel import load_glance

        facts = resources.require(GLANCE_FACTS, _REMEDY)
        weights = resources.require(GLANCE_WEIGHTS, _REMEDY)
        encode = resources.require_sight(cls.name)
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
        path = resources.find(TEXTS_FILE)
        if path is None:
            return cls(reasoner, encode)
        phrases = _phrases(path, path.stat().st_mtime_ns, config.vocabulary)
        return cls(reasoner, encode, phrases)

    def begin(self) -> None:
        """The next `propose` looks at the tick's pictures and motion."""
        self._last.begin()
        self._sees = False
        self._old: tuple[int, ...] = ()  # the last text

    def sees(self, context: DraftContext) -> bool:
        """Whether the tick's pictures are as many and as large as those that it learned with."""
        if not self._last.is_read:
            motion, told = self._last.read(context.history), self._last.told
            pictures = [one.embeddings for one in self._encode(context.prompt.frames)]
            self._sees = self._reasoner.fits(pictures)
            if self._sees:
                self._old = self._reasoner.known(told.tokens[: self._reasoner.config.longest])
                self._pointer = Pointer(self._old)
                self._reasoner.read(pictures, motion, self._old, told.since_s, told.since_m)
        return self._sees

    def propose(self, context: DraftContext) -> Draft:
        """The likeliest text behind the committed one and what else is likely enough.

        Nothing where it does not see.
        """
        return self._grow(context.committed, context.budget) if self.sees(context) else Draft()

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        self._last.end(decoded)

    def reset(self) -> None:
        """Forget the last text."""
        self._last.reset()

    def _grow(self, committed: tuple[int, ...], budget: int) -> Draft:
        """The tree behind a committed text."""
        beside = LEAST if committed else FIRST_LEAST
        grown = _Grown()
        text = self._reasoner.known(committed)
        ends = [_End(text, self._pointer.along(text)[-1])]
        for _ in range(ROUNDS):
            if not ends or len(grown) >= budget:
                break
            asked = [self._ask(end) for end in ends]
            new_ends: list[_End] = []
            for end, one, judged in zip(ends, asked, self._reasoner.judge(asked), strict=True):
                new_ends += self._branch(grown, end, one, judged, beside)
            ends = sorted(new_ends, key=lambda end: -end.chance)[:WIDTH]
        if ends and ends[0].chance >= FIRST_LEAST:  # nobody has judged the rest
            last = self._ask(ends[0])
            node = ends[0].node
            front = last.text[-1] if last.text else None
            for token, place in zip(last.guess, last.places):
                source = self._source(place, front, token)
                node = grown.add(token, source, node, ends[0].chance * LEAST)
                front = token
        found = grown.likeliest(budget)
        tokens, sources, parents = zip(*found) if found else ((), (), ())
        return Draft(self._reasoner.ids(tokens), sources, parents)

    def _branch(
        self,
        grown: _Grown,
        end: _End,
        asked: Asked,
        judged: Judged,
        beside: float,
    ) -> Iterator[_End]:
        """Put behind an end what is likely enough; the new ends that are still to be judged."""
        node, chance = end.node, end.chance
        front = asked.text[-1] if asked.text else None
        for done, (options, place) in enumerate(zip(judged, asked.places, strict=True)):
            going = None
            for rank, (token, share) in enumerate(options):
                likely = chance * share
                if not likely >= (beside if rank else LEAST):  # nothing is said where it is NaN
                    break
                new = grown.add(token, self._source(place, front, token), node, likely)
                if done < len(asked.guess) and token == asked.guess[done]:
                    going = new, likely
                elif token != self._last_token:
                    text = (*asked.text, *asked.guess[:done], token)
                    yield _End(text, self._pointer.step(place, front, token), new, likely)
            if going is None or asked.guess[done] == self._last_token:
                return
            node, chance = going
            front = asked.guess[done]

    def _source(self, place: int, front: int | None, token: int) -> SpanSource:
        """The last tick's is what stood in its text behind the same token, or about there: where a
        number grew or lost a digit, what follows stands one place further."""
        near = self._old[max(0, place - 1) : place + 2]
        told = token in near or self._pointer.knows(front, token)
        return SpanSource.PREVIOUS_TICK if told else SpanSource.ROUTINE

    def _ask(self, end: _End) -> Asked:
        """What follows an end, and each token of its guess but a text's last one.

        Guessed is the last text where the end's last token stands in it too; behind a token that
        took another one's place it is what most often followed in learned texts.
        """
        old, text, place = self._old, list(end.text), end.place
        guess: list[int] = []
        places = [place]
        met = not text or (place > 0 and old[place - 1] == text[-1])
        while len(guess) < GUESS:
            told = old[place] if place < len(old) else None
            token = told if met and told is not None else self._phrases.next(text)
            token = told if token is None else token
            if token is None or token == UNKNOWN:
                break
            place = self._pointer.step(place, text[-1] if text else None, token)
            met = place > 0 and old[place - 1] == token
            guess.append(token)
            text.append(token)
            places.append(place)
            if token == self._last_token:
                break
        return Asked(end.text, tuple(guess), places)


class _Grown:
    """A tree that grows; parents come first."""

    def __init__(self) -> None:
        self._nodes: list[tuple[int, SpanSource, int, float]] = []  # token, source, parent, chance

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, token: int, source: SpanSource, parent: int, chance: float) -> int:
        """A token behind another; its number."""
        self._nodes.append((token, source, parent, chance))
        return len(self._nodes) - 1

    def likeliest(self, budget: int) -> list[tuple[int, SpanSource, int]]:
        """Token, source and parent in the order of chances; nobody is likelier than its parent."""
        order = sorted(range(len(self)), key=lambda node: (-self._nodes[node][3], node))[:budget]
        place = {node: index for index, node in enumerate(order)} | {-1: -1}
        chosen = (self._nodes[node] for node in order)
        return [(token, source, place[parent]) for token, source, parent, _ in chosen]
