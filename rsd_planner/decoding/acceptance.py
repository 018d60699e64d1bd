"""Acceptance rules: how much of a draft is valid, and the target's token after it.

`greedy` is token-identical to the target's greedy text. Sampling rules come beside it.
"""

from __future__ import annotations

from rsd_planner.types import Draft, Verification

__all__ = ["RULES", "Greedy"]


class Greedy:
    """Accept the longest prefix that the target would have chosen itself."""

    name = "greedy"

    def accept(self, step: Verification, draft: Draft, position: int) -> tuple[int, int]:
        """`(accepted, token)`; see `interfaces.Acceptance`."""
        choices = step.logits.argmax(dim=-1).tolist()  # (draft + 1,)
        accepted = 0
        while accepted < len(draft) and choices[accepted] == draft.tokens[accepted]:
            accepted += 1
        return accepted, choices[accepted]


RULES = {Greedy.name: Greedy}
