"""How places are put into words: an offer of the catalogue as a short Markdown list.

A line says what a place is called, how to reach it, when, and what it costs: 24/7 and free only where
the catalogue knows it, charges and hours where it knows better. This file chooses no place and no text
around the list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from guardrail.core.composition import Resource
from guardrail.interventions.listings import Emergency, Listing
from guardrail.interventions.resources import Offer
from guardrail.interventions.templates import Labels

ANY_TOPICS = ("suicide_crisis", "mental_distress")
"""For a category of an operator's own that requires places."""

TOPICS = {
    "self_harm": ("suicide_crisis", "mental_distress"),
    "mental_distress": ("mental_distress", "suicide_crisis"),
    "violence": ("domestic_violence",),
    "sexual": ("sexual_assault",),
    "child_safety": ("child_youth",),
    "drugs": ("substance_use",),
}
"""What to look for in the catalogue, by category, best first; other categories have no place to name."""

ACUTE_TOPICS = {"drugs": ("poison", "substance_use"), "medical_advice": ("poison",)}
"""The same for severity 3, where it differs."""

_DAY = re.compile(r"daily|Mon|Tue|Wed|Thu|Fri|Sat|Sun")


@dataclass(frozen=True, slots=True)
class Referral:
    """Lines of text, and what they offer, for the audit record."""

    lines: Sequence[str] = field(default=())
    resources: Sequence[Resource] = field(default=())


def refer(offer: Offer, labels: Labels, language: str, *, emergency: bool) -> Referral:
    """``offer`` as lines in ``language``; with ``emergency``, the country's emergency number last."""
    lines = [_line(listing, labels, language) for listing in offer.listings]
    resources = [
        Resource(listing.id, listing.name, listing.country, contact(listing, labels))
        for listing in offer.listings
    ]
    if emergency:
        number = emergency_number(offer.emergency, labels, police=False)
        where = f" ({offer.country})" if offer.country else ""
        lines.append(f"- **{labels.emergency_services}**{where}: {number}")
        resources += emergency_resource(offer, labels, police=False)
    return Referral(tuple(lines), tuple(resources))


def emergency_resource(offer: Offer, labels: Labels, *, police: bool) -> Sequence[Resource]:
    """The emergency number as a resource for the record; none where only words could be offered."""
    if offer.emergency is None:
        return ()
    number = emergency_number(offer.emergency, labels, police=police)
    return (Resource(f"{offer.country.lower()}-emergency", labels.emergency_services, offer.country, number),)


def emergency_number(entry: Emergency | None, labels: Labels, *, police: bool) -> str:
    """The number to call, or words for it where the country is not known."""
    if entry is None:
        return labels.emergency_unknown
    return entry.police or entry.number if police else entry.number


def contact(listing: Listing, labels: Labels) -> str:
    """Every way to reach ``listing``, joined by "or"; its site only where there is no other."""
    ways = []
    if listing.phone:
        ways.append(labels.call.format(phone=listing.phone))
    if listing.text and listing.text.word:
        ways.append(labels.text_word.format(word=listing.text.word, to=listing.text.to))
    elif listing.text:
        ways.append(labels.text.format(to=listing.text.to))
    if listing.chat:
        ways.append(labels.chat.format(url=listing.chat))
    if not ways and listing.web:
        ways.append(labels.web.format(url=listing.web))
    *first, last = ways
    return f"{', '.join(first)}{labels.or_}{last}" if first else last


def bold_name(listing: Listing) -> str:
    """The name as it stands in a line: what to look for to know that a place was shown before."""
    return f"**{listing.name}**"


def _line(listing: Listing, labels: Labels, language: str) -> str:
    place = ", ".join(part for part in (listing.country, listing.area) if part)
    where = f" ({place})" if place else ""
    facts = [contact(listing, labels)]
    if listing.phone or listing.text or listing.chat:  # a directory has no hours
        facts.append(_hours(listing.hours, labels))
        if listing.free is True:
            facts.append(labels.free)
        elif listing.free is False:
            facts.append(labels.not_free)
        if listing.confidential is True:
            facts.append(labels.confidential)
    notes = listing.note or {}
    said = notes.get(language.partition("-")[0], notes.get("en"))
    note = f" ({said})" if said else ""
    return f"- {bold_name(listing)}{where}: {', '.join(facts)}{note}"


def _hours(hours: str, labels: Labels) -> str:
    if hours == "24/7":
        return labels.around_the_clock
    if hours == "unknown":
        return labels.hours_unknown
    return _DAY.sub(lambda match: labels.days[match[0]], hours)
