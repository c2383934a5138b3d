"""``Composer``: the words of one intervention, put together from reviewed wordings and the catalogue.

Pure and deterministic: files are read at load, and the same request always gets the same words. Nothing
is drawn by lot; wordings vary with the conversation and its turns, and one that already stands in an
earlier turn is passed over (a text that comes back word for word reads as nobody listening).

The text is made of parts: a bridge from the answer so far, the wording of the category, the places, and
for replacements a closing that keeps the conversation going. How it is spliced into the stream is the
core's business; what is done about a finding was the policy's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Final

from guardrail.core.composition import Composition, CompositionRequest
from guardrail.core.spans import Span
from guardrail.core.verdicts import Decision, Finding, Kind, Role
from guardrail.interventions.locales import Locale, parse_locale
from guardrail.interventions.referrals import (
    ACUTE_TOPICS,
    ANY_TOPICS,
    TOPICS,
    Referral,
    bold_name,
    emergency_number,
    emergency_resource,
    refer,
)
from guardrail.interventions.resources import Catalogue, Offer, load_catalogue
from guardrail.interventions.rotation import choose, normalised
from guardrail.interventions.templates import (
    ACUTE_SEVERITY,
    CRISIS,
    Group,
    Language,
    Voice,
    Wording,
    load_languages,
)

DEFAULT_LANGUAGE: Final = "en"

_VOICES: Final[Mapping[Kind, Voice]] = {
    Kind.REDIRECT: "redirect",
    Kind.REWRITE: "redirect",  # the answer goes on after it, so it must not sound like an end
    Kind.STEER: "replace",  # what a steer falls back to when there is no rewriter
    Kind.REPLACE: "replace",
}

_FIRST_PLACES, _LATER_PLACES = 3, 2
"""How many places to name; fewer in later turns, so that the list does not drown the words."""


class Composer:
    """Finds the words of interventions.

    Args:
        languages: by tag in lower case; must hold ``DEFAULT_LANGUAGE``.
        catalogue: the places where help is.
    """

    def __init__(self, languages: Mapping[str, Language], catalogue: Catalogue) -> None:
        if DEFAULT_LANGUAGE not in languages:
            raise ValueError(f"languages must hold {DEFAULT_LANGUAGE!r}")
        self.languages = languages
        self.catalogue = catalogue
        self._places = [bold_name(listing) for listing in catalogue.listings.values()]

    def compose(self, request: CompositionRequest) -> Composition:
        """The words for ``request``.

        Raises:
            ValueError: the decision's kind has no words (only ``mask``, ``redirect``, ``rewrite``, ``steer``
                and ``replace`` speak); asking for them is a fault of the caller.
        """
        kind, finding = request.decision.kind, request.decision.finding
        if kind is Kind.MASK:
            return self._mask(request)
        voice = _VOICES.get(kind)
        if voice is None:
            raise ValueError(f"{kind.label} has no words")
        locale = parse_locale(request.locale)
        language = self._language(locale)
        name, group = language.group(voice, finding.category)
        side, wordings = group.side(finding.role, finding.severity)
        turn = _Turn(request, f"{voice}/{name}/{side}", self._places)
        at = turn.choose([wording.text for wording in wordings], "wording")

        offer = self._offer(locale, group, finding, turn)
        wording = wordings[at]
        crisis = name in CRISIS
        acute = group.emergency is not None and finding.severity >= ACUTE_SEVERITY
        urged = "{emergency}" in wording.text
        # The number stands in the text once: in its sentences where it is urgent, else under the places.
        referral = refer(offer, language.labels, language.language, emergency=crisis and not (urged or acute))
        paragraphs = _filled(wording, _block(offer, referral, language, turn, crisis=crisis))
        if acute and not urged:
            paragraphs[0] += " " + turn.pick(language.urgent, "urgent")
        if not crisis and not group.stands_alone:
            if not request.at_start:
                bridges = language.bridges.redirect if voice == "redirect" else language.bridges.replace
                paragraphs[0] = f"{turn.pick(bridges, 'bridge')} {paragraphs[0]}"
            if voice == "replace":
                paragraphs.append(turn.pick(language.closings, "closing"))
        police = group.emergency == "police"
        number = emergency_number(offer.emergency, language.labels, police=police)
        text = "\n\n".join(paragraphs)
        resources = referral.resources
        if crisis and "{emergency}" in text:  # elsewhere it would be counted as a crisis referral
            resources = (*resources, *emergency_resource(offer, language.labels, police=police))
        place = name if side == "either" else f"{name}/{side}"
        wording_id = f"{language.language}/{voice}/{place}/{at + 1}"
        return Composition(text.replace("{emergency}", number), wording_id, resources)

    def _mask(self, request: CompositionRequest) -> Composition:
        """What stands for a masked span: always the same, so that it reads as a mark and not as the answer."""
        language = self._language(parse_locale(request.locale))
        name, words = language.mask(request.decision.finding.category)
        return Composition(words, f"{language.language}/mask/{name}")

    def _language(self, locale: Locale) -> Language:
        tags = [tag.lower() for tag in locale.languages]
        found = next((tag for tag in tags if tag in self.languages), DEFAULT_LANGUAGE)
        return self.languages[found]

    def _offer(self, locale: Locale, group: Group, finding: Finding, turn: _Turn) -> Offer:
        acute = finding.severity >= ACUTE_SEVERITY
        topics = TOPICS.get(finding.category, ANY_TOPICS if group.places == "required" else ())
        if acute:
            topics = ACUTE_TOPICS.get(finding.category, topics)
        if group.places == "never":
            topics = ()
        near = (x for x in self.catalogue.listings.values() if x.country in ("", locale.country))
        return self.catalogue.offer(
            locale,
            topics,
            limit=_LATER_PLACES if turn.number else _FIRST_PLACES,
            shown=[x.id for x in near if turn.said(bold_name(x))],
            directories=group.places == "required",
        )


class _Turn:
    """One request as the rotation sees it: where it begins, and what was said before."""

    def __init__(self, request: CompositionRequest, topic: str, places: Sequence[str]) -> None:
        self._key = f"{request.conversation_id}\0{topic}"
        self._earlier = normalised(request.earlier_texts)
        # A turn that names one of our places carries words of ours: the conversation itself remembers.
        ours = sum(any(place in text for place in places) for text in self._earlier)
        self.number = max(request.earlier_inserts, ours)

    def said(self, text: str) -> bool:
        return any(text in earlier for earlier in self._earlier)

    def choose(self, options: Sequence[str], what: str) -> int:
        return choose(options, key=f"{self._key}\0{what}", turn=self.number, earlier=self._earlier)

    def pick(self, options: Sequence[str], what: str) -> str:
        return options[self.choose(options, what)]


def _block(offer: Offer, referral: Referral, language: Language, turn: _Turn, *, crisis: bool) -> str:
    """The list of places under its lead-in, or "" where there is nothing to list."""
    if not referral.lines:
        return ""
    lead_ins = language.lead_ins.ordinary
    if not offer.country:
        lead_ins = language.lead_ins.unknown_country
    elif crisis:
        lead_ins = (
            language.lead_ins.crisis if offer.meets_crisis_standard else language.lead_ins.below_standard
        )
    return "\n".join((turn.pick(lead_ins, "lead-in"), "", *referral.lines))


def _filled(wording: Wording, block: str) -> list[str]:
    """The paragraphs of ``wording`` with ``block`` in its place; without one, its paragraph goes."""
    paragraphs = [block if part == "{resources}" else part for part in wording.text.split("\n\n")]
    return [part for part in paragraphs if part]


def load_composer(templates_dir: Path | None = None, resources_file: Path | None = None) -> Composer:
    """A composer of the shipped words and places, with an operator's own laid over them.

    Args:
        templates_dir: ``<language>.yaml`` files; see ``templates.load_languages``.
        resources_file: listings of the operator's own; see ``resources.load_catalogue``.

    Raises:
        ConfigError: a file is wrong, naming file, key and why.
    """
    return Composer(load_languages(templates_dir), load_catalogue(resources_file))


def every_composition(
    composer: Composer,
    locales: Sequence[str] = ("", "en-US", "en-GB", "de-AT", "fr-FR", "it-IT", "ja-JP", "en-ZA"),
) -> Iterator[tuple[CompositionRequest, Composition]]:
    """Each text the composer can say, for checks over all of them (invariant 12).

    Every wording, bridge, lead-in and closing occurs, at the start and in the middle of an answer, for
    every severity, side and one of ``locales`` at a time; not every combination of them does. Texts that
    come out the same are given once.
    """
    seen: set[tuple[str, str]] = set()
    languages = composer.languages.values()
    categories = sorted({x for y in languages for x in (*y.wordings.redirect, *y.wordings.replace, *y.masks)})
    most = max(len(ws) for y in languages for v in _groups(y) for _, ws in v.sides())
    places = dict.fromkeys((*locales, *(language.language for language in languages)))
    voices, severities, roles = (
        (Kind.MASK, Kind.REDIRECT, Kind.REPLACE),
        (1, 2, ACUTE_SEVERITY),
        (Role.USER, Role.ASSISTANT),
    )
    for locale, kind, category, severity, role in product(places, voices, categories, severities, roles):
        decision = Decision(kind, Finding(category, severity, 1.0, Span(0, 0), role), "every composition")
        for turn, at_start in product(range(most), (False, True)):
            request = CompositionRequest(decision, locale, earlier_inserts=turn, at_start=at_start)
            composition = composer.compose(request)
            said = (composition.wording, composition.text)
            if said not in seen:
                seen.add(said)
                yield request, composition


def _groups(language: Language) -> Iterator[Group]:
    yield from language.wordings.redirect.values()
    yield from language.wordings.replace.values()
