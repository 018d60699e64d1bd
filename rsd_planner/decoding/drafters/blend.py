"""What texts say comes next and what the routine reasoner expects, weighed token by token.

`suffix` knows the phrases, `routine` the car's motion and what of the last text it changes: where
one is unsure the other mostly is not, and half of each is right more often than either. Asking
the reasoner takes time, so that it is left out where the texts are sure of every token. Else it is
asked for whole runs of places at once, given the tokens that the texts propose there; behind a
token that the two settle otherwise the texts propose anew, and it is asked again only where
another token has come in front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from rsd_planner.decoding import tree
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.decoding.drafters.routine import Expectation, RoutineDrafter
from rsd_planner.decoding.drafters.suffix import UNLIKELY, SuffixDrafter
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

__all__ = ["BlendDrafter"]

SHARE = 0.5  # of the routine reasoner; the rest is the texts'
SURE = 0.6  # share of a token among the texts from which on nobody else is asked
ROUNDS = 6  # most changes of what the texts propose in a draft


class BlendDrafter:
    """Drafts what texts and the routine reasoner together hold for likeliest."""

    name = "blend"

    def __init__(self, texts: SuffixDrafter, routine: RoutineDrafter) -> None:
        self._texts, self._routine = texts, routine
        self.begin()

    @classmethod
    def make(cls, resources: DrafterResources) -> BlendDrafter:
        """With the checkpoint's learned texts, where it has some, and its routine reasoner.

        Raises:
            ConfigError: files are missing, damaged or of another checkpoint.
        """
        return cls(SuffixDrafter.make(resources), RoutineDrafter.make(resources))

    def begin(self) -> None:
        """Nothing is known of the tick yet."""
        self._texts.begin()
        self._routine.begin()
        # By place and token in front; it holds for the tick, whatever is committed.
        self._expected: dict[tuple[int, int | None], Expectation] = {}

    def propose(self, context: DraftContext) -> Draft:
        """The likeliest text behind the committed one; where it is not sure, or the last draft was
        wrong, what else the texts hold for likely stands beside it."""
        draft, sure = self._likeliest(context)
        if sure and not context.committed:
            return draft
        return tree.merge([draft, self._texts.alternatives(context)]).cut(context.budget)

    def _likeliest(self, context: DraftContext) -> tuple[Draft, bool]:
        """As far as it is likely enough, and whether the texts alone were sure of it."""
        tokens: list[int] = []
        sources: list[SpanSource] = []
        chance, end = 1.0, 0
        for _ in range(1 + ROUNDS):
            text = (*context.committed, *tokens)
            left = context.budget - len(tokens)
            proposed = list(islice(self._texts.continuation(text), left))
            chain = [token for token, _ in proposed]
            shares = [found for _, found in proposed]
            if not tokens:
                if chain and min(map(max, (found.values() for found in shares))) >= SURE:
                    return Draft(tuple(chain), (SpanSource.LOOKUP,) * len(chain)), True
                end = self._look_ahead(context)
            expected = self._expect(text, chain, end)
            # Where the texts know nothing, the reasoner alone may.
            for place, found in enumerate(shares or [{}][:left]):
                said = expected[place] if place < len(expected) else None
                token, likely = _settle(found, said)
                chance *= likely
                if chance < UNLIKELY:
                    return Draft(tuple(tokens), tuple(sources)), False
                agreed = place < len(chain) and chain[place] == token
                tokens.append(token)
                sources.append(SpanSource.LOOKUP if agreed else SpanSource.ROUTINE)
                if token == self._routine.end_token:
                    return Draft(tuple(tokens), tuple(sources)), False
                if not agreed:
                    break
            else:
                break
        return Draft(tuple(tokens), tuple(sources)), False

    def end(self, decoded: Decoded) -> None:
        """Remember this tick's text."""
        self._texts.end(decoded)
        self._routine.end(decoded)

    def reset(self) -> None:
        """Forget the run's texts; the learned ones stay."""
        self._texts.reset()
        self._routine.reset()

    def _look_ahead(self, context: DraftContext) -> int:
        end = self._routine.look_ahead(context)
        if self._routine.looked_anew:
            self._expected.clear()
        return end

    def _expect(
        self, committed: Sequence[int], chain: Sequence[int], end: int
    ) -> list[Expectation]:
        """What the reasoner expects behind a text, at a proposed chain's places before `end`."""
        start = len(committed)
        fronts: list[int | None] = [committed[-1] if committed else None, *chain]
        keys = list(enumerate(fronts[: max(len(chain), 1)], start=start))[: max(end - start, 0)]
        missing = [key for key in keys if key not in self._expected]
        if missing:
            places, before = zip(*missing, strict=True)
            found = self._routine.expect(places, before)
            self._expected.update(zip(missing, found, strict=True))
        return [self._expected[key] for key in keys]


def _settle(texts: Mapping[int, float], said: Expectation | None) -> tuple[int, float]:
    """The likeliest token by both and its chance; that is 0 where neither knows one."""
    if said is None:
        token = max(texts, key=texts.__getitem__, default=-1)
        return token, texts.get(token, 0.0)
    if not texts:
        return said.token, said.chance if said.token >= 0 else 0.0
    both = {token: (1.0 - SHARE) * share + SHARE * said.of(token) for token, share in texts.items()}
    if said.token >= 0 and said.token not in both:
        both[said.token] = SHARE * said.chance
    token = max(both, key=both.__getitem__)
    return token, both[token]
