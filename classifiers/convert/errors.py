"""What goes wrong with a model that somebody brings."""

from __future__ import annotations


class ConversionError(Exception):
    """The model cannot be made a pack as it was asked for; says why, and what would help."""
