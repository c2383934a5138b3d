"""The reviewed wordings, one file a language: what they must be before they may be used.

A language file holds wordings for each kind that speaks (``redirect``, ``replace``) and category, and a
few words for a ``mask`` of each. Under
them lies a floor that knows no category: ``any_harm`` serves categories without wordings of their own,
``closings`` end a replacement with a way on, ``urgent`` sends people in danger to the emergency number.

What is refused here, at load, so that it cannot be said: an unknown placeholder, a missing floor, too
few wordings to vary them, a crisis text that does not state (``carries``) that it encourages
professional help and trusted people and goes on with the conversation, a phrase listed in ``never_say``.
Markers are statements of the reviewer; whether a text is good, no check can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from guardrail.core.verdicts import Role
from guardrail.errors import ConfigError
from guardrail.interventions.documents import Record, Source, read_mapping, validate

Marker = Literal["professional", "trusted_people", "goes_on", "emergency", "company", "distance", "says_ai"]
Voice = Literal["redirect", "replace"]
"""The two ways to speak: the answer goes on after a redirect and ends with a replacement."""

MAX_MASK_CHARS = 60
"""Words that stand for a span stand in the middle of a sentence, a table or a line of code."""
FLOOR = "any_harm"
CRISIS = frozenset({"self_harm", "mental_distress"})
REQUIRED = (FLOOR, "self_harm", "mental_distress", "failure")
"""Without these a language would answer a crisis with words made for something else."""

MIN_WORDINGS = 3
MIN_CRISIS_WORDINGS = 5
"""A crisis conversation goes on for turns; a repeated text reads as a machine that stopped listening."""

_CRISIS_MARKERS = frozenset({"professional", "trusted_people", "goes_on"})
_ACUTE_MARKERS = _CRISIS_MARKERS | {"emergency", "company", "distance"}
ACUTE_SEVERITY = 3

_LABEL_FIELDS = {
    "call": {"phone"},
    "text": {"to"},
    "text_word": {"word", "to"},
    "chat": {"url"},
    "web": {"url"},
}


def _paragraphs(text: object) -> object:
    """Fold wrapped lines; blank lines stay as paragraph breaks."""
    if not isinstance(text, str):
        return text
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip())


Text = Annotated[str, BeforeValidator(_paragraphs), Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(min_length=MIN_WORDINGS, strict=False)]


class Wording(Record):
    """One reviewed text."""

    text: Text
    carries: tuple[Marker, ...] = Field(default=(), strict=False)
    """What the reviewer found in it."""


Wordings = Annotated[tuple[Wording, ...], Field(strict=False)]


class Group(Record):
    """The wordings of one voice and category."""

    places: Literal["required", "listed", "never"]
    """``required``: always with a place, if only a directory; ``listed``: where the country has one."""
    emergency: Literal["medical", "police"] | None = None
    """Whose number ``{emergency}`` is, and whether severity 3 adds it."""
    stands_alone: bool = False
    """No bridge before it, no closing after it."""
    either: Wordings = ()
    """For both sides; or else ``user`` and ``assistant``: whose turn the finding is in."""
    user: Wordings = ()
    assistant: Wordings = ()
    acute: Wordings = ()
    """For severity 3, where given."""

    def sides(self) -> Iterator[tuple[str, Sequence[Wording]]]:
        """The lists that are filled, by name."""
        for name in ("either", "user", "assistant", "acute"):
            wordings: Sequence[Wording] = getattr(self, name)
            if wordings:
                yield name, wordings

    def side(self, role: Role, severity: int) -> tuple[str, Sequence[Wording]]:
        """The list to choose from, and its name."""
        if severity >= ACUTE_SEVERITY and self.acute:
            return "acute", self.acute
        if self.either:
            return "either", self.either
        return ("user", self.user) if role is Role.USER else ("assistant", self.assistant)


class Labels(Record):
    """The small words around a place."""

    call: str
    text: str
    text_word: str
    chat: str
    web: str
    or_: str = Field(alias="or")
    around_the_clock: str
    hours_unknown: str
    free: str
    not_free: str
    confidential: str
    emergency_services: str
    emergency_unknown: str
    """Stands for the number where the country is not known; must read on in a sentence."""
    days: Mapping[str, str]


class LeadIns(Record):
    """What stands above a list of places."""

    crisis: Texts
    below_standard: Texts
    """The country has no listed line that is free, confidential and always open: say so."""
    unknown_country: Texts
    ordinary: Texts


class Bridges(Record):
    """What opens an insert in the middle of an answer."""

    redirect: Texts
    replace: Texts


class Voices(Record):
    """Category to wordings, by voice."""

    redirect: Mapping[str, Group]
    replace: Mapping[str, Group]


class Language(Record):
    """Everything that can be said in one language."""

    language: str
    labels: Labels
    never_say: tuple[str, ...] = Field(strict=False)
    bridges: Bridges
    lead_ins: LeadIns
    closings: Texts
    urgent: Texts
    masks: Mapping[str, Text]
    """Category to the words that stand for a masked span; one line."""
    wordings: Voices

    def mask(self, category: str) -> tuple[str, str]:
        """The words for a masked span of ``category``, or the floor's; with the name they go by."""
        name = category if category in self.masks else FLOOR
        return name, self.masks[name]

    def group(self, voice: Voice, category: str) -> tuple[str, Group]:
        """The wordings for ``category``, or the floor; and the name they go by."""
        groups: Mapping[str, Group] = getattr(self.wordings, voice)
        name = category if category in groups else FLOOR
        return name, groups[name]


def load_languages(overlay: Path | None = None) -> Mapping[str, Language]:
    """All languages, by tag in lower case ("de", "pt-br").

    A file ``<tag>.yaml`` in the directory ``overlay`` is laid over the shipped one of that name: its
    categories, labels and lists each replace the shipped one as a whole. A file with a new name is a
    new language and must be complete.

    Raises:
        ConfigError: a file is wrong, naming file, key and why.
    """
    documents = dict(_shipped())
    if overlay is not None:
        if not overlay.is_dir():
            raise ConfigError(str(overlay), "", "is not a directory of <language>.yaml files")
        for path in sorted(overlay.glob("*.yaml")):
            _, shipped = documents.get(path.stem.lower(), (path, {}))
            documents[path.stem.lower()] = (path, _laid_over(shipped, read_mapping(path), _MERGED))
    languages = {}
    for name, (source, document) in sorted(documents.items()):
        language = validate(Language, document, source, "")
        if language.language.lower() != name:
            raise ConfigError(
                str(source), "language", f"is {language.language!r}, but the file is named {name!r}"
            )
        check_language(language, str(source))
        languages[name] = language
    return languages


@cache
def _shipped() -> Mapping[str, tuple[Source, dict[str, Any]]]:
    """The documents in the package, by tag; read-only to whoever gets them."""
    directory = files("guardrail.interventions").joinpath("data", "templates")
    return {
        source.name.removesuffix(".yaml").lower(): (source, read_mapping(source))
        for source in directory.iterdir()
        if source.name.endswith(".yaml")
    }


_MERGED: Mapping[str, Any] = {
    "wordings": {"redirect": {}, "replace": {}},
    "labels": {},
    "bridges": {},
    "lead_ins": {},
    "masks": {},
}
"""The mappings of two files that are merged key by key; everything else replaces as a whole."""


def _laid_over(
    below: Mapping[str, Any], above: Mapping[str, Any], merged: Mapping[str, Any]
) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if key in merged and isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = _laid_over(old, value, merged[key])
        else:
            result[key] = value
    return result


def check_language(language: Language, source: str) -> None:
    """Check what a schema cannot say.

    Raises:
        ConfigError: naming ``source``, the key and what is wrong.
    """
    for name, allowed in _LABEL_FIELDS.items():
        _check_placeholders(getattr(language.labels, name), allowed, f"labels.{name}", source)
    for day in ("daily", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"):
        if day not in language.labels.days:
            raise ConfigError(source, f"labels.days.{day}", "is missing")
    loose = {
        "bridges.redirect": language.bridges.redirect,
        "bridges.replace": language.bridges.replace,
        "lead_ins.crisis": language.lead_ins.crisis,
        "lead_ins.below_standard": language.lead_ins.below_standard,
        "lead_ins.unknown_country": language.lead_ins.unknown_country,
        "lead_ins.ordinary": language.lead_ins.ordinary,
        "closings": language.closings,
        "urgent": language.urgent,
    }
    for key, texts in loose.items():
        for at, text in enumerate(texts):
            _check_text(text, {"emergency"} if key == "urgent" else set(), language, f"{key}[{at}]", source)
    _check_masks(language, source)
    for voice in ("redirect", "replace"):
        groups: Mapping[str, Group] = getattr(language.wordings, voice)
        for category in REQUIRED:
            if category not in groups:
                raise ConfigError(
                    source, f"wordings.{voice}.{category}", "is missing; every language needs it"
                )
        for category, group in groups.items():
            _check_group(group, category, language, f"wordings.{voice}.{category}", source)


def _check_masks(language: Language, source: str) -> None:
    if FLOOR not in language.masks:
        raise ConfigError(source, f"masks.{FLOOR}", "is missing; every language needs it")
    for category, text in language.masks.items():
        _check_text(text, set(), language, f"masks.{category}", source)
        if "\n" in text or len(text) > MAX_MASK_CHARS:
            reason = (
                f"must be one line of at most {MAX_MASK_CHARS} characters: it stands inside of a sentence"
            )
            raise ConfigError(source, f"masks.{category}", reason)


def _check_group(group: Group, category: str, language: Language, key: str, source: str) -> None:
    if bool(group.either) == bool(group.user or group.assistant) or bool(group.user) != bool(group.assistant):
        raise ConfigError(source, key, "needs either `either`, or both `user` and `assistant`")
    crisis = category in CRISIS
    if crisis and (group.places != "required" or group.emergency is None):
        raise ConfigError(source, f"{key}.places", "a crisis needs places: required, and an emergency number")
    if category == "self_harm" and not group.acute:
        raise ConfigError(source, f"{key}.acute", "is missing")
    least = MIN_CRISIS_WORDINGS if crisis else MIN_WORDINGS
    for side, wordings in group.sides():
        if len(wordings) < least:
            raise ConfigError(
                source, f"{key}.{side}", f"has {len(wordings)} wordings; at least {least} are needed"
            )
        if len({wording.text for wording in wordings}) < len(wordings):
            raise ConfigError(source, f"{key}.{side}", "holds the same text twice")
        for at, wording in enumerate(wordings):
            here = f"{key}.{side}[{at}]"
            _check_wording(wording, group, language, here, source)
            needed = (_ACUTE_MARKERS if side == "acute" else _CRISIS_MARKERS) if crisis else frozenset()
            if missing := sorted(needed - set(wording.carries)):
                raise ConfigError(source, f"{here}.carries", f"lacks {', '.join(missing)}")


def _check_wording(wording: Wording, group: Group, language: Language, key: str, source: str) -> None:
    allowed = {"resources"} if group.places != "never" else set()
    if group.emergency is not None:
        allowed.add("emergency")
    used = _check_text(wording.text, allowed, language, f"{key}.text", source)
    alone = wording.text.split("\n\n").count("{resources}")
    if group.places != "never" and (alone != 1 or wording.text.count("{resources}") != 1):
        raise ConfigError(source, f"{key}.text", "needs {resources} once, as a paragraph of its own")
    if wording.text.startswith("{resources}"):
        raise ConfigError(source, f"{key}.text", "must say something before {resources}")
    if ("emergency" in wording.carries) != ("emergency" in used):
        raise ConfigError(source, f"{key}.text", "carries `emergency` if and only if it holds {emergency}")


def _check_text(text: str, allowed: set[str], language: Language, key: str, source: str) -> set[str]:
    used = _check_placeholders(text, allowed, key, source)
    for phrase in language.never_say:
        if phrase.lower() in text.lower():
            raise ConfigError(source, key, f"says {phrase!r}, which never_say rules out")
    return used


def _check_placeholders(text: str, allowed: set[str], key: str, source: str) -> set[str]:
    try:
        used = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ConfigError(source, key, f"has an unbalanced brace: {error}") from error
    if unknown := sorted(used - allowed):
        expected = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "none"
        raise ConfigError(source, key, f"has the placeholder {{{unknown[0]}}}; known here: {expected}")
    return used
