"""The one error that this package raises for what a user can cure."""

__all__ = ["BagError"]


class BagError(ValueError):
    """A bag cannot be used as asked; the text says why and what to do, in a sentence or two."""
