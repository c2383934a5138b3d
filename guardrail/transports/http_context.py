"""What the headers of a guarded HTTP request say about it: where it goes, who asks, in which country.

The sidecar's own headers all begin with ``x-guardrail-`` and are taken off before the upstream sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PREFIX = "x-guardrail-"
LOCALE = PREFIX + "locale"
TENANT = PREFIX + "tenant"
MODE = PREFIX + "mode"
MAX_VALUE_CHARS = 128
"""Longest value taken from a header of ours; what is longer is not an identifier."""


@dataclass(frozen=True, slots=True)
class HttpContext:
    """One request, as far as guarding it needs to know."""

    method: str
    path: str
    locale: str
    tenant: str
    mode: str
    own_headers: tuple[str, ...]
    """Names of our headers that the request carries."""


def read_headers(headers: Iterable[tuple[str, str]]) -> HttpContext:
    """Read a request's headers; pseudo-headers (``:method``, ``:path``) included."""
    values: dict[str, str] = {}
    for name, value in headers:
        values.setdefault(name.lower(), value)
    own = tuple(name for name in values if name.startswith(PREFIX))
    return HttpContext(
        method=values.get(":method", ""),
        path=values.get(":path", ""),
        locale=_own(values, LOCALE) or first_language(values.get("accept-language", "")),
        tenant=_own(values, TENANT),
        mode=_own(values, MODE),
        own_headers=own,
    )


def _own(values: Mapping[str, str], name: str) -> str:
    return values.get(name, "").strip()[:MAX_VALUE_CHARS]


def first_language(accept_language: str) -> str:
    """The preferred language tag of an ``Accept-Language`` value (RFC 9110, 12.5.4), or ""."""
    best, best_weight = "", 0.0
    for item in accept_language[:1024].split(","):
        tag, _, parameters = item.strip().partition(";")
        _, _, weight_text = parameters.partition("q=")
        try:
            weight = float(weight_text) if weight_text else 1.0
        except ValueError:
            continue
        if tag.strip() not in {"", "*"} and weight > best_weight:
            best, best_weight = tag.strip(), weight
    return best[:MAX_VALUE_CHARS]
