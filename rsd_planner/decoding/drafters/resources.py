"""What a drafter may know of the target's checkpoint: facts, files and what it sees.

Never its module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_planner.errors import ConfigError
from rsd_planner.types import Frame

if TYPE_CHECKING:
    from rsd_planner.models.vision_cache import VisionFeatures

__all__ = ["DrafterResources"]


@dataclass(frozen=True)
class DrafterResources:
    """Handed to every drafter when it is made. The defaults stand for an unknown checkpoint."""

    folder: Path | None = None  # `drafters/` in the checkpoint's folder; it may not exist
    vocab_size: int = 0  # token ids are below this
    text_vocab_size: int = 0  # ids below this are ordinary text; above are special tokens
    end_of_reasoning: int = -1  # <|cot_end|>
    end_token: int = -1  # <|traj_future_start|>, the last token of a text
    history_token_start: int = -1  # id of the history's first bin in a prompt
    history_bins: int = 0  # ids of the history are this many from there
    history_tokens: int = 0  # how many of them a prompt holds, oldest step first
    hidden_size: int = 0  # width of the target's text stack
    layers: int = 0  # and its depth
    device: str = "cpu"  # where the target runs
    visual_width: int = 0  # of the tokens that its vision tower makes of a picture
    # Those tokens, frame by frame, from the target's own cache: a tick's pictures cost nothing
    # here. None where there is no target yet.
    encode: Callable[[tuple[Frame, ...]], Sequence[VisionFeatures]] | None = None

    def find(self, name: str) -> Path | None:
        """A file of the checkpoint's drafters, or None where there is none."""
        path = self.folder / name if self.folder is not None else None
        return path if path is not None and path.is_file() else None

    def require_sight(
        self, drafter: str
    ) -> Callable[[tuple[Frame, ...]], Sequence[VisionFeatures]]:
        """`encode`, for a drafter that cannot do without.

        Raises:
            ConfigError: there is no target yet.
        """
        if self.encode is None:
            raise ConfigError(
                f"{drafter} sees through its target's vision tower; build it with a planner."
            )
        return self.encode

    def require(self, name: str, remedy: str) -> Path:
        """A file that a drafter cannot do without.

        Raises:
            ConfigError: it is not there; the text ends in the remedy.
        """
        path = self.find(name)
        if path is None:
            place = self.folder if self.folder is not None else "a checkpoint's drafters/"
            raise ConfigError(f"{name} is missing in {place}; {remedy}.")
        return path
