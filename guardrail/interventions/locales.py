"""What a BCP 47 tag says about the user: which languages to try, and which country, if any.

Only a region subtag is a country. "de" is spoken in Zurich and in Vienna: reading a country out of a
language would hand somebody in a crisis a number that does not connect. This file knows no resource
and no template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ALIASES = {"UK": "GB"}
"""Not ISO 3166-1, but what people and programs write."""

_NO_COUNTRY = frozenset({"EU", "UN", "ZZ", "XA", "XB", "AA", "QO"})
"""Two letters in the place of a region that name no country."""

_LANGUAGE = re.compile(r"[a-z]{2,3}")
_SCRIPT = re.compile(r"[a-z]{4}")
_REGION = re.compile(r"[a-z]{2}")


@dataclass(frozen=True, slots=True)
class Locale:
    """A parsed tag. Tags that make no sense give an empty one: a wrong locale must not stop a stream."""

    languages: tuple[str, ...] = ()
    """From most to least specific, e.g. ("de-AT", "de"); empty when unknown."""
    country: str = ""
    """ISO 3166-1 alpha-2, or "" when the tag names no country."""

    @property
    def language(self) -> str:
        """The primary language subtag, or ""."""
        return self.languages[-1] if self.languages else ""


def parse_locale(tag: str) -> Locale:
    """Read ``tag``, e.g. "de-AT", "zh-Hant-HK", or the POSIX form "pt_BR.UTF-8".

    Numeric regions ("es-419") are not countries; neither is anything after a one-letter subtag
    (extensions, private use).
    """
    subtags = re.split(r"[.@]", tag.strip(), maxsplit=1)[0].replace("_", "-").lower().split("-")
    language, rest = subtags[0], subtags[1:]
    if not _LANGUAGE.fullmatch(language):
        return Locale()
    if language == "und":
        language = ""
    script = rest.pop(0) if rest and _SCRIPT.fullmatch(rest[0]) else ""
    region = ""
    if rest and _REGION.fullmatch(rest[0]):
        region = _ALIASES.get(rest[0].upper(), rest[0].upper())
    country = "" if region in _NO_COUNTRY else region
    if not language:
        return Locale((), country)
    chain = []
    parts = [language, script.title(), region]
    while parts:
        name = "-".join(part for part in parts if part)
        if name not in chain:
            chain.append(name)
        parts.pop()
    if script and region:
        chain.insert(1, f"{language}-{region}")
    return Locale(tuple(chain), country)
