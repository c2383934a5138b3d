"""What an entry of the catalogue says of one place where help is, and what it must say to be accepted.

Each field claims no more than is known: "unknown" is a value, and so is ``verified: false`` with its reason.
This file knows one entry at a time; what is offered to whom is ``resources``' business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from guardrail.interventions.documents import Record

Topic = Literal[
    "suicide_crisis",
    "mental_distress",
    "child_youth",
    "domestic_violence",
    "sexual_assault",
    "substance_use",
    "poison",
]
Audience = Literal["all", "adults", "youth", "women", "first_nations"]


def _check_known(value: object) -> object:
    if not (isinstance(value, bool) or value == "unknown"):
        raise ValueError('must be true, false or "unknown"')
    return value


Known = Annotated[bool | str, BeforeValidator(_check_known)]
"""True, False or "unknown": nothing is claimed that is not known."""

_DAYS = r"(daily|(Mon|Tue|Wed|Thu|Fri|Sat|Sun)(-(Mon|Tue|Wed|Thu|Fri|Sat|Sun))?)"
_HOURS = re.compile(rf"24/7|unknown|{_DAYS} \d\d:\d\d-\d\d:\d\d(, {_DAYS} \d\d:\d\d-\d\d:\d\d)*")
_DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
_COUNTRY = re.compile(r"([A-Z]{2})?")
_ID = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)+")
_PLAIN = re.compile(r"[^*_`\[\]<>]+")
_WEB = re.compile(r"https?://[^\s<>()*]+")


def _matching(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not {expected}")
        return value

    return AfterValidator(check)


Day = Annotated[str, _matching(_DATE, "an ISO date (a year, a month or a day, in quotes)")]
Web = Annotated[str, _matching(_WEB, "a web address")]
Line = Annotated[str, Field(min_length=1), _matching(re.compile(r"\S(.*\S)?"), "one trimmed line")]


class Origin(Record):
    """Where a fact comes from."""

    name: Line
    """The organisation or document."""
    url: Web | None = None
    """Its own site, where that is certain."""


class TextLine(Record):
    """A number that takes text messages."""

    to: Line
    word: Line | None = None
    """What to write to be connected, where a word is asked for."""


class _Checked(Record):
    """Whether and by whom an entry was checked."""

    source_date: Day
    """The date of the public information the entry was written from; not of a check."""
    verified: bool
    verified_by: Line | None = None
    verified_on: Day | None = None

    @model_validator(mode="after")
    def _says_who_and_when(self) -> Self:
        if self.verified and not (self.verified_by and self.verified_on):
            raise ValueError("verified: true needs verified_by and verified_on")
        if not self.verified and (self.verified_by or self.verified_on):
            raise ValueError("verified_by and verified_on belong to verified: true")
        return self

    def known_on(self) -> date:
        """The earliest day the entry's newest date can mean."""
        year, month, day = (*(int(part) for part in (self.verified_on or self.source_date).split("-")), 1, 1)[
            :3
        ]
        return date(year, month, day)


class Emergency(_Checked):
    """A country's emergency number."""

    country: Annotated[str, Field(min_length=2), _matching(_COUNTRY, "an ISO 3166-1 alpha-2 code")]
    number: Line
    """The one to call when a life is in danger: ambulance, where services have numbers of their own."""
    police: Line | None = None
    """The police, where it is not ``number``."""
    also: tuple[Line, ...] = Field(default=(), strict=False)
    """Further numbers, for the operator; not shown."""
    source: Line


class Listing(_Checked):
    """One place where help is."""

    id: Annotated[str, _matching(_ID, 'an id such as "us-988"')]
    name: Annotated[Line, _matching(_PLAIN, "free of Markdown")]
    """What the service calls itself; a transliteration first where its script is not Latin."""
    country: Annotated[str, _matching(_COUNTRY, 'an ISO 3166-1 alpha-2 code, or "" for international')]
    topics: tuple[Topic, ...] = Field(min_length=1, strict=False)
    audience: Audience
    phone: Line | None = None
    text: TextLine | None = None
    chat: Web | None = None
    web: Web | None = None
    note: Mapping[str, Line] | None = None
    """What a caller must know to get through ("choose option 4"), by language; shown."""
    area: Line | None = None
    """The part of the country it serves, where that is not all of it."""
    pair: str | None = None
    """Id of the listing this one is offered together with, or not at all."""
    hours: Annotated[str, _matching(_HOURS, '"24/7", "unknown" or hours such as "Mon-Fri 09:00-17:00"')]
    free: Known
    confidential: Known
    languages: tuple[Line, ...] = Field(min_length=1, strict=False)
    source: Origin

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if not (self.phone or self.text or self.chat or self.web):
            raise ValueError("needs at least one of phone, text, chat, web")
        if self.note is not None and "en" not in self.note:
            raise ValueError("note needs an English text (en)")
        return self

    @property
    def meets_crisis_standard(self) -> bool:
        """Free, confidential, round the clock, everywhere in the country and for adults of any description."""
        return (
            self.free is True
            and self.confidential is True
            and self.hours == "24/7"
            and self.area is None
            and self.audience in ("all", "adults")
            and bool(self.phone or self.text or self.chat)
        )
