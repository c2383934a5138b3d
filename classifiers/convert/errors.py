"""What goes wrong with a model that somebody brings."""

from __future__ import annotations


class ConversionError(Exception):
    """The model cannot be made a pack as it was asked for; says why, and what would help."""


class VerificationError(ConversionError):
    """A pack was made and does not say what its model says, or what it said before."""
