"""Converted decoders against what transformers said of them, token by token; see record.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

pytest.importorskip("onnx", reason="conversion needs onnx (the extra `convert`, part of `test`)")

from classifiers.convert.causal import CausalOptions, convert
from classifiers.convert.errors import ConversionError
from classifiers.convert.manifest import Naming
from classifiers.convert.source import find
from guardrail.core.verdicts import Role
from guardrail.engine.loading import load_scorer
from guardrail.engine.pack import load_pack
from tests.classifiers.convert.odds import GUARD_CATEGORIES, guard_logits, label_logits
from tests.classifiers.convert.record import RECORDED, ids_of
from tests.classifiers.convert.steps import Steps
from tests.classifiers.convert.tiny import CONFIGS, LABELS, write_model
from tests.engine.lanes import score

# What was recorded has five decimals; logits are sums in another order.
TOLERANCE = 2e-3
# Of scores, on the average: random weights carry rounding much further than trained ones.
INT8_TOLERANCE = 0.02
NAMING = Naming(license="Apache-2.0")


@pytest.fixture(scope="module")
def recorded():
    return json.loads(RECORDED.read_text("utf-8"))


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    made = {}

    def make(name, precision="float", **changes):
        key = (name, precision, *sorted(changes))
        if key not in made:
            place = tmp_path_factory.mktemp("models")
            source = find(str(write_model(place / name, name, **changes)))
            file = place / "map.yaml"
            labels = {label: LABELS.get(label) for label in source.labels}
            file.write_text(yaml.safe_dump({"labels": labels}), encoding="utf-8")
            options = CausalOptions(precision=precision, categories=None if name == "guard" else str(file))
            convert(source, place / "pack", NAMING, options)
            made[key] = place / "pack"
        return made[key]

    return make


def expected(name, recorded):
    if name == "guard":
        return guard_logits(recorded[name])
    exclusive = CONFIGS[name].get("problem_type") is None
    return label_logits(recorded[name], CONFIGS[name]["id2label"].values(), exclusive=exclusive)


def probability(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, float)))


@pytest.mark.parametrize("name", CONFIGS)
def test_it_says_what_transformers_says_of_every_token(name, packs, recorded):
    found = Steps(packs(name)).whole(ids_of(name))

    assert found.shape == expected(name, recorded).shape
    assert np.abs(found - expected(name, recorded)).max() < TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 31])
def test_pieces_of_every_size_say_the_same(name, size, packs, recorded):
    (found,) = Steps(packs(name)).feed([ids_of(name)], lambda _row, _done: size)

    assert np.abs(found - expected(name, recorded)).max() < TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
def test_neighbours_of_any_length_change_nothing(name, packs, recorded):  # invariant 11
    ids = ids_of(name)
    texts = [ids, ids[:11], ids[::-1], ids[:1], ids]
    together = Steps(packs(name)).feed(texts, lambda row, done: 1 + (row + done) % 4)

    for text, found in zip(texts, together, strict=True):
        if text == ids[: len(text)]:
            assert np.abs(found - expected(name, recorded)[: len(text)]).max() < TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
def test_int8_says_nearly_the_same(name, packs, recorded):
    found = Steps(packs(name, "int8")).whole(ids_of(name))

    gap = probability(found) - probability(expected(name, recorded))
    assert 0 < np.abs(gap).mean() < INT8_TOLERANCE
    whole, rounded = (
        (packs(name, precision) / "model.onnx").stat().st_size for precision in ("float", "int8")
    )
    assert rounded < whole


def test_the_guards_manifest_says_how_it_is_read(packs):
    pack = load_pack(packs("guard"))

    assert (pack.family, pack.tokenization, pack.start_token) == ("causal", "runs", None)
    assert list(pack.categories) == GUARD_CATEGORIES
    assert (pack.layers, pack.heads, pack.head_dim, pack.max_positions) == (2, 2, 16, 256)
    assert pack.roles[Role.USER].marker == ("<|im_start|>", "user", "Ċ")
    assert pack.roles[Role.USER].judged_at == "end"
    assert pack.roles[Role.ASSISTANT].marker[:3] == ("<|im_start|>", "assistant", "Ċ")
    assert pack.roles[Role.ASSISTANT].marker[3:] == ("<think>", "ĊĊ", "</think>", "ĊĊ")
    assert [pack.roles[role].head for role in (Role.USER, Role.ASSISTANT, Role.SYSTEM)] == [0, 1, None]
    assert pack.operating_points[Role.USER]["injection_jailbreak"] == {1: 0.4, 2: 0.6, 3: 0.9}
    assert pack.operating_points[Role.ASSISTANT]["injection_jailbreak"] is None


async def test_the_engine_scores_a_conversation_with_it(packs):
    scorer = load_scorer(packs("guard"), "cpu", intra_op_threads=1)
    try:
        text = "the cat sat.\n\nthe 漢字 cat. abc"
        turns = (Role.SYSTEM, ["abc"]), (Role.USER, ["the cat?"])
        whole = await score(scorer, *turns, (Role.ASSISTANT, [text]))
        pieces = [f" {word}" if index else word for index, word in enumerate(text.split(" "))]
        cut = await score(scorer, *turns, (Role.ASSISTANT, pieces))
    finally:
        scorer.close()

    assert [token.span for token in cut] == [token.span for token in whole]
    for one, other in zip(cut, whole, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


async def test_a_causal_encoder_knows_no_roles(packs, recorded):
    pack = load_pack(packs("bert-tokens"))
    assert (pack.tokenization, pack.roles[Role.USER].marker, pack.roles[Role.USER].end) == ("words", (), ())
    scorer = load_scorer(packs("bert-tokens"), "cpu", intra_op_threads=1)
    try:
        scores = await score(scorer, (Role.USER, ["the cat"]), (Role.ASSISTANT, [" sat"]))
    finally:
        scorer.close()

    assert len(scores) == 1


def test_positions_end_where_the_model_or_its_window_ends(tmp_path):
    for changes, asked, positions in (
        ({}, 100, 100),
        ({}, 9999, 256),
        ({"sliding_window": 32, "use_sliding_window": True, "model_type": "qwen2"}, 100, 32),
    ):
        source = find(str(write_model(tmp_path / str(positions), "guard", **changes)))
        said = convert(source, tmp_path / f"pack{positions}", NAMING, CausalOptions(max_positions=asked))

        assert said["max_positions"] == positions


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("guard", {"query_category_map": None}, "config.json: no query_category_map"),
        (
            "guard",
            {"response_category_map": {"0": "Gossip"}},
            "nothing says what these labels mean: ['Gossip']",
        ),
        ("guard", {"response_risk_level_map": {"0": "Fine"}}, "levels: no entry for ['Fine']"),
        ("guard", {"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ("guard", {"rope_scaling": {"rope_type": "yarn"}}, "rotary positions of type 'yarn'"),
        ("qwen3-tokens", {}, "nothing says what these labels mean: ['fine', 'insult', 'threat']"),
    ],
)
def test_what_cannot_be_converted_is_named(name, changes, reason, tmp_path):
    source = find(str(write_model(tmp_path / "model", name, **changes)))

    with pytest.raises(ConversionError) as caught:
        convert(source, tmp_path / "pack", NAMING, CausalOptions())

    assert reason in str(caught.value)


def test_a_model_without_a_licence_is_not_converted(tmp_path):
    source = find(str(write_model(tmp_path / "model", "guard")))

    with pytest.raises(ConversionError, match="--license"):
        convert(source, tmp_path / "pack", Naming(), CausalOptions())
