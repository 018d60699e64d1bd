"""The error of a user's mistake in settings or files, with the remedy in its text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["ConfigError", "suggest"]


class ConfigError(ValueError):
    """A setting or a checkpoint folder is wrong; the text says which and what to do."""


def suggest(name: str, known: Sequence[str]) -> str:
    """`" Did you mean 'x'?"` for a likely spelling mistake, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
