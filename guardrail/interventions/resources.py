"""The catalogue of places where help is: what may be offered to whom, and how sure we are of it.

Rule 1: a country comes from a region, never from a language; without one the offer is international.
Rule 2: a crisis offer holds at least one free, confidential, round-the-clock place for adults in the
user's country, or says that it cannot: then the emergency number and an international directory join it.
Rule 3: a pair (an adult and a youth line) is offered together or not at all, because nobody here knows
how old the user is.

This file knows no wording and no decision; ``referrals`` turns an offer into lines of text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigError
from guardrail.interventions.documents import Source, read_mapping, validate
from guardrail.interventions.listings import Emergency, Listing
from guardrail.interventions.locales import Locale


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

    def _entries(self) -> Iterable[tuple[str, Listing | Emergency]]:
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
