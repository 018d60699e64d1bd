"""How values and names of fields stand in a page."""

from __future__ import annotations

__all__ = ["cell", "in_words"]


def cell(value: object) -> str:
    """A table's cell: a dash for what is not known, numbers without needless digits."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def in_words(name: str) -> str:
    """A field's or a constant's name as words."""
    return name.replace("_", " ").lower()
