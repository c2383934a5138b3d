"""The catalogue of places where help is: what may be offered to whom, and how sure we are of it.

Rule 1: a country comes from a region, never from a language; without one the offer is international.
Rule 2: a crisis offer holds at least one free, confidential, round-the-clock place for adults in the
user's country, or says that it cannot: then the emergency number and an international directory join it.
Rule 3: a pair (an adult and a youth line) is offered together or not at all, because nobody here knows
how old the user is.

This file knows no wording and no decision; ``referrals`` turns an offer into lines of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from guardrail.errors import ConfigError
from guardrail.interventions.documents import Record, Source, read_mapping, validate
from guardrail.interventions.locales import Locale

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


@dataclass(frozen=True, slots=True)
class Offer:
    """What the catalogue has for one user and topic."""

    listings: Sequence[Listing] = field(default=())
    emergency: Emergency | None = None
    """The country's emergency number; None when the country is unknown or not listed."""
    country: str = ""
    """The country served, or "" when the offer is international."""
    meets_crisis_standard: bool = False
    """Whether ``listings`` holds a free, confidential, round-the-clock place."""


class Catalogue:
    """Listings and emergency numbers, looked up by locale and topic.

    Args:
        listings: in order of preference within a country.
        emergencies: at most one a country.
    """

    def __init__(self, listings: Iterable[Listing], emergencies: Iterable[Emergency]) -> None:
        self.listings: Mapping[str, Listing] = {listing.id: listing for listing in listings}
        self.emergencies: Mapping[str, Emergency] = {entry.country: entry for entry in emergencies}

    @property
    def countries(self) -> frozenset[str]:
        """Every country with at least an emergency number."""
        return frozenset(self.emergencies)

    def offer(
        self,
        locale: Locale,
        topics: Sequence[str],
        *,
        limit: int = 3,
        shown: Iterable[str] = (),
        directories: bool = True,
    ) -> Offer:
        """What to offer a user of ``locale`` on ``topics``, best first.

        Args:
            locale: its country decides; its language only orders what the country has.
            topics: in order of preference.
            limit: how many listings; a pair may exceed it by one, the directory of rule 2 by another.
            shown: ids already offered in this conversation; others of equal standing go first.
            directories: whether international directories fill in where the country has nothing.
        """
        country = locale.country if locale.country in self.emergencies else ""
        emergency = self.emergencies.get(country)
        crisis = "suicide_crisis" in topics
        found = [self._about(country, topic) for topic in topics] if country else []
        # A crisis may need any of its topics to hold the standard; elsewhere the first topic served is enough.
        candidates = list(chain(*found)) if crisis else next((listings for listings in found if listings), [])
        chosen = self._pick(
            list({listing.id: listing for listing in candidates}.values()), locale, frozenset(shown), limit
        )
        standard = any(listing.meets_crisis_standard for listing in chosen)
        if directories and (not chosen or (crisis and not standard)):
            chosen += self._directories(topics, 1 if chosen else 2)
        return Offer(tuple(chosen), emergency, country, standard)

    def unverified(self) -> Sequence[str]:
        """Ids of all listings, and "emergency:XX" of all emergency numbers, nobody has verified."""
        return [name for name, entry in self._entries() if not entry.verified]

    def older_than(self, day: date) -> Sequence[str]:
        """The same names, of entries whose verification, or else whose source, is older than ``day``."""
        return [name for name, entry in self._entries() if entry.known_on() < day]

    def below_crisis_standard(self) -> Sequence[str]:
        """Countries without a listed free, confidential, round-the-clock crisis line for adults."""
        served = {x.country for x in self.listings.values() if x.meets_crisis_standard and _is_crisis(x)}
        return sorted(self.countries - served)

    def _entries(self) -> Iterable[tuple[str, _Checked]]:
        yield from self.listings.items()
        for country, entry in self.emergencies.items():
            yield f"emergency:{country}", entry

    def _about(self, country: str, topic: str) -> list[Listing]:
        return [x for x in self.listings.values() if x.country == country and topic in x.topics]

    def _directories(self, topics: Sequence[str], limit: int) -> list[Listing]:
        found = [x for topic in topics for x in self._about("", topic)]
        return list({listing.id: listing for listing in found}.values())[:limit]

    def _pick(self, found: list[Listing], locale: Locale, seen: frozenset[str], limit: int) -> list[Listing]:
        def rank(listing: Listing) -> tuple[bool, bool, bool, bool]:
            spoken = any(tag.split("-")[0] == locale.language for tag in listing.languages)
            return (
                not listing.meets_crisis_standard,
                bool(locale.language) and not spoken,
                listing.audience not in ("all", "adults"),
                listing.id in seen,
            )

        chosen: list[Listing] = []
        for listing in sorted(found, key=rank):
            if len(chosen) >= limit:
                break
            if listing in chosen:
                continue
            chosen.append(listing)
            if listing.pair is not None and (partner := self.listings[listing.pair]) not in chosen:
                chosen.append(partner)
        return chosen


def _is_crisis(listing: Listing) -> bool:
    return "suicide_crisis" in listing.topics or "mental_distress" in listing.topics


def load_catalogue(overlay: Path | None = None) -> Catalogue:
    """The shipped catalogue, with ``overlay`` laid over it.

    An overlay has the format of the shipped files. A listing whose id is known replaces it whole, one
    with a new id is added before the shipped ones of its country; an emergency number replaces its
    country's. ``remove: [id, ...]`` takes listings out.

    Raises:
        ConfigError: a file is wrong, naming file, entry and key.
    """
    shipped, numbers = _shipped()
    listings, emergencies = dict(shipped), dict(numbers)
    if overlay is not None:
        own: dict[str, Listing] = {}
        removed = _read(overlay, own, emergencies)
        for name in removed:
            if name not in listings:
                raise ConfigError(str(overlay), f"remove.{name}", "is not a listing of the shipped catalogue")
            del listings[name]
        added = {name: listing for name, listing in own.items() if name not in listings}
        listings = added | listings | own
    _check_together(listings, emergencies, str(overlay or "guardrail.interventions data/resources"))
    return Catalogue(listings.values(), emergencies.values())


@cache
def _shipped() -> tuple[Mapping[str, Listing], Mapping[str, Emergency]]:
    """The entries in the package; they cannot change while the process runs."""
    listings: dict[str, Listing] = {}
    emergencies: dict[str, Emergency] = {}
    directory = files("guardrail.interventions").joinpath("data", "resources")
    for source in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if source.name.endswith(".yaml"):
            _read(source, listings, emergencies)
    return listings, emergencies


def _read(source: Source, listings: dict[str, Listing], emergencies: dict[str, Emergency]) -> list[str]:
    """Add what ``source`` holds to ``listings`` and ``emergencies``; return what it removes."""
    document = read_mapping(source)
    for key in document:
        if key not in ("emergency", "resources", "remove"):
            raise ConfigError(
                str(source), key, "is not a key known here; expected emergency, resources, remove"
            )
    here: set[str] = set()
    for at, entry in enumerate(_entries_of(document, "emergency", source)):
        key = f"emergency[{entry.get('country', at)}]"
        number = validate(Emergency, entry, source, key)
        _once(f"emergency:{number.country}", here, source, key)
        emergencies[number.country] = number
    for at, entry in enumerate(_entries_of(document, "resources", source)):
        key = f"resources[{entry.get('id', at)}]"
        listing = validate(Listing, entry, source, key)
        _once(listing.id, here, source, key)
        listings[listing.id] = listing
    removed = document.get("remove") or []
    if not isinstance(removed, list) or not all(isinstance(name, str) for name in removed):
        raise ConfigError(str(source), "remove", "must be a list of ids")
    return removed


def _entries_of(document: Mapping[str, Any], key: str, source: Source) -> list[dict[str, Any]]:
    entries = document.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(str(source), key, "must be a list of entries")
    return entries


def _once(name: str, here: set[str], source: Source, key: str) -> None:
    if name in here:
        raise ConfigError(str(source), key, "stands twice in this file")
    here.add(name)


def _check_together(
    listings: Mapping[str, Listing], emergencies: Mapping[str, Emergency], source: str
) -> None:
    for listing in listings.values():
        key = f"resources[{listing.id}]"
        if listing.country and listing.country not in emergencies:
            raise ConfigError(source, f"{key}.country", f"{listing.country} has no emergency number")
        if listing.pair is None:
            continue
        partner = listings.get(listing.pair)
        if partner is None:
            raise ConfigError(
                source, f"{key}.pair", f"there is no listing {listing.pair!r}; remove both or none"
            )
        if partner.pair != listing.id or partner.country != listing.country:
            raise ConfigError(
                source, f"{key}.pair", f"{listing.pair!r} must be of the same country and name it back"
            )
    if not any(_is_crisis(listing) and not listing.country for listing in listings.values()):
        raise ConfigError(source, "resources", "no international crisis directory is left to fall back to")
