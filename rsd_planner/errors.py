"""The errors of a user's mistakes in settings, files and commands, with the remedy in the text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["CommandError", "ConfigError", "suggest"]


class ConfigError(ValueError):
    """A setting or a checkpoint folder is wrong; the text says which and what to do."""


class CommandError(ValueError):
    """The command line asks for something that cannot be done; the text names the remedy."""


def suggest(name: str, known: Sequence[str]) -> str:
    """`" Did you mean 'x'?"` for a likely spelling mistake, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
