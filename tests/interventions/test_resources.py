"""The catalogue: complete entries, honest offers, countries from regions only."""

from __future__ import annotations

import copy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from guardrail.errors import ConfigError
from guardrail.interventions.listings import Listing
from guardrail.interventions.locales import parse_locale
from guardrail.interventions.resources import Catalogue, load_catalogue

CRISIS = ("suicide_crisis", "mental_distress")

ENTRY: dict[str, Any] = {
    "id": "us-example",
    "name": "Example Line",
    "country": "US",
    "topics": ["suicide_crisis"],
    "audience": "all",
    "phone": "1-800-000-0000",
    "hours": "24/7",
    "free": True,
    "confidential": True,
    "languages": ["en"],
    "source": {"name": "Example organisation"},
    "source_date": "2025-01",
    "verified": False,
}

EMERGENCY: dict[str, Any] = {
    "country": "US",
    "number": "000",
    "source": "Example",
    "source_date": "2025",
    "verified": False,
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def overlay(tmp_path: Path, *entries: dict[str, Any], **keys: Any) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"resources": list(entries), **keys}, allow_unicode=True))
    return path


def offered(catalogue: Catalogue, tag: str, topics: tuple[str, ...] = CRISIS, **options: Any) -> list[str]:
    return [listing.id for listing in catalogue.offer(parse_locale(tag), topics, **options).listings]


# What is shipped


def test_covers_many_countries(catalogue: Catalogue) -> None:
    served = {listing.country for listing in catalogue.listings.values()} - {""}
    assert len(served) >= 60
    assert len(catalogue.countries) >= 100
    assert served <= catalogue.countries


def test_nobody_claims_to_have_called(catalogue: Catalogue) -> None:
    assert set(catalogue.unverified()) >= set(catalogue.listings)
    assert len(catalogue.unverified()) == len(catalogue.listings) + len(catalogue.emergencies)


def test_ids_begin_with_their_country(catalogue: Catalogue) -> None:
    for listing in catalogue.listings.values():
        assert listing.id.split("-")[0] == (listing.country.lower() or "int")


def test_the_well_known_lines_are_there(catalogue: Catalogue) -> None:
    known = {
        "us-988": "988",
        "gb-samaritans": "116 123",
        "fr-3114": "3114",
        "kr-109": "109",
        "at-telefonseelsorge": "142",
    }
    assert {name: catalogue.listings[name].phone for name in known} == known


def test_every_country_offers_a_way_to_a_free_line_in_a_crisis(catalogue: Catalogue) -> None:
    for country in catalogue.countries:
        offer = catalogue.offer(parse_locale(f"en-{country}"), CRISIS)
        assert offer.emergency is not None
        directory = any(not listing.country for listing in offer.listings)
        assert offer.meets_crisis_standard or directory, country
        assert offer.meets_crisis_standard == any(x.meets_crisis_standard for x in offer.listings)


def test_below_standard_is_listed_for_the_operator(catalogue: Catalogue) -> None:
    below = catalogue.below_crisis_standard()
    assert "IT" in below
    assert "US" not in below
    for country in below:
        assert not catalogue.offer(parse_locale(f"en-{country}"), CRISIS, limit=99).meets_crisis_standard


# Locale


@pytest.mark.parametrize(
    "tag", ["", "de", "id", "DE", "es-419", "und", "x-private", "not a tag", "de-", "1", "en-EU"]
)
def test_without_a_region_the_offer_is_international(catalogue: Catalogue, tag: str) -> None:
    offer = catalogue.offer(parse_locale(tag), CRISIS)
    assert offer.country == ""
    assert offer.emergency is None
    assert offer.listings
    assert not any(listing.country for listing in offer.listings)


def test_an_unlisted_country_falls_back(catalogue: Catalogue) -> None:
    offer = catalogue.offer(parse_locale("en-AQ"), CRISIS)
    assert (offer.country, offer.emergency) == ("", None)
    assert offer.listings


@pytest.mark.parametrize(
    ("tag", "country", "languages"),
    [
        ("de-AT", "AT", ("de-AT", "de")),
        ("de_AT.UTF-8", "AT", ("de-AT", "de")),
        ("en-UK", "GB", ("en-GB", "en")),
        ("zh-Hant-HK", "HK", ("zh-Hant-HK", "zh-HK", "zh-Hant", "zh")),
        ("PT-br", "BR", ("pt-BR", "pt")),
        ("und-JP", "JP", ()),
        ("en-x-at", "", ("en",)),
        ("es-419", "", ("es",)),
    ],
)
def test_reads_a_tag(tag: str, country: str, languages: tuple[str, ...]) -> None:
    locale = parse_locale(tag)
    assert (locale.country, locale.languages) == (country, languages)


def test_the_language_orders_but_does_not_exclude(catalogue: Catalogue) -> None:
    assert offered(catalogue, "fr-BE")[0] == "be-cps"
    assert offered(catalogue, "nl-BE")[0] == "be-zelfmoordlijn"
    assert "jp-yorisoi" in offered(catalogue, "sv-JP")


# Pairs


def test_pairs_are_offered_together_or_not_at_all(catalogue: Catalogue) -> None:
    for country in catalogue.countries:
        for topics in (CRISIS, ("mental_distress",), ("child_youth",)):
            for limit in (1, 2, 3):
                ids = offered(catalogue, f"en-{country}", topics, limit=limit)
                assert len(ids) == len(set(ids))
                for name in ids:
                    assert catalogue.listings[name].pair in (None, *ids), (country, name)


def test_a_pair_must_be_mutual(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"resources\[us-example\]\.pair.*name it back"):
        load_catalogue(overlay(tmp_path, {**ENTRY, "pair": "us-988"}))


def test_half_a_pair_cannot_be_removed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca-kids-help-phone"):
        load_catalogue(overlay(tmp_path, remove=["ca-kids-help-phone"]))


# What is refused


@pytest.mark.parametrize("missing", [key for key in ENTRY if key != "phone"])
def test_a_missing_field_is_refused_by_name(tmp_path: Path, missing: str) -> None:
    entry = {key: value for key, value in ENTRY.items() if key != missing}
    path = overlay(tmp_path, entry)
    with pytest.raises(ConfigError) as error:
        load_catalogue(path)
    assert error.value.source == str(path)
    assert error.value.key == (f"resources[us-example].{missing}" if missing != "id" else "resources[0].id")
    assert error.value.reason == "is missing"


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"phone": None}, "resources[us-example]", "at least one of phone"),
        ({"phonee": "1"}, "resources[us-example].phonee", "not a key"),
        ({"hours": "all day"}, "resources[us-example].hours", "24/7"),
        ({"hours": "Mo-Fr 09:00-17:00"}, "resources[us-example].hours", "24/7"),
        ({"country": "usa"}, "resources[us-example].country", "ISO 3166-1"),
        ({"country": "AQ"}, "resources[us-example].country", "no emergency number"),
        ({"topics": []}, "resources[us-example].topics", "at least 1"),
        ({"topics": ["sports"]}, "resources[us-example].topics.0", "suicide_crisis"),
        ({"free": "maybe"}, "resources[us-example].free", "unknown"),
        ({"phone": 988}, "resources[us-example].phone", "string"),
        ({"web": "www.example.org"}, "resources[us-example].web", "web address"),
        ({"source_date": 2025}, "resources[us-example].source_date", "string"),
        ({"source_date": "May 2025"}, "resources[us-example].source_date", "ISO date"),
        ({"name": "**Bold** line"}, "resources[us-example].name", "Markdown"),
        ({"name": " Line"}, "resources[us-example].name", "trimmed"),
        ({"verified": True}, "resources[us-example]", "verified_by"),
        ({"verified_by": "me"}, "resources[us-example]", "verified: true"),
        ({"note": {"de": "Durchwahl 4"}}, "resources[us-example]", "English"),
        ({"pair": "us-nowhere"}, "resources[us-example].pair", "no listing"),
    ],
)
def test_a_wrong_value_is_refused(tmp_path: Path, change: dict[str, Any], key: str, reason: str) -> None:
    entry = {name: value for name, value in {**ENTRY, **change}.items() if value is not None}
    with pytest.raises(ConfigError) as error:
        load_catalogue(overlay(tmp_path, entry))
    assert error.value.key.startswith(key)
    assert reason in error.value.reason


def test_an_entry_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stands twice"):
        load_catalogue(overlay(tmp_path, ENTRY, copy.deepcopy(ENTRY)))


def test_a_key_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("resources: []\nresources: []\n")
    with pytest.raises(ConfigError, match=r"own\.yaml:2: .*is given twice"):
        load_catalogue(path)


@pytest.mark.parametrize(
    "text", ["[]", "resources: 3", "resources: [1]", "other: []", "resources: [", "\x00"]
)
def test_what_is_no_catalogue_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"own\.yaml"):
        load_catalogue(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_catalogue(tmp_path / "none.yaml")


# An operator's own file


def test_an_own_entry_comes_first_in_its_country(tmp_path: Path) -> None:
    merged = load_catalogue(overlay(tmp_path, ENTRY))
    assert offered(merged, "en-US")[0] == "us-example"
    assert "us-988" in offered(merged, "en-US")


def test_an_own_entry_replaces_the_shipped_one_of_its_id(tmp_path: Path) -> None:
    mine = {
        **ENTRY,
        "id": "us-988",
        "verified": True,
        "verified_by": "On-call team",
        "verified_on": "2026-11-01",
    }
    merged = load_catalogue(overlay(tmp_path, mine))
    assert merged.listings["us-988"].name == "Example Line"
    assert merged.listings["us-988"].text is None
    assert "us-988" not in merged.unverified()


def test_an_own_emergency_number_replaces_the_shipped_one(tmp_path: Path) -> None:
    merged = load_catalogue(overlay(tmp_path, emergency=[EMERGENCY]))
    assert merged.emergencies["US"].number == "000"


def test_a_listing_can_be_removed(tmp_path: Path) -> None:
    merged = load_catalogue(overlay(tmp_path, remove=["us-988"]))
    assert "us-988" not in offered(merged, "en-US", limit=99)


def test_removing_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"remove\.us-989"):
        load_catalogue(overlay(tmp_path, remove=["us-989"]))


def test_the_last_resort_cannot_be_removed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fall back"):
        load_catalogue(overlay(tmp_path, remove=["int-find-a-helpline", "int-befrienders", "int-iasp"]))


# Age


def test_older_than_counts_from_verification_or_else_the_source(tmp_path: Path) -> None:
    mine = {**ENTRY, "verified": True, "verified_by": "On-call team", "verified_on": "2026-11-02"}
    merged = load_catalogue(overlay(tmp_path, mine))
    assert "us-example" not in merged.older_than(date(2026, 11, 2))
    assert "us-example" in merged.older_than(date(2026, 11, 3))
    assert "us-988" in merged.older_than(date(2026, 11, 2))
    assert merged.older_than(date(2000, 1, 1)) == []


# Standard


@pytest.mark.parametrize(
    "change",
    [
        {"free": "unknown"},
        {"confidential": False},
        {"hours": "daily 09:00-17:00"},
        {"audience": "youth"},
        {"area": "Utah"},
    ],
)
def test_a_line_below_the_standard_does_not_count(tmp_path: Path, change: dict[str, Any]) -> None:
    assert Listing.model_validate(ENTRY).meets_crisis_standard
    assert not Listing.model_validate({**ENTRY, **change}).meets_crisis_standard


def test_shown_places_give_way_to_equals(catalogue: Catalogue) -> None:
    first, second = offered(catalogue, "en-US", ("suicide_crisis",))
    assert offered(catalogue, "en-US", ("suicide_crisis",), shown=[first]) == [second, first]


def test_directories_can_be_left_out(catalogue: Catalogue) -> None:
    assert offered(catalogue, "", ("domestic_violence",), directories=False) == []


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "operators" / "resources.md"
    if not page.exists():
        pytest.skip("the documentation is not beside the tests")
    path = tmp_path / "own.yaml"
    path.write_text(page.read_text().split("```yaml\n")[1].split("```")[0])
    merged = load_catalogue(path)
    assert merged.listings["us-988"].verified
    assert "us-crisis-text-line" not in merged.listings
