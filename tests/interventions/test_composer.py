"""The composed texts: helpful wherever they land, never the same twice running, always the same for one request."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.core.composition import Composition, CompositionRequest
from guardrail.core.spans import Span
from guardrail.core.verdicts import Decision, Finding, Kind, Role
from guardrail.interventions import Composer, every_composition, load_composer
from guardrail.interventions.rotation import choose

COMPOSER = load_composer()
EVERY = list(every_composition(COMPOSER))
CRISIS = ("self_harm", "mental_distress")
MAX_REDIRECT_WORDS, MAX_REPLACE_WORDS = 70, 110
PLACE_LINE = re.compile(r"^- \*\*.+$", re.MULTILINE)


def request(
    category: str = "self_harm",
    kind: Kind = Kind.REDIRECT,
    severity: int = 2,
    role: Role = Role.USER,
    locale: str = "en-US",
    **more: Any,
) -> CompositionRequest:
    decision = Decision(kind, Finding(category, severity, 0.9, Span(0, 1), role), "test")
    return CompositionRequest(decision, locale, **more)


def compose(*args: Any, **more: Any) -> Composition:
    return COMPOSER.compose(request(*args, **more))


def prose(text: str) -> str:
    """The text without its list of places and the lead-in above it."""
    parts = text.split("\n\n")
    listed = [at for at, part in enumerate(parts) if part.startswith("- ")]
    return " ".join(part for at, part in enumerate(parts) if at not in listed and at + 1 not in listed)


# Everything that can be said


def test_a_mask_is_a_few_words_that_never_vary() -> None:
    first = compose("payment_card", Kind.MASK, locale="de-AT")
    assert first == Composition("[Kartennummer entfernt]", "de/mask/payment_card")
    again = request("payment_card", Kind.MASK, locale="de-AT", earlier_texts=[first.text], at_start=True)
    assert COMPOSER.compose(again) == first
    assert compose("violence", Kind.MASK, locale="fr").text == "[removed]"
    assert {c.wording for r, c in EVERY if r.decision.kind is Kind.MASK} == {
        f"{name}/mask/{category}"
        for name, language in COMPOSER.languages.items()
        for category in language.masks
    }


def test_every_voice_category_and_language_composes() -> None:
    wordings = {composition.wording.rsplit("/", 1)[0] for _, composition in EVERY}
    for name, language in COMPOSER.languages.items():
        for voice, groups in (
            ("redirect", language.wordings.redirect),
            ("replace", language.wordings.replace),
        ):
            for category, group in groups.items():
                for side, found in group.sides():
                    place = category if side == "either" else f"{category}/{side}"
                    key = f"{language.language}/{voice}/{place}"
                    assert key in wordings, name
                    ids = {c.wording for _, c in EVERY if c.wording.rsplit("/", 1)[0] == key}
                    assert len(ids) == len(found), key


def test_texts_are_trimmed_and_filled() -> None:
    for _, composition in EVERY:
        text = composition.text
        assert text == text.strip()
        assert not re.search(r"[{}]|\n\n\n| \n|  ", text), composition.wording
        assert text.count("**") % 2 == 0


def test_texts_keep_within_length() -> None:
    for asked, composition in EVERY:
        words = len(prose(composition.text).split())
        limit = MAX_REDIRECT_WORDS if asked.decision.kind is Kind.REDIRECT else MAX_REPLACE_WORDS
        assert words <= limit, (words, composition.wording, composition.text)


def test_nothing_ruled_out_is_said() -> None:
    for _, composition in EVERY:
        language = COMPOSER.languages[composition.wording.split("/")[0].lower()]
        for phrase in language.never_say:
            assert phrase.lower() not in composition.text.lower(), composition.wording


def test_a_crisis_text_always_offers_a_place() -> None:
    seen = 0
    for asked, composition in EVERY:
        if asked.decision.finding.category not in CRISIS:
            continue
        seen += 1
        assert composition.resources
        for resource in composition.resources:
            assert f"**{resource.name}**" in composition.text or resource.id.endswith("-emergency")
            assert resource.contact in composition.text
        topmost = [COMPOSER.catalogue.listings.get(resource.id) for resource in composition.resources]
        standard = any(listing and listing.meets_crisis_standard for listing in topmost)
        directory = any(listing and not listing.country for listing in topmost)
        assert standard or directory
    assert seen > 100


def test_a_crisis_text_is_no_dead_end() -> None:
    """The last paragraph speaks to the user; a list is never the end."""
    for asked, composition in EVERY:
        if asked.decision.finding.category in CRISIS:
            assert not PLACE_LINE.match(composition.text.split("\n\n")[-1])


def test_severity_three_urges_the_emergency_number() -> None:
    for category in ("self_harm", "mental_distress", "violence", "child_safety"):
        for kind in (Kind.REDIRECT, Kind.REPLACE):
            assert "999" in prose(compose(category, kind, 3, locale="en-GB").text)
            assert "999" not in prose(compose(category, kind, 1, locale="en-GB").text)


def test_the_emergency_number_stands_in_the_text_once_and_in_the_record() -> None:
    for severity in (1, 2, 3):
        for category in CRISIS:
            composition = compose(category, severity=severity, locale="en-IE")
            assert len(re.findall(r"\b112\b", composition.text)) == 1
            assert [x.contact for x in composition.resources if x.id == "ie-emergency"] == ["112"]


def test_outside_a_crisis_the_emergency_number_is_no_referral() -> None:
    composition = compose("cyber", severity=3, locale="en-IE")
    assert "112" in composition.text
    assert composition.resources == ()


def test_police_and_ambulance_have_numbers_of_their_own() -> None:
    assert "110" in prose(compose("violence", Kind.REPLACE, 3, locale="en-JP").text)
    assert "119" in prose(compose("self_harm", Kind.REPLACE, 3, locale="en-JP").text)


def test_without_a_country_the_emergency_number_is_words() -> None:
    text = compose("self_harm", severity=3, locale="").text
    assert "your local emergency number" in text
    assert not re.search(r"\b(911|112|999)\b", text)


# Language and place


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("en-US", "en"),
        ("de-AT", "de"),
        ("de", "de"),
        ("de-Latn-CH", "de"),
        ("es-419", "es"),
        ("ja-JP", "en"),
        ("", "en"),
        ("tlh", "en"),
        ("EN-gb", "en"),
        ("nonsense!", "en"),
    ],
)
def test_the_language_falls_back(locale: str, language: str) -> None:
    assert compose(locale=locale).wording.split("/")[0] == language


def test_a_language_alone_names_no_country() -> None:
    assert all(not resource.country for resource in compose(locale="de").resources)


def test_an_unlisted_category_gets_the_floor() -> None:
    assert compose("something_new", Kind.REPLACE).wording.startswith("en/replace/any_harm/")


def test_user_and_assistant_are_spoken_to_differently() -> None:
    sides = {compose(role=role).wording.split("/")[3] for role in (Role.USER, Role.ASSISTANT)}
    assert sides == {"user", "assistant"}
    assert compose(severity=3, role=Role.ASSISTANT).wording.split("/")[3] == "acute"


def test_a_failure_is_told_without_bridge_or_closing() -> None:
    composition = compose("failure", severity=1)
    group = COMPOSER.languages["en"].wordings.redirect["failure"]
    assert composition.text in {wording.text for wording in group.either}


def test_kinds_that_go_on_redirect_and_kinds_that_end_replace() -> None:
    voices = {
        kind: compose("cyber", kind).wording.split("/")[1]
        for kind in (Kind.REDIRECT, Kind.REWRITE, Kind.STEER, Kind.REPLACE)
    }
    assert list(voices.values()) == ["redirect", "redirect", "replace", "replace"]


@pytest.mark.parametrize("kind", [Kind.ALLOW, Kind.ANNOTATE, Kind.GUIDE, Kind.STOP])
def test_a_kind_without_words_is_refused(kind: Kind) -> None:
    with pytest.raises(ValueError, match=kind.label):
        compose(kind=kind)


def test_a_bridge_leads_in_only_in_mid_answer() -> None:
    middle = compose("cyber", Kind.REPLACE).text
    start = compose("cyber", Kind.REPLACE, at_start=True).text
    assert middle.endswith(start)
    assert middle != start


def test_a_replacement_ends_with_a_way_on() -> None:
    closings = COMPOSER.languages["en"].closings
    assert compose("cyber", Kind.REPLACE).text.endswith(closings)
    assert not compose("cyber", Kind.REDIRECT).text.endswith(closings)


# Repetition


@pytest.mark.parametrize("category", ["self_harm", "mental_distress", "cyber", "failure"])
@pytest.mark.parametrize("kind", [Kind.REDIRECT, Kind.REPLACE])
@pytest.mark.parametrize("counted", [True, False])
def test_no_wording_comes_back_on_the_next_turns(category: str, kind: Kind, counted: bool) -> None:
    asked = request(category, kind, conversation_id="c-1")
    said: list[str] = []
    wordings: list[str] = []
    for turn in range(8):
        composition = COMPOSER.compose(
            replace(asked, earlier_texts=tuple(said), earlier_inserts=turn if counted else 0)
        )
        assert composition.wording not in wordings[-2:]
        wordings.append(composition.wording)
        said.append(f"Of course, here is more.\n\n{composition.text}\n")
    variety = 5 if category in CRISIS else 3
    assert len(set(wordings[:variety])) == variety


def test_a_count_alone_is_enough_to_vary() -> None:
    wordings = [compose(earlier_inserts=turn).wording for turn in range(5)]
    assert len(set(wordings)) == 5


def test_line_breaks_do_not_hide_a_repetition() -> None:
    first = compose()
    again = compose(earlier_texts=(first.text.replace(" ", "\n "),))
    assert again.wording != first.wording


def test_places_shown_before_give_way_to_others() -> None:
    first, second, _emergency = compose().resources
    later = compose(earlier_texts=(f"You can reach **{first.name}** at any time.",), earlier_inserts=1)
    assert [resource.id for resource in later.resources][:2] == [second.id, first.id]


def test_conversations_differ() -> None:
    assert len({compose(conversation_id=f"c-{n}").wording for n in range(20)}) > 1


@given(
    category=st.sampled_from([*CRISIS, "cyber", "new"]),
    kind=st.sampled_from([Kind.REDIRECT, Kind.REWRITE, Kind.STEER, Kind.REPLACE]),
    severity=st.integers(0, 5),
    locale=st.one_of(st.text(max_size=12), st.sampled_from(["en-US", "de-AT", "fr", "pt_BR"])),
    conversation_id=st.text(max_size=5),
    earlier_texts=st.lists(st.text(max_size=20), max_size=3),
    turn=st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_any_request_composes_and_always_the_same(
    *,
    category: str,
    kind: Kind,
    severity: int,
    locale: str,
    conversation_id: str,
    earlier_texts: list[str],
    turn: int,
) -> None:
    asked = request(
        category, kind, severity, locale=locale, conversation_id=conversation_id, earlier_texts=earlier_texts,
        earlier_inserts=turn,
    )  # fmt: skip
    composition = COMPOSER.compose(asked)
    assert composition.text == composition.text.strip() != ""
    assert load_composer().compose(asked) == composition


def test_when_everything_was_said_the_oldest_comes_back() -> None:
    options = ["first one here", "second one here", "third one here"]
    earlier = [options[1], options[2], options[0]]
    assert choose(options, key="any", turn=0, earlier=earlier) == 1


def test_a_placeholder_does_not_hide_a_repetition() -> None:
    options = ["Call {emergency} now, please do that.", "Another text altogether."]
    assert choose(options, key="any", turn=0, earlier=["Call 112 now, please do that."]) == 1
    assert choose(options, key="any", turn=1, earlier=["Call 112 now, please do that."]) == 1


# An operator's own words and places


def test_own_places_and_words_are_used(tmp_path: Path) -> None:
    listing = {
        "id": "us-campus", "name": "Campus Support", "country": "US", "topics": ["suicide_crisis"], "audience": "all",
        "phone": "555 0100", "hours": "24/7", "free": True, "confidential": True, "languages": ["en"],
        "source": {"name": "Campus"}, "source_date": "2026-11", "verified": True, "verified_by": "Student services",
        "verified_on": "2026-11-01",
    }  # fmt: skip
    (tmp_path / "places.yaml").write_text(yaml.safe_dump({"resources": [listing]}))
    words = tmp_path / "words"
    words.mkdir()
    group = {"places": "never", "either": [{"text": f"Own words {n}."} for n in range(3)]}
    (words / "en.yaml").write_text(yaml.safe_dump({"wordings": {"replace": {"cyber": group}}}))
    own = load_composer(words, tmp_path / "places.yaml")
    assert own.compose(request()).resources[0].id == "us-campus"
    assert "Own words" in own.compose(request("cyber", Kind.REPLACE)).text


def test_an_own_category_that_requires_places_gets_some(tmp_path: Path) -> None:
    text = "Own words {n}.\n\n{{resources}}"
    group = {"places": "required", "either": [{"text": text.format(n=n)} for n in range(3)]}
    (tmp_path / "en.yaml").write_text(yaml.safe_dump({"wordings": {"redirect": {"gambling": group}}}))
    own = load_composer(tmp_path)
    assert "us-988" in {resource.id for resource in own.compose(request("gambling")).resources}


def test_the_default_language_is_needed() -> None:
    with pytest.raises(ValueError, match="'en'"):
        Composer({}, COMPOSER.catalogue)
