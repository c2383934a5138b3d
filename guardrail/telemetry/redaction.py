"""How telemetry may speak of what it must not repeat: by length, by hash, or by a word of a vocabulary.

Invariant 8: no user or model text in logs, metrics or traces. Text becomes a ``digest``; an identifier that
came from outside (a request id, a tenant header) passes only if it has an identifier's shape, and a word that
ends up as a label only if it has a word's. This file recognises shapes. It does not try to find personal data
inside text: nothing here would be safe to point at a prompt.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, TypedDict

OTHER: Final = "other"
"""Stands for any value outside a vocabulary."""

# 128 holds a UUID, a W3C trace id, a Kubernetes name with namespace; prose has spaces and fails at the first.
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/+=|#-]{0,127}")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")


class Digest(TypedDict):
    """Enough to tell two texts apart and to find one again when it is at hand; not enough to read it."""

    chars: int
    sha256: str


def digest(text: str) -> Digest:
    """The length of ``text`` in code points and the first 16 hexadecimal digits of its SHA-256."""
    return {"chars": len(text), "sha256": sha256(text)[:16]}


def sha256(text: str) -> str:
    """The whole SHA-256 of ``text``; lone surrogates count too, as JSON from a model may hold them."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def identifier(value: str) -> str:
    """``value`` if it has the shape of an identifier or is empty, otherwise its hash.

    Identifiers come from request headers, so whoever calls can put anything there: a sentence, a newline,
    a megabyte. The hash still joins the lines of one stream.
    """
    if not value or _IDENTIFIER.fullmatch(value):
        return value
    return f"sha256:{sha256(value)[:16]}"


def word(value: str) -> str:
    """``value`` if it has the shape of a vocabulary's word, otherwise ``OTHER``."""
    return value if _WORD.fullmatch(value) else OTHER
