"""A small copy of the target that sees the picture, drafting token by token: the ordinary way.

The control for what the other drafters do without eyes. It reads the target's prompt once a
tick (`models/replica.py`) and continues what was committed; after a rejection its cache is cut
back to what still holds. It knows no earlier tick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rsd_planner.decoding.drafters.resources import DrafterResources
from rsd_planner.errors import ConfigError
from rsd_planner.types import Decoded, Draft, DraftContext, Frame, SpanSource

__all__ = ["REPLICA_FACTS", "REPLICA_WEIGHTS", "ReplicaDrafter", "require_fit"]

REPLICA_WEIGHTS, REPLICA_FACTS = "replica.safetensors", "replica.json"
_REMEDY = "make it with `rsd train replica`"


class Model(Protocol):
    """The network at work; see `models.replica.Replica`."""

    def read(self, token_ids: NDArray[np.int64], features: Sequence[Any]) -> None: ...

    def write(
        self, committed: Sequence[int], most: int
    ) -> tuple[tuple[int, ...], tuple[float, ...]]: ...


class Facts(Protocol):
    """What a replica's config says of its target."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def end_token(self) -> int: ...

    @property
    def visual_width(self) -> int: ...


def require_fit(config: Facts, resources: DrafterResources, weights: Path) -> None:
    """Refuse a replica of another target.

    Raises:
        ConfigError: vocabulary or vision tower are others; `weights` is named.
    """
    made_for = (config.vocab_size, config.end_token, config.visual_width)
    if made_for != (resources.vocab_size, resources.end_token, resources.visual_width):
        raise ConfigError(
            f"{weights} was made for a checkpoint of another vocabulary or vision tower; {_REMEDY}."
        )


class ReplicaDrafter:
    """Drafts with a small copy of the target that sees the picture, token by token."""

    name = "replica"

    def __init__(self, model: Model, encode: Callable[[tuple[Frame, ...]], Sequence[Any]]) -> None:
        """`encode` gives the target's features of frames."""
        self._model = model
        self._encode = encode
        self.chances: tuple[float, ...] = ()  # of the newest draft's tokens, each given its front
        self.begin()

    @classmethod
    def make(cls, resources: DrafterResources) -> ReplicaDrafter:
        """With the checkpoint's trained network.

        Raises:
            ConfigError: its files are missing, damaged, or made for another checkpoint; or there
                is no target to see with.
        """
        from rsd_planner.models.replica import load_replica

        facts = resources.require(REPLICA_FACTS, _REMEDY)
        weights = resources.require(REPLICA_WEIGHTS, _REMEDY)
        encode = resources.require_sight(cls.name)
        model = load_replica(weights, facts, resources.device)
        require_fit(model.config, resources, weights)
        return cls(model, encode)

    def begin(self) -> None:
        """The next `propose` reads the tick's prompt and pictures."""
        self._has_read = False

    def propose(self, context: DraftContext) -> Draft:
        """The likeliest text behind the committed one, as far as it is likely enough."""
        if not self._has_read:
            prompt = context.prompt
            self._model.read(prompt.token_ids, self._encode(prompt.frames))
            self._has_read = True
        tokens, self.chances = self._model.write(context.committed, context.budget)
        return Draft(tokens, (SpanSource.ROUTINE,) * len(tokens))

    def end(self, decoded: Decoded) -> None:
        """Nothing to remember."""

    def reset(self) -> None:
        """Nothing to forget."""
