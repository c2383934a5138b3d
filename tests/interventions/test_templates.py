"""The wordings: what the loader refuses, and what the shipped ones keep to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from guardrail.errors import ConfigError
from guardrail.interventions.templates import (
    CRISIS,
    MIN_CRISIS_WORDINGS,
    MIN_WORDINGS,
    Group,
    Language,
    load_languages,
)

CATEGORIES = frozenset(
    {
        "self_harm", "mental_distress", "violence", "hate_harassment", "sexual", "child_safety", "weapons_cbrn",
        "drugs", "crime_other", "cyber", "fraud_scam", "privacy_pii", "injection_jailbreak", "medical_advice",
        "misinformation", "other_unethical", "any_harm", "failure",
    }
)  # fmt: skip

SHIPPED = load_languages()
LANGUAGES = sorted(SHIPPED)


def groups(language: Language) -> list[tuple[str, str, Group]]:
    voices = {"redirect": language.wordings.redirect, "replace": language.wordings.replace}
    return [(voice, category, group) for voice, found in voices.items() for category, group in found.items()]


def texts(count: int, **keys: Any) -> list[dict[str, Any]]:
    return [
        {"text": f"Example text number {at}. " + keys.get("tail", ""), **keys.get("more", {})}
        for at in range(count)
    ]


def overlay(tmp_path: Path, document: dict[str, Any], name: str = "en") -> Path:
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document, allow_unicode=True))
    return tmp_path


def with_group(tmp_path: Path, category: str, group: dict[str, Any]) -> Path:
    return overlay(tmp_path, {"wordings": {"redirect": {category: group}}})


# What is shipped


def test_english_german_and_spanish_are_shipped() -> None:
    assert set(LANGUAGES) >= {"en", "de", "es"}


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_category_has_wordings_of_its_own(name: str) -> None:
    language = SHIPPED[name]
    assert set(language.wordings.redirect) >= CATEGORIES
    assert set(language.wordings.replace) >= CATEGORIES


@pytest.mark.parametrize("name", LANGUAGES)
def test_there_are_enough_wordings_to_vary(name: str) -> None:
    for voice, category, group in groups(SHIPPED[name]):
        for side, wordings in group.sides():
            least = MIN_CRISIS_WORDINGS if category in CRISIS else MIN_WORDINGS
            assert len(wordings) >= least, (voice, category, side)
            openings = {wording.text[:30] for wording in wordings}
            assert len(openings) == len(wordings), (voice, category, side, "begin alike")


@pytest.mark.parametrize("name", LANGUAGES)
def test_crisis_wordings_carry_what_they_must(name: str) -> None:
    for voice, category, group in groups(SHIPPED[name]):
        if category not in CRISIS:
            continue
        for side, wordings in group.sides():
            for wording in wordings:
                assert {"professional", "trusted_people", "goes_on"} <= set(wording.carries), (
                    voice,
                    category,
                    side,
                )
                assert wording.text.split("\n\n").count("{resources}") == 1
                assert not wording.text.endswith("{resources}"), "a crisis text ends with an invitation"
                if side == "acute":
                    assert {"emergency", "company", "distance"} <= set(wording.carries)


@pytest.mark.parametrize("name", LANGUAGES)
def test_some_crisis_wordings_say_that_an_ai_speaks(name: str) -> None:
    for _, category, group in groups(SHIPPED[name]):
        if category in CRISIS:
            assert all(any("says_ai" in w.carries for w in wordings) for _, wordings in group.sides())


@pytest.mark.parametrize("name", LANGUAGES)
def test_texts_are_plain(name: str) -> None:
    for voice, category, group in groups(SHIPPED[name]):
        for _, wordings in group.sides():
            for wording in wordings:
                assert wording.text == wording.text.strip()
                assert not set("*_`#<>[]|") & set(wording.text), (voice, category)
                prose = wording.text.replace("{resources}", "").strip()
                assert prose[0].isupper() or prose[0] in "¿¡", (voice, category)
                assert prose[-1] in ".?!", (voice, category)


@pytest.mark.parametrize("name", LANGUAGES)
def test_the_list_of_what_is_never_said_is_not_empty(name: str) -> None:
    assert len(SHIPPED[name].never_say) >= 5


# What is refused


@pytest.mark.parametrize(
    ("group", "key", "reason"),
    [
        ({"places": "never", "either": texts(2)}, "cyber.either", "at least 3"),
        ({"places": "never"}, "cyber", "needs either"),
        ({"places": "never", "user": texts(3)}, "cyber", "needs either"),
        ({"places": "never", "either": texts(3), "user": texts(3)}, "cyber", "needs either"),
        ({"places": "never", "either": texts(1) * 3}, "cyber.either", "same text twice"),
        ({"places": "never", "either": texts(3, tail="{name}")}, "cyber.either[0].text", "{name}"),
        ({"places": "never", "either": texts(3, tail="{resources}")}, "cyber.either[0].text", "{resources}"),
        ({"places": "never", "either": texts(3, tail="{emergency}")}, "cyber.either[0].text", "{emergency}"),
        ({"places": "listed", "either": texts(3)}, "cyber.either[0].text", "paragraph of its own"),
        (
            {"places": "listed", "either": texts(3, tail="{resources}")},
            "cyber.either[0].text",
            "paragraph of its own",
        ),
        ({"places": "never", "either": texts(3, tail="{")}, "cyber.either[0].text", "unbalanced"),
        ({"places": "sometimes", "either": texts(3)}, "cyber.places", "required"),
        (
            {"places": "never", "either": texts(3, more={"carries": ["hope"]})},
            "cyber.either.0.carries",
            "professional",
        ),
        ({"places": "never", "any": texts(3)}, "cyber.any", "not a key"),
        ({"places": "never", "either": [{"text": "  "}] * 3}, "cyber.either.0.text", "at least 1"),
        (
            {"places": "never", "either": texts(3, tail="The person committed suicide.")},
            "cyber.either[0].text",
            "never_say",
        ),
    ],
)
def test_a_bad_group_is_refused(tmp_path: Path, group: dict[str, Any], key: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_languages(with_group(tmp_path, "cyber", group))
    assert error.value.source == str(tmp_path / "en.yaml")
    assert error.value.key.startswith(f"wordings.redirect.{key}")
    assert reason in error.value.reason


CARRIES = ["professional", "trusted_people", "goes_on"]


@pytest.mark.parametrize("dropped", CARRIES)
def test_a_crisis_wording_without_a_marker_is_refused(tmp_path: Path, dropped: str) -> None:
    carries = [marker for marker in CARRIES if marker != dropped]
    either = texts(5, tail="\n\n{resources}\n\nGo on.", more={"carries": carries})
    group = {"places": "required", "emergency": "medical", "either": either}
    with pytest.raises(ConfigError, match=f"lacks {dropped}"):
        load_languages(with_group(tmp_path, "mental_distress", group))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"places": "listed"}, "places: required"),
        ({"emergency": None}, "emergency"),
        ({"acute": None}, "is missing"),
    ],
)
def test_a_crisis_group_must_reach_for_help(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    either = texts(5, tail="\n\n{resources}\n\nGo on.", more={"carries": CARRIES})
    carries = [*CARRIES, "emergency", "company", "distance"]
    acute = texts(5, tail="Call {emergency}.\n\n{resources}\n\nGo on.", more={"carries": carries})
    group = {"places": "required", "emergency": "medical", "either": either, "acute": acute}
    path = with_group(tmp_path, "self_harm", group)
    assert load_languages(path)["en"].wordings.redirect["self_harm"].acute[0].text.startswith("Example")
    group = {key: value for key, value in {**group, **change}.items() if value is not None}
    with pytest.raises(ConfigError, match=reason):
        load_languages(with_group(tmp_path, "self_harm", group))


def test_four_crisis_wordings_are_not_enough(tmp_path: Path) -> None:
    either = texts(4, tail="\n\n{resources}\n\nGo on.", more={"carries": CARRIES})
    group = {"places": "required", "emergency": "medical", "either": either}
    with pytest.raises(ConfigError, match="at least 5"):
        load_languages(with_group(tmp_path, "mental_distress", group))


def test_the_emergency_marker_needs_the_number(tmp_path: Path) -> None:
    either = texts(5, tail="\n\n{resources}\n\nGo on.", more={"carries": [*CARRIES, "emergency"]})
    group = {"places": "required", "emergency": "medical", "either": either}
    with pytest.raises(ConfigError, match="if and only if"):
        load_languages(with_group(tmp_path, "mental_distress", group))


@pytest.mark.parametrize("floor", ["any_harm", "self_harm", "mental_distress", "failure"])
def test_a_language_without_its_floor_is_refused(tmp_path: Path, floor: str) -> None:
    document = SHIPPED["en"].model_dump(by_alias=True)
    document["language"] = "xx"
    del document["wordings"]["replace"][floor]
    with pytest.raises(ConfigError) as error:
        load_languages(overlay(tmp_path, yaml.safe_load(yaml.safe_dump(plain(document))), "xx"))
    assert error.value.key == f"wordings.replace.{floor}"


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"labels": {"call": "ring {number}"}}, "labels.call"),
        ({"labels": {"days": {"daily": "daily"}}}, "labels.days.Mon"),
        ({"closings": ["One.", "Two."]}, "closings"),
        ({"urgent": ["Call {phone}."] * 3}, "urgent[0]"),
        ({"bridges": {"redirect": ["Now {emergency}."] * 3}}, "bridges.redirect[0]"),
        ({"language": "de"}, "language"),
        ({"greeting": "hello"}, "greeting"),
    ],
)
def test_a_bad_part_is_refused(tmp_path: Path, document: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_languages(overlay(tmp_path, document))
    assert error.value.key == key


def test_a_new_language_must_be_complete(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is missing"):
        load_languages(overlay(tmp_path, {"language": "xx"}, "xx"))


def test_the_overlay_must_be_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a directory"):
        load_languages(tmp_path / "none")


# Laying over


def test_an_own_group_replaces_the_shipped_one_as_a_whole_and_nothing_else(tmp_path: Path) -> None:
    group = {"places": "never", "either": texts(3)}
    own = load_languages(with_group(tmp_path, "cyber", group))["en"]
    assert [wording.text for wording in own.wordings.redirect["cyber"].either] == [
        t["text"].strip() for t in texts(3)
    ]
    assert own.wordings.redirect["cyber"].places == "never"
    assert own.wordings.redirect["drugs"] == SHIPPED["en"].wordings.redirect["drugs"]
    assert own.wordings.replace == SHIPPED["en"].wordings.replace
    assert load_languages()["en"] == SHIPPED["en"], "the shipped documents are left as they were"


def test_own_categories_can_be_added(tmp_path: Path) -> None:
    own = load_languages(with_group(tmp_path, "gambling", {"places": "never", "either": texts(3)}))["en"]
    assert own.group("redirect", "gambling")[0] == "gambling"
    assert own.group("replace", "gambling")[0] == "any_harm"


def test_a_label_can_be_replaced_alone(tmp_path: Path) -> None:
    own = load_languages(overlay(tmp_path, {"labels": {"free": "no charge"}}))["en"]
    assert (own.labels.free, own.labels.call) == ("no charge", SHIPPED["en"].labels.call)


# Masks


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_language_masks_the_same_categories(name: str) -> None:
    assert SHIPPED[name].masks.keys() == SHIPPED["en"].masks.keys()
    assert SHIPPED[name].mask("no such category") == ("any_harm", SHIPPED[name].masks["any_harm"])


def test_an_operator_says_what_stands_for_a_masked_span(tmp_path: Path) -> None:
    languages = load_languages(overlay(tmp_path, {"masks": {"payment_card": "<card>", "own": "***"}}))
    assert languages["en"].mask("payment_card")[1] == "<card>"
    assert languages["en"].mask("own")[1] == "***"
    assert languages["en"].mask("contact_data") == SHIPPED["en"].mask("contact_data")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("one\n\ntwo", "one line"),
        ("x" * 61, "at most 60 characters"),
        ("{resources}", "placeholder"),
        ("", "at least 1"),
    ],
)
def test_words_for_a_mask_that_would_not_fit_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"masks\.own.*{reason}"):
        load_languages(overlay(tmp_path, {"masks": {"own": text}}))


def test_a_language_without_a_floor_for_masks_is_refused(tmp_path: Path) -> None:
    document = SHIPPED["en"].model_dump(by_alias=True) | {"language": "xx", "masks": {}}
    with pytest.raises(ConfigError, match=r"masks\.any_harm: is missing"):
        load_languages(overlay(tmp_path, yaml.safe_load(yaml.safe_dump(_plain(document))), "xx"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
