"""Every error this package raises, and whose fault it is.

* ``GuardrailError``
    * ``ConfigError`` - a file or flag the operator wrote: names file, key and reason; stops the start.
    * ``InputError`` - data handed to a command or call: names where and why.
    * ``PackError`` - a classifier pack that cannot be used: names the pack and the reason.
    * ``ProviderError`` - an execution provider was asked for and is not what runs.
    * ``ScoringError`` - text could not be scored.
        * ``OverloadedError`` - refused at the door: too much is queued.
    * ``ProtocolError`` - the peer broke the protocol it speaks to us.
"""

from __future__ import annotations


class GuardrailError(Exception):
    """Base of all errors of this package."""


class ConfigError(GuardrailError):
    """Bad configuration.

    Args:
        source: file name, flag or environment variable.
        key: dotted path inside it, or "" for the whole of it.
        reason: what is wrong and, where known, what would be right.
        line: 1-based line in the file, where known.
    """

    def __init__(self, source: str, key: str, reason: str, line: int | None = None) -> None:
        self.source, self.key, self.reason, self.line = source, key, reason, line
        where = source if line is None else f"{source}:{line}"
        super().__init__(f"{where}: {key}: {reason}" if key else f"{where}: {reason}")


class InputError(GuardrailError):
    """Bad input data: ``where`` names the file and line, or the field."""

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(f"{where}: {reason}")


class PackError(GuardrailError):
    """A classifier pack that cannot be used."""

    def __init__(self, pack: str, reason: str) -> None:
        self.pack, self.reason = pack, reason
        super().__init__(f"pack {pack}: {reason}")


class ProviderError(GuardrailError):
    """An execution provider was asked for and is not what runs."""


class ScoringError(GuardrailError):
    """Text could not be scored."""


class OverloadedError(ScoringError):
    """Refused at the door: the bounded queue is full."""


class ProtocolError(GuardrailError):
    """The peer broke the protocol it speaks to us."""
