"""A block of tokens at once, from what the target has understood of the whole prompt.

A small trained network (`models/routine_block.py`) reads hidden states of the target, so it knows
the pictures as the target does and serves what is new. They exist only behind a forward: in a
tick's first one it proposes nothing, or lets another drafter propose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rsd_planner.decoding import tree
from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.errors import ConfigError
from rsd_planner.interfaces import Drafter, Features
from rsd_planner.types import Decoded, Draft, DraftContext, SpanSource

__all__ = ["BLOCK_FACTS", "BLOCK_WEIGHTS", "RoutineBlockDrafter"]

BLOCK_WEIGHTS, BLOCK_FACTS = "routine_block.safetensors", "routine_block.json"
_REMEDY = "make it with `rsd train routine-block`"


class _Facts(Protocol):
    """What the drafter asks of a reasoner's config."""

    @property
    def taps(self) -> tuple[int, ...]: ...


class _Candidate(Protocol):
    """A continuation; see `models.block_reasoner.Candidate`."""

    @property
    def tokens(self) -> tuple[int, ...]: ...

    @property
    def chances(self) -> tuple[float, ...]: ...


class Reasoner(Protocol):
    """The network at work; see `models.block_reasoner.BlockReasoner`."""

    @property
    def config(self) -> _Facts: ...

    def forget(self) -> None: ...

    def write(self, features: Features, last: int, most: int) -> Sequence[_Candidate]: ...


class RoutineBlockDrafter:
    """Drafts a block in one forward of a small network from the target's hidden states."""

    name = "routine_block"

    def __init__(self, reasoner: Reasoner, first: Drafter | None = None) -> None:
        """`first` proposes where there are no features yet."""
        self._reasoner = reasoner
        self._first = first
        self.feature_layers = reasoner.config.taps
        self.chances: tuple[float, ...] = ()  # of the newest draft's first candidate

    @classmethod
    def make(cls, resources: DrafterResources, first: Drafter | None = None) -> RoutineBlockDrafter:
        """With the checkpoint's trained network.

        Raises:
            ConfigError: its files are missing, damaged, or made for another checkpoint.
        """
        from rsd_planner.models.block_reasoner import load_block

        facts = resources.require(BLOCK_FACTS, _REMEDY)
        weights = resources.require(BLOCK_WEIGHTS, _REMEDY)
        reasoner = load_block(weights, facts, resources.device)
        config = reasoner.config
        made_for = (config.target_vocab_size, config.end_token)
        stack = (config.target_hidden, config.target_layers)
        found = (resources.vocab_size, resources.end_token)
        if made_for != found or stack != (resources.hidden_size, resources.layers):
            raise ConfigError(
                f"{weights} was made for a checkpoint of another vocabulary or size; {_REMEDY}."
            )
        return cls(reasoner, first)

    def begin(self) -> None:
        """Nothing is known of the tick yet."""
        self._reasoner.forget()
        if self._first is not None:
            self._first.begin()

    def propose(self, context: DraftContext) -> Draft:
        """The likeliest text behind the committed one, as far as it is likely enough."""
        self.chances = ()
        if context.features is None:
            return self._first.propose(context) if self._first is not None else Draft()
        found = self._reasoner.write(context.features, context.committed[-1], context.budget)
        if not found:
            return Draft()
        self.chances = found[0].chances
        chains = [Draft(one.tokens, (SpanSource.ROUTINE,) * len(one.tokens)) for one in found]
        return tree.merge(chains).cut(context.budget)

    def end(self, decoded: Decoded) -> None:
        """The tick's text, for who proposes first."""
        if self._first is not None:
            self._first.end(decoded)

    def reset(self) -> None:
        """Time jumped, for who proposes first."""
        if self._first is not None:
            self._first.reset()
