from __future__ import annotations

import pytest

from classifiers.convert.errors import ConversionError
from classifiers.convert.maps import LabelMap, in_order, known_maps, map_for, shares
from classifiers.convert.source import Source

TOXIC = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
UNBIASED = [
    "toxicity",
    "severe_toxicity",
    "obscene",
    "identity_attack",
    "insult",
    "threat",
    "sexual_explicit",
    "male",
]
HATE, ATTACK = ("hate_harassment",), ("prompt-guard-2", (), ("injection_jailbreak",))


def source(tmp_path, origin, **config):
    return Source(tmp_path, origin, "", config, "", [])


@pytest.mark.parametrize(
    ("origin", "config", "labels", "expected"),
    [
        ("x/y", {"architectures": ["Qwen3ForGuardModel"]}, ["Jailbreak", "Suicide & Self-Harm", "PII"],
         ("qwen3guard-stream", ("injection_jailbreak",), ("self_harm", "any_harm"), ("privacy_pii", "any_harm"))),
        ("unitary/toxic-bert", {}, TOXIC, ("toxic-bert", HATE, HATE, (), ("violence",), HATE, HATE)),
        ("anything", {}, UNBIASED, ("toxic-bert", HATE, HATE, (), HATE, HATE, ("violence",), ("sexual",), ())),
        ("meta-llama/Llama-Prompt-Guard-2-86M", {}, ["LABEL_0", "LABEL_1"], ATTACK),
        ("folder", {"_name_or_path": "meta-llama/Llama-Prompt-Guard-2-22M"}, ["BENIGN", "MALICIOUS"], ATTACK),
        ("ibm-granite/granite-guardian-hap-38m", {}, ["LABEL_0", "LABEL_1"], ("granite-guardian-hap", (), HATE)),
    ],
)  # fmt: skip
def test_well_known_models_have_a_map(origin, config, labels, expected, tmp_path):
    found, mapping = map_for(source(tmp_path, origin, **config), None, labels)

    assert (found, *mapping.categories_of(labels)) == expected


def test_labels_that_say_nothing_are_not_guessed(tmp_path):
    with pytest.raises(ConversionError) as caught:
        map_for(source(tmp_path, "someone/else"), None, ["LABEL_0", "LABEL_1"])

    assert "['LABEL_0', 'LABEL_1']" in str(caught.value)
    assert "labels:\n  LABEL_0: null\n  LABEL_1: null" in str(caught.value)


def test_a_map_may_be_named_or_written(tmp_path):
    model, labels = source(tmp_path, "x"), ["not", "yea"]
    file = tmp_path / "map.yaml"
    file.write_text("labels: {NOT: null, yea: [cyber, any_harm]}\nroles: [assistant]\n", encoding="utf-8")

    name, mapping = map_for(model, str(file), labels)
    assert (name, mapping.categories_of(labels), mapping.roles) == (
        "map.yaml",
        [(), ("cyber", "any_harm")],
        ["assistant"],
    )
    assert map_for(model, "toxic-bert", labels)[1] == known_maps()["toxic-bert"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("labels: {not: null, yea: cybr}", "map.yaml: labels: Value error, 'yea': no category 'cybr'; there are: self_harm"),
        ("labels: {not: null, yea: cyber, maybe: cyber}", "['maybe'] is none of the model's: ['not', 'yea']"),
        ("labels: {no: null, yes: cyber}", "False is no text: labels that YAML reads otherwise (no, yes, 1) need quotes"),
        ("label: {}", "map.yaml: labels: Field required"),
        ("labels: {not: null, yea: cyber}\nlevel: {}", "map.yaml: level: Extra inputs are not permitted"),
        ("labels: {not: null, yea: cyber}\noperating_points: {1: 0.5}", "operating_points: Value error, severities must be 1, 2 and 3"),
        ("labels: {not: null, yea: cyber}\nlevels: {Safe: 2}", "levels.Safe"),
        ("- a list", "map.yaml: file"),
        ("{", "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_map_is_named(text, reason, tmp_path):
    (tmp_path / "map.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(ConversionError) as caught:
        map_for(source(tmp_path, "x"), str(tmp_path / "map.yaml"), ["not", "yea"])

    assert reason in str(caught.value)


def test_a_map_that_is_not_there_says_which_are(tmp_path):
    with pytest.raises(
        ConversionError, match=r"known maps are: qwen3guard-stream, prompt-guard-2, toxic-bert"
    ):
        map_for(source(tmp_path, "x"), str(tmp_path / "gone.yaml"), ["not"])


def test_a_label_that_a_map_lacks_is_named():
    mapping = LabelMap(labels={"a": ["cyber"]})

    with pytest.raises(ConversionError, match=r"nothing says what these labels mean: \['b'\]"):
        mapping.categories_of(["A", "b"])


def test_levels_are_worth_what_the_map_says():
    mapping = known_maps()["qwen3guard-stream"]

    assert mapping.level_shares(["Safe", "Unsafe", "Controversial"]).tolist() == [[0.0], [1.0], [0.5]]
    with pytest.raises(
        ConversionError, match=r"levels: no entry for \['Odd'\]; the model has \['Safe', 'Odd'\]"
    ):
        mapping.level_shares(["Safe", "Odd"])


def test_categories_stand_in_the_order_of_the_taxonomy():
    fed = [(), ("violence", "self_harm"), ("any_harm",)]

    assert in_order(fed) == ["self_harm", "violence", "any_harm"]
    assert shares(fed, in_order(fed)).tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 1]]
    with pytest.raises(ConversionError, match="none counts towards a category"):
        in_order([(), ()])
